"""The verdict over a generated life: rules of its own book-keeping, none of which asks the core what is right.

A rule is a function of one decision (`@rule`) that yields what is wrong. Its name is what the verdict prints.
"""

import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from services.policy.core.decision import BEFORE, Decision, NotAllowed
from services.policy.core.replay import replay
from shared.domain.case import Case
from shared.domain.facts import Fact, encode
from shared.domain.order import Order
from shared.domain.playbook import Playbook, Terms
from tests.generated.ledger import Ledger

if TYPE_CHECKING:
    from tests.generated.life import Life


@dataclass(frozen=True, slots=True)
class Seen:
    """One decision with all it looked at. `logged`: the fact as the log keeps it."""

    before: Case
    order: Order
    fact: Fact
    decision: Decision
    now: datetime
    terms: Terms
    book: Playbook
    logged: str

    @property
    def case(self) -> Case:
        return self.decision.case


class Memory:
    """What is remembered of one life, beside the money."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.ids: set[str] = set()
        self.rung: set[tuple[Any, ...]] = set()
        self.margins: set[tuple[str, str, int]] = set()
        self.said: dict[tuple[str, str, str, datetime], str] = {}
        """Case, purpose, fact, moment -> id of the message planned last."""
        self.took: set[tuple[str, str]] = set()
        """Case and fact that have met."""
        self.newest: dict[str, int] = {}
        self.heard: defaultdict[str, set[str]] = defaultdict(set)
        """Case id -> the kinds of fact (and operator's actions) that were applied to it."""


Rule = Callable[[Seen, Memory], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(told: Rule) -> Rule:
    RULES[told.__name__] = told
    return told


class Judge:
    """`broken`: (rule, what) in the order found."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.broken: list[tuple[str, str]] = []

    @property
    def rule(self) -> str | None:
        return self.broken[0][0] if self.broken else None

    def finds(self, name: str, what: str) -> None:
        self.broken.append((name, what))

    def hears(self, fact: Fact) -> None:
        self.memory.ledger.hears(fact)

    def decided(self, seen: Seen) -> None:
        self.memory.took.add((seen.case.id, seen.fact.id))
        if not seen.decision.no_op:
            self.memory.heard[seen.case.id].add(_said(seen.fact))
        for name, told in RULES.items():
            self.broken += [(name, what) for what in told(seen, self.memory)]
        self.memory.ledger.takes(seen.case, seen.decision)

    def refused(self, fact: Fact, answer: NotAllowed, *, unchanged: bool) -> None:
        if fact.kind != "operator.acted" or answer.status not in (403, 409, 422) or not answer.code:
            self.finds("only_operators_are_refused", f"{fact.kind}: {answer.status} {answer.code}")
        if not unchanged:
            self.finds("what_is_refused_changes_nothing", answer.code)

    def again(self, fact: Fact, decisions: Iterable[Decision], *, same_delivery: bool) -> None:
        """A case that the first telling did not concern, because it was not there or there were two, may hear it now."""
        for decision in decisions:
            first = (decision.case.id, fact.id) not in self.memory.took
            if same_delivery or (not first and (not decision.no_op or decision.errands)):
                self.finds("what_is_told_twice_counts_once", f"{fact.kind} again: {decision.rule}")

    def parked(self, parked: Iterable[tuple[Fact, Exception]]) -> None:
        for fact, fault in parked:
            where = traceback.format_exception(fault)[-2].strip().splitlines()[0]
            self.finds("no_fact_raises", f"{fact.kind} {fact.raw_code}: {fault!r} {where}")

    def ended(self, life: "Life") -> None:
        for case in life.held.cases.values():
            if msgspec.json.decode(encode(case), type=Case) != case:
                self.finds("a_case_is_stored_whole", case.state)
            again, different = replay(life.started[case.id], life.recorded[case.id])
            if different or encode(again) != encode(case):
                at = different[0].seq if different else case.seq
                self.finds("replay_gives_the_same_bytes", f"{case.kind} parts at {at} of {case.seq}")


def _said(fact: Fact) -> str:
    """An operator's action by its name, also where it answers a task."""
    if fact.kind != "operator.acted":
        return fact.kind
    action = fact.data.get("action")
    return f"operator:{fact.data['params'].get('answer') if action == 'answer' else action}"


def opened(seen: Seen) -> bool:
    return seen.before.state == BEFORE
