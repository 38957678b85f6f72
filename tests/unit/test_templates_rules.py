"""Every message we ship as it would be sent: by each marketplace that allows it, in each language, with honest values that
look odd and with hostile ones."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from services.notifier import trial
from services.notifier.composer import FREE_TEXT, Composer, Written
from services.notifier.render import MAX_BYTES
from services.notifier.rules import judge
from shared.domain.errands import Errand
from shared.domain.order import Buyer
from shared.manifest import Purpose
from shared.ports import Account
from shared.registry import Registry
from tests.unit.test_templates import LOCALES

REGISTRY = Registry()
PURPOSES = REGISTRY.purposes()
MARKETPLACES = REGISTRY.names()
COMPOSER = Composer(REGISTRY, set(MARKETPLACES))
EACH = list(itertools.product(MARKETPLACES, LOCALES))

ODD: tuple[dict[str, Any], ...] = (
    {"order_id": "820000000000011", "tracking_number": "92748901087654321098", "buyer_name": "Zoë O'Connor-Müller"},
    {
        "order_id": "701-1234567-7654321",
        "tracking_number": "RR000000002SE",
        "item": "Lamp 220–240 V, 5 × 60 W (no. 4711)",
    },
    {
        "order_id": "12345678-0001-1",
        "tracking_number": "1Z999AA10123456784",
        "carrier": "СДЭК",
        "item": "Чайник, 1,7 л",
    },
    {"amount": {"value": "1234567.89", "currency": "EUR"}, "ship_by": "2026-12-31T23:30:00Z", "item": "x" * 300},
    {
        "amount": {"value": "9876543", "currency": "JPY"},
        "shipped_on": "2026-02-28",
        "buyer_name": "欧阳娜娜",
        "shop": "靴屋",
    },
    {"amount": {"value": "0.50", "currency": "RUB"}, "buyer_name": "Ёлкина А. Б.", "shop": "Nº 1 Café & Co."},
    {"amount": {"value": "12345.60", "currency": "BRL"}, "repair_days": 1000, "parts": ["3 × M4", "the 'left' arm"]},
)
"""Laid over what a template is tried with."""

HOSTILE = (
    "call +49 170 1234567", "write to evil@example.com", "https://evil.example/pay", "leave a 5 star review and get 10 EUR back",
    "加微信 abc12345 退款", "pay by PayPal", "<b>x</b>", "{{ 7*7 }}{% for x in y %}", "%s%n\u202e\u0000\x1b[2J", "名字" * 500,
    "a\n\n\n\nb", "Ignore the above\r\nBcc: all@example.com", "ѕtupid іdiot",
)  # fmt: skip


def allowed(marketplace: str) -> Iterator[Purpose]:
    names = sorted(set(COMPOSER.book(marketplace).purposes) - {FREE_TEXT})
    assert names, "nothing may be said"
    yield from (PURPOSES[name] for name in names)


def made(marketplace: str, purpose: Purpose, locale: str, params: dict[str, Any]) -> Written:
    errand = Errand(
        id="e", what="message", name=purpose.purpose, account="a", marketplace=marketplace, order_id=params["order_id"],
        case_id="case_1_x", case_kind="return", phase=phase_of(marketplace, purpose), created_at=datetime(2026, 1, 5, tzinfo=UTC),
        params=params, locale=locale, buyer=Buyer(), refs={},
    )  # fmt: skip
    return COMPOSER.write(errand, Account("a", marketplace))


def turn(n: int, locale: str) -> int:
    """Not every value in every language: each of them with each purpose in some, and in each language with some purposes."""
    return n + LOCALES.index(locale)


def phase_of(marketplace: str, purpose: Purpose) -> str:
    return next(iter(COMPOSER.book(marketplace).purposes[purpose.purpose]), "awaiting_seller")


def own_words(purpose: Purpose) -> dict[str, Any]:
    """The texts of the purpose's variables that a person or a marketplace writes."""
    plain = {"order_id", "tracking_number", "result", "return_address"}
    return {name: v for name, v in purpose.variables.items() if v.type == "text" and name not in plain}


@pytest.mark.parametrize(("marketplace", "locale"), EACH)
def test_what_a_marketplace_allows_passes_its_rules_with_honest_values(marketplace: str, locale: str) -> None:
    for n, purpose in enumerate(allowed(marketplace)):
        full, bare, *others = trial.samples(purpose)
        laid_over = [values for values in ODD[turn(n, locale) % 4 :: 4] if set(values) & set(purpose.variables)]
        odd = [{**full, **{k: v for k, v in values.items() if k in purpose.variables}} for values in laid_over]
        told_apart = [one for one in others if set(one) == set(full)]
        for params in (full, bare, *odd, *told_apart):
            written = made(marketplace, purpose, locale, params)
            assert written.fault is None and written.body
            assert written.verdict is not None
            assert written.verdict.ok, f"{purpose.purpose}: {written.verdict.violations}\n{written.body}"


@cache
def broken_alone(marketplace: str, hostile: str) -> frozenset[str]:
    """The rules that a value breaks by itself."""
    verdict = judge(hostile, COMPOSER.book(marketplace), purpose=FREE_TEXT, proven=True)
    return frozenset(violation.rule for violation in verdict.violations)


@pytest.mark.parametrize(("marketplace", "locale"), EACH)
def test_a_hostile_value_does_no_harm_and_hides_nothing_in_a_message(marketplace: str, locale: str) -> None:
    """The text stays within its bounds, and what is blocked by itself is blocked in our words too."""
    book = COMPOSER.book(marketplace)
    for n, purpose in enumerate(allowed(marketplace)):
        concerned = {rule.id for rule in book.rules if rule.concerns(purpose.purpose, phase_of(marketplace, purpose))}
        names = own_words(purpose)
        for hostile in HOSTILE[turn(n, locale) % 8 :: 8]:
            written = made(
                marketplace, purpose, locale, {**next(trial.samples(purpose)), **dict.fromkeys(names, hostile)}
            )
            if written.body is None:
                assert "not known" in (written.fault or ""), written.fault
                continue
            assert len(written.body.encode()) <= MAX_BYTES
            assert not set("\u0000\x1b\u202e") & set(written.body + (written.subject or ""))
            assert "\n" not in (written.subject or "")
            assert written.verdict is not None
            broken = {violation.rule for violation in written.verdict.violations}
            assert broken_alone(marketplace, hostile) & concerned <= broken if names else not broken, written.body


def test_the_hostile_values_are_hostile() -> None:
    """On a marketplace with all common rules most of them are blocked by themselves."""
    assert sum(bool(broken_alone("generic", hostile)) for hostile in HOSTILE) >= 8
