"""What the core takes and answers. `decide(playbook, view, fact, now) -> Decision` is pure and total: no I/O, no clock.

CORE_REV goes up whenever a change of the core alters a decision that was recorded; replay gives the same bytes for the
same CORE_REV.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from shared.domain.case import Case, OpenTask
from shared.domain.errands import Errand, Resolution, Withdrawal
from shared.domain.order import Order
from shared.domain.playbook import Terms

CORE_REV = 4
BEFORE = ""
"""State of a case that is just being opened: the playbook's `opens_on` rows answer its first fact."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All a decision may look at. `order` already holds what the fact says about the order (`core.orders.fold`)."""

    case: Case
    order: Order
    terms: Terms


class Rejected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row that was tried and did not fire."""

    rule: str
    guard: str
    why: Literal["false", "error"] = "false"


class Effect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the timeline's `effects`: what the decision brought about, in words a person reads."""

    do: str
    """plan_message, plan_act, ask_approval, withdraw, confirm, open_task, close_task, arm, cancel, link, resolve, miss."""
    name: str
    id: str | None = None
    due_at: datetime | None = None
    data: dict[str, Any] = {}


class NotAllowed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An operator's action that is refused: nothing changes, nothing is logged; the API answers `status`."""

    code: str
    status: int = 409
    detail: str = ""
    allowed: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`case` and `order` are the rows after it (case.seq is one up). Everything else is to be stored and sent."""

    case: Case
    order: Order
    fact_id: str
    from_state: str
    to_state: str
    no_op: bool = False
    """Recorded, changed nothing: stale, repeated, or answered by `otherwise: record`."""
    stale: bool = False
    rule: str | None = None
    matched: str | None = None
    """The guard text that held, None for an unguarded row."""
    rejected: tuple[Rejected, ...] = ()
    effects: tuple[Effect, ...] = ()
    errands: tuple[Errand, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    opened_tasks: tuple[OpenTask, ...] = ()
    closed_tasks: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """Kinds of cases to open beside this one, linked."""
    due: dict[str, datetime] = {}
    """Clock name -> due time computed by this decision."""
    answered: str | None = None
    """For an operator's action: id of the act or message it led to (also when it was already on its way)."""
    waits_for_approval: bool = False
    """The action was taken but an approval is needed first: the API answers 202."""
    core_rev: int = CORE_REV


Answer = Decision | NotAllowed
