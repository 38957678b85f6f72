"""The playbook: the chart of one (marketplace, kind). Data only; `docs/playbooks.md` describes the YAML it comes from.

Guards are CEL text here; `services.policy.core.guards` compiles and evaluates them. `line` is the row's line in its file.
"""

from datetime import date
from typing import Any, Literal

import msgspec

from shared.domain.case import FieldType

TO_STATUS = "status"
"""`to: status`: the state that `statuses` gives for the fact's raw code."""


class Tell(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Plan a message. Variables: the purpose's own names, each from the field of the same name unless mapped here."""

    purpose: str
    variables: dict[str, str] = {}
    when: str | None = None
    not_after: str | None = None
    """Name of an armed clock: the message is not started after its due time. Default: 7 days after planning."""
    urgent: bool = False
    always: bool = False
    """Stays true in every state; otherwise it is withdrawn once the case leaves the states of `true_in`."""
    true_in: tuple[str, ...] = ()
    """Default: the state the row leads to."""
    line: int = 0


class Do(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Plan an act. A parameter "$name" takes the field's value; an operator's own params are laid over."""

    act: str
    params: dict[str, Any] = {}
    when: str | None = None
    autonomy: Literal["auto", "approve", "person"] | None = None
    """Default: the playbook's `autonomy` for this act, else `approve`."""
    not_after: str | None = None
    keep_item: bool = False
    """The money goes without the goods coming back (the only way past the no-refund-before-goods rule)."""
    line: int = 0


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Open a task for a person. `due`: the name of an armed clock (its `act_at`, else `due_at`) or an ISO duration."""

    task: str
    reason: str
    due: str
    allowed: tuple[str, ...] = ()
    when: str | None = None
    always: bool = False
    line: int = 0


class Effects(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    tell: tuple[Tell, ...] = ()
    act: tuple[Do, ...] = ()
    task: tuple[Ask, ...] = ()
    ladder: str | None = None
    """Offer the next rung of this ladder."""
    evidence: bool = False
    """Ask the buyer for his items of the evidence list, open tasks for the seller's."""
    arm: tuple[str, ...] = ()
    """Clocks to arm beside those of the state entered."""
    link: str | None = None
    """Open a linked case of this kind."""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer to one fact. `fact` is a kind, `timer.elapsed:<clock>` or `operator.acted:<action>`."""

    id: str
    """`state/fact#n`, or the `rule` the file gives; stands in the log as the rule that fired."""
    fact: str
    when: str | None = None
    to: str | None = None
    """A state, TO_STATUS, or None: stay."""
    set: dict[str, Any] = {}
    """Case fields to set: literals or "$name"."""
    effects: Effects = Effects()
    line: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    phase: str
    outcome: str | None = None
    liability: str | None = None
    clocks: tuple[str, ...] = ()
    """Armed on entry, cancelled on exit unless the next state names them too."""
    enter: Effects = Effects()
    rows: tuple[Row, ...] = ()
    otherwise: bool = False
    """`otherwise: record`: facts without a row are recorded and change nothing else."""
    line: int = 0

    @property
    def is_end(self) -> bool:
        return self.phase == "resolved"


class PlannedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to act at the margin; the first whose guard holds is taken, the last has none."""

    when: str | None = None
    set: dict[str, Any] = {}
    """As a row's; written where what is planned brings something about."""
    effects: Effects = Effects()
    line: int = 0


class ClockRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    after: str = "state_entered_at"
    """A time field; `state_entered_at` is when the case came into its present state."""
    days: int | None = None
    hours: int | None = None
    business_days: int | None = None
    calendar: str | None = None
    """Country code of the holiday calendar for business days; `terms` for the account's own."""
    zone: str = "UTC"
    """IANA name or `account`."""
    at: str | None = None
    """Time of day "HH:MM" the due time is moved to, in `zone`."""
    platform: str | None = None
    """Time field that holds the marketplace's own figure; where present it is the due time (origin `platform`)."""
    origin: Literal["rule", "default"] = "default"
    deadline: bool = True
    """False: a reminder, nothing is decided against us when it passes."""
    margin: str = "PT0S"
    planned: tuple[PlannedRow, ...] = ()
    late: Literal["fire", "skip", "task"] = "fire"
    source: str = ""
    read: date | None = None
    line: int = 0


class Rung(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One remedy. `percent` of what is asked, never above `ceiling` (a money setting's name) nor what is refundable."""

    remedy: Literal["part_refund", "exchange", "resend", "return_refund", "coupon"]
    percent: int | None = None
    ceiling: str | None = None
    when: str | None = None
    wait: str = "P2D"
    tell: Tell | None = None
    autonomy: Literal["auto", "approve", "person"] | None = None
    line: int = 0


class Ladder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    reasons: tuple[str, ...] = ()
    rungs: tuple[Rung, ...] = ()
    line: int = 0


class EvidenceItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    what: str
    supplied_by: Literal["buyer", "seller", "carrier"]
    required: bool = True
    rule: str | None = None
    line: int = 0


class Playbook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    marketplace: str
    kind: str
    version: str
    path: str
    hash: str
    """SHA-256 of the content: the same version with other content is refused at start."""
    fields: dict[str, FieldType] = {}
    opens_on: tuple[Row, ...] = ()
    """Rows of the moment before the case exists; each has a `to`."""
    statuses: dict[str, str] = {}
    """The marketplace's raw status -> state."""
    clocks: dict[str, ClockRule] = {}
    states: dict[str, State] = {}
    everywhere: tuple[Row, ...] = ()
    """Rows tried in every open state after the state's own."""
    ladders: dict[str, Ladder] = {}
    evidence: dict[str, tuple[EvidenceItem, ...]] = {}
    """By reason; `default` for the others."""
    autonomy: dict[str, Literal["auto", "approve", "person"]] = {}
    lines: dict[str, int] = {}
    """Dotted path -> line, for what has no line of its own."""

    @property
    def name(self) -> str:
        return f"{self.marketplace}/{self.kind}"


class Need(msgspec.Struct, frozen=True, omit_defaults=True):
    """A variable of a message purpose: the field it comes from unless the playbook maps it."""

    source: str
    required: bool = True


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the account allows, frozen into each decision by its hash."""

    account: str
    locale: str = "en"
    time_zone: str = "UTC"
    calendar: str | None = None
    shop: str = ""
    capabilities: dict[str, str] = {}
    """Act -> api | assisted | none, from the marketplace's manifest and the account's settings."""
    money: dict[str, dict[str, int]] = {}
    """Money settings: name -> currency -> minor units (`keep_item_refund_below`, `approve_refund_above`)."""
    settings: dict[str, Any] = {}
    params: dict[str, tuple[str, ...]] = {}
    """Action -> parameters it takes on this marketplace beyond the common ones."""
    purposes: dict[str, tuple[str, ...]] = {}
    """Allowed purposes -> phases in which they may be sent (empty: all)."""
    variables: dict[str, dict[str, Need]] = {}
    """Purpose -> its variables. Of a purpose that is not here everything known is passed and the notifier judges."""
    closed: bool = False
    """The account was removed with cases open: nothing leaves, clocks become tasks."""
