"""Clocks: when they are due, arming, cancelling, and what their elapsing means. Pure arithmetic over the account's terms."""

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from services.policy.core.decision import View
from services.policy.core.guards import holds
from services.policy.core.names import looked_up, moment
from services.policy.core.tasks import conflict
from services.policy.core.working import Working, looking
from shared.domain.case import Case, Clock, Planned
from shared.domain.playbook import ClockRule, Effects, Playbook, Terms
from shared.durations import parse_duration

LATE = timedelta(hours=1)
"""Noticed later than this a clock counts as late; a restart or a short outage does not."""
_SATURDAY = 5
_FARTHEST = timedelta(days=3660)

Origin = Literal["platform", "rule", "default"]


class ClockFault(Exception):
    """The due time cannot be computed: no calendar, or beyond what a clock can show."""


@lru_cache(maxsize=64)
def _calendar(country: str) -> Any:
    import holidays

    try:
        return holidays.country_holidays(country)
    except (NotImplementedError, KeyError) as fault:
        raise ClockFault(f"no holiday calendar of {country}") from fault


def known_calendar(country: str) -> bool:
    try:
        _calendar(country)
    except ClockFault:
        return False
    return True


def _working(day: datetime, country: str | None) -> bool:
    if country is None:
        return day.weekday() < _SATURDAY
    return bool(_calendar(country).is_working_day(day.date()))


def _business_days(local: datetime, count: int, country: str | None) -> datetime:
    """`count` working days later at the same time of day; zero: today, or the next working day."""
    left, day = count, local
    while left > 0 or not _working(day, country):
        day += timedelta(days=1)
        left -= _working(day, country)
    return day


def due_after(rule: ClockRule, base: datetime, terms: Terms) -> datetime:
    """When the rule's span from `base` is over, UTC. Days are calendar days of the zone: 23 to 25 hours long.

    Raises ClockFault. A time of day the zone skips is read with the offset before the change.
    """
    try:
        zone = ZoneInfo(terms.time_zone if rule.zone == "account" else rule.zone)
        country = terms.calendar if rule.calendar == "terms" else rule.calendar
        local = (base + timedelta(hours=rule.hours or 0)).astimezone(zone)
        local += timedelta(days=rule.days or 0)
        if rule.business_days is not None:
            local = _business_days(local, rule.business_days, country)
        if rule.at is not None:
            local = _at(local, time.fromisoformat(rule.at))
        return local.astimezone(UTC)
    except (OverflowError, ValueError, KeyError, OSError) as fault:
        raise ClockFault(f"{rule.name}: no such moment") from fault


def _at(local: datetime, wanted: time) -> datetime:
    moved = local.replace(hour=wanted.hour, minute=wanted.minute, second=0, microsecond=0, fold=0)
    return moved if moved >= local else moved + timedelta(days=1)


def _due(rule: ClockRule, work: Working, *, anew: bool) -> tuple[datetime, Origin] | None:
    """Due time and where it comes from; None while the field it counts from is not known."""
    told = moment(work, rule.platform) if rule.platform else None
    if told is not None and not (anew and told <= work.now):
        return told, "platform"
    base = work.now if anew and rule.after == "state_entered_at" else moment(work, rule.after)
    return None if base is None else (due_after(rule, base, work.terms), rule.origin)


def arm(work: Working, name: str, *, anew: bool = False) -> None:
    """Sets a clock of the playbook (again). Not yet possible, or not computable: left unarmed, the latter with a task.

    `anew`: by a row's own `arm`; what counts from the entry into the state then counts from now.
    """
    rule = work.playbook.clocks.get(name)
    if rule is None:
        return
    try:
        found = _due(rule, work, anew=anew)
        if found is None:
            return
        due_at, origin = found
        if abs(due_at - work.now) > _FARTHEST:
            raise ClockFault(f"{name}: {due_at.year} is not a likely due time")
        act_at = _act_at(rule, due_at, work.now)
    except ClockFault as fault:
        conflict(work, f"Clock {name} cannot be set: {fault}")
        return
    _set(work, name, due_at, origin, rule, act_at)


def _set(work: Working, name: str, due_at: datetime, origin: Origin, rule: ClockRule, act_at: datetime | None) -> None:
    start(
        work,
        Clock(
            name=name,
            due_at=due_at,
            generation=0,
            origin=origin,
            deadline=rule.deadline,
            late=rule.late,
            act_at=act_at,
            planned=_preview(rule, work) if act_at else None,
            armed_at=work.now,
        ),
    )


def start(work: Working, clock: Clock) -> None:
    """Puts a clock on the case under its next generation, unless the same one already runs."""
    running = work.clocks.get(clock.name)
    if running is not None and (running.due_at, running.origin) == (clock.due_at, clock.origin):
        return
    generation = work.generations.get(clock.name, 0) + 1
    work.generations[clock.name] = generation
    work.clocks[clock.name] = msgspec.structs.replace(clock, generation=generation)
    work.due[clock.name] = clock.due_at
    work.effect("arm", clock.name, due_at=clock.due_at, origin=clock.origin)


def _act_at(rule: ClockRule, due_at: datetime, now: datetime) -> datetime | None:
    """The margin before the due time; where less than that is left, half of what is left."""
    if not rule.planned:
        return None
    try:
        at = due_at - parse_duration(rule.margin)
    except (ValueError, OverflowError) as fault:
        raise ClockFault(f"{rule.name}: bad margin") from fault
    return at if at > now else now + max(due_at - now, timedelta(0)) / 2 if due_at > now else due_at


def cancel(work: Working, name: str) -> None:
    clock = work.clocks.pop(name, None)
    if clock is not None:
        work.effect("cancel", name, due_at=clock.due_at)


def enter(work: Working, names: tuple[str, ...]) -> None:
    """The state's clocks: those it does not name are cancelled, those that run on are kept, the rest is armed."""
    for name in [name for name in work.clocks if name not in names]:
        cancel(work, name)
    for name in names:
        if name not in work.clocks:
            arm(work, name)


def refresh(work: Working) -> None:
    """Sets anew those clocks of the present state that count from what this decision changed."""
    state = work.chart
    if state is None or not work.changed or not work.is_open:
        return
    for name in sorted({*state.clocks, *work.clocks}):
        rule = work.playbook.clocks.get(name)
        if rule is not None and name not in work.due and ({rule.after, rule.platform} & work.changed):
            arm(work, name)


def _preview(rule: ClockRule, work: Working) -> Planned | None:
    for n, row in enumerate(rule.planned):
        if holds(work, f"clock/{rule.name}#{n + 1}", row.when, quiet=True):
            return planned_of(row.effects, work)
    return None


def planned_of(effects: Effects, work: Working) -> Planned | None:
    """What a planned row does first, in the API's words, its parameters looked up as of now."""
    if effects.act:
        return Planned(
            effects.act[0].act, {name: looked_up(work, given) for name, given in effects.act[0].params.items()}
        )
    if effects.tell:
        return Planned("message", {"purpose": effects.tell[0].purpose})
    if effects.task:
        return Planned("task", {"kind": effects.task[0].task, "reason": effects.task[0].reason})
    return Planned("ladder", {"ladder": effects.ladder}) if effects.ladder else None


def elapsed(work: Working) -> tuple[Clock, bool] | None:
    """The clock a `timer.elapsed` is about, and whether its margin (True) or its due time (False) has come.

    None: cancelled, armed again since, or not yet due.
    """
    data = work.fact.data
    clock = work.clocks.get(str(data.get("clock", "")))
    if clock is None or clock.generation != data.get("generation") or work.now < clock.next_at:
        return None
    margin = data.get("moment") == "margin"
    if margin and (clock.acted or clock.act_at is None):
        return None
    if not margin and work.now < clock.due_at:
        return None
    if margin:
        work.clocks[clock.name] = msgspec.structs.replace(clock, acted=True)
    else:
        del work.clocks[clock.name]
    return clock, margin


def acted_since(work: Working, clock: Clock) -> bool:
    """Somebody acted since it was set: what is planned will not be done."""
    if work.acted_at is not None and work.acted_at >= clock.armed_at:
        return True
    under_way = ("planned", "held", "sending", "sent", "in_doubt")
    acts = (errand for errand in work.errands.values() if errand.what == "act" and not errand.withdrawing)
    return any(errand.status in under_way and errand.planned_at >= clock.armed_at for errand in acts)


def deadlines(case: Case, playbook: Playbook, view: View) -> list[dict[str, Any]]:
    """The API's view of the armed clocks, earliest first: `{name, due_at, origin, act_at, planned}`; moments aware UTC."""
    if not case.is_open:
        return []
    work, found = looking(playbook, View(case=case, order=view.order, terms=view.terms)), []
    for clock in sorted(case.clocks.values(), key=lambda c: (c.due_at, c.name)):
        rule = playbook.clocks.get(clock.name)
        waiting = clock.act_at is not None and not clock.acted and not acted_since(work, clock)
        planned = (_preview(rule, work) if rule else clock.planned) if waiting else None
        found.append(
            {
                "name": clock.name,
                "due_at": clock.due_at,
                "origin": clock.origin,
                "act_at": clock.act_at if planned else None,
                "planned": None if planned is None else {"do": planned.do, "params": planned.params},
            }
        )
    return found
