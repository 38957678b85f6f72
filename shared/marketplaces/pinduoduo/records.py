"""An after-sale's record into facts: what has happened between the previous reading and this one. Pure. Reference 3.3.

Every fact of one reading carries the same snapshot of typed fields, the same status and the same revision: whichever of
them is applied last leaves the case in the same state.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shared.clock import format_time
from shared.domain.facts import Draft
from shared.domain.money import Money
from shared.marketplaces.pinduoduo.after_sale import NONE, AfterSale, reason_of, text
from shared.ports import Account

STATUS_FACT = {
    "2": "refund.requested", "3": "return.requested", "14": "replacement.requested", "21": "return.requested",
    "4": "refund.promised", "5": "refund.promised", "6": "return.declined", "7": "return.authorised",
    "8": "dispute.escalated", "9": "dispute.resolved", "10": "refund.issued", "11": "case.closed", "12": "case.closed",
    "13": "case.closed", "16": "replacement.completed", "17": "case.closed", "18": "replacement.shipped",
    "22": "return.authorised", "24": "case.closed", "25": "replacement.completed", "27": "replacement.shipped",
    "31": "return.authorised", "32": "replacement.requested",
}  # fmt: skip
"""What coming into a status means; every other one is `case.updated` with its code."""
_OPENING = {"refund": "refund.requested", "return": "return.requested"}
_CLOSED_BY = {"11": "buyer"}
PICTURES = "pictures_of_application"
"""What they show is not told."""
CHANGED_KIND = "type_changed"
"""The buyer turned a refund into a return, or back: the other kind's case takes over."""


def facts(
    record: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Sequence[Draft]:
    sale = AfterSale(record)
    before = None if previous is None else AfterSale(previous)
    if sale.status == NONE:
        return ()
    return tuple(_all(sale, before, sale.changed_at or now))


def _all(sale: AfterSale, before: AfterSale | None, seen: datetime) -> Iterator[Draft]:
    if before is not None and before.status != NONE and before.kind != sale.kind:
        closing = _draft(sale, "case.closed", seen, closed_by="buyer")
        yield msgspec.structs.replace(closing, case_kind=before.kind, raw_code=CHANGED_KIND)
        before = None
    if before is None or before.status == NONE:
        yield from _first(sale, seen)
        return
    if before.is_over and not sale.is_over:
        yield _draft(sale, "case.reopened", seen)
    if sale.return_no and sale.return_no != before.return_no:
        yield _draft(sale, "return.shipped", seen)
    if sale.images > before.images:
        yield _draft(sale, "evidence.submitted", seen, supplied_by="buyer", what=PICTURES, images=sale.images)
    if sale.status != before.status:
        yield _coming(sale, seen)
    elif snapshot(sale) != snapshot(before):
        yield _draft(sale, "case.updated", seen)


def _first(sale: AfterSale, seen: datetime) -> Iterator[Draft]:
    """What has ended before it was seen opens and ends its case by one fact: its money counts."""
    opening, coming = _OPENING[sale.kind], STATUS_FACT.get(sale.status, "case.updated")
    if not sale.is_over and coming not in ("refund.requested", "return.requested", "replacement.requested"):
        yield _draft(sale, opening, sale.opened_at or seen)
    if sale.return_no:
        yield _draft(sale, "return.shipped", seen)
    yield _coming(sale, seen)
    if sale.images:
        yield _draft(sale, "evidence.submitted", seen, supplied_by="buyer", what=PICTURES, images=sale.images)


def _coming(sale: AfterSale, seen: datetime) -> Draft:
    """What coming into the status means."""
    kind = STATUS_FACT.get(sale.status, "case.updated")
    match kind:
        case "refund.issued":
            return _draft(sale, kind, seen, refunded=_money(sale.amount))
        case "dispute.resolved":
            return _draft(sale, kind, seen, winner="seller")
        case "dispute.escalated":
            return _draft(sale, kind, seen, stage="arbitration")
        case "case.closed":
            return _draft(sale, kind, seen, closed_by=_CLOSED_BY.get(sale.status, "system"))
    return _draft(sale, kind, seen)


def snapshot(sale: AfterSale) -> dict[str, Any]:
    """The typed fields of an after-sale now; what is not known is left out."""
    known = {
        "reason": reason_of(sale.reason_text) if sale.reason_text else None,
        "reason_text": sale.reason_text,
        "comment": text(sale.detail.get("remark")),
        "item": text(sale.row.get("goods_name")),
        "amount": _money(sale.amount),
        "paid": _money(sale.paid),
        "return_required": sale.type in (2, 3) if sale.type else None,
        "after_sales_type": sale.type,
        "shipped": sale.shipped,
        "buyer_has_it": sale.buyer_has_it,
        "return_tracking": sale.return_no,
        "intervened": sale.intervened or None,
        "dispute_refund": sale.is_dispute_refund or None,
        "agreed_by": sale.agreed_by,
        "speed_refund": sale.speed_refund,
        "due_at": None if sale.is_over or sale.due_at is None else format_time(sale.due_at),
    }
    return {name: value for name, value in known.items() if value is not None}


def _money(money: Money | None) -> dict[str, str] | None:
    return None if money is None else {"value": money.value, "currency": money.currency}


def _draft(sale: AfterSale, kind: str, at: datetime, **extra: Any) -> Draft:
    return Draft(
        kind=kind,
        occurred_at=at,
        order_id=sale.order_id,
        case_kind=sale.kind,
        external_id=sale.id,
        refs={"refund_id": sale.id},
        raw_code=sale.status,
        revision=sale.revision,
        data={**snapshot(sale), **{name: value for name, value in extra.items() if value is not None}},
    )
