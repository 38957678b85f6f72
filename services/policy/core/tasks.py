"""Tasks: what a person must do, with a due time, the allowed answers and the reason."""

from datetime import datetime, timedelta
from typing import Any

from services.policy.core.guards import holds
from services.policy.core.working import Working
from shared.domain.case import OpenTask
from shared.domain.playbook import Ask
from shared.durations import parse_duration

SOON = timedelta(hours=24)
DONE = "done"
"""The answer every task that hangs on no errand takes: dealt with elsewhere."""


def open_task(
    work: Working,
    kind: str,
    reason: str,
    due_at: datetime,
    allowed: tuple[str, ...] = (DONE,),
    *,
    true_in: tuple[str, ...] | None = None,
    errand_id: str | None = None,
    prepared: dict[str, Any] | None = None,
) -> str:
    """Opens a task, or answers the one already open for the same thing. Returns its id."""
    for task in work.tasks.values():
        if (task.kind, task.reason, task.errand_id) == (kind, reason, errand_id):
            return task.id
    task = OpenTask(
        id=work.new_id("task"),
        kind=kind,
        reason=reason,
        due_at=due_at,
        allowed=allowed,
        true_in=true_in,
        errand_id=errand_id,
        prepared=prepared,
        opened_at=work.now,
    )
    work.tasks[task.id] = task
    work.opened.append(task)
    work.effect("open_task", kind, id=task.id, due_at=due_at, reason=reason)
    return task.id


def close_task(work: Working, task_id: str, why: str) -> None:
    task = work.tasks.pop(task_id, None)
    if task is not None:
        work.closed.append(task_id)
        work.effect("close_task", task.kind, id=task_id, why=why)


def close_for_errand(work: Working, errand_id: str, why: str, *, kinds: tuple[str, ...] = ()) -> None:
    for task in [t for t in work.tasks.values() if t.errand_id == errand_id and (not kinds or t.kind in kinds)]:
        close_task(work, task.id, why)


def close_untrue(work: Working) -> None:
    """Closes the tasks of states the case has left."""
    for task in [t for t in work.tasks.values() if t.true_in is not None and work.state not in t.true_in]:
        close_task(work, task.id, "no longer true")


def conflict(work: Working, reason: str) -> None:
    open_task(work, "conflict", reason, work.now + SOON)


def soonest(work: Working) -> datetime:
    """When a person should have looked: in 24 hours, or earlier where a deadline is nearer."""
    deadlines = [clock.next_at for clock in work.clocks.values() if clock.deadline and clock.next_at > work.now]
    return min([work.now + SOON, *deadlines])


def ask(work: Working, wanted: Ask, rule: str) -> None:
    """A playbook's task. Other answers than the listed actions: done."""
    if not holds(work, rule, wanted.when):
        return
    allowed = (*(name for name in wanted.allowed if name != DONE), DONE)
    true_in = None if wanted.always else (work.state,)
    open_task(work, wanted.task, wanted.reason, _due(work, wanted.due), allowed, true_in=true_in)


def _due(work: Working, due: str) -> datetime:
    clock = work.clocks.get(due)
    if clock is not None:
        return clock.due_at if clock.act_at is None or clock.acted else clock.act_at
    try:
        return work.now + parse_duration(due)
    except (ValueError, OverflowError):
        return soonest(work)
