"""Records into facts: a return of the report, the finance events of an order, a notification from the queue. Pure.

Every fact of one reading of a return carries the same fields, so that whichever is applied last leaves the case the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from shared.clock import MICROSECOND, to_micros
from shared.domain.facts import Draft
from shared.domain.money import from_minor
from shared.json_reader import read
from shared.marketplaces.amazon import finances, mail
from shared.marketplaces.amazon.envelope import foreign, opened
from shared.marketplaces.amazon.notifications import meaning
from shared.marketplaces.amazon.returns import AUTHORISED, CLAIMED, ENDED, Return, as_data
from shared.ports import Account, Facts, NeedsFetch, Unmapped

CLAIM_MARK = "A-to-Z claim"
WELL = frozenset({"DONE", "CANCELLED"})
"""What a report may end in: CANCELLED also when there is nothing in its time range (reference A1.3)."""
_OF_BOTH = ("amount", "item", "reason", "reason_code", "paid")
_END_FACT = {"Closed by buyer": "return.cancelled"}


class Unknown(Exception):
    """A notification of the queue that means nothing yet: kept as failed, to be replayed once it is mapped."""


def facts(
    record: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Sequence[Draft]:
    if "lines" in record:
        currency = account.settings.get("currency")
        before = Return(previous, currency) if previous else None
        return tuple(_returned(Return(record, currency), before, now))
    if "FinancialEvents" in record:
        return tuple(finances.news(record, previous, now))
    if record.get("kind") == "mail":
        return () if previous else mail.facts(record, now)
    if "notification" in record:
        return _notified(str(record["notification"]), account)
    return tuple(_reading_failed(record, previous, now))


def _returned(found: Return, before: Return | None, now: datetime) -> Iterator[Draft]:
    drafts = [_after(draft, n, now) for n, draft in enumerate(_steps(found, before, now))]
    changed = before is not None and (found.snapshot(), found.status) != (before.snapshot(), before.status)
    claimed = found.has_claim and not (before and before.has_claim)
    yield from drafts
    if (claimed or (changed and not drafts)) and not any(draft.kind == "case.updated" for draft in drafts):
        yield _draft(found, "case.updated", now)
    if claimed:
        yield _claimed(found, now)


def _after(draft: Draft, nth: int, now: datetime) -> Draft:
    """What is only known to have happened by now keeps its place in the reading, also where facts are sorted by time."""
    return replace(draft, occurred_at=now + nth * MICROSECOND) if draft.occurred_at == now else draft


def _steps(found: Return, before: Return | None, now: datetime) -> Iterator[Draft]:
    """In the order in which things happen; the last says what the status means."""
    if before is None:
        yield _draft(found, "return.requested", now, found.requested_at)
    status_is_new = before is None or found.status != before.status
    if status_is_new and found.status in AUTHORISED and not (before and before.status in AUTHORISED):
        yield _draft(found, "return.authorised", now)
    if found.tracking and not (before and before.tracking):
        yield _draft(found, "return.shipped", now)
    if found.delivered_at and not (before and before.delivered_at):
        yield _draft(found, "return.received", now, found.delivered_at)
    yield from _refund(found, before, now)
    if status_is_new and found.status in ENDED:
        yield _draft(found, _END_FACT.get(found.status, "case.closed"), now)
    elif (
        status_is_new
        and found.status not in AUTHORISED
        and not (before is None and found.status == "Pending Authorization")
    ):
        yield _draft(found, "case.updated", now)


def _refund(found: Return, before: Return | None, now: datetime) -> Iterator[Draft]:
    """The report tells the sum so far: what it grew by was given back since."""
    earlier = before.refunded.minor if before and before.refunded else 0
    grown = (found.refunded.minor if found.refunded else 0) - earlier
    if grown > 0 and found.refunded is not None:
        again = 2 if grown == earlier else 1
        refs = {"refund_id": finances.refund_ref(found.order_id, grown, again)}
        yield _draft(
            found, "refund.issued", now, None, refs, refunded=as_data(from_minor(grown, found.refunded.currency))
        )


def _draft(
    found: Return,
    kind: str,
    now: datetime,
    at: datetime | None = None,
    refs: Mapping[str, str] | None = None,
    **more: Any,
) -> Draft:
    """The report has no version of a row: when it was compared stands for it, as readings are compared in their order."""
    return Draft(
        kind=kind,
        occurred_at=at or now,
        order_id=found.order_id,
        case_kind="return",
        external_id=found.id,
        refs={**found.refs, **(refs or {})},
        raw_code=found.status,
        revision=to_micros(now) // 1000,
        data={**found.snapshot(), **more},
    )


def _claimed(found: Return, now: datetime) -> Draft:
    """The report says that there is a claim, not what about nor until when to answer: its notice does."""
    told = found.snapshot()
    shared: dict[str, Any] = {name: told[name] for name in _OF_BOTH if name in told}
    return Draft(
        kind="dispute.opened",
        occurred_at=now,
        order_id=found.order_id,
        case_kind="claim",
        external_id=found.order_id,
        refs=found.refs,
        raw_code=CLAIMED if found.status == CLAIMED else CLAIM_MARK,
        data={**shared, "stage": "guarantee"},
    )


def _notified(raw: str, account: Account) -> Sequence[Draft]:
    """Raises Unknown, Unreadable: intake keeps it as failed."""
    envelope = opened(read(raw.encode()))
    wrong = foreign(envelope, account)
    if wrong is not None:
        raise Unknown(f"for another {wrong}")
    match meaning(envelope, account):
        case Facts(drafts) | NeedsFetch(_, drafts):
            return drafts
        case Unmapped(code, drafts):
            if not drafts:
                raise Unknown(code)
            return drafts
        case _:
            return ()


def _reading_failed(record: Mapping[str, Any], previous: Mapping[str, Any] | None, now: datetime) -> Iterator[Draft]:
    """How reading went (`what`, `status`): told when it begins to go wrong."""
    status, what = str(record.get("status")), str(record.get("what"))
    if status not in WELL and (previous is None or previous.get("status") != status):
        raw = f"READING:{what}:{status}"
        yield Draft(kind="case.updated", occurred_at=now, refs={"reading": what}, raw_code=raw)
