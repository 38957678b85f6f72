"""An order's row and its detail into facts of its care and of its cancellation. Pure. Reference 4.1, 4.3.

The row tells the status, the detail the parcel's number and the money given back. Every fact carries the moment of
its reading as revision: DHgate has no version of its own, and what was read later holds.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any

from shared.clock import format_time
from shared.domain.facts import Draft
from shared.domain.money import from_minor
from shared.marketplaces.dhgate.reading import as_data, currency_of, known, millis, moment, money, rows, text, zone_of
from shared.ports import Account

CARE, CANCELLATION, DISPUTE = "order_care", "cancellation", "dispute"
UNPAID = frozenset({"101003", "102001"})
ASKED_BACK = frozenset({"105001", "105002", "105003", "105004"})
IN_DISPUTE = frozenset({"106001", "106002", "106003"})
OVER = frozenset({"102006", "102007", "102111", "111111", "111000"})
CANCELLED = "111000"
Told = Iterator[tuple[str, str, str]]
"""(fact, kind of case, the row's field with its time)"""

_CARE = {
    "101003": ("order.payment_pending", "startedDate"),
    "102001": ("order.payment_pending", "payDate"),
    "103001": ("order.placed", "payDate"),
    "103002": ("order.shipped", "deliveryDate"),
    "101009": ("order.shipped", "deliveryDate"),
}
_BACK = {
    "105002": "refund.promised",
    "105003": "case.updated",
    "105004": "order.cancel_withdrawn",
}


def row_facts(
    row: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Iterator[Draft]:
    """What has happened since the previous row. An order that was over when first seen, or before, concerns nobody."""
    status, before = text(row.get("orderStatus")) or "", text(previous.get("orderStatus")) if previous else None
    if status in OVER and (previous is None or before in OVER):
        return
    if previous is not None and status == before:
        if snapshot(row, account) != snapshot(previous, account):
            yield _draft(row, "case.updated", CARE, account, now, now)
        return
    for kind, case_kind, field in _told(status, before):
        at = moment(row.get(field), zone_of(account)) or now
        yield _draft(row, kind, case_kind, account, at, now)


def _told(status: str, before: str | None) -> Told:
    if (before is None or before in OVER) and status not in UNPAID | {"103001"}:
        yield "order.placed", CARE, "payDate"
    yield from _asked_back(status, before)
    if status in _CARE:
        kind, field = _CARE[status]
        yield kind, CARE, field
    elif status in OVER:
        yield from _end(status, before)
    else:
        yield "case.updated", CARE, "updateDate"
    if status in ("105004", CANCELLED) and before in ASKED_BACK:
        yield "case.closed", CANCELLATION, "updateDate"


def _asked_back(status: str, before: str | None) -> Told:
    """The cancellation's side. What was agreed between two readings was asked for; what was taken back is over."""
    asked = before in ASKED_BACK
    if status == "105001" or (status in ("105002", "105003") and not asked):
        yield "order.cancel_requested", CANCELLATION, "updateDate"
        yield "case.reopened", CANCELLATION, "updateDate"  # where an earlier one of this order was over
    if status in _BACK and (asked or status != "105004"):
        yield _BACK[status], CANCELLATION, "updateDate"


def _end(status: str, before: str | None) -> Told:
    if status == CANCELLED:
        yield "order.cancelled", CARE, "cancelDate"
    if status == "102006":
        yield "delivery.delivered", CARE, "buyerConfirmDate"
    yield "case.closed", CARE, "updateDate"


def snapshot(row: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """The typed fields of an order now; what is not known is left out."""
    zone = zone_of(account)
    paid = moment(row.get("payDate"), zone) is not None
    total = money(row.get("orderTotalPrice"), currency_of(account))
    ship_by = moment(row.get("deliveryDeadline"), zone)
    waits = text(row.get("orderStatus")) in ("103001", "103002", "105003", "105004")
    return known(
        {
            "paid": as_data(total) if paid else None,
            "buyer": known({"id": text(row.get("buyerId")), "name": text(row.get("buyerNickName"))}) or None,
            "due_at": format_time(ship_by) if ship_by and waits else None,
            "country": text(row.get("country")),
            "warning": (text(row.get("warnReason")) if row.get("isWarn") is True else None),
        }
    )


def _draft(
    row: Mapping[str, Any], kind: str, case_kind: str, account: Account, at: datetime, now: datetime, **extra: Any
) -> Draft:
    status = text(row.get("orderStatus"))
    data = snapshot(row, account) if case_kind == CARE else {"paid": snapshot(row, account).get("paid")}
    if kind == "case.closed":
        extra["closed_by"] = "buyer" if status == "105004" else "platform"
    number = text(row.get("orderNo")) or ""
    return Draft(
        kind=kind,
        occurred_at=at,
        order_id=number,
        case_kind=case_kind,
        external_id=number,
        raw_code=status,
        revision=millis(now),
        data=known({**data, **extra}),
    )


def detail_facts(
    detail: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Iterator[Draft]:
    """The parcel's number and carrier, and the money that went back."""
    zone = zone_of(account)
    parcel = _parcel(detail, zone)
    if parcel and (previous is None or _parcel(previous, zone) != parcel):
        number, carrier, sent = parcel
        extra = {"tracking_number": number, "carrier": carrier}
        yield _of_detail(detail, "delivery.updated", CARE, sent or now, now, extra)
    yield from _refund(detail, previous, account, now)


def _parcel(detail: Mapping[str, Any], zone: tzinfo) -> tuple[str, str | None, datetime | None] | None:
    """The parcel sent last. A number or carrier changed later stands in fields of its own."""
    sent = [one for one in rows(detail.get("orderDeliveryList")) if _either(one, "newDeliveryNo", "deliveryNo")]
    if not sent:
        return None
    last = max(sent, key=lambda one: text(one.get("deliveryDate")) or "")
    number = _either(last, "newDeliveryNo", "deliveryNo") or ""
    return number, _either(last, "newShippingType", "shippingType"), moment(last.get("deliveryDate"), zone)


def _either(row: Mapping[str, Any], *names: str) -> str | None:
    return next((found for name in names if (found := text(row.get(name)))), None)


def _refund(
    detail: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Iterator[Draft]:
    """`refundMoney` is what went back in all: what is new of it is told, once."""
    back = money(detail.get("refundMoney"), currency_of(account))
    before = money(previous.get("refundMoney"), currency_of(account)) if previous else None
    more = (back.minor if back else 0) - (before.minor if before else 0)
    kind = _of_case(detail, previous)
    history = previous is None and kind == CARE and text(detail.get("orderStatus")) in OVER
    if back is None or more <= 0 or history:
        return
    extra = {"refunded": as_data(from_minor(more, back.currency)), "refund_id": f"{detail.get('orderNo')}:{back.value}"}
    yield _of_detail(detail, "refund.issued", kind, now, now, extra)


def _of_case(detail: Mapping[str, Any], previous: Mapping[str, Any] | None) -> str:
    """Which case the money belongs to: by the status the order has or had, or by what it was read for."""
    statuses = {text(told.get("orderStatus")) for told in (detail, previous or {})}
    if statuses & IN_DISPUTE or detail.get("_about") == DISPUTE:
        return DISPUTE
    return CANCELLATION if statuses & ASKED_BACK else CARE


def _of_detail(
    detail: Mapping[str, Any], kind: str, case_kind: str, at: datetime, now: datetime, extra: Mapping[str, Any]
) -> Draft:
    number = text(detail.get("orderNo")) or ""
    return Draft(
        kind=kind,
        occurred_at=at,
        order_id=number,
        case_kind=case_kind,
        external_id=number,
        raw_code=text(detail.get("orderStatus")),
        data=known(extra),
    )
