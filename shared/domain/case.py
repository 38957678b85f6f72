"""A case: one after-sales matter of one order, and the names of the typed facts that cases share."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from shared.domain.money import Money

KINDS = ("order_care", "cancellation", "return", "refund", "dispute", "claim", "review")
PHASES = ("awaiting_seller", "awaiting_buyer", "goods_in_transit", "inspection", "platform_review", "resolved")
OUTCOMES = ("refunded", "part_refunded", "replaced", "rejected", "withdrawn", "cancelled", "expired", "completed")
LIABILITIES = ("seller", "marketplace", "carrier", "buyer", "none")
GOODS = ("none", "advised", "in_transit", "received", "inspected", "refused", "lost")
MONEY = ("none", "promised", "in_doubt", "part_refunded", "refunded", "denied")
REASONS = (
    "not_received", "not_as_described", "damaged", "wrong_item", "missing_parts", "defective", "counterfeit",
    "change_of_mind", "late", "customs", "returned_parcel", "other",
)  # fmt: skip
TASK_KINDS = (
    "answer_needed", "approve_act", "assisted_act", "assisted_message", "in_doubt", "evidence_missing", "conflict",
    "unmapped", "message_blocked", "deadline_at_risk", "orphan",
)  # fmt: skip

FieldType = Literal["text", "money", "time", "bool", "int"]

FIELDS: dict[str, FieldType] = {
    "reason": "text",  # one of REASONS; the marketplace's own code stays in reason_code
    "reason_code": "text",
    "reason_text": "text",
    "comment": "text",  # the buyer's own words
    "amount": "money",  # what is asked
    "offered": "money",  # what the seller last offered
    "refunded": "money",  # of refund.issued
    "paid": "money",  # what the order paid
    "max_refund": "money",  # the marketplace's own ceiling for this case
    "item": "text",
    "return_required": "bool",  # the buyer's wish or the plan is: goods back, then money
    "keep_item": "bool",  # the goods need not come back
    "tracking_number": "text",
    "carrier": "text",
    "stage": "text",  # inquiry, case, guarantee, chargeback, arbitration
    "winner": "text",  # seller, buyer, split, none
    "funded_by": "text",  # seller, marketplace, carrier
    "condition": "text",  # of the goods on receipt: ok, damaged, wrong, incomplete, empty
    "result": "text",  # of the inspection: ok, faulty, wrong, incomplete
    "due_at": "time",  # the marketplace's own deadline for what it waits for now
    "text": "text",  # of a message received
}
"""Names of typed facts any fact may carry in `data`; a playbook declares further ones under `fields`.

Besides these each fact kind leaves its time on the case as `<kind with underscores>_at` (`dispute_opened_at`).
"""


class Planned(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a clock does at its margin when nobody acted: an act, a message or a task."""

    do: str
    params: dict[str, Any] = {}


class Clock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An armed clock. `act_at` = due_at - margin, None when nothing is planned. Arming again raises `generation`."""

    name: str
    due_at: datetime
    generation: int
    origin: Literal["platform", "rule", "default"]
    deadline: bool
    """Whether the marketplace decides against us at `due_at`; a reminder otherwise."""
    late: Literal["fire", "skip", "task"] = "fire"
    act_at: datetime | None = None
    planned: Planned | None = None
    acted: bool = False
    """The margin has been dealt with; only `due_at` is left."""
    armed_at: datetime
    missed: bool = False

    @property
    def next_at(self) -> datetime:
        return self.due_at if self.acted or self.act_at is None else self.act_at


class OpenErrand(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What policy knows of an errand it planned and that is not over."""

    id: str
    what: Literal["message", "act"]
    name: str
    status: str
    """awaiting_approval, planned, held, sending, sent (acts: not yet confirmed), assisted, in_doubt."""
    planned_at: datetime
    true_in: tuple[str, ...] | None = None
    """States in which it is still true; None: always. Left: it is withdrawn."""
    params: dict[str, Any] = {}
    money: Money | None = None
    task_id: str | None = None
    idempotency_key: str | None = None
    keep_item: bool = False
    """The money goes without the goods coming back."""
    withdrawing: bool = False
    """Its withdrawal is under way: live until the notifier answers, but not withdrawn twice."""
    confirmed: bool = False
    """An act whose outcome was seen before the notifier said that it was sent: whatever it says now settles it."""


class OpenTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    kind: str
    reason: str
    due_at: datetime
    allowed: tuple[str, ...]
    true_in: tuple[str, ...] | None = None
    errand_id: str | None = None
    prepared: dict[str, Any] | None = None
    opened_at: datetime


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row: identity, where it stands, the typed facts so far, its clocks, open errands and open tasks."""

    id: str
    account: str
    marketplace: str
    kind: str
    external_id: str
    order_id: str
    playbook: str
    playbook_version: str
    playbook_hash: str
    state: str
    phase: str
    outcome: str | None = None
    liability: str | None = None
    goods: str = "none"
    money: str = "none"
    revision: int | None = None
    facts: dict[str, Any] = {}
    refs: dict[str, str] = {}
    clocks: dict[str, Clock] = {}
    generations: dict[str, int] = {}
    """Last generation given out per clock name: never reused."""
    errands: dict[str, OpenErrand] = {}
    tasks: dict[str, OpenTask] = {}
    contacted: bool = False
    """The buyer was written to (a planned, held or assisted message counts)."""
    ladder: dict[str, int] = {}
    """Rungs used, by ladder name."""
    linked: tuple[str, ...] = ()
    seen: dict[str, tuple[str, ...]] = {}
    """Digests of the last news per fact kind: the same news in another delivery is a no-op."""
    acted_at: datetime | None = None
    """When an act of this case was last known to have been sent."""
    seq: int = 0
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.phase != "resolved"

    @property
    def next_due_at(self) -> datetime | None:
        return min((c.next_at for c in self.clocks.values()), default=None) if self.is_open else None

    @property
    def deadline_at(self) -> datetime | None:
        return min((c.due_at for c in self.clocks.values() if c.deadline), default=None) if self.is_open else None
