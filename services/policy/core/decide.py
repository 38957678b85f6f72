"""The corridor: one fact meets one case. Pure and total; every way into policy ends here."""

from datetime import datetime

import msgspec

from services.policy.core import clocks, ladder, news, operators, results, rows, tasks
from services.policy.core.allowed import allowed
from services.policy.core.decision import BEFORE, Answer, Decision, View
from services.policy.core.guards import holds
from services.policy.core.names import TIMES
from services.policy.core.working import Stop, Working
from shared.domain.case import Clock
from shared.domain.facts import ERRAND_RESULTS, Fact
from shared.domain.playbook import Playbook, Row


def decide(playbook: Playbook, view: View, fact: Fact, now: datetime) -> Answer:
    """What the case becomes and what is to be done. The same arguments give the same bytes.

    Only an operator's action is ever refused; every other fact is answered by a Decision.
    """
    work = Working(playbook, view, fact, now)
    try:
        return _corridor(work)
    except Stop as stop:
        return msgspec.structs.replace(stop.answer, allowed=allowed(playbook, view))


def _corridor(work: Working) -> Decision:
    if work.action is not None:
        operators.perform(work)
        news.stamp(work)
        return _close(work, answered=True)
    if work.fact.kind == "timer.elapsed":
        return _timer(work)
    if work.fact.kind in ERRAND_RESULTS:
        return _errand_result(work)
    if news.is_of_another_order(work):
        tasks.conflict(work, "News of this case names another order: nothing of it was taken over")
        return _close(work, answered=True)
    if news.is_stale(work):
        return work.finish(no_op=True, stale=True)
    if news.is_repeat(work):
        return work.finish(no_op=True)
    news.take_over(work)
    return _by_rows(work)


def _by_rows(work: Working) -> Decision:
    found = rows.candidates(work)
    row = rows.choose(work, found) or _opening(work)
    if row is not None:
        rows.carry_out(work, row)
    if work.state == BEFORE:
        rows.move_to(work, _first_state(work.playbook))
    return _close(work, answered=row is not None)


def _opening(work: Working) -> Row | None:
    """A case opened by hand, or by a fact whose rows do not hold, is answered by the first opening row there is."""
    if work.before.state != BEFORE or not work.playbook.opens_on:
        return None
    return work.playbook.opens_on[0]


def _first_state(playbook: Playbook) -> str | None:
    """Where a case begins whose opening row went by a status that nobody knows."""
    return next((row.to for row in playbook.opens_on if row.to in playbook.states), None)


def _errand_result(work: Working) -> Decision:
    errand = results.concerned(work)
    known = results.apply(work)
    if not known and work.fact.source == "channel":
        return work.finish(no_op=True)
    news.stamp(work)
    if errand is not None and errand.confirmed:  # the marketplace has told the outcome: the rows answered that
        return _close(work, answered=True)
    row = rows.choose(work, rows.candidates(work))
    if row is not None:
        rows.carry_out(work, row)
    else:
        results.unsent(work)
    return _close(work, answered=True)


def _timer(work: Working) -> Decision:
    found = clocks.elapsed(work) if work.is_open else None
    if found is None:
        return work.finish(no_op=True)
    clock, margin = found
    if margin:
        _at_margin(work, clock)
    else:
        _at_due(work, clock)
    return _close(work, answered=True)


def _at_margin(work: Working, clock: Clock) -> None:
    """Nobody acted: what was planned is done now. Too late for it, or nothing that can be done: a person is told."""
    rule = work.playbook.clocks.get(clock.name)
    name = f"clock/{clock.name}"
    if clocks.acted_since(work, clock):
        work.answer["rule"] = f"{name}/acted"
        return
    late = work.now >= clock.due_at or work.terms.closed
    for n, row in enumerate(() if rule is None or late else rule.planned):
        if holds(work, f"{name}#{n + 1}", row.when):
            work.answer |= {"rule": f"{name}#{n + 1}", "matched": row.when}
            before = len(work.effects)
            rows.effects(work, row.effects, f"{name}#{n + 1}", urgent=True)
            if any(effect.do in _BRINGS for effect in work.effects[before:]):
                rows.note(work, row.set)
                return
            break
    _at_risk(work, clock)


_BRINGS = frozenset({"plan_act", "plan_message", "ask_approval", "open_task"})


def _at_risk(work: Working, clock: Clock) -> None:
    reason = f"{clock.name} is due and nobody has acted"
    due_at = max(clock.due_at, work.now)
    tasks.open_task(work, "deadline_at_risk", reason, due_at, true_in=(work.state,))


def _at_due(work: Working, clock: Clock) -> None:
    if clock.deadline and (work.acted_at is None or work.acted_at < clock.armed_at):
        work.effect("miss", clock.name, due_at=clock.due_at)
    late = work.now - clock.due_at > clocks.LATE
    if late and clock.late == "skip":
        work.answer["rule"] = f"clock/{clock.name}/skipped"
        return
    if late and clock.late == "task":
        work.answer["rule"] = f"clock/{clock.name}/late"
        _at_risk(work, clock)
        return
    row = rows.choose(work, rows.candidates(work))
    if row is not None:
        rows.carry_out(work, row)
    elif clock.name.startswith(ladder.PREFIX):
        work.answer["rule"] = f"clock/{clock.name}/next"
        ladder.offer(work, clock.name.removeprefix(ladder.PREFIX), f"clock/{clock.name}")


def _close(work: Working, *, answered: bool) -> Decision:
    """What holds at the end of every decision: clocks follow what they count from, and no open case lies unattended."""
    clocks.refresh(work)
    state = work.chart
    if work.is_open and state is not None and not work.clocks and not work.tasks:
        reason = "Nothing is waited for here: look at the case"
        tasks.open_task(work, "answer_needed", reason, work.now + tasks.SOON)
    done = work.action is not None or work.fact.kind == "timer.elapsed" or work.fact.kind in ERRAND_RESULTS
    no_op = not done and not _anything(work)
    if not answered and state is not None and work.is_open and not state.otherwise:
        work.effect("unanswered", work.fact.kind)
    return work.finish(no_op=no_op)


def _anything(work: Working) -> bool:
    """Whether the decision changed more than the time at which such a fact was last seen."""
    before = work.before
    moved = (work.state, work.goods, work.money) != (before.state, before.goods, before.money)
    return moved or bool(work.effects) or bool(work.changed - TIMES.keys()) or work.errands != before.errands
