"""Guards: CEL text over flat names. Compiled once per text; only the names it uses are passed."""

from functools import lru_cache
from typing import Any

import cel

from services.policy.core.decision import Rejected
from services.policy.core.names import for_guard
from services.policy.core.working import Working


class GuardFault(Exception):
    """The guard does not compile, compares the incomparable, or gives no truth value."""


@lru_cache(maxsize=4096)
def compiled(text: str) -> tuple[Any, tuple[str, ...]]:
    """The program and the names it uses. Raises GuardFault."""
    try:
        program = cel.compile(text)
    except Exception as fault:  # the library raises what its parser raises
        raise GuardFault(str(fault).partition("\n")[0]) from fault
    return program, tuple(program.variables())


def evaluate(text: str, work: Working) -> bool:
    """Raises GuardFault."""
    try:
        values = [for_guard(work, name) for name in compiled(text)[1]]
    except Exception as fault:
        raise GuardFault(str(fault).partition(".")[0]) from fault
    return _verdict(text, *values)


@lru_cache(maxsize=2048, typed=True)
def _verdict(text: str, *values: Any) -> bool:
    """The same values give the same verdict: most guards ask for a few words and numbers, over and over."""
    program, names = compiled(text)
    try:
        result = program.execute(dict(zip(names, values, strict=True)))
    except Exception as fault:
        raise GuardFault(str(fault).partition(".")[0]) from fault
    if not isinstance(result, bool):
        raise GuardFault("gives no truth value")
    return result


def holds(work: Working, rule: str, text: str | None, *, quiet: bool = False) -> bool:
    """Whether an optional guard lets its row fire; a refusal is noted, an error opens a `conflict` task."""
    if text is None:
        return True
    try:
        if evaluate(text, work):
            return True
        why = "false"
    except GuardFault:
        why = "error"
    if not quiet:
        work.rejected.append(Rejected(rule=rule, guard=text, why="error" if why == "error" else "false"))
        if why == "error":
            _conflict(work, rule)
    return False


def _conflict(work: Working, rule: str) -> None:
    from services.policy.core.tasks import conflict

    conflict(work, f"The guard of {rule} could not be decided")
