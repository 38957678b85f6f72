"""Ozon's spellings read into plain values: look-alike letters, numbers as text, times, reasons. Reference 2.1, 2.3.

Ozon's own samples write the buyer's type with a Cyrillic first letter, give ids now as numbers and now as text, and
spell one code in several cases. Codes are compared folded; what is kept is the known spelling, else the text as it came.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.clock import format_time, parse_time
from shared.domain.money import Money

_TWINS = str.maketrans("АВЕКМНОРСТУХаеорсухіІјЈѕЅ", "ABEKMHOPCTYXaeopcyxiIjJsS")
_DIGITS = re.compile(r"[1-9]\d{0,18}|0")
_FRACTION = re.compile(r"(\.\d{6})\d+")
CHAT_WINDOW = timedelta(hours=72)
"""From delivery on, for FBS and rFBS (reference 2.5)."""

SHIPPED = (
    "posting_on_way_to_city", "posting_transferred_to_courier_service", "posting_in_courier_service",
    "posting_on_way_to_pickup_point", "posting_in_pickup_point", "posting_conditionally_delivered",
    "posting_driver_pick_up",
)  # fmt: skip
DELIVERED = ("posting_delivered", "posting_received")
ARBITRATION = ("posting_in_arbitration", "posting_in_client_arbitration")
CANCELLED = "posting_canceled"
WAITING = (
    "posting_acceptance_in_progress", "posting_created", "posting_awaiting_registration",
    "posting_transferring_to_delivery", "posting_in_carriage", "posting_not_in_carriage", "posting_not_in_sort_center",
)  # fmt: skip
BUYER_CHATS = ("Buyer_Seller", "Buyer_Seller_Select")
STATES = (*SHIPPED, *DELIVERED, *ARBITRATION, CANCELLED, *WAITING)

_REASONS = (
    ("counterfeit", ("поддел", "контрафакт", "fake", "counterfeit", "假货", "仿冒")),
    ("missing_parts", ("комплект", "не хватает", "недоста", "missing", "incomplete", "shortage", "缺件", "少件")),
    ("wrong_item", ("не тот", "другой товар", "другого", "перепут", "wrong item", "wrong product", "发错")),
    ("damaged", ("поврежд", "разбит", "сломан", "мят", "damage", "broken", "cracked", "破损", "损坏")),
    ("defective", ("брак", "дефект", "не работает", "неисправ", "качеств", "defect", "faulty", "quality", "质量", "故障")),
    ("not_as_described", ("не соответств", "описани", "отличается", "not as described", "description", "描述")),
    ("not_received", ("не получ", "не доставл", "утер", "потер", "not receiv", "lost", "未收到")),
    ("late", ("срок", "опозда", "долго", "late", "delay", "太慢")),
    ("change_of_mind", (
        "передум", "не подош", "не понрав", "размер", "не нуж", "no longer need", "changed", "mind", "size", "not fit",
        "不想要", "不合适", "尺码",
    )),
)  # fmt: skip
"""Reasons are Ozon's ids with texts in the seller's language; no table of ids is published. First match wins."""
_CAUSES = {
    "damaged": "packing", "missing_parts": "packing", "not_as_described": "description", "wrong_item": "picking",
    "not_received": "logistics", "late": "logistics", "defective": "quality", "counterfeit": "quality",
    "change_of_mind": "buyer",
}  # fmt: skip


def folded(text: str) -> str:
    """For comparing codes: Cyrillic twins as Latin letters, no case, no surrounding space."""
    return text.translate(_TWINS).strip().casefold()


def spelled(value: Any, known: Iterable[str]) -> str:
    """The known spelling of a code; the text as it came for one that is not known, empty for none."""
    if not isinstance(value, str):
        return ""
    wanted = folded(value)
    return next((code for code in known if folded(code) == wanted), value.strip())


def text(value: Any) -> str | None:
    """A value as text; None where there is none. Ids come as numbers and as text (reference 2.1)."""
    if value is None or isinstance(value, bool | dict | list) or value == "":
        return None
    return str(value).strip() or None


def number(value: Any) -> int | None:
    """A whole number as Ozon's requests want it, from a number or its text."""
    told = text(value)
    return int(told) if told and _DIGITS.fullmatch(told) else None


def moment(value: Any) -> datetime | None:
    """An RFC 3339 time, to the microsecond; None for anything else, also for Ozon's empty dates. Without a zone: UTC."""
    if not isinstance(value, str) or not value.strip():
        return None
    given = _FRACTION.sub(r"\1", value.strip())
    try:
        return parse_time(given)
    except ValueError:
        return _unzoned(given)


def _unzoned(given: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else None


def stamp(at: datetime | None) -> str | None:
    return None if at is None else format_time(at)


def money(value: Any, currency: Any, times: int = 1) -> dict[str, str] | None:
    """A price as typed money; None where it is absent or unsound."""
    try:
        one = Decimal(str(value)) * times
        found = Money.of(f"{one:f}", currency)
    except (ValueError, ArithmeticError):
        return None
    return {"value": found.value, "currency": found.currency}


def reason_of(name: str | None, *, is_defect: bool = False) -> str:
    """The common reason behind Ozon's words; `other` where they tell none."""
    words = (name or "").casefold()
    found = next((reason for reason, signs in _REASONS if any(sign in words for sign in signs)), None)
    return found or ("defective" if is_defect else "other")


def cause_of(reason: str) -> str | None:
    """What on our side a reason points to: the first word on the root cause (R003-12)."""
    return _CAUSES.get(reason)


def part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside an object; empty where there is none."""
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def rows(value: Any) -> list[dict[str, Any]]:
    """Objects of a list; one object alone counts as a list of one (reference 2.1)."""
    listed = value if isinstance(value, list) else [value]
    return [row for row in listed if isinstance(row, dict)]


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of these: nothing is told as None."""
    return {name: value for name, value in values.items() if value is not None}
