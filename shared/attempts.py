"""How a channel's attempt ends: what a failed call means for the message or act. Every channel's answer comes from here.

`try: … except HttpFault as fault: return attempt_of(fault)`; where an act has several steps it raises `Stop` and is run by
`tried`.
"""

from collections.abc import Awaitable, Collection
from typing import Any

from shared.http import HttpFault, InDoubtFault, RefusedFault
from shared.ports import Assisted, Attempt, Done, InDoubt, NotSent, Refused

UNAUTHORISED = (401,)


class Stop(Exception):
    """The act ends here with this attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt


def attempt_of(fault: HttpFault, *, before: bool = False, account_wide: Collection[int] = UNAUTHORISED) -> Attempt:
    """`before`: it happened while reading or preparing, so the message or act itself never went out. `account_wide`: the
    statuses of a no that is meant for our credentials, whatever is asked."""
    if isinstance(fault, RefusedFault):
        return Refused(fault.why, account_wide=fault.status in account_wide)
    if isinstance(fault, InDoubtFault) and not before:
        return InDoubt(fault.why)
    return NotSent(fault.why, fault.retry_after)


async def tried(act: Awaitable[Any]) -> Attempt:
    """The end of an act: its own answer where it gives one (`Done`, `Assisted`), else that it is done."""
    try:
        done = await act
    except Stop as stop:
        return stop.attempt
    except HttpFault as fault:
        return attempt_of(fault)
    return done if isinstance(done, Done | Assisted) else Done()
