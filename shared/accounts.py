"""The seller's YAML file: accounts with their secrets and settings. Every fault at once, with its line."""

import base64
import binascii
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from babel import Locale, UnknownLocaleError

from shared.domain.errands import ACTS
from shared.errors import ConfigurationError
from shared.ids import account_number
from shared.manifest import Facet, Manifest, Setting, duration_fault, setting_fault
from shared.ports import Account, Secrets
from shared.registry import Registry
from shared.yaml_lines import YamlFault, load

FACETS: tuple[Facet, ...] = ("webhook", "source", "channel")
FACETS_OF: Mapping[str, tuple[Facet, ...]] = {"intake": ("webhook", "source"), "policy": (), "notifier": ("channel",)}
COMMON_SETTINGS: Mapping[str, Setting] = {
    "keep_item_refund_below": Setting("money", about="up to here the buyer may keep the goods"),
    "approve_refund_above": Setting("money", about="above this a person approves"),
    "daily_messages_per_buyer": Setting("int", about="held until tomorrow beyond it"),
    "messages_per_second": Setting("int", about="how fast we call the marketplace for this account"),
    "deliveries_per_second": Setting("int", about="how fast the marketplace may push to us for this account"),
    "shop": Setting("text", about="the name buyers know the shop by"),
    "calendar": Setting("text", about="country whose holidays are no business days"),
    "quiet_hours": Setting("text", about='"22:00-08:00" in the buyer\'s zone'),
    "capabilities": Setting("list", about="acts this account cannot do through the API"),
}
"""Settings every account takes, whatever its marketplace; a manifest may add its own, or narrow one of these."""
_ACCOUNT_KEYS = ("id", "marketplace", "locale", "time_zone", "secrets", "base_url", "settings", "poll_every")
_TOP_KEYS = ("accounts", "playbooks", "marketplaces", "templates")
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_HOURS = re.compile(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d")
_WEBHOOK_SECRET_BYTES = 24


@dataclass(frozen=True, slots=True)
class AccountEntry:
    account: Account
    secrets: Secrets = field(repr=False)
    raw: Mapping[str, Any] = field(repr=False)
    """As written, without the secrets."""


@dataclass(frozen=True, slots=True)
class Config:
    accounts: Mapping[str, AccountEntry]
    registry: Registry = field(repr=False)
    playbooks: Path | None = None
    marketplaces: Path | None = None
    templates: Path | None = None

    def secrets_for(self, account_id: str, facet: Facet) -> Secrets:
        """Only the keys that the manifest names for this facet."""
        entry = self.accounts[account_id]
        names = self.registry.manifest(entry.account.marketplace).secret_names(facet)
        return {name: value for name, value in entry.secrets.items() if name in names}


def load_config(path: Path, environ: Mapping[str, str], *, service: str | None = None, sandbox: bool = False) -> Config:
    """`service` limits secrets to those of its own facets: a process needs no more. Raises ConfigurationError."""
    data, lines = _read(path)
    checking = _Checking(path, lines, environ, FACETS if service is None else FACETS_OF[service], sandbox)
    config = checking.whole(data)
    if checking.faults:
        raise ConfigurationError(checking.faults)
    assert config is not None  # noqa: S101
    return config


def _read(path: Path) -> tuple[Any, dict[str, int]]:
    try:
        return load(path.read_text("utf-8"), str(path))
    except YamlFault as fault:
        raise ConfigurationError([str(fault)]) from None
    except OSError as fault:
        raise ConfigurationError([f"{path}: cannot be read ({fault.strerror})"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: is not UTF-8 text"]) from None


class _Checking:
    def __init__(
        self,
        path: Path,
        lines: Mapping[str, int],
        environ: Mapping[str, str],
        facets: tuple[Facet, ...],
        sandbox: bool,
    ) -> None:
        self._path = path
        self._lines = lines
        self._environ = environ
        self._facets = facets
        self._sandbox = sandbox
        self.faults: list[str] = []

    def whole(self, data: Any) -> Config | None:
        if not isinstance(data, dict):
            self._fault("", "must hold `accounts:`")
            return None
        self._unknown(data, _TOP_KEYS, "")
        marketplaces = self._folder(data, "marketplaces")
        registry = self._registry(marketplaces)
        playbooks = self._folder(data, "playbooks")
        listed = data.get("accounts")
        if not isinstance(listed, list):
            self._fault("accounts", "must be a list of accounts")
            listed = []
        accounts: dict[str, AccountEntry] = {}
        for index, raw in enumerate(listed):
            entry = self._entry(raw, f"accounts.{index}", registry)
            if entry is not None and not self._collides(entry.account.id, accounts, f"accounts.{index}.id"):
                accounts[entry.account.id] = entry
        return Config(accounts, registry, playbooks, marketplaces, self._folder(data, "templates"))

    def _registry(self, extra: Path | None) -> Registry:
        try:
            return Registry(extra)
        except ConfigurationError as fault:
            self.faults += fault.faults
            return Registry()

    def _entry(self, raw: Any, at: str, registry: Registry) -> AccountEntry | None:
        if not isinstance(raw, dict):
            self._fault(at, "must be an account with id and marketplace")
            return None
        self._unknown(raw, _ACCOUNT_KEYS, at)
        id_ = self._text(raw, "id", at, _ID, "must be lower case letters, digits, - and _")
        marketplace = self._text(raw, "marketplace", at)
        if marketplace is not None and marketplace not in registry.names():
            self._fault(f"{at}.marketplace", f"unknown marketplace; there are {', '.join(registry.names())}")
            marketplace = None
        locale, zone, base_url, poll = (self._plain(raw, name, at) for name in _PLAIN)
        if id_ is None or marketplace is None:
            return None
        manifest = registry.manifest(marketplace)
        account = Account(
            id=id_,
            marketplace=marketplace,
            locale=locale or "en",
            time_zone=zone or "UTC",
            base_url=base_url.rstrip("/") if base_url else None,
            poll_every=poll or manifest.poll_every,
            settings=self._settings(raw.get("settings"), f"{at}.settings", manifest),
            sandbox=self._sandbox,
        )
        secrets = self._secrets(raw.get("secrets"), f"{at}.secrets", manifest)
        return AccountEntry(account, secrets, {k: v for k, v in raw.items() if k != "secrets"})

    def _plain(self, raw: Mapping[str, Any], name: str, at: str) -> str | None:
        value = raw.get(name)
        if value is None:
            return None
        why = _PLAIN[name](value) if isinstance(value, str) else "must be text"
        if why:
            self._fault(f"{at}.{name}", why)
            return None
        return str(value)

    def _settings(self, raw: Any, at: str, manifest: Manifest) -> dict[str, Any]:
        known = {**COMMON_SETTINGS, **manifest.settings}
        settings = {n: s.default for n, s in known.items() if s.default is not None}
        for name, value in self._mapping(raw, at).items():
            if name not in known:
                self._fault(f"{at}.{name}", f"{manifest.name} has no such setting")
            elif why := setting_fault(known[name].type, value) or _common_fault(name, value):
                self._fault(f"{at}.{name}", why)
            else:
                settings[name] = str(value) if known[name].type == "text" else value
        return settings

    def _secrets(self, raw: Any, at: str, manifest: Manifest) -> dict[str, str | tuple[str, ...]]:
        """Keys of other services' facets may stand in the file; they are not looked at."""
        given = self._mapping(raw, at)
        known = {name for facet in FACETS for name in manifest.secret_names(facet)}
        for name in sorted(set(given) - known):
            self._fault(f"{at}.{name}", f"{manifest.name} has no such secret")
        wanted: dict[str, bool] = {}
        for facet in self._facets:
            for name, needed in manifest.secret_names(facet).items():
                wanted[name] = wanted.get(name, False) or needed
        secrets = {}
        for name, needed in wanted.items():
            if given.get(name) is not None:
                secrets[name] = self._secret(given[name], f"{at}.{name}", name)
            elif needed:
                self._fault(at, f"secret {name} is missing")
        return secrets

    def _secret(self, raw: Any, at: str, name: str) -> str | tuple[str, ...]:
        listed = raw if isinstance(raw, list) else [raw]
        if not 1 <= len(listed) <= 2:
            self._fault(at, "must be one value, or two during rotation")
            return ""
        values = tuple(self._secret_value(value, at) for value in listed)
        for value in values:
            if value and (why := _secret_fault(name, value)):
                self._fault(at, why)
        return values if len(values) > 1 else values[0]

    def _secret_value(self, raw: Any, at: str) -> str:
        if isinstance(raw, str | int) and not isinstance(raw, bool):
            value: str | None = str(raw)
        elif isinstance(raw, dict) and set(raw) == {"env"} and isinstance(raw["env"], str):
            value = self._environ.get(raw["env"])
            if value is None:
                self._fault(at, f"environment variable {raw['env']} is not set")
                return ""
        elif isinstance(raw, dict) and set(raw) == {"file"} and isinstance(raw["file"], str):
            value = self._secret_file(raw["file"], at)
        else:
            self._fault(at, "must be text, {env: NAME} or {file: PATH}")
            return ""
        if value is not None and not value.strip():
            self._fault(at, "is empty")
        return (value or "").strip()

    def _secret_file(self, text: str, at: str) -> str | None:
        try:
            return (self._path.parent / Path(text).expanduser()).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            self._fault(at, f"file {text} cannot be read")
            return None

    def _collides(self, id_: str, accounts: Mapping[str, AccountEntry], at: str) -> bool:
        for other in accounts:
            if account_number(other) == account_number(id_):
                why = "stands twice" if other == id_ else f"has the same number as {other}: choose another id"
                self._fault(at, f"{id_} {why}")
                return True
        return False

    def _folder(self, data: Mapping[str, Any], name: str) -> Path | None:
        value = data.get(name)
        if value is None:
            return None
        folder = self._path.parent / str(value)
        if not isinstance(value, str) or not folder.is_dir():
            self._fault(name, "is no folder")
            return None
        return folder

    def _text(
        self, raw: Mapping[str, Any], name: str, at: str, form: re.Pattern[str] | None = None, why: str = ""
    ) -> str | None:
        value = raw.get(name)
        if not isinstance(value, str) or not value:
            self._fault(
                f"{at}.{name}" if name in raw else at, f"{name} is missing" if name not in raw else "must be text"
            )
            return None
        if form is not None and not form.fullmatch(value):
            self._fault(f"{at}.{name}", why)
            return None
        return value

    def _mapping(self, raw: Any, at: str) -> dict[str, Any]:
        if raw is None:
            return {}
        if not isinstance(raw, dict):
            self._fault(at, "must be names with values")
            return {}
        return raw

    def _unknown(self, raw: Mapping[str, Any], known: tuple[str, ...], at: str) -> None:
        for name in raw:
            if name not in known:
                self._fault(f"{at}.{name}" if at else name, "unknown key")

    def _fault(self, at: str, why: str) -> None:
        self.faults.append(f"{self._path}:{self._line(at)} {at}: {why}" if at else f"{self._path}:1 {why}")

    def _line(self, at: str) -> int:
        while at and at not in self._lines:
            at = at.rpartition(".")[0]
        return self._lines.get(at, 1)


def _common_fault(name: str, value: Any) -> str | None:
    """What the type of a common setting does not say."""
    match name:
        case "messages_per_second" if value < 1:
            return "must be 1 or more"
        case "daily_messages_per_buyer" if value < 0:
            return "must be 0 or more"
        case "quiet_hours" if not _HOURS.fullmatch(str(value)):
            return 'must be times of day, like "22:00-08:00"'
        case "capabilities" if not set(map(str, value)) <= set(ACTS):
            return "names an act that there is not"
        case "calendar":
            from holidays import list_supported_countries

            return None if value in list_supported_countries() else 'must be a country code, like "US"'
    return None


def _locale_fault(value: str) -> str | None:
    try:
        Locale.parse(value, sep="-")
    except (UnknownLocaleError, ValueError):
        return 'must be a language tag, like "en" or "pt-BR"'
    return None


def _zone_fault(value: str) -> str | None:
    return None if value in zoneinfo.available_timezones() else 'must be a time zone, like "Asia/Shanghai"'


def _url_fault(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.username
    except ValueError:
        sound = False
    return None if sound else "must be an http:// or https:// address without query or user"


_PLAIN = {"locale": _locale_fault, "time_zone": _zone_fault, "base_url": _url_fault, "poll_every": duration_fault}


def _secret_fault(name: str, value: str) -> str | None:
    """Standard Webhooks secrets say their own form; other secrets are whatever the marketplace gave out."""
    if name != "signing_secret" and not value.startswith("whsec_"):
        return None
    try:
        strength = len(base64.b64decode(value.removeprefix("whsec_"), validate=True))
    except binascii.Error:
        strength = 0
    if not value.startswith("whsec_") or strength < _WEBHOOK_SECRET_BYTES:
        return f"must be whsec_ and base64 of at least {_WEBHOOK_SECRET_BYTES} bytes"
    return None
