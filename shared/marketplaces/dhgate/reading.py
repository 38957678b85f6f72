"""What DHgate's replies are made of, read into plain values: rows, texts, times, money. Pure. Reference 4.1.

A field that is missing or odd is None, never a fault. Times are `yyyy-MM-dd HH:mm:ss` text without a zone.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from shared.clock import to_micros
from shared.domain.money import Money
from shared.ports import Account

CAUTIOUS_ZONE = "Asia/Shanghai"
"""The zone of DHgate's times is not stated. Read as Beijing's they lie earlier than in any other likely zone."""
USUAL_CURRENCY = "USD"
"""No reply names a currency; the seller article (seed 001, T16 and T17) writes DHgate's refunds in US dollars."""
_FORM = "%Y-%m-%d %H:%M:%S"

DISPUTE_OPEN, DISPUTE_CLOSED = "dh.order.disputeopen.list", "dh.order.disputeclose.list"
ORDER_ROW, ORDER_DETAIL, THREAD = "dh.order.list.get", "dh.order.get", "dh.message.get"
"""Each record carries under `_from`, as the replies do, which call it was read by."""


def zone_of(account: Account) -> tzinfo:
    """Raises KeyError (ZoneInfoNotFoundError) naming a zone that does not exist."""
    return ZoneInfo(str(account.settings.get("source_time_zone") or CAUTIOUS_ZONE))


def currency_of(account: Account) -> str:
    return str(account.settings.get("currency") or USUAL_CURRENCY)


def text(value: Any) -> str | None:
    """Ids, codes and amounts as text, whether they came as text or as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def rows(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def moment(value: Any, zone: tzinfo) -> datetime | None:
    """The text in the source's zone -> UTC; of two readings in autumn the earlier."""
    try:
        naive = datetime.strptime(str(value), _FORM)  # noqa: DTZ007 - the zone is set next
    except ValueError:
        return None
    return naive.replace(tzinfo=zone).astimezone(UTC)


def stamp(moment: datetime, zone: tzinfo) -> str:
    """The form in which times are asked for."""
    return moment.astimezone(zone).strftime(_FORM)


def millis(moment: datetime) -> int:
    return to_micros(moment) // 1000


def money(value: Any, currency: str) -> Money | None:
    try:
        return Money.of(value, currency)
    except ValueError:
        return None


def as_data(money: Money | None) -> dict[str, str] | None:
    return None if money is None else {"value": money.value, "currency": money.currency}


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known."""
    return {name: value for name, value in values.items() if value is not None}
