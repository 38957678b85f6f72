"""One fact through one batch: repeats, the order's share, the cases it concerns, the one it opens, or the wait for one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec
import structlog

from services.policy import rows, views
from services.policy.batch import Batch, Held
from services.policy.core.decide import decide
from services.policy.core.decision import BEFORE, Decision, NotAllowed, View
from services.policy.core.opening import blank, opens
from services.policy.core.orders import fold, is_claim, is_counted
from services.policy.places import identity
from services.policy.playbooks import Playbooks
from services.policy.tables import ORPHAN_CASE
from services.policy.terms import Agreed, TermsBook
from shared import ids
from shared.clock import to_micros
from shared.domain.case import Case, OpenTask
from shared.domain.facts import ERRAND_RESULTS, ORDER_LEVEL, Fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook

_log = structlog.get_logger(__name__)
_ALARMS = {
    "fetch_gave_up": ("orphan", "{what} could not be read from the marketplace for 24 hours: look at it there"),
    "delivery_conflict": ("conflict", "a delivery came again with other content and was not applied: {what}"),
}
"""What intake itself reports as `case.updated` (docs/house.md): a person is asked at once, no case moves."""


class NotTaken(Exception):
    """The core refuses an operator's action; nothing is changed."""

    def __init__(self, answer: NotAllowed) -> None:
        super().__init__(answer.code)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class World:
    playbooks: Playbooks
    terms: TermsBook
    partitions: int


@dataclass(slots=True)
class Walk:
    world: World
    batch: Batch

    def offer(self, fact: Fact) -> list[Decision]:
        """Applies a fact wherever it belongs. Empty for a repeat and for what concerns no case (yet)."""
        held = self.batch.of(fact)
        if held is None or self._repeated(held, fact):
            return []
        return self._alone(held, fact, self._first_time)

    def _first_time(self, held: Held, fact: Fact) -> list[Decision]:
        if fact.kind == "case.updated" and fact.raw_code in _ALARMS:
            self._alarm(held, fact, *_ALARMS[fact.raw_code])
            return []
        counted = identity(fact) is None and is_counted(held.order, fact)
        held.order = fold(held.order, fact)
        decisions = list(self._settle(held, fact))
        if decisions:
            return decisions
        if counted or fact.kind in ORDER_LEVEL:
            self._log_without_case(fact)
        else:
            _set_waiting(held, (*held.order.waiting, fact))
        return []

    def settle_waiting(self, held: Held) -> list[Decision]:
        """Offers the order's waiting facts again: after a merge, or once a case was opened."""
        decisions: list[Decision] = []
        for fact in sorted(held.order.waiting, key=lambda fact: (fact.occurred_at, fact.id)):
            if any(waiting.id == fact.id for waiting in held.order.waiting):
                _set_waiting(held, (w for w in held.order.waiting if w.id != fact.id))
                decisions += self._alone(held, fact, self._again)
        return decisions

    def _again(self, held: Held, fact: Fact) -> list[Decision]:
        settled = list(self._settle(held, fact))
        if not settled:
            _set_waiting(held, (*held.order.waiting, fact))
        return settled

    def _alone(self, held: Held, fact: Fact, work: Callable[[Held, Fact], list[Decision]]) -> list[Decision]:
        """What raises alone leaves nothing behind, is parked, and takes its cases out of the due index."""
        order, cases, mark = held.order, dict(held.cases), self.batch.out.mark()
        try:
            return work(held, fact)
        except NotTaken:
            raise
        except Exception as fault:
            _log.exception("fact_failed", fact=fact.id, kind=fact.kind, fault=type(fault).__name__)
            held.order = order
            self.batch.take_back(held, cases)
            self.batch.out.back(mark)
            self.batch.applied.pop((fact.account, fact.id), None)
            self._park(held, fact, fault)
            return []

    def _park(self, held: Held, fact: Fact, fault: Exception) -> None:
        out, concerned = self.batch.out, self.targets(held, fact)
        self.batch.stuck.update(case.id for case in concerned)
        out.changed += [case.id for case in concerned]
        out.parked.append((fact, fault))
        out.news.append(("parked", ("policy", type(fault).__name__), 1))
        task = rows.parked_task(fact, type(fault).__name__, self.batch.now)
        self.open_own_task(task, fact, concerned[0] if concerned else None)

    def orphan(self, held: Held, fact: Fact) -> None:
        """A fact that waited its 24 hours: logged, and put before a person."""
        _set_waiting(held, (w for w in held.order.waiting if w.id != fact.id))
        self._log_without_case(fact)
        why, now = f"{fact.kind} found no case", self.batch.now
        task = rows.own_task("orphan", why, fact.account, fact.observed_at, now, fact.id)
        self.open_own_task(task, fact, None)

    def _alarm(self, held: Held, fact: Fact, kind: str, why: str) -> None:
        self._log_without_case(fact)
        what = fact.refs.get("ref") or fact.data.get("delivery_id") or "a reference"
        told = why.format(what=str(what)[:100])
        task = rows.own_task(kind, told, fact.account, fact.observed_at, self.batch.now, fact.id)
        self.open_own_task(task, fact, next(iter(self.targets(held, fact)), None))

    def open_own_task(self, task: OpenTask, fact: Fact, case: Case | None) -> None:
        order_id = case.order_id if case else self.batch.places.orders[fact.id][1]
        row = rows.task_row(
            task,
            account=fact.account,
            marketplace=fact.marketplace,
            order_id=order_id,
            case_id=case.id if case else fact.case_id,
        )
        self.batch.out.tasks.append(row)

    def targets(self, held: Held, fact: Fact) -> list[Case]:
        """The cases a fact concerns, as domain.md orders the ways of finding them."""
        if fact.case_id is not None:
            return [held.cases[fact.case_id]] if fact.case_id in held.cases else []
        own = identity(fact)
        named = held.cases.get(self.batch.identities.get(own, "")) if own else None
        if fact.kind in ORDER_LEVEL:
            return [case for case in held.open if case is not named] + ([named] if named else [])
        if named is not None:
            return [named]
        if own is not None and self._opening(fact) is not None:
            return []
        return self._by_reference(held, fact)

    def _by_reference(self, held: Held, fact: Fact) -> list[Case]:
        """Among the open cases: one that shares a reference, else the only one there is when the fact names none."""
        fit = [case for case in held.open if fact.case_kind in (None, case.kind)]
        shared = [case for case in fit if case.refs.items() & fact.refs.items() or case.external_id == fact.external_id]
        if shared:
            return shared[:1]
        if len(fit) > 1 and fact.kind == "refund.issued":
            fit = [case for case in fit if _refunds(case)]
        return fit if len(fit) == 1 and fact.external_id is None else []

    def _settle(self, held: Held, fact: Fact) -> Iterator[Decision]:
        targets = self.targets(held, fact)
        for case in targets:
            yield from self._decide(held, case, fact)
        own = identity(fact)
        is_new = own is None or own not in self.batch.identities
        beside = fact.kind in ORDER_LEVEL and fact.kind != "message.received"
        if fact.case_id is None and is_new and (not targets or beside):
            playbook = self._opening(fact)
            if playbook is not None and (fact.external_id or fact.kind in ORDER_LEVEL):
                yield from self._open(held, playbook, fact, fact.external_id or held.order.order_id)

    def _opening(self, fact: Fact) -> Playbook | None:
        """The playbook whose `opens_on` names this fact."""
        for playbook in self.world.playbooks.for_marketplace(fact.marketplace):
            if fact.case_kind in (None, playbook.kind) and opens(playbook, fact):
                return playbook
        return None

    def _open(
        self, held: Held, playbook: Playbook, fact: Fact, external_id: str, linked: tuple[str, ...] = ()
    ) -> Iterator[Decision]:
        if (fact.account, playbook.kind, external_id) in self.batch.identities:
            return
        now = self.batch.now
        case = blank(
            playbook,
            id=ids.new_id("case", fact.account, now),
            account=fact.account,
            marketplace=fact.marketplace,
            external_id=external_id,
            order_id=held.order.order_id,
            now=now,
        )
        self.batch.out.new_cases.append(case.id)
        yield from self._decide(held, msgspec.structs.replace(case, linked=linked), fact)
        yield from self.settle_waiting(held)

    def _decide(self, held: Held, case: Case, fact: Fact) -> Iterator[Decision]:
        playbook = self.world.playbooks.of(case.playbook_hash)
        agreed = self.world.terms.of(case.account)
        seen = held.order
        answer = decide(playbook, View(case=case, order=seen, terms=agreed.terms), fact, self.batch.now)
        if isinstance(answer, NotAllowed):
            raise NotTaken(answer)
        written = rows.write_down(answer)
        self.batch.documents[case.id] = (answer.case, written.case)
        self.batch.log(rows.log_row(fact, seen, agreed.hash, answer, written, self.batch.now))
        self._keep_terms(agreed)
        self._take_over(held, case, answer, written)
        if is_first_answer(case, fact):
            waited = (fact.occurred_at - case.opened_at).total_seconds()
            self.batch.out.news.append(("first_response_seconds", (), waited))
        yield answer
        for kind in answer.links:
            yield from self._link(held, answer.case, kind, fact)

    def _keep_terms(self, agreed: Agreed) -> None:
        """Stored with the first decision that looked at them."""
        terms = self.batch.out.terms
        if all(row["hash"] != agreed.hash for row in terms):
            row = self.world.terms.row(agreed, to_micros(self.batch.now))
            terms += [row] if row else []

    def _link(self, held: Held, case: Case, kind: str, fact: Fact) -> Iterator[Decision]:
        """A case of another kind beside this one, opened by the same fact."""
        playbook = self.world.playbooks.current.get((case.marketplace, kind))
        if playbook is None or not opens(playbook, fact):
            why = f"a linked {kind} was to be opened on {fact.kind}, which no playbook does"
            now = self.batch.now
            task = rows.own_task("conflict", why, case.account, fact.observed_at, now, case.id, kind)
            self.open_own_task(task, fact, case)
            return
        yield from self._open(held, playbook, fact, case.external_id, (case.id,))

    def _take_over(self, held: Held, before: Case, decision: Decision, written: rows.Written) -> None:
        """Everything a decision asks for, into the rows to be written."""
        case, out, now = decision.case, self.batch.out, self.batch.now
        self.batch.put_case(held, case)
        self.batch.stuck.discard(case.id)
        held.order = _with_open(decision.order, case)
        out.changed.append(case.id)
        place = {"account": case.account, "marketplace": case.marketplace, "order_id": case.order_id}
        out.tasks += [rows.task_row(task, **place, case_id=case.id) for task in decision.opened_tasks]
        out.closed_tasks += decision.closed_tasks
        partition = ids.partition_of(case.account, case.order_id, self.world.partitions)
        out.outbound += rows.outbound_rows(decision, written, partition, now)
        if not decision.no_op:
            body = views.case_json(case, held.order)
            out.case_events.append(rows.case_event_row(decision, what(decision), body, partition, now))
        self._count_changes(before, decision)

    def _count_changes(self, before: Case, decision: Decision) -> None:
        case = decision.case
        was = None if before.state == BEFORE else before
        if was is None or was.phase != case.phase:
            for each, delta in ((was, -1), (case, 1)):
                if each is not None:
                    self._count("cases", delta, each.marketplace, each.kind, each.phase)
        risked, risk = rows.at_risk(was) if was is not None else None, rows.at_risk(case)
        for money, delta in ((risked, -1), (risk, 1)) if risked != risk else ():
            if money is not None:
                self._count("money_at_risk", delta * money.minor, case.marketplace, money.currency)
        was_due = was.deadline_at if was is not None else None
        if was_due != case.deadline_at:
            self.batch.out.deadlines.append((was_due, case.deadline_at))
        if not case.is_open and (was is None or was.is_open):
            ends = (case.outcome or "none", case.liability or "none")
            self.batch.out.news.append(("case_outcomes", (case.marketplace, case.kind, *ends), 1))
        missed = sum(effect.do == "miss" for effect in decision.effects)
        if missed:
            self.batch.out.news.append(("deadlines_missed", (), missed))

    def _count(self, name: str, delta: int, *labels: str) -> None:
        self.batch.out.counts.append((name, "\x1f".join(labels), delta))

    def _repeated(self, held: Held, fact: Fact) -> bool:
        """Whether it was here before. The same id with other content is put before a person, and not applied."""
        known = dict(self.batch.applied.get((fact.account, fact.id), {}))
        for waiting in held.order.waiting:
            if waiting.id == fact.id:
                known[ORPHAN_CASE] = rows.fact_hash(waiting)
        if not known:
            return False
        content = rows.fact_hash(fact)
        if any(kept != content for kept in known.values()):
            case = next((held.cases[id] for id in known if id in held.cases), None)
            why = f"a {fact.kind} came again under the same id with other content and was not applied"
            now = self.batch.now
            task = rows.own_task("conflict", why, fact.account, fact.observed_at, now, fact.id, content)
            self.open_own_task(task, fact, case)
        return True

    def _log_without_case(self, fact: Fact) -> None:
        self.batch.log(rows.order_log_row(fact, self.batch.now))


def what(decision: Decision) -> str:
    """The last word of a case event's routing key."""
    if decision.from_state == BEFORE:
        return "opened"
    if decision.to_state == decision.from_state:
        return "updated"
    return "moved" if decision.case.is_open else "closed"


def _set_waiting(held: Held, facts: Iterable[Fact]) -> None:
    held.order = msgspec.structs.replace(held.order, waiting=tuple(facts))


def _with_open(order: Order, case: Case) -> Order:
    """The order with this case among its open ones, or no longer."""

    claim = case.is_open and is_claim(case.kind, case.facts)
    cases = _noted(order.open_cases, case.id, case.is_open)
    claims = _noted(order.open_claims, case.id, claim)
    if (cases, claims) == (order.open_cases, order.open_claims):
        return order
    return msgspec.structs.replace(order, open_cases=cases, open_claims=claims)


def _noted(ids: tuple[str, ...], own: str, there: bool) -> tuple[str, ...]:
    others = tuple(id for id in ids if id != own)
    return (*others, own) if there else others


def _refunds(case: Case) -> bool:
    """Whether a refund of this case is on its way."""
    return any(e.name == "refund" and e.status != "awaiting_approval" for e in case.errands.values())


def is_first_answer(before: Case, fact: Fact) -> bool:
    """Whether this is the first thing that went out on a case."""
    sent = ("message.sent", "act.sent")
    return fact.kind in ERRAND_RESULTS and fact.kind in sent and not any(_seen(before, kind) for kind in sent)


def _seen(case: Case, kind: str) -> bool:
    return f"{kind.replace('.', '_')}_at" in case.facts
