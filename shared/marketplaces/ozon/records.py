"""What Ozon's read API says, compared with what it said before: facts of returns, cancellation requests and chats. Pure.

Every fact of one reading carries the same snapshot and the same revision, so that whichever of them is applied last
leaves the case with the same fields. Reference 2.1, 2.3, 2.5.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.facts import Draft
from shared.marketplaces.ozon import cancelling, chats
from shared.marketplaces.ozon.returning import Return, ordinary, refs, revision, rfbs, snapshot
from shared.ports import Account

CASE_KIND = "return"
BUYER = "buyer"
_OF_GROUP = {
    "Delivering": "return.authorised",
    "Checkout": "return.received",
    "Rejected": "return.declined",
    "Arbitration": "dispute.escalated",
}
_OF_STATUS = {
    "Approved": "return.authorised",
    "ApprovedByOzon": "return.authorised",
    "WaitingShipment": "return.authorised",
    "MovingToSeller": "return.shipped",
    "ReturningToSellerByCourier": "return.shipped",
    "MovingToOzon": "return.shipped",
    "ReceivedBySeller": "return.received",
    "ReturnedToOzon": "return.received",
    "OfferedPartialCompensation": "refund.offered",
    "ReturnMoneyApproved": "refund.promised",
    "PartialCompensationInProcess": "refund.promised",
    "MoneyReturned": "refund.issued",
    "MoneyReturnedBySystem": "refund.issued",
    "DisputeOpened": "dispute.escalated",
    "DisputeYouOpened": "dispute.escalated",
    "Rejected": "return.declined",
    "CrmRejected": "return.declined",
    "CancelledDisputeNotOpen": "return.declined",
    "Cancelled": "return.cancelled",
}
"""What coming into a status means; every other one is `case.updated` with its code."""


def facts(
    record: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Sequence[Draft]:
    if "cancellation_id" in record:
        return tuple(cancelling.facts(record, previous, now))
    if "messages" in record:
        return tuple(chats.facts(record, previous))
    read = ordinary if "visual" in record else rfbs
    before = None if previous is None else read(previous)
    found = read(record)
    if found.kind == "Cancellation":
        return tuple(_cancelled_parcel(found, before, now))
    return _all(found, before, _Teller(found, account, now), account, now)


class _Teller:
    """Drafts of one reading: the same snapshot, the same revision."""

    def __init__(self, found: Return, account: Account, now: datetime) -> None:
        self.found, self.seen = found, found.changed or now
        self.common = snapshot(found, account, now)
        self.refs, self.revision = refs(found), revision(found, now)

    def __call__(self, kind: str, at: datetime | None = None, **extra: Any) -> Draft:
        return Draft(
            kind=kind, occurred_at=at or self.seen, order_id=self.found.posting, case_kind=CASE_KIND,
            external_id=self.found.id, refs=self.refs, raw_code=self.found.status, revision=self.revision,
            data={**self.common, **extra},
        )  # fmt: skip


def _all(found: Return, before: Return | None, told: _Teller, account: Account, now: datetime) -> tuple[Draft, ...]:
    news = tuple(_news(found, before, told))
    if news or before is None or snapshot(found, account, now) == snapshot(before, account, now):
        return news
    return (told("case.updated"),)


def _news(found: Return, before: Return | None, told: _Teller) -> Iterator[Draft]:
    if before is None:
        yield told("return.requested", found.opened)
    elif before.is_over and not found.is_over:
        yield told("case.reopened")
    if before is None and found.kind == "FullReturn":  # refused at the door: whatever else is open hears of it
        yield Draft(kind="delivery.refused", occurred_at=told.seen, order_id=found.posting, raw_code=found.kind)
    if found.tracking and not (before and before.tracking):
        yield told("return.shipped")
    new = found.photos - (before.photos if before else 0)
    if new > 0:
        yield told("evidence.submitted", supplied_by=BUYER, what="photo_item", images=new)
    if before is None or found.status != before.status:
        yield from _status(found, before, told)


def _status(found: Return, before: Return | None, told: _Teller) -> Iterator[Draft]:
    if found.is_rfbs and found.status == "Approved":
        yield told("refund.promised")
        yield told("case.closed", closed_by="marketplace")
        return
    kind = (_OF_GROUP if found.is_rfbs else _OF_STATUS).get(found.status, "case.updated")
    if kind == "refund.issued" and found.price is not None:
        yield told(kind, refunded=found.price, refund_id=found.id)
    elif kind == "dispute.escalated":
        yield told(kind, stage="arbitration")
    elif before is not None or found.status not in ("New", "OnSellerApproval"):
        yield told(kind)


def _cancelled_parcel(found: Return, before: Return | None, now: datetime) -> Iterator[Draft]:
    """The way back of a posting cancelled before delivery is news of its cancellation, whose case is the posting's own.

    A posting may come back in several pieces: none of them speaks for the others, so they carry no revision.
    """
    seen, posting = found.changed or now, found.posting
    refs_, code = refs(found), found.status

    def told(kind: str, **more: Any) -> Draft:
        return Draft(kind=kind, occurred_at=seen, order_id=posting, refs=refs_, raw_code=code, **more)

    if before is None:
        yield told("order.cancelled", case_kind="cancellation", external_id=posting)
    if before is not None and before.status == found.status:
        return
    if found.status in ("ReceivedBySeller", "ReturnedToOzon"):
        yield told("delivery.returned_to_sender")
    else:
        yield told("delivery.updated")
