"""Facts: what the marketplace, the buyer, an operator, a clock or a channel says has happened. Past tense, never edited."""

from datetime import datetime
from typing import Any, Literal

import msgspec

_VOCABULARY = """
order.placed order.payment_pending order.out_of_stock order.shipped order.cancel_requested order.cancelled
order.cancel_withdrawn
delivery.updated delivery.delivered delivery.failed delivery.refused delivery.lost delivery.held_at_customs
delivery.intercepted delivery.returned_to_sender
return.requested return.authorised return.declined return.shipped return.received return.inspected
return.rejected_on_receipt return.lost return.cancelled
replacement.requested replacement.shipped replacement.completed
refund.requested refund.offered refund.offer_accepted refund.offer_declined refund.promised refund.issued refund.failed
dispute.opened dispute.response_required dispute.evidence_requested dispute.escalated dispute.funds_moved
dispute.withdrawn dispute.resolved
appeal.filed appeal.decided evidence.submitted review.posted case.updated case.closed case.reopened
message.received message.planned message.sent message.read message.held message.assisted message.blocked
message.in_doubt message.failed message.suppressed message.withdrawn message.too_late message.expired
act.sent act.accepted act.refused act.confirmed act.assisted act.in_doubt act.failed act.withdrawn act.too_late
act.expired
operator.acted timer.elapsed
"""
KINDS = frozenset(_VOCABULARY.split())

ORDER_LEVEL = frozenset(k for k in KINDS if k.startswith(("order.", "delivery."))) | {
    "message.received",
    "message.read",
}
"""Facts about the order itself: they change the order and are offered to each of its open cases."""

ERRAND_RESULTS = frozenset(k for k in KINDS if k.startswith(("message.", "act."))) - {"message.received"}
"""What became of an errand; `data.errand_id` says which."""

Source = Literal["push", "poll", "fetch", "operator", "clock", "channel", "hand"]


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact as a marketplace's folder maps it, before intake gives it identity and time of observation.

    `order_id`, `external_id` and everything in `refs` are strings from the first parse.
    `revision` is the marketplace's own version of the thing (a number, or a time in ms); None where there is none.
    `data` holds typed facts under the names of `shared.domain.case.FIELDS` or of the playbook's `fields`.
    """

    kind: str
    occurred_at: datetime
    order_id: str | None = None
    case_kind: str | None = None
    external_id: str | None = None
    refs: dict[str, str] = {}
    raw_code: str | None = None
    revision: int | None = None
    data: dict[str, Any] = {}


class Fact(Draft, frozen=True, kw_only=True, omit_defaults=True):
    """`id` = hash(account, dedupe key of the delivery, ordinal, kind): message id, CloudEvents id and inbox key in one."""

    id: str
    account: str
    marketplace: str
    observed_at: datetime
    source: Source
    case_id: str | None = None
    actor: str | None = None

    @property
    def clock_name(self) -> str | None:
        return self.data.get("clock") if self.kind == "timer.elapsed" else None


def to_fact(draft: Draft, *, id: str, account: str, marketplace: str, observed_at: datetime, source: Source) -> Fact:
    fields = {name: getattr(draft, name) for name in Draft.__struct_fields__}
    return Fact(**fields, id=id, account=account, marketplace=marketplace, observed_at=observed_at, source=source)


_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="string")
_decoder = msgspec.json.Decoder(Fact)


def encode(value: Any) -> bytes:
    """The one JSON form of all domain types: the same value gives the same bytes."""
    return _encoder.encode(value)


def decode_fact(body: bytes) -> Fact:
    """Raises msgspec.ValidationError naming the place."""
    return _decoder.decode(body)
