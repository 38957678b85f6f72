"""Buyers' requests to cancel an rFBS posting (conditional cancellations). Pure. Reference 2.1, 2.3."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from shared.clock import to_micros
from shared.domain.facts import Draft
from shared.marketplaces.ozon.codes import known, moment, part, reason_of, spelled, stamp, text

CASE_KIND = "cancellation"
STATES = ("ON_APPROVAL", "APPROVED", "REJECTED")
_INITIATORS = ("SELLER", "CLIENT", "OZON", "SYSTEM", "DELIVERY")


def facts(record: Mapping[str, Any], previous: Mapping[str, Any] | None, now: datetime) -> Iterator[Draft]:
    """Approved, the order is cancelled and the money goes back by Ozon; rejected, it is delivered as if nothing had been.

    What is news of the order carries no fields: its other cases would take them for theirs.
    """
    state, before = state_of(record), None if previous is None else state_of(previous)
    told = _Teller(record, now)
    if before is None:
        yield told("order.cancel_requested", moment(record.get("cancelled_at")), bare=True)
    if before is None or (state == before and record != previous):
        yield told("case.updated", now)
    if state != before:
        yield from _entered(state, before, told, moment(record.get("approve_date")), now)


def _entered(
    state: str, before: str | None, told: "_Teller", decided: datetime | None, now: datetime
) -> Iterator[Draft]:
    if state == "APPROVED":
        yield told("refund.promised", decided)
        yield told("order.cancelled", decided, bare=True)
    elif state == "REJECTED":
        yield told("case.closed", decided, closed_by="seller")
    elif before is not None:
        yield told("case.updated", now)


class _Teller:
    """Drafts of one reading: the same fields and the same revision."""

    def __init__(self, record: Mapping[str, Any], now: datetime) -> None:
        self.id, self.posting = text(record.get("cancellation_id")) or "", text(record.get("posting_number"))
        self.now, self.code, self.fields = now, state_of(record), _snapshot(record)

    def __call__(self, kind: str, at: datetime | None, *, bare: bool = False, **extra: Any) -> Draft:
        return Draft(
            kind=kind, occurred_at=at or self.now, order_id=self.posting, case_kind=CASE_KIND, external_id=self.id,
            refs={"cancellation_id": self.id}, raw_code=self.code or None, revision=to_micros(self.now) // 1000,
            data={} if bare else {**self.fields, **extra},
        )  # fmt: skip


def state_of(record: Mapping[str, Any]) -> str:
    return spelled(part(record, "state").get("state"), STATES)


def _snapshot(record: Mapping[str, Any]) -> dict[str, Any]:
    reason = part(record, "cancellation_reason")
    words = text(reason.get("name"))
    waiting = state_of(record) == "ON_APPROVAL"
    told = {
        "reason": reason_of(words),
        "reason_code": text(reason.get("id")),
        "reason_text": words,
        "comment": text(record.get("cancellation_reason_message")),
        "initiator": spelled(record.get("cancellation_initiator"), _INITIATORS) or None,
        "seller_comment": text(record.get("approve_comment")),
        "due_at": stamp(moment(record.get("auto_approve_date"))) if waiting else None,
    }
    return known(told)
