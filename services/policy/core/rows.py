"""Rows: which answers a fact, moving to a state, and carrying out effects."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.policy.core import clocks, errands, evidence, ladder, tasks
from services.policy.core.decision import BEFORE
from services.policy.core.guards import holds
from services.policy.core.names import looked_up
from services.policy.core.working import Working
from shared.clock import format_time
from shared.domain.case import LIABILITIES
from shared.domain.facts import ERRAND_RESULTS
from shared.domain.playbook import TO_STATUS, Effects, Row

OPENS = "case.reopened"
"""The one fact that takes a case out of an end: by the row of that name under `opens_on`."""


def keys(work: Working) -> tuple[str, ...]:
    """Under what a row may name the fact at hand: its kind, and kind:clock, kind:action or kind:errand."""
    fact = work.fact
    if fact.kind == "timer.elapsed":
        return (f"{fact.kind}:{fact.clock_name}",)
    if work.action is not None:
        return (f"{fact.kind}:{work.action}",)
    if fact.kind in ERRAND_RESULTS:
        return (f"{fact.kind}:{fact.data.get('name')}", fact.kind)
    return (fact.kind,)


def candidates(work: Working) -> list[Row]:
    """The rows for the fact at hand in the order they are tried: the state's own, then everywhere's."""
    wanted = keys(work)
    return [row for row in _scope(work) if row.fact in wanted]


def _scope(work: Working) -> Iterable[Row]:
    if work.state == BEFORE or (not work.is_open and work.fact.kind == OPENS):
        return work.playbook.opens_on
    state = work.chart
    if not work.is_open or state is None:
        return ()
    return (*state.rows, *work.playbook.everywhere)


def choose(work: Working, rows: list[Row]) -> Row | None:
    """The first row whose guard holds."""
    for row in rows:
        if holds(work, row.id, row.when):
            work.answer |= {"rule": row.id, "matched": row.when}
            return row
    return None


def carry_out(work: Working, row: Row) -> None:
    """Fields, move, clocks, effects; then what the state does on entry."""
    note(work, row.set)
    entered = move_to(work, _target(work, row))
    for name in row.effects.arm:
        clocks.arm(work, name, anew=True)
    effects(work, row.effects, row.id)
    state = work.chart
    if entered and state is not None:
        for name in state.enter.arm:
            clocks.arm(work, name, anew=True)
        effects(work, state.enter, f"{state.name}/enter")


def note(work: Working, fields: Mapping[str, Any]) -> None:
    """A row's `set`: literals, or the value of a name."""
    for name, given in fields.items():
        work.put(name, looked_up(work, given))


def _target(work: Working, row: Row) -> str | None:
    if row.to != TO_STATUS:
        return row.to
    code = work.fact.raw_code
    state = work.playbook.statuses.get(code or "")
    if state is None and code:
        reason = f"The marketplace's status {code[:80]} is not in the playbook"
        tasks.open_task(work, "unmapped", reason, tasks.soonest(work))
    return state


def _bearer(work: Working) -> str:
    """Whose loss it is where the playbook leaves it open: as told, else the seller's own money if any went back."""
    told = work.facts.get("funded_by")
    if told in LIABILITIES:
        return str(told)
    return "seller" if work.outcome in ("refunded", "part_refunded") else "none"


def move_to(work: Working, name: str | None) -> bool:
    """Whether the case came into another state. What was only true before is withdrawn and closed."""
    state = work.playbook.states.get(name or "")
    if state is None or state.name == work.state:
        return False
    work.state, work.phase, work.outcome = state.name, state.phase, state.outcome
    work.facts["state_entered_at"] = format_time(work.now)
    _forget_due(work)
    if state.is_end:
        work.liability = state.liability or _bearer(work)
    else:
        work.liability = None
    work.closed_at = work.now if state.is_end else None
    clocks.enter(work, () if state.is_end else state.clocks)
    tasks.close_untrue(work)
    errands.withdraw_untrue(work)
    return True


def news_mark(work: Working) -> str:
    """Facts of one reading of the marketplace share it."""
    fact = work.fact
    return str(fact.revision) if fact.revision is not None else format_time(fact.occurred_at)


def _forget_due(work: Working) -> None:
    """The marketplace's deadline was for the state now left, unless it came with the news that moved the case."""
    if work.facts.get("due_from") != news_mark(work):
        work.facts.pop("due_at", None)


def effects(work: Working, wanted: Effects, rule: str, *, urgent: bool = False) -> None:
    for do in wanted.act:
        errands.act(work, do, rule, urgent=urgent)
    for told in wanted.tell:
        errands.tell(work, told, rule, urgent=urgent)
    if wanted.ladder is not None:
        ladder.offer(work, wanted.ladder, rule)
    if wanted.evidence:
        evidence.request(work, rule)
    for ask in wanted.task:
        tasks.ask(work, ask, rule)
    if wanted.link is not None and wanted.link not in work.links:
        work.links.append(wanted.link)
        work.effect("link", wanted.link)
