"""One contestant up and running for one round, and the loads that are put on it, each checked for what got lost."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from bench import cpu, remote
from bench.contestant import ROOT, Contestant, Env
from bench.ground import Ground
from bench.load.pushes import SECRET
from bench.processes import Crew, crew
from tests.support.servers import free_port

CONNECTIONS = 64
_PATIENCE = 60.0
"""Seconds without progress after which what is missing counts as lost."""
_READY_WITHIN = 120.0
_LINGER = 0.3
"""Seconds after the last case in which a second message of one may still come."""
_PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Load:
    """What one load did. `void`: why it does not count; empty when all was accepted and recorded, once each."""

    count: int
    seconds: float
    """From the first request to the last case recorded."""
    cpu: dict[str, float]
    """CPU seconds of `app`, `postgres`, `rabbit`; and of the `driver`, which is not counted."""
    answers: list[float] = field(repr=False)
    """Seconds to the answer of each webhook; in the open loop from the planned moment."""
    travels: list[float] = field(repr=False)
    """Seconds from the same moment to the message's arrival at the sink."""
    late: list[float] = field(repr=False)
    void: str = ""

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_per_1000(self) -> float:
        return sum(spent for name, spent in self.cpu.items() if name != "driver") * 1000 / self.count

    def brief(self) -> dict[str, Any]:
        """Without the samples."""
        kept = {k: v for k, v in asdict(self).items() if k not in ("answers", "travels", "late")}
        return kept | {"cases_per_second": self.per_second, "cpu_per_1000": self.cpu_per_1000}


class Stage:
    """A contestant that is ready. Orders are numbered on from load to load."""

    def __init__(
        self, contestant: Contestant, env: Env, ground: Ground, running: Crew, driver: remote.Driver, first: int
    ) -> None:
        self.contestant, self.env, self.running = contestant, env, running
        self._driver = driver
        self._urls = list(contestant.webhook_urls(env))
        self._servers = {name: ground.pids(frozenset((name,))) for name in sorted(contestant.servers)}
        self._next, self._recorded = first, 0

    async def closed(self, count: int, connections: int = CONNECTIONS) -> Load:
        """As fast as it goes over so many connections."""
        return await self._load("closed", count, connections=connections)

    async def steady(self, count: int, rate: float) -> Load:
        """At a fixed rate, whatever it does."""
        return await self._load("steady", count, rate=rate)

    async def _load(self, what: str, count: int, **told: Any) -> Load:
        first, self._next = self._next, self._next + count
        before = self._spent()
        done = await self._driver.do(what, urls=self._urls, first=first, count=count, **told)
        stores = self.contestant.kind != "bare"
        void = await self._finished(first, count) if stores else ""
        ended, after = monotonic(), self._spent()
        void = _refused(done, count) or void or (await self._twice(first, count) if stores else "")
        travel = await self._driver.do("travel", first=first, count=count)
        spent = {name: after[name] - before[name] for name in after}
        return Load(count, ended - done["began"], spent, done["seconds"], travel["seconds"], done["late"], void)

    def _spent(self) -> dict[str, float]:
        app = {"app": cpu.seconds(self.running.pids), "driver": cpu.seconds([self._driver.pid])}
        return app | {name: cpu.seconds(pids) for name, pids in self._servers.items()}

    async def _finished(self, first: int, count: int) -> str:
        """Until the sink has seen them all and all are recorded; what is missing when nothing moves any more."""

        async def seen() -> int:
            return int((await self._driver.do("seen", first=first, count=count))["seen"])

        async def recorded() -> int:
            return await self.contestant.recorded(self.env) - self._recorded

        void = await self._all(seen, count, "at the sink") or await self._all(recorded, count, "recorded")
        self._recorded += count
        return void

    async def _all(self, look: Callable[[], Awaitable[int]], count: int, where: str) -> str:
        most, moved = await look(), monotonic()
        while most < count:
            await asyncio.sleep(0.02)
            self.running.check()
            if (now := await look()) != most:
                most, moved = now, monotonic()
            elif monotonic() - moved > _PATIENCE:
                return f"{count - most} of {count} not {where}"
        return "" if most == count else f"{most - count} too many {where}"

    async def _twice(self, first: int, count: int) -> str:
        await asyncio.sleep(_LINGER)
        found = await self._driver.do("seen", first=first, count=count)
        wrong = {name: found[name] for name in ("twice", "strays") if found[name]}
        return f"at the sink: {wrong}" if wrong else ""


def _refused(done: dict[str, Any], count: int) -> str:
    return f"{count - done['accepted']} not accepted: {done['refused']}" if done["accepted"] != count else ""


Place = tuple[str, str]
"""URLs of a database and a virtual host."""


@asynccontextmanager
async def staged(
    contestant: Contestant, ground: Ground, warm_up: int = 300, *, at: Place | None = None, first: int = 0
) -> AsyncIterator[Stage]:
    """A fresh folder, fresh processes and, unless it is told where, a fresh place; `warm_up` cases have gone through it.

    `first`: number of the first order, where the database has seen others.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"amends-bench-{contestant.name}-"))
    try:
        async with _place(contestant, ground, at) as (database, host), remote.driver() as driver:
            sink = (await driver.do("sink"))["url"]
            ports = (free_port(), free_port(), free_port())
            env = Env(folder, database, host, sink, SECRET, ports, _python())
            await contestant.prepare(env)
            await ground.settle()
            with crew(folder, contestant.processes(env)) as running:
                await _until_ready(contestant, env, running)
                stage = Stage(contestant, env, ground, running, driver, first)
                await _warmed(stage, warm_up)
                yield stage
            await contestant.clean(env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _python() -> Path:
    """Peers that need no more than we have run without an environment of their own, too."""
    return _PEERS_PYTHON if _PEERS_PYTHON.exists() else Path(sys.executable)


def _place(contestant: Contestant, ground: Ground, at: Place | None) -> AbstractAsyncContextManager[Place]:
    if at is None and contestant.servers:
        return ground.place()
    return nullcontext(at or ("", ""))


async def _until_ready(contestant: Contestant, env: Env, running: Crew) -> None:
    end = monotonic() + _READY_WITHIN
    while not await contestant.ready(env):
        running.check()
        if monotonic() > end:
            raise TimeoutError(f"{contestant.name} was not ready after {_READY_WITHIN:.0f} s")
        await asyncio.sleep(0.05)


async def _warmed(stage: Stage, count: int) -> None:
    if not count:
        return
    warmed = await stage.closed(count)
    if warmed.void:
        raise RuntimeError(f"not right in the warm-up: {warmed.void}\n{stage.running.said()}")
