"""Errands: what leaves. A message to the buyer or an act on the marketplace; one life, one protocol for doubt.

These are also what travels on `amends.outbound` (policy to notifier), as the data of the named event type.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from shared.domain.money import Money
from shared.domain.order import Buyer

ACTIONS = (
    "contact", "authorise", "decline", "refund", "propose", "close", "confirm_receipt", "inspect", "submit_evidence",
    "represent", "appeal", "escalate", "withdraw", "cancel", "intercept", "ship_replacement", "approve", "reject",
)  # fmt: skip
"""Operators' actions. Those that leave the house are acts of the same name."""

ACTS = (
    "authorise", "decline", "refund", "propose", "close", "submit_evidence", "represent", "appeal", "escalate",
    "withdraw", "cancel", "intercept", "ship_replacement", "confirm_receipt", "set_return_address",
)  # fmt: skip
MONEY_ACTS = frozenset({"refund", "propose"})

Capability = Literal["api", "assisted", "none"]
STATUSES = ("planned", "held", "sending", "sent", "assisted", "blocked", "failed", "in_doubt", "suppressed")
ABILITIES = ("keyed", "readable", "blind")
"""How a channel resolves an ambiguous send: same key again; look it up; a person decides."""


class Errand(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Event `amends.errand.planned.v1`. `id` is also the idempotency key where the marketplace takes one."""

    id: str
    what: Literal["message", "act"]
    name: str
    """A message's purpose (`free_text` for an operator's own words) or an act's name."""
    account: str
    marketplace: str
    order_id: str
    case_id: str
    case_kind: str
    phase: str
    created_at: datetime
    params: dict[str, Any] = {}
    """A message's variables or an act's parameters."""
    text: str | None = None
    attachments: tuple[str, ...] = ()
    locale: str | None = None
    buyer: Buyer = Buyer()
    refs: dict[str, str] = {}
    """The marketplace's ids the channel needs, as the case and the order know them."""
    money: Money | None = None
    capability: Capability = "api"
    not_after: datetime | None = None
    """The notifier never starts it later; None only for what never grows stale."""
    urgent: bool = False
    """Needed for a deadline: quiet hours do not hold it."""
    last_buyer_message_at: datetime | None = None


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """Event `amends.errand.withdrawn.v1`. Of an unknown id it is a tombstone that suppresses the later plan."""

    errand_id: str
    account: str
    order_id: str
    case_id: str
    what: Literal["message", "act"]
    name: str
    why: str


class Resolution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Event `amends.errand.resolved.v1`: what a person answered about an errand (assisted, in doubt or blocked)."""

    errand_id: str
    account: str
    order_id: str
    case_id: str
    answer: Literal["sent", "not_sent", "send_again", "drop"]
    by: str


class Conversation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Event `amends.conversation.v1`: what notifier must know of a thread, sent whenever one of these changes."""

    account: str
    order_id: str
    buyer: Buyer
    seq: int
    last_buyer_message_at: datetime | None = None
    window_until: datetime | None = None
    closed_chats: tuple[str, ...] = ()
    opted_out: bool = False
