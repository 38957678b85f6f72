"""The sandbox: a clock that only moves when told, and the wait until nothing is in flight. Everything else is the real thing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from fastapi import Body, Depends, FastAPI

from shared import problems
from shared.auth import require, sandbox_keys
from shared.clock import MICROSECOND, Clock, TestClock, format_time, monotonic
from shared.durations import parse_duration
from shared.errors import Invalid, Unavailable
from shared.service import Service

Poll = Callable[[], Awaitable[None]]
_LONGEST = 60.0
_STUCK = 1000
_QUIET_ROUNDS = 2


async def drain(services: Sequence[Service], longest: float = _LONGEST) -> None:
    """Returns when nothing is in flight and nothing is due by the clock. Unavailable after `longest` real seconds."""
    end, quiet, wait = monotonic() + longest, 0, 0.001
    while quiet < _QUIET_ROUNDS:
        for service in services:
            service.kick()
        await asyncio.sleep(wait)
        busy = [service.name for service in services if await service.busy()]
        quiet, wait = (0, min(wait * 1.5, 0.1)) if busy else (quiet + 1, wait)
        if monotonic() > end:
            raise Unavailable(f"still busy after {longest:.0f} s: {', '.join(busy)}")


async def advance(clock: TestClock, services: Sequence[Service], by: timedelta, poll: Poll | None = None) -> None:
    """Drains, then goes from one due moment to the next in time order, each handled with `now` = that moment.

    Polls missed on the way are made once, just before each stop, so that what the marketplace knows by then is known
    to us when the clock strikes; and once at the end.
    """
    await drain(services)
    target, stops = clock.now() + by, 0
    while (moment := await _next_due(services)) is not None and moment <= target:
        before = moment - MICROSECOND
        stops = stops + 1 if moment <= clock.now() else 0
        if stops > _STUCK:
            raise Unavailable("the clock does not get past one moment")
        clock.set(before if before > clock.now() else max(moment, clock.now()))
        await drain(services)
    clock.set(target)
    await drain(services)
    if poll is not None:
        await poll()
        await drain(services)


async def _next_due(services: Sequence[Service]) -> datetime | None:
    moments = [await service.next_due() for service in services]
    return min((m for m in moments if m is not None), default=None)


def application(clock: Clock, services: Sequence[Service], poll: Poll | None = None) -> FastAPI:
    """`/sandbox/clock`, `/sandbox/clock/advance`, `/sandbox/drain` over these services, with the sandbox's keys.

    `poll` asks every source to read once, now.
    """
    app = FastAPI(title="Amends sandbox", docs_url=None, redoc_url=None)
    app.state.keys = sandbox_keys()
    problems.install(app)
    turn = asyncio.Lock()
    act = [Depends(require("act"))]

    @app.get("/sandbox/clock", dependencies=[Depends(require("read"))])
    async def read_clock() -> dict[str, str]:
        return {"now": format_time(clock.now())}

    @app.post("/sandbox/clock/advance", dependencies=act)
    async def advance_clock(by: str = Body(embed=True)) -> dict[str, str]:
        if not isinstance(clock, TestClock):
            raise Invalid("only the sandbox's clock can be moved", code="no_test_clock")
        async with turn:
            await advance(clock, services, _duration(by), poll)
        return {"now": format_time(clock.now())}

    @app.post("/sandbox/drain", dependencies=act)
    async def drain_now() -> dict[str, str]:
        async with turn:
            await drain(services)
        return {"now": format_time(clock.now())}

    return app


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as fault:
        raise Invalid(str(fault), code="bad_duration") from fault
