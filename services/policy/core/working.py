"""One decision in the making: the case's parts as they change, and what the decision brings about."""

from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from services.policy.core.decision import Decision, Effect, NotAllowed, Rejected, View
from shared.domain.case import Case, Clock, OpenErrand, OpenTask
from shared.domain.errands import Errand, Resolution, Withdrawal
from shared.domain.facts import Fact
from shared.domain.money import Money, money_in
from shared.domain.order import Reservation
from shared.domain.playbook import Playbook, State
from shared.ids import derived_id

_PLAIN = (
    "state", "phase", "outcome", "liability", "goods", "money", "revision", "contacted", "acted_at", "closed_at",
)  # fmt: skip
_COPIED = ("facts", "refs", "clocks", "generations", "errands", "tasks", "ladder", "seen")
_CHANGING = (*_PLAIN, *_COPIED)
_plain_of, _copied_of, _changing_of = attrgetter(*_PLAIN), attrgetter(*_COPIED), attrgetter(*_CHANGING)


class Stop(Exception):
    """Ends an operator's action that is refused: nothing of the decision remains."""

    def __init__(self, code: str, status: int = 409, detail: str = "") -> None:
        super().__init__(code)
        self.answer = NotAllowed(code=code, status=status, detail=detail)


class Working:
    """Changed in place by the rooms of the core, then frozen by `finish`. Never outlives its decision."""

    state: str
    phase: str
    outcome: str | None
    liability: str | None
    goods: str
    money: str
    revision: int | None
    facts: dict[str, Any]
    refs: dict[str, str]
    clocks: dict[str, Clock]
    generations: dict[str, int]
    errands: dict[str, OpenErrand]
    tasks: dict[str, OpenTask]
    contacted: bool
    ladder: dict[str, int]
    seen: dict[str, tuple[str, ...]]
    acted_at: datetime | None
    closed_at: datetime | None

    def __init__(self, playbook: Playbook, view: View, fact: Fact, now: datetime) -> None:
        self.playbook, self.terms, self.fact, self.now = playbook, view.terms, fact, now
        self.before: Case = view.case
        self.order = view.order
        own = vars(self)
        own.update(zip(_PLAIN, _plain_of(view.case), strict=True))
        # Copied in the order in which they are stored: a case straight from memory and one read back decide alike.
        for name, kept in zip(_COPIED, _copied_of(view.case), strict=True):
            own[name] = dict(sorted(kept.items())) if kept else {}
        self.action, self.params, self.scopes = _operator(fact)
        self.own_params = self.params
        """What the operator himself gave: held against what the action takes."""
        self.changed: set[str] = set()
        """Fields whose value this decision changed: clocks that count from them are set anew."""
        self.answer: dict[str, Any] = {}
        self.rejected: list[Rejected] = []
        self.effects: list[Effect] = []
        self.planned: list[Errand] = []
        self.withdrawals: list[Withdrawal] = []
        self.resolutions: list[Resolution] = []
        self.opened: list[OpenTask] = []
        self.closed: list[str] = []
        self.links: list[str] = []
        self.due: dict[str, datetime] = {}
        self._made = 0

    @property
    def chart(self) -> State | None:
        return self.playbook.states.get(self.state)

    @property
    def is_open(self) -> bool:
        return self.phase != "resolved"

    @property
    def currency(self) -> str | None:
        asked = money_in(self.facts, "amount")
        return asked.currency if asked else self.order.currency

    @property
    def by_operator(self) -> bool:
        return self.action is not None

    def new_id(self, prefix: str) -> str:
        self._made += 1
        case = self.before
        return derived_id(prefix, case.account, self.now, case.id, str(case.seq + 1), str(self._made))

    def effect(self, do: str, name: str, *, id: str | None = None, due_at: datetime | None = None, **data: Any) -> None:
        self.effects.append(Effect(do=do, name=name, id=id, due_at=due_at, data=data))

    def put(self, name: str, value: Any) -> None:
        """Sets a typed fact (JSON form) and remembers whether it is news."""
        if self.facts.get(name) != value:
            self.facts[name] = value
            self.changed.add(name)

    def reserve(self, errand_id: str, money: Money, *, in_doubt: bool = False) -> None:
        """Counts an errand's money against the order. In another currency than the order's it cannot be counted."""
        if self.order.currency not in (None, money.currency):
            return
        held = {**self.order.reserved, errand_id: Reservation(self.before.id, money.minor, in_doubt)}
        self.order = msgspec.structs.replace(self.order, reserved=held)

    def release(self, errand_id: str) -> None:
        if errand_id in self.order.reserved:
            held = {name: kept for name, kept in self.order.reserved.items() if name != errand_id}
            self.order = msgspec.structs.replace(self.order, reserved=held)

    def finish(self, *, no_op: bool = False, stale: bool = False) -> Decision:
        parts = dict(zip(_CHANGING, _changing_of(self), strict=True))
        updated = self.before.updated_at if no_op else self.now
        case = msgspec.structs.replace(self.before, **parts, seq=self.before.seq + 1, updated_at=updated)
        return Decision(
            case=case,
            order=self.order,
            fact_id=self.fact.id,
            from_state=self.before.state,
            to_state=self.state,
            no_op=no_op,
            stale=stale,
            rejected=tuple(self.rejected),
            effects=tuple(self.effects),
            errands=tuple(self.planned),
            withdrawals=tuple(self.withdrawals),
            resolutions=tuple(self.resolutions),
            opened_tasks=tuple(self.opened),
            closed_tasks=tuple(self.closed),
            links=tuple(self.links),
            due=self.due,
            **self.answer,
        )


def _operator(fact: Fact) -> tuple[str | None, dict[str, Any], frozenset[str]]:
    if fact.kind != "operator.acted":
        return None, {}, frozenset()
    params, scopes = fact.data.get("params"), fact.data.get("scopes")
    listed = scopes if isinstance(scopes, list | tuple) else ()
    return (
        str(fact.data.get("action", "")),
        dict(params) if isinstance(params, dict) else {},
        frozenset(str(scope) for scope in listed),
    )


def looking(playbook: Playbook, view: View) -> Working:
    """To look at a case with no fact at hand: what is planned, what is allowed. As of its last change."""
    case = view.case
    at = case.updated_at
    blank = Fact(
        kind="case.updated", occurred_at=at, observed_at=at, id="", account=case.account,
        marketplace=case.marketplace, source="hand",
    )  # fmt: skip
    return Working(playbook, view, blank, at)
