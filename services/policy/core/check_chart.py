"""The chart as a whole: every state reached, every state with a way out, every fact that must be answered answered."""

from collections.abc import Iterable

from services.policy.core.actions import ACTION_NAMES
from services.policy.core.findings import EVERYWHERE, Findings
from services.policy.core.ladder import PREFIX
from shared.domain.case import KINDS as CASE_KINDS
from shared.domain.case import LIABILITIES, OUTCOMES, PHASES
from shared.domain.facts import ERRAND_RESULTS, KINDS
from shared.domain.playbook import TO_STATUS, Row, State

_ALWAYS = ("case.closed", "refund.issued")
MUST_ANSWER: dict[str, tuple[str, ...]] = {
    "order_care": (*_ALWAYS, "order.cancelled"),
    "cancellation": (*_ALWAYS, "order.cancelled", "order.cancel_withdrawn"),
    "return": (*_ALWAYS, "return.cancelled"),
    "refund": _ALWAYS,
    "dispute": ("refund.issued", "dispute.withdrawn", "dispute.resolved"),
    "claim": ("refund.issued", "dispute.withdrawn", "dispute.resolved"),
    "review": ("case.closed",),
}
"""Money and end facts that each open state answers by name, itself or through `everywhere`; beside them each clock's end."""
_NO_OPENING = frozenset({"timer.elapsed", "operator.acted"}) | ERRAND_RESULTS


def check(found: Findings) -> None:
    _head(found)
    for state in found.playbook.states.values():
        _state(found, state)
    for where, row in found.rows():
        _target(found, where, row)
        _fact(found, where, row)
    _statuses(found)
    _reached(found)
    _ways_out(found)
    _answers(found)


def _head(found: Findings) -> None:
    playbook = found.playbook
    if playbook.kind not in CASE_KINDS:
        found.fault(found.line("playbook"), f"unknown kind `{playbook.kind}`")
    if not playbook.states:
        found.fault(found.line("states"), "no states")
    if not playbook.opens_on:
        found.fault(found.line("opens_on"), "no fact opens a case: `opens_on` is empty")


def _state(found: Findings, state: State) -> None:
    def fault(text: str) -> None:
        found.fault(state.line, text, state.name)

    if state.phase not in PHASES:
        fault(f"unknown phase `{state.phase}`")
    if state.outcome is not None and state.outcome not in OUTCOMES:
        fault(f"unknown outcome `{state.outcome}`")
    if state.liability is not None and state.liability not in LIABILITIES:
        fault(f"unknown liability `{state.liability}`")
    if state.is_end:
        if state.clocks or state.enter.arm:
            fault("an end state has clocks")
        if state.rows or state.otherwise:
            fault("an end state has moves")
        if state.outcome is None:
            fault("an end state has no outcome")
    elif state.outcome is not None or state.liability is not None:
        fault("an open state has an outcome or a liability")


def _target(found: Findings, where: str, row: Row) -> None:
    opening = row in found.playbook.opens_on
    if row.to is None and opening:
        found.fault(row.line, f"{row.fact} opens a case but leads to no state", where)
    elif row.to == TO_STATUS and not found.playbook.statuses:
        found.fault(row.line, "`to: status` but the playbook has no `statuses`", where)
    elif row.to == TO_STATUS and opening and all(other.to in (None, TO_STATUS) for other in found.playbook.opens_on):
        found.fault(
            row.line, "`to: status` alone opens no case on an unknown status: one opening row names a state", where
        )
    elif row.to not in (None, TO_STATUS) and row.to not in found.playbook.states:
        found.fault(row.line, f"leads to unknown state `{row.to}`", where)


def _fact(found: Findings, where: str, row: Row) -> None:
    kind, _, about = row.fact.partition(":")
    if kind not in KINDS:
        found.fault(row.line, f"unknown fact `{kind}`", where)
    elif kind == "timer.elapsed":
        _timer(found, where, row, about)
    elif kind == "operator.acted":
        if about not in ACTION_NAMES:
            found.fault(row.line, f"unknown action `{about}`", where)
    elif about and kind not in ERRAND_RESULTS:
        found.fault(row.line, f"`{kind}` takes nothing after a colon", where)
    if row in found.playbook.opens_on and kind in _NO_OPENING:
        found.fault(row.line, f"`{row.fact}` cannot open a case", where)


def _timer(found: Findings, where: str, row: Row, clock: str) -> None:
    if clock.startswith(PREFIX) and clock.removeprefix(PREFIX) in found.playbook.ladders:
        return
    if clock not in found.playbook.clocks:
        found.fault(row.line, f"unknown clock `{clock}`", where)
    elif where != EVERYWHERE and where not in found.running_in(clock):
        found.fault(row.line, f"row can never be reached: clock {clock} does not run in this state", where)


def _statuses(found: Findings) -> None:
    met: dict[str, str] = {}
    for code, state in found.playbook.statuses.items():
        line = found.line("statuses", code)
        if state not in found.playbook.states:
            found.fault(line, f"status {code} maps to unknown state `{state}`")
        other = met.setdefault(code.strip().lower(), code)
        if other != code:
            found.fault(line, f"status {code} maps to two ends: it stands also as {other}")
    for code in sorted((found.known.statuses or frozenset()) - set(found.playbook.statuses)):
        found.fault(found.line("statuses"), f"status {code} of the marketplace maps to no state")


def edges(found: Findings) -> dict[str, set[str]]:
    """State -> the states its rows (and everywhere's) may lead to."""
    onward = {name: set[str]() for name in found.playbook.states}
    for where, row in found.rows():
        if row in found.playbook.opens_on:
            continue
        for name in [where] if where else found.open_states:
            onward[name] |= set(found.tos(row, name)) if row.to is not None else set()
    return onward


def spread(start: Iterable[str], onward: dict[str, set[str]]) -> set[str]:
    """All that is reached from `start`, itself included."""
    seen, waiting = set[str](), list(start)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += onward.get(name, ())
    return seen


def _reached(found: Findings) -> None:
    first = [row.to for row in found.playbook.opens_on if row.to in found.playbook.states]
    reached = spread([name for name in first if name], edges(found))
    for name, state in found.playbook.states.items():
        if name not in reached:
            found.fault(state.line, "unreachable state", name)


def _ways_out(found: Findings) -> None:
    backward = {name: set[str]() for name in found.playbook.states}
    for name, onward in edges(found).items():
        for to in onward:
            backward[to].add(name)
    ends = [name for name, state in found.playbook.states.items() if state.is_end]
    can_end = spread(ends, backward)
    for name in found.open_states:
        if name not in can_end:
            found.fault(found.playbook.states[name].line, "no way from this state to an end", name)


def _answers(found: Findings) -> None:
    """Money, deadline and end facts by name; without `otherwise: record` every fact the playbook answers anywhere."""
    playbook = found.playbook
    general = {row.fact for row in playbook.everywhere}
    named = {row.fact for where, row in found.rows() if where or row in playbook.everywhere}
    told = {fact for fact in named if fact.partition(":")[0] not in _NO_OPENING}
    for name in found.open_states:
        state = playbook.states[name]
        own = {row.fact for row in state.rows} | general
        for fact in MUST_ANSWER.get(playbook.kind, _ALWAYS):
            if fact not in own:
                found.fault(state.line, f"{fact} must be answered by name", name)
        for clock in sorted(c for c in playbook.clocks if name in found.running_in(c)):
            if f"timer.elapsed:{clock}" not in own:
                found.fault(state.line, f"timer.elapsed:{clock} must be answered by name", name)
        for fact in sorted(told - own) if not state.otherwise else ():
            if fact not in MUST_ANSWER.get(playbook.kind, _ALWAYS):
                found.fault(state.line, f"{fact} has no answer: add a row or `otherwise: record`", name)
        _attended(found, state)


def _attended(found: Findings, state: State) -> None:
    """An open state has a clock or a task with a due time, by itself or by every way into it."""
    enter = state.enter
    if state.clocks or enter.arm or enter.ladder or any(ask.when is None for ask in enter.task):
        return
    ways = [row for where, row in found.rows() if row.to is not None and state.name in found.tos(row, where)]
    for row in ways:
        own = row.effects
        if not (own.arm or own.ladder or any(ask.when is None for ask in own.task)):
            found.fault(state.line, "open state with neither a clock nor a task with a due time", state.name)
            return
