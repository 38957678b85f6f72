"""A dispute's row, open or ended, into facts. Pure. Reference 4.1, 4.3.

Lists tell status and dates; reason, sum asked and plans are in the seller's console only. Who won is read from the
money: what the order's detail says went back, against what was paid.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from shared.clock import format_time
from shared.domain.facts import Draft
from shared.marketplaces.dhgate.orders import OVER
from shared.marketplaces.dhgate.reading import (
    DISPUTE_CLOSED,
    as_data,
    currency_of,
    known,
    millis,
    moment,
    money,
    text,
    zone_of,
)
from shared.ports import Account

KIND = "dispute"
FIRST = frozenset({"106001", "109001"})
"""Statuses a dispute opens in: there its opening says it all."""
_FACT = {
    "106001": "dispute.response_required",
    "109001": "dispute.response_required",
    "107001": "dispute.escalated",
    "109002": "dispute.escalated",
}
"""What coming into a status means; every other one is `case.updated` with its raw code."""
_AFTER_SALE = "109"
_STAGE = {"106": "case", "107": "arbitration", "109": "case"}


def facts(
    row: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Iterator[Draft]:
    zone = zone_of(account)
    opened = moment(row.get("disputeOpenDate"), zone) or now
    if previous is None:
        yield _draft(row, "dispute.opened", account, opened, now)
    if is_over(row):
        if previous is None or not is_over(previous) or _ended(previous) != _ended(row):
            yield from _end(row, account, moment(row.get("disputeCloseDate"), zone) or now, now)
        return
    if previous is not None and is_over(previous):
        yield _draft(row, "case.reopened", account, opened, now)
        return
    status, before = _status(row), _status(previous) if previous else None
    if status == before or (previous is None and status in FIRST):
        return
    if previous is not None and status.startswith(_AFTER_SALE):  # an earlier dispute may have ended this case
        yield _draft(row, "case.reopened", account, now, now)
    yield _draft(row, _FACT.get(status, "case.updated"), account, now, now)


def is_over(row: Mapping[str, Any]) -> bool:
    return row.get("_from") == DISPUTE_CLOSED


def _ended(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row.get("disputeCloseDate"), row.get("refundMoney")


def _status(row: Mapping[str, Any]) -> str:
    return text(row.get("disputeStatus")) or ""


def _end(row: Mapping[str, Any], account: Account, at: datetime, now: datetime) -> Iterator[Draft]:
    """How it ended. The money itself is told by the order's detail, so that no sum counts twice."""
    back = money(row.get("refundMoney"), currency_of(account))
    refunded = as_data(back) if back and back.minor else None
    yield _draft(row, "dispute.resolved", account, at, now, winner=_winner(row, account), refunded=refunded)


def _winner(row: Mapping[str, Any], account: Account) -> str | None:
    """None where the money is not told; `none` where nothing went back and the order still runs."""
    back = money(row.get("refundMoney"), currency_of(account))
    paid = money(row.get("orderTotalPrice"), currency_of(account))
    if back is None:
        return None
    if not back.minor:
        return "seller" if text(row.get("orderStatus")) in OVER else "none"
    return "buyer" if paid is None or back.minor >= paid.minor else "split"


def _draft(row: Mapping[str, Any], kind: str, account: Account, at: datetime, now: datetime, **extra: Any) -> Draft:
    number, status = text(row.get("orderNo")) or "", _status(row)
    opened = moment(row.get("disputeOpenDate"), zone_of(account))
    told = {
        "paid": as_data(money(row.get("orderTotalPrice"), currency_of(account))),
        "buyer": known({"id": text(row.get("buyerId")), "name": text(row.get("buyerNickName"))}) or None,
        "opened_on": format_time(opened) if opened else None,
        "stage": _STAGE.get(status[:3]),
        "after_sale": status.startswith(_AFTER_SALE) or None,
        "order_status": text(row.get("orderStatus")),
        "warning": text(row.get("warnReason")) if row.get("isWarn") is True else None,
    }
    return Draft(
        kind=kind,
        occurred_at=at,
        order_id=number,
        case_kind=KIND,
        external_id=number,
        raw_code=status or None,
        revision=millis(now),
        data=known({**told, **extra}),
    )
