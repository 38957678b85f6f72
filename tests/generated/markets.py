"""The marketplaces as generated cases meet them: their shipped playbooks, accounts of many kinds, and the words they know."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from services.policy import shipped
from services.policy.playbooks import Chart, Playbooks
from services.policy.terms import TermsBook
from services.policy.walk import World
from shared.accounts import AccountEntry, Config
from shared.domain.case import FIELDS, FieldType
from shared.domain.errands import ACTS
from shared.domain.playbook import Playbook
from shared.ports import Account
from shared.registry import Registry

REGISTRY = Registry()
VARIANTS = 12
"""Accounts of each marketplace, of different terms; the last one is removed from the configuration with cases open."""
_CURRENCY = {"pinduoduo": "CNY", "ozon": "CNY", "generic": "EUR"}
_COMPARED = re.compile(r"\b([a-z_]+) [!=]= '([^']*)'")
_LISTED = re.compile(r"\b([a-z_]+) in \[([^\]]*)\]")
_ZONES = ("UTC", "Europe/Berlin", "Asia/Shanghai", "America/Los_Angeles")


def currency_of(marketplace: str) -> str:
    return _CURRENCY.get(marketplace, "USD")


@dataclass(frozen=True)
class Words:
    """What a playbook's text names: raw codes, fields with the values its guards compare them with."""

    codes: tuple[str, ...]
    fields: Mapping[str, FieldType]
    values: Mapping[str, tuple[str, ...]]


@lru_cache(maxsize=1)
def playbooks() -> Playbooks:
    return Playbooks(shipped.read_all(REGISTRY, None))


def charts() -> list[Chart]:
    return sorted(playbooks().current)


def words(book: Playbook) -> Words:
    return _words(book.hash)


@lru_cache(maxsize=64)
def _words(hash_: str) -> Words:
    book = playbooks().of(hash_)
    text = Path(book.path).read_text("utf-8")
    values: dict[str, set[str]] = {}
    for name, value in _COMPARED.findall(text):
        values.setdefault(name, set()).add(value)
    for name, listed in _LISTED.findall(text):
        values.setdefault(name, set()).update(re.findall(r"'([^']*)'", listed))
    named = set(re.findall(r"[a-z_]+", text))
    known = {**FIELDS, **book.fields}
    fields = {name: known[name] for name in sorted(known) if name in named or f"{name}_minor" in named}
    codes = sorted({*book.statuses, *values.pop("raw_code", ())})
    return Words(tuple(codes), fields, {name: tuple(sorted(found)) for name, found in sorted(values.items())})


@lru_cache(maxsize=1)
def world() -> World:
    """All accounts. Those of the last variant are closed: gone from the configuration, their terms kept."""
    every = {a.id: AccountEntry(a, {}, {}) for chart in charts() for a in _accounts(chart[0])}
    book = TermsBook(Config(every, REGISTRY), REGISTRY)
    staying = {id_: entry for id_, entry in every.items() if not is_closed(id_)}
    book.take_over(TermsBook(Config(staying, REGISTRY), REGISTRY))
    return World(playbooks(), _Cached(book), 8)


class _Cached(TermsBook):
    """Hashing a closed account's terms anew for each decision would take longer than the decision."""

    def __init__(self, book: TermsBook) -> None:
        self.of = lru_cache(maxsize=None)(book.of)  # type: ignore[method-assign]
        self.row = lambda found, clock_now: None  # type: ignore[method-assign]


def is_closed(account: str) -> bool:
    return account.endswith(f"-{VARIANTS - 1}")


def _accounts(marketplace: str) -> list[Account]:
    return [_account(marketplace, n, Random(f"{marketplace} {n}")) for n in range(VARIANTS)]


def _account(marketplace: str, n: int, chance: Random) -> Account:
    settings: dict[str, Any] = {"shop": "Nordlys"}
    settings |= {} if n == 0 else _settings(marketplace, chance)
    zone, locale = chance.choice(_ZONES), chance.choice(("en", "zh-Hans", "de"))
    return Account(f"{marketplace}-{n}", marketplace, locale=locale, time_zone=zone, settings=settings)


def _settings(marketplace: str, chance: Random) -> dict[str, Any]:
    """Limits in the shop's currency, in another one, in both, or none; acts done by hand; the marketplace's own settings."""
    found: dict[str, Any] = {"calendar": chance.choice(("US", "DE", "CN"))}
    for name, sums in (
        ("keep_item_refund_below", ("9.00", "15.00", "300.00")),
        ("approve_refund_above", ("20.00", "50.00")),
    ):
        limits = [f"{chance.choice(sums)} {c}" for c in (currency_of(marketplace), "GBP") if chance.random() < 0.7]
        found |= {name: limits} if limits else {}
    if chance.random() < 0.4:
        found["capabilities"] = chance.sample(ACTS, 3)
    for name, setting in REGISTRY.manifest(marketplace).settings.items():
        if setting.type in ("bool", "text", "int") and name not in found and chance.random() < 0.6:
            found[name] = {"bool": chance.random() < 0.5, "int": chance.randint(1, 48), "text": "A 17"}[setting.type]
    return found
