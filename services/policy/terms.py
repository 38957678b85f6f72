"""What each account allows, from its configuration, its marketplace's manifest and rules. Kept by content hash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.policy.rows import Row, text
from shared import ids
from shared.accounts import COMMON_SETTINGS, AccountEntry, Config
from shared.domain.errands import ACTS
from shared.domain.facts import encode
from shared.domain.playbook import Need, Terms
from shared.errors import ConfigurationError
from shared.manifest import Manifest, Purpose, money_by_currency
from shared.registry import Registry
from shared.store.session import Database, Tx
from shared.store.session import Row as RowMapping
from shared.yaml_lines import YamlFault, load

_decoder = msgspec.json.Decoder(Terms)


@dataclass(frozen=True, slots=True)
class Agreed:
    """Terms with the hash that stands in the log."""

    terms: Terms
    hash: str


def agreed(terms: Terms) -> Agreed:
    return Agreed(terms, ids.content_hash(encode(terms)))


class TermsBook:
    """Terms by account. An account that is no longer configured keeps its last ones, closed.

    Raises ConfigurationError when a marketplace's rules file is no good.
    """

    def __init__(self, config: Config, registry: Registry) -> None:
        self._past: dict[str, Terms] = {}
        self._current: dict[str, Agreed] = {}
        self._stored: set[str] = set()
        purposes = {name: purposes_of(registry, name) for name in registry.names()}
        needs = {name: needs_of(purpose) for name, purpose in registry.purposes().items()}
        for account, entry in config.accounts.items():
            name = entry.account.marketplace
            told = {purpose: needs[purpose] for purpose in purposes[name] if purpose in needs}
            self._current[account] = agreed(terms_of(entry, registry.manifest(name), purposes[name], told))
        self._marketplaces = {account: entry.account.marketplace for account, entry in config.accounts.items()}

    @property
    def accounts(self) -> dict[str, Agreed]:
        return dict(self._current)

    def take_over(self, fresh: "TermsBook") -> None:
        """After a reload. Accounts that are gone keep their last terms, closed."""
        self._past |= {account: found.terms for account, found in self._current.items()}
        self._current, self._marketplaces = fresh._current, fresh._marketplaces

    def marketplace(self, account: str) -> str:
        return self._marketplaces[account]

    def of(self, account: str) -> Agreed:
        if account in self._current:
            return self._current[account]
        past = self._past.get(account) or Terms(account=account)
        return agreed(msgspec.structs.replace(past, closed=True))

    async def recall(self, database: Database) -> None:
        """Reads the last terms of accounts that cases may still belong to."""
        async with database.reading() as tx:
            found = await tx.rows("SELECT hash, account, document FROM terms ORDER BY created_at")
        self._past |= {row["account"]: _decoder.decode(row["document"]) for row in found}
        self._stored = {row["hash"] for row in found}

    def row(self, found: Agreed, clock_now: int) -> Row | None:
        """To be written when these terms are first used; None when they are stored already."""
        if found.hash in self._stored:
            return None
        row = {"hash": found.hash, "account": found.terms.account, "document": text(found.terms)}
        return {**row, "created_at": clock_now}

    def stored(self, hashes: list[str]) -> None:
        """After the commit."""
        self._stored.update(hashes)


def terms_of(
    entry: AccountEntry,
    manifest: Manifest,
    purposes: Mapping[str, tuple[str, ...]],
    variables: Mapping[str, dict[str, Need]],
) -> Terms:
    account, settings = entry.account, entry.account.settings
    money, others = _split({**manifest.settings, **COMMON_SETTINGS}, settings)
    by_hand = set(settings.get("capabilities", ()))
    capabilities = {act: str(manifest.capability(act)) for act in ACTS}
    return Terms(
        account=account.id,
        locale=account.locale,
        time_zone=account.time_zone,
        calendar=settings.get("calendar"),
        shop=settings.get("shop", ""),
        capabilities={a: "assisted" if a in by_hand and c == "api" else c for a, c in capabilities.items()},
        money=money,
        settings=others,
        params={action: tuple(names) for action, names in manifest.params.items()},
        purposes=dict(purposes),
        variables=dict(variables),
    )


def needs_of(purpose: Purpose) -> dict[str, Need]:
    return {name: Need(v.from_ or name, v.required) for name, v in purpose.variables.items()}


def _split(types: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, dict[str, int]], dict[str, Any]]:
    """Money settings by currency, and the others as they are."""
    own = ("calendar", "shop", "capabilities")
    money = {name: money_by_currency(value) for name, value in settings.items() if types[name].type == "money"}
    return money, {name: value for name, value in settings.items() if name not in money and name not in own}


def purposes_of(registry: Registry, marketplace: str) -> dict[str, tuple[str, ...]]:
    """Purpose -> phases in which it may be sent, of the marketplace's rules; none without the file."""
    path = registry.rules_file(marketplace)
    if path is None:
        return {}
    try:
        data, _ = load(path.read_text("utf-8"), str(path))
        return msgspec.convert((data or {}).get("purposes", {}), dict[str, tuple[str, ...]])
    except YamlFault as fault:
        raise ConfigurationError([str(fault)]) from None
    except (msgspec.ValidationError, AttributeError) as fault:
        raise ConfigurationError([f"{path}:1 purposes: {fault}"]) from None


async def read(tx: Tx, hashes: list[str]) -> dict[str, Terms]:
    found: list[RowMapping] = list(
        await tx.rows(f"SELECT hash, document FROM terms WHERE {tx.any_of('hash', 'hashes')}", hashes=hashes)
    )
    return {row["hash"]: _decoder.decode(row["document"]) for row in found}
