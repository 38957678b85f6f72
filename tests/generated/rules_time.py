"""What must hold of clocks and of the people and plans behind them."""

from collections.abc import Iterator

from services.policy.core.decision import BEFORE
from shared.domain.case import Clock
from tests.generated.judge import Memory, Seen, rule

_BRINGS = frozenset({"plan_act", "plan_message", "ask_approval", "open_task"})


@rule
def an_open_case_has_a_clock_or_a_task_and_an_ended_one_no_clock(seen: Seen, memory: Memory) -> Iterator[str]:
    case = seen.case
    if case.state == BEFORE:
        yield "no state"
    if case.is_open and not case.clocks and not case.tasks:
        yield f"{case.state} lies unattended"
    if case.is_open and not seen.terms.closed and not (seen.book.states[case.state].clocks or case.tasks):
        yield f"{case.state} has nobody who looks at it"
    if not case.is_open and case.clocks:
        yield f"{case.state} is an end, {sorted(case.clocks)} run on"


@rule
def each_deadline_of_ours_has_a_planned_act_before_it(seen: Seen, memory: Memory) -> Iterator[str]:
    for clock in seen.case.clocks.values():
        if clock.deadline and (clock.act_at is None or clock.act_at > clock.due_at):
            yield f"{clock.name} in {seen.case.state}"


def _clock(seen: Seen) -> Clock | None:
    """The clock that rang and was heard."""
    data = seen.fact.data
    clock = seen.before.clocks.get(str(data.get("clock")))
    heard = seen.fact.kind == "timer.elapsed" and not seen.decision.no_op
    return clock if heard and clock is not None and clock.generation == data.get("generation") else None


@rule
def no_clock_rings_early_twice_or_after_it_is_over(seen: Seen, memory: Memory) -> Iterator[str]:
    if seen.fact.kind != "timer.elapsed" or seen.decision.no_op:
        return
    clock, data = _clock(seen), seen.fact.data
    if clock is None:
        yield f"{data['clock']} is over"
        return
    if seen.now < (clock.due_at if data["moment"] == "due" else clock.next_at):
        yield f"{clock.name} before {clock.next_at}"
    ring = (seen.case.id, clock.name, clock.generation, data["moment"])
    if ring in memory.rung:
        yield f"{clock.name} twice"
    memory.rung.add(ring)


@rule
def at_the_margin_something_is_done_or_somebody_told(seen: Seen, memory: Memory) -> Iterator[str]:
    clock = _clock(seen)
    if clock is None or seen.fact.data["moment"] != "margin":
        return
    memory.margins.add((seen.case.id, clock.name, clock.generation))
    if (seen.decision.rule or "").endswith("/acted"):
        if not _acted(seen, clock):
            yield f"{clock.name}: nobody acted since it was set"
    elif not any(effect.do in _BRINGS for effect in seen.decision.effects) and not seen.case.tasks:
        yield f"{clock.name}: nothing was done and nobody told"


def _acted(seen: Seen, clock: Clock) -> bool:
    """Something was sent since it was set, or is on its way."""
    sent = seen.before.acted_at is not None and seen.before.acted_at >= clock.armed_at
    live = [
        e
        for e in seen.before.errands.values()
        if e.what == "act" and not e.withdrawing and e.planned_at >= clock.armed_at
    ]
    return sent or any(errand.status != "awaiting_approval" for errand in live)


@rule
def no_deadline_is_missed_before_what_was_planned_was_tried(seen: Seen, memory: Memory) -> Iterator[str]:
    for effect in seen.decision.effects:
        clock = seen.before.clocks.get(effect.name)
        if effect.do == "miss" and clock is not None:
            tried = (seen.case.id, clock.name, clock.generation) in memory.margins
            if not tried and clock.armed_at < clock.due_at:
                yield f"{clock.name} of {clock.due_at}"


@rule
def a_missed_deadline_is_seen_by_somebody(seen: Seen, memory: Memory) -> Iterator[str]:
    """The case ended, a person has a task, or an act of ours is on its way."""
    missed = [effect.name for effect in seen.decision.effects if effect.do == "miss"]
    if missed and seen.case.is_open and not seen.case.tasks and not seen.case.errands and not seen.case.clocks:
        yield f"{missed[0]} in {seen.case.state}"
