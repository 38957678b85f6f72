"""Clocks, ladders, evidence lists, fields: figures with their source, spans that make sense, no loop of zero length."""

import re
from datetime import time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from services.policy.core.check_chart import spread
from services.policy.core.check_rows import Rows
from services.policy.core.clocks import known_calendar
from services.policy.core.findings import Findings, Place
from services.policy.core.names import TIMES, types
from shared.domain.case import FIELDS, REASONS
from shared.domain.errands import ACTS
from shared.domain.playbook import ClockRule, Effects, Ladder
from shared.durations import parse_duration

_RESERVED = frozenset(
    {"refunds", "evidence", "evidence_files", "evidence_given", "due_from", "state_entered_at", "ladder_waiting"}
)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_MONEY_RUNGS = ("part_refund", "coupon")


def check(found: Findings) -> None:
    for rule in found.playbook.clocks.values():
        _clock(found, rule)
    for name, state in found.playbook.states.items():
        for clock in state.clocks:
            if clock not in found.playbook.clocks:
                found.fault(state.line, f"unknown clock `{clock}`", name)
    for ladder in found.playbook.ladders.values():
        _ladder(found, ladder)
    _evidence(found)
    _fields(found)
    _loops(found)


def _clock(found: Findings, rule: ClockRule) -> None:
    where = sorted(found.running_in(rule.name))
    state = where[0] if where else ""

    def fault(text: str) -> None:
        found.fault(rule.line, f"clock {rule.name}: {text}", state)

    if not _NAME.fullmatch(rule.name):
        fault("a name is lower case letters, digits and _")
    if not where:
        fault("nothing arms it")
    if not rule.source.strip():
        fault("no source for the figure")
    if rule.read is None:
        fault("no date on which the source was read")
    for text in (*_span(rule), *_zone(rule), *_times(found, rule), *_margin(rule)):
        fault(text)


def _span(rule: ClockRule) -> list[str]:
    spans = {"days": rule.days, "hours": rule.hours, "business_days": rule.business_days}
    given = {name: value for name, value in spans.items() if value is not None}
    faults = [f"{name} is negative" for name, value in given.items() if value < 0]
    if len(given) > 1:
        faults.append(f"takes one of {', '.join(given)}")
    if not given and rule.platform is None:
        faults.append("no days, hours or business_days, and no figure of the marketplace")
    if rule.business_days is not None and rule.calendar is None:
        faults.append("business_days need a calendar")
    if rule.calendar not in (None, "terms") and not known_calendar(rule.calendar or ""):
        faults.append(f"unknown calendar `{rule.calendar}`")
    return faults


def _zone(rule: ClockRule) -> list[str]:
    faults = []
    if rule.zone != "account":
        try:
            ZoneInfo(rule.zone)
        except (KeyError, ValueError, OSError):
            faults.append(f"unknown zone `{rule.zone}`")
    if rule.at is not None:
        try:
            good = bool(re.fullmatch(r"\d\d:\d\d", rule.at)) and time.fromisoformat(rule.at) is not None
        except ValueError:
            good = False
        faults += [] if good else [f"`at: {rule.at}` is no time of day"]
    return faults


def _times(found: Findings, rule: ClockRule) -> list[str]:
    known = types(found.playbook, {})
    faults = []
    for name in filter(None, (rule.after, rule.platform)):
        if name not in known:
            faults.append(f"counts from unknown field `{name}`")
        elif known[name] != "time" or name == "now":
            faults.append(f"counts from `{name}`, which is no time of the case")
    return faults


def length(rule: ClockRule) -> timedelta:
    return timedelta(days=(rule.days or 0) + (rule.business_days or 0), hours=rule.hours or 0)


def _margin(rule: ClockRule) -> list[str]:
    try:
        margin = parse_duration(rule.margin)
    except ValueError:
        return [f"margin `{rule.margin}` is no duration"]
    faults = []
    if length(rule) and margin >= length(rule):
        faults.append("its margin is as long as the clock itself, or longer")
    if rule.deadline and not rule.planned:
        faults.append("a deadline needs a planned default act, message or task")
    if rule.planned and not margin and rule.deadline:
        faults.append("what is planned needs a margin before the deadline")
    if margin and not rule.planned:
        faults.append("a margin with nothing planned")
    return faults + ["a planned row brings nothing about" for row in rule.planned if row.effects == Effects()]


def _ladder(found: Findings, ladder: Ladder) -> None:
    used = [place.state for place in found.places() if place.effects.ladder == ladder.name]
    state = used[0] if used else ""
    if not used:
        found.fault(ladder.line, f"ladder {ladder.name}: nothing offers it")
    if not ladder.rungs:
        found.fault(ladder.line, f"ladder {ladder.name}: no rung", state)
    for reason in ladder.reasons:
        if reason not in REASONS:
            found.fault(ladder.line, f"ladder {ladder.name}: unknown reason `{reason}`", state)
    for n, rung in enumerate(ladder.rungs, 1):
        head = f"ladder {ladder.name}, rung {n}: "
        money = rung.remedy in _MONEY_RUNGS
        if money and rung.percent is None:
            found.fault(rung.line, f"{head}{rung.remedy} needs a percent", state)
        if rung.percent is not None and not (money and 1 <= rung.percent <= 100):
            found.fault(rung.line, f"{head}percent {rung.percent} is not 1 to 100 of a money remedy", state)
        _ceiling(found, rung.ceiling, rung.line, head, state)
        _wait(found, rung.wait, rung.line, head, state)
        if rung.tell is not None:
            place = Place(Effects(tell=(rung.tell,)), state, rung.line, tuple(filter(None, used[:1])))
            Rows(found).effects(place)


def _ceiling(found: Findings, ceiling: str | None, line: int, head: str, state: str) -> None:
    if ceiling is not None and found.settings.get(ceiling, _unknown(found)) != "money":
        found.fault(line, f"{head}ceiling `{ceiling}` is no money setting", state)


def _unknown(found: Findings) -> str:
    """Settings nobody told the checker of may be anything."""
    return "money" if found.known.settings is None else "none"


def _wait(found: Findings, wait: str, line: int, head: str, state: str) -> None:
    try:
        good = parse_duration(wait) > timedelta(0)
    except ValueError:
        good = False
    if not good:
        found.fault(line, f"{head}wait `{wait}` is no duration above zero", state)


def _evidence(found: Findings) -> None:
    for reason, items in found.playbook.evidence.items():
        line = found.line("evidence", reason)
        if reason != "default" and reason not in REASONS:
            found.fault(line, f"evidence for unknown reason `{reason}`")
        whats = [item.what for item in items]
        for what in sorted({what for what in whats if whats.count(what) > 1}):
            found.fault(line, f"evidence {what} stands twice for {reason}")


def _fields(found: Findings) -> None:
    taken = {**FIELDS, **types(msgspec.structs.replace(found.playbook, fields={}), {}), **TIMES}
    for name in found.playbook.fields:
        line = found.line("fields", name)
        if name in taken or name in _RESERVED:
            found.fault(line, f"field `{name}` exists already")
        elif not _NAME.fullmatch(name) or name.startswith(("param_", "setting_", "due_", "ladder_left_")):
            found.fault(line, f"field `{name}`: not a name a field may have")
    for act in found.playbook.autonomy:
        if act not in ACTS:
            found.fault(found.line("autonomy", act), f"autonomy of unknown act `{act}`")


def _loops(found: Findings) -> None:
    """Clocks that follow one another round without time passing: those of no length, and those that count from a moment
    that stays where it is (set again they are due at once)."""
    onward: dict[str, set[str]] = {name: set() for name in found.playbook.states}
    again: dict[str, set[str]] = {}
    for where, row in found.rows():
        kind, _, clock = row.fact.partition(":")
        rule = found.playbook.clocks.get(clock)
        if kind != "timer.elapsed" or rule is None:
            continue
        for name in [where] if where else sorted(found.running_in(clock)):
            if row.to is not None and not _passes(rule):
                onward[name] |= set(found.tos(row, name))
            elif row.to is None:
                stuck = (armed for armed in row.effects.arm if not _passes(found.playbook.clocks.get(armed)))
                again.setdefault(f"{name} {clock}", set()).update(f"{name} {armed}" for armed in stuck)
    text = "a loop of clocks of zero length: they fire again without time passing"
    for name in found.open_states:
        if name in spread(onward[name], onward):
            found.fault(found.playbook.states[name].line, text, name)
    for place, armed_by_it in again.items():
        name, _, clock = place.partition(" ")
        if place in spread(armed_by_it, again):
            found.fault(found.playbook.states[name].line, f"{text} ({clock} is set again while the case stays)", name)


def _passes(rule: ClockRule | None) -> bool:
    """Whether time passes each time this clock is set: it counts from then on, and has a length."""
    return rule is None or (rule.after == "state_entered_at" and bool(length(rule)))
