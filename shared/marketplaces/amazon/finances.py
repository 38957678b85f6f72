"""Finance events of one order: what was paid back, and what claims and chargebacks took. Pure. Reference A1.5.

A record holds all events of its order (`listFinancialEventsByOrderId`, v0), so the newest reading is the whole truth.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from shared.domain.facts import Draft
from shared.domain.money import Money
from shared.marketplaces.amazon.envelope import items, moment
from shared.marketplaces.amazon.returns import as_data

LISTS = {
    "RefundEventList": "RefundEvent",
    "GuaranteeClaimEventList": "GuaranteeClaimEvent",
    "ChargebackEventList": "ChargebackEvent",
}
CREDIT = ":credit"
REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Event:
    """`money`: what changed hands; `credit`: to us. `id` tells events of one order apart, as far as they can be."""

    order: str
    name: str
    id: str
    at: datetime | None
    money: Money | None
    credit: bool


def events_of(body: Mapping[str, Any]) -> list[Event]:
    """In the order they were posted."""
    lists = body.get("FinancialEvents")
    lists = lists if isinstance(lists, Mapping) else {}
    found = [_event(name, row) for key, name in LISTS.items() for row in items(lists.get(key))]
    return sorted(
        found, key=lambda event: ((event.at is not None and event.at.isoformat()) or "", event.name, event.id)
    )


def orders_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Orders named in the lists that concern cases."""
    return tuple(sorted({event.order for event in events_of(body) if event.order}))


class Seen:
    """Events that earlier pages of this process' sweeps told: sweeps overlap, and an order is not read again for them.

    A page counts as told once another one is asked for: the same one asked for again was not taken.
    """

    def __init__(self) -> None:
        self._told: dict[str, None] = {}
        self._page: tuple[Any, ...] = ()
        self._latest: tuple[str, ...] = ()

    def orders(self, page: tuple[Any, ...], body: Mapping[str, Any]) -> tuple[str, ...]:
        """Orders of this page with an event not told before."""
        if page != self._page:
            self._told |= dict.fromkeys(self._latest)
            for old in list(self._told)[:-REMEMBERED]:
                del self._told[old]
        events = [event for event in events_of(body) if event.order]
        self._page, self._latest = page, tuple(f"{event.order}|{event.id}" for event in events)
        return tuple(sorted({event.order for event in events if f"{event.order}|{event.id}" not in self._told}))


def news(body: Mapping[str, Any], previous: Mapping[str, Any] | None, now: datetime) -> Iterator[Draft]:
    """What was posted since the previous reading. `body`: `AmazonOrderId` and `FinancialEvents`."""
    order = str(body["AmazonOrderId"])
    known = Counter(event.id for event in events_of(previous or {}))
    opened = {event.name for event in events_of(previous or {})}
    amounts: Counter[int] = Counter()
    for event in events_of(body):
        refunds = event.money is not None and not event.credit and event.name != "ChargebackEvent"
        if refunds and event.money is not None:
            amounts[event.money.minor] += 1
        if known[event.id]:
            known[event.id] -= 1
            continue
        nth = amounts[event.money.minor] if refunds and event.money else 1
        yield from _told(order, event, event.name not in opened, nth, event.at or now)
        opened.add(event.name)


def refund_ref(order: str, minor: int, nth: int = 1) -> str:
    """One name for one refund, whether the returns report or the finances tell of it: order, amount, which of them."""
    return f"{order}:{minor}" + (f":{nth}" if nth > 1 else "")


def _told(order: str, event: Event, is_first: bool, nth: int, at: datetime) -> Iterator[Draft]:
    """Money nobody can read is put before a person under its raw name."""
    money, raw = event.money, event.name
    if money is None:
        yield Draft(kind="case.updated", occurred_at=at, order_id=order, raw_code=f"{raw}:unreadable")
    elif event.name == "RefundEvent" and not event.credit:
        refs = {"refund_id": refund_ref(order, money.minor, nth)}
        given: dict[str, Any] = {"refunded": as_data(money)}
        yield Draft(kind="refund.issued", occurred_at=at, order_id=order, refs=refs, raw_code=raw, data=given)
    elif event.name == "RefundEvent":
        yield Draft(kind="case.updated", occurred_at=at, order_id=order, raw_code=raw + CREDIT)
    elif event.name == "GuaranteeClaimEvent":
        yield from _guarantee(order, event, money, is_first, nth, at)
    elif event.name == "ChargebackEvent":
        data: dict[str, Any] = {"stage": "chargeback", ("reimbursed" if event.credit else "amount"): as_data(money)}
        yield from _claim(f"chargeback:{order}", order, raw + CREDIT * event.credit, is_first, data, at)


def _guarantee(order: str, event: Event, money: Money, is_first: bool, nth: int, at: datetime) -> Iterator[Draft]:
    """A debit: the claim was granted at our cost. A credit: it was given back (an appeal, or Amazon's own decision)."""
    raw = event.name + CREDIT * event.credit
    if event.credit:
        data: dict[str, Any] = {"stage": "guarantee", "reimbursed": as_data(money)}
        yield from _claim(order, order, raw, False, data, at)
        return
    yield from _claim(order, order, raw, is_first, {"stage": "guarantee", "amount": as_data(money)}, at)
    end = {"stage": "guarantee", "winner": "buyer", "funded_by": "seller", "refunded": as_data(money)}
    refs = {"refund_id": refund_ref(order, money.minor, nth)}
    for kind in ("refund.issued", "dispute.resolved"):
        yield _draft(kind, order, order, raw, end, at, refs)


def _claim(case: str, order: str, raw: str, is_first: bool, data: dict[str, Any], at: datetime) -> Iterator[Draft]:
    for kind in ("dispute.opened",) * is_first + ("dispute.funds_moved",):
        yield _draft(kind, case, order, raw, data, at)


def _draft(
    kind: str, case: str, order: str, raw: str, data: dict[str, Any], at: datetime, refs: dict[str, str] | None = None
) -> Draft:
    return Draft(
        kind=kind,
        occurred_at=at,
        order_id=order,
        case_kind="claim",
        external_id=case,
        refs=refs or {},
        raw_code=raw,
        data=data,
    )


def _event(name: str, row: Mapping[str, Any]) -> Event:
    total, currency = _total(row)
    posted = row.get("PostedDate")
    adjusted = "+".join(sorted(_adjustments(row)))
    return Event(
        order=str(row.get("AmazonOrderId") or ""),
        name=name,
        id=f"{name}|{posted}|{adjusted}|{total}",
        at=moment(posted),
        money=_money(total, currency),
        credit=total is not None and total > 0,
    )


def _adjustments(row: Mapping[str, Any]) -> Iterator[str]:
    for item in (*items(row.get("ShipmentItemAdjustmentList")), *items(row.get("ShipmentItemList"))):
        yield str(item.get("OrderAdjustmentItemId") or item.get("OrderItemId") or "")


def _total(row: Mapping[str, Any]) -> tuple[Decimal | None, str | None]:
    """Charges and promotions of all items, without Amazon's fees: what the buyer sees. Negative: it left us."""
    total, currency = Decimal(0), None
    for item in (*items(row.get("ShipmentItemAdjustmentList")), *items(row.get("ShipmentItemList"))):
        for part, amount in _PARTS:
            for one in items(item.get(part)):
                told = one.get(amount)
                told = told if isinstance(told, Mapping) else {}
                value = _decimal(told.get("CurrencyAmount"))
                if value is None or currency not in (None, told.get("CurrencyCode")):
                    return None, None
                total, currency = total + value, told.get("CurrencyCode")
    return (total, currency) if currency is not None else (None, None)


_PARTS = (
    ("ItemChargeAdjustmentList", "ChargeAmount"),
    ("PromotionAdjustmentList", "PromotionAmount"),
    ("ItemChargeList", "ChargeAmount"),
    ("PromotionList", "PromotionAmount"),
)


def _decimal(value: Any) -> Decimal | None:
    try:
        number = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None


def _money(total: Decimal | None, currency: str | None) -> Money | None:
    if not total:
        return None
    try:
        return Money.of(f"{abs(total):f}", currency)
    except ValueError:
        return None
