"""One generated life: an order of one account with its cases, walked through policy's own corridor in memory.

`Life(seed).run()` is the same every time. Each step draws its chances from (seed, number of the step) alone, so that a
life stays readable when steps are left out: that is how `shortest` makes a failing one small.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import msgspec
from structlog.testing import capture_logs

from services.policy.batch import Batch, Held
from services.policy.core.allowed import allowed
from services.policy.core.decision import Decision, View
from services.policy.core.replay import Recorded
from services.policy.places import Places
from services.policy.walk import NotTaken, Walk
from shared import ids
from shared.domain.case import Case, Clock
from shared.domain.facts import ORDER_LEVEL, Fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook, Terms
from tests.generated import markets
from tests.generated.dice import SCOPES, Dice
from tests.generated.judge import Judge, Seen
from tests.generated.notifier import Notifier

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
_PAID = ("4.00", "12.00", "39.90", "64.50", "480.00")
_MOST_RINGS = 60
"""In one stretch of waiting."""
_TAIL = timedelta(days=45)


class Watched(Walk):
    """The walk, told on: each decision with what it looked at."""

    def __init__(self, life: "Life", batch: Batch) -> None:
        super().__init__(markets.world(), batch)
        self.life = life

    def _decide(self, held: Held, case: Case, fact: Fact) -> Any:
        seen, first = held.order, True
        for answer in super()._decide(held, case, fact):
            if first:
                self.life.decided(case, seen, fact, answer)
            first = False
            yield answer


class Life:
    """`without`: numbers of steps left out. `history` grows one line per fact, as a person reads it."""

    def __init__(self, seed: int, without: Collection[int] = ()) -> None:
        self.seed, self.without, self.now = seed, without, START
        chance = Random(f"{seed}")
        charts = markets.charts()
        self.marketplace, self.kind = charts[seed % len(charts)]
        self.account = f"{self.marketplace}-{chance.randrange(markets.VARIANTS)}"
        self.currency, self.paid = markets.currency_of(self.marketplace), chance.choice(_PAID)
        self.steps, self.alone = chance.randint(4, 24), chance.random() < 0.25
        order = Order(account=self.account, order_id=f"O-{seed}")
        self.held = Held(order=order, before=order, version=0, first_seen_at=0)
        key = (self.account, order.order_id)
        self.batch = Batch(tx=cast(Any, None), now=START, places=Places(), held={key: self.held})
        self.walk, self.judge, self.notifier = Watched(self, self.batch), Judge(), Notifier()
        self.recorded: dict[str, list[Recorded]] = {}
        self.started: dict[str, Case] = {}
        self.told: list[Fact] = []
        self.history: list[str] = []
        self.counts: Counter[str] = Counter()
        self.seen: defaultdict[str, set[str]] = defaultdict(set)
        self.effects: Counter[str] = Counter()
        self._facts = self._others = self._revision = 0

    # what it is made of
    def book(self, case: Case) -> Playbook:
        return markets.playbooks().of(case.playbook_hash)

    @property
    def terms(self) -> Terms:
        return markets.world().terms.of(self.account).terms

    def run(self) -> "Life":
        """To its end, or to the first thing that must not be. What is logged of a fact that raises is the verdict's to say."""
        same_ids = mock.patch.object(ids, "secrets", SimpleNamespace(token_bytes=Random(f"ids {self.seed}").randbytes))
        with same_ids, capture_logs():
            self._opens(self._dice(-1))
            for n in range(self.steps):
                if n not in self.without and not self.judge.broken:
                    self._step(n)
            if self.alone and not self.judge.broken:
                self._pass(_TAIL, outage=False)
        if not self.judge.broken:
            self.judge.ended(self)
        return self

    def _dice(self, n: int) -> Dice:
        return Dice(Random(f"{self.seed}/{n}"), self.currency, self.paid, self.now)

    def _step(self, n: int) -> None:
        dice = self._dice(n)
        step = dice.chance.choices(list(STEPS), list(STEPS.values()))[0]
        step(self, dice)
        self.now += timedelta(minutes=7)

    # what happens
    def _opens(self, dice: Dice) -> None:
        book = markets.playbooks().current[self.marketplace, self.kind]
        kind = dice.one([row.fact for row in book.opens_on])
        data = {"reason": dice.reason(book), **dice.data(book, kind), "amount": dice.money()}
        if dice.some(0.85):
            data["paid"] = {"value": self.paid, "currency": self.currency}
        self.offer(self.fact(kind, data, (self.kind, "X-1"), code=dice.code(book)))

    def _another(self, dice: Dice) -> None:
        """A further case of the same order."""
        book = dice.one(markets.playbooks().for_marketplace(self.marketplace))
        kind, self._others = dice.one([row.fact for row in book.opens_on]), self._others + 1
        of = (book.kind, f"X-{self._others + 1}")
        self.offer(self.fact(kind, dice.data(book, kind), of, code=dice.code(book)))

    def _news(self, dice: Dice) -> None:
        case = self._case(dice)
        if case is None:
            return
        book = self.book(case)
        kind = dice.news_kind(book, case.state)
        named = kind not in ORDER_LEVEL or dice.some(0.3)
        of = (case.kind, case.external_id) if named and dice.some(0.97) else (None, None)
        fact = self.fact(kind, dice.data(book, kind), of, code=dice.code(book), revision=self._revised(dice))
        self.offer(msgspec.structs.replace(fact, occurred_at=self.now - timedelta(hours=dice.one((0, 0, 0, 1, 60)))))

    def _revised(self, dice: Dice) -> int | None:
        """None, a newer number, or one that has been overtaken."""
        if dice.some(0.6):
            return None
        self._revision += 1
        return self._revision if dice.some(0.8) else max(0, self._revision - 3)

    def _paid_back(self, dice: Dice) -> None:
        """The marketplace shows a refund of ours."""
        gone = [e for e in self.notifier.done if e.name == "refund" and e.money is not None]
        if gone:
            errand = dice.one(gone)
            case, money = self.held.cases[errand.case_id], cast(Any, errand.money)
            data = {"refunded": {"value": money.value, "currency": money.currency}, "refund_id": f"r {errand.id}"}
            self.offer(self.fact("refund.issued", data, (case.kind, case.external_id)))

    def _told_again(self, dice: Dice) -> None:
        """The last news in another delivery, or in the same one."""
        news = [fact for fact in self.told if fact.source not in ("operator", "clock", "channel")]
        if news:
            self._facts += 1
            last, other = news[-1], dice.some(0.7)
            again = msgspec.structs.replace(last, id=f"f{self._facts}") if other else last
            self.judge.again(last, self.offer(again), same_delivery=not other)

    def _acts(self, dice: Dice) -> None:
        case = self._case(dice)
        if case is not None:
            can = allowed(self.book(case), View(case=case, order=self.held.order, terms=self.terms))
            self._operator(dice, case, dice.action(can))

    def _operator(self, dice: Dice, case: Case, action: str) -> None:
        waiting = [e.id for e in case.errands.values() if e.status == "awaiting_approval"]
        params = dice.params(self.book(case), action, self.terms, waiting)
        self._by_operator(dice, case, action, params)

    def _by_operator(self, dice: Dice, case: Case, action: str, params: dict[str, Any]) -> None:
        data = {"action": action, "params": params, "scopes": dice.one(SCOPES)}
        data |= {"reason": "looked at"} if dice.some(0.9) else {}
        data |= {"override": params.pop("override")} if "override" in params else {}
        self.offer(self._own(case, "operator.acted", data, "operator"))

    def _answers(self, dice: Dice) -> None:
        tasks = [(case, task) for case in self.held.cases.values() for task in case.tasks.values()]
        if tasks:
            case, task = dice.one(sorted(tasks, key=lambda found: found[1].id))
            answer = dice.one(task.allowed)
            params = dice.params(self.book(case), answer, self.terms, [])
            self._by_operator(dice, case, "answer", {"task_id": task.id, "answer": answer, "params": params})

    def _reports(self, dice: Dice) -> None:
        """The notifier says what became of something."""
        told = self.notifier.tells(dice, self.now)
        if told is not None:
            errand, status, data = told
            self.offer(self._own(self.held.cases[errand.case_id], f"{errand.what}.{status}", data, "channel"))

    def _waits(self, dice: Dice) -> None:
        self._pass(timedelta(hours=dice.one((1, 6, 14, 30, 80, 200, 500))), outage=dice.some(0.15))

    def _rings_wrongly(self, dice: Dice) -> None:
        """Too early, again, or of a generation that is over."""
        clocks = [(case, clock) for case in self.held.open for clock in case.clocks.values()]
        if clocks:
            case, clock = dice.one(sorted(clocks, key=lambda found: (found[0].id, found[1].name)))
            over = dice.one((0, 1)) or int(
                clock.due_at <= self.now
            )  # once it is due, rung now it would be rung rightly
            clock = msgspec.structs.replace(clock, generation=clock.generation - over)
            self._ring(case, clock, dice.one(("margin", "due")))

    def _pass(self, span: timedelta, *, outage: bool) -> None:
        """Time goes by; each clock rings at its own moment, or, where nothing ran meanwhile, at the end of it."""
        until = self.now + span
        if outage:
            self.now = until
        for _ in range(_MOST_RINGS):
            due = self._next(until)
            if due is None or self.judge.broken:
                break
            case, clock = due
            self.now = max(self.now, clock.next_at)
            self._ring(case, clock, "due" if clock.acted or clock.act_at is None else "margin")
        self.now = max(self.now, until)

    def _next(self, until: datetime) -> tuple[Case, Clock] | None:
        due = [(c.next_at, case.id, c.name, case, c) for case in self.held.open for c in case.clocks.values()]
        first = min((found for found in due if found[0] <= until), key=lambda found: found[:3], default=None)
        return (first[3], first[4]) if first else None

    def _ring(self, case: Case, clock: Clock, moment: str) -> None:
        data = {"clock": clock.name, "generation": clock.generation, "moment": moment}
        self.offer(self._own(case, "timer.elapsed", data, "clock"))

    def _case(self, dice: Dice) -> Case | None:
        """An open one mostly."""
        cases = sorted(self.held.cases.values(), key=lambda case: (case.kind, case.external_id))
        open_ = [case for case in cases if case.is_open]
        return dice.one(open_) if open_ and dice.some(0.9) else dice.one(cases) if cases else None

    # facts and where they go
    def fact(
        self, kind: str, data: dict[str, Any], of: tuple[str | None, str | None], *, code: str | None = None,
        revision: int | None = None,
    ) -> Fact:  # fmt: skip
        self._facts += 1
        data = {name: value for name, value in data.items() if name != "refund_id"} | (
            {"refund_id": data.get("refund_id", f"own {self._facts}")} if kind == "refund.issued" else {}
        )
        return Fact(
            id=f"f{self._facts}", kind=kind, account=self.account, marketplace=self.marketplace, data=data,
            order_id=self.held.order.order_id, case_kind=of[0], external_id=of[1], raw_code=code, revision=revision,
            occurred_at=self.now, observed_at=self.now, source=("push", "poll", "fetch", "hand")[self._facts % 4],
        )  # fmt: skip

    def _own(self, case: Case, kind: str, data: dict[str, Any], source: Any) -> Fact:
        self._facts += 1
        return Fact(
            id=f"f{self._facts}", kind=kind, account=self.account, marketplace=self.marketplace, data=data, source=source,
            order_id=case.order_id, case_kind=case.kind, external_id=case.external_id, case_id=case.id,
            occurred_at=self.now, observed_at=self.now,
        )  # fmt: skip

    def offer(self, fact: Fact) -> list[Decision]:
        order, cases = self.held.order, dict(self.held.cases)
        self.batch.now = self.now
        self.batch.places.orders[fact.id] = (self.account, order.order_id)
        self.judge.hears(fact)
        self.told.append(fact)
        self.counts["facts"] += 1
        try:
            decisions = self.walk.offer(fact)
        except NotTaken as no:
            self.counts["refused"] += 1
            self._say(fact, f"refused: {no.answer.code}")
            self.judge.refused(fact, no.answer, unchanged=(order, cases) == (self.held.order, self.held.cases))
            return []
        if not decisions:
            self._say(fact, "concerns no case")
        self.judge.parked(self.batch.out.parked)
        return decisions

    def decided(self, before: Case, seen: Order, fact: Fact, decision: Decision) -> None:
        log, book = self.batch.out.log[-1], self.book(before)
        rest = {"terms": self.terms, "playbook": book, "decided_at": self.now, "result_hash": log["result_hash"]}
        self.started.setdefault(before.id, before)
        self.recorded.setdefault(before.id, []).append(Recorded(fact=fact, order=seen, **rest))
        self.notifier.hears(decision)
        self.counts["decisions"] += 1
        self.seen[book.name] |= {decision.rule or "", f"state:{decision.to_state}"}
        self.effects.update(effect.do for effect in decision.effects)
        self._say(fact, _told(before, decision))
        self.judge.decided(Seen(before, seen, fact, decision, self.now, self.terms, book, log["fact"]))

    def _say(self, fact: Fact, what: str) -> None:
        self.history.append(f"{self.now:%m-%d %H:%M} {fact.kind} {_briefly(fact)} -> {what}")


STEPS: dict[Callable[[Life, Dice], None], int] = {
    Life._news: 34, Life._acts: 16, Life._answers: 8, Life._reports: 24, Life._waits: 14, Life._told_again: 4,
    Life._paid_back: 4, Life._another: 4, Life._rings_wrongly: 3,
}  # fmt: skip


def _briefly(fact: Fact) -> str:
    own = [fact.case_kind, fact.external_id, fact.raw_code, fact.revision, fact.data]
    return " ".join(str(part) for part in own if part not in (None, {}))


def _told(before: Case, decision: Decision) -> str:
    did = ", ".join(f"{effect.do} {effect.name}" for effect in decision.effects)
    to = decision.to_state if decision.to_state != before.state else "stays"
    rule = "no-op" if decision.no_op else decision.rule or "no rule"
    return f"{decision.case.kind} {before.state or '(new)'} {to} [{rule}] {did}".rstrip()


def shortest(seed: int, tries: int = 150) -> Life:
    """The failing life with as many steps left out as it fails without, by the same rule."""
    life = Life(seed).run()
    rule, without = life.judge.rule, frozenset[int]()
    for n in reversed(range(life.steps)):
        if tries and rule is not None:
            tries -= 1
            fewer = Life(seed, without | {n}).run()
            if fewer.judge.rule == rule:
                life, without = fewer, without | {n}
    return life
