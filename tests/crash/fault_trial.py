"""A product under load whose surroundings fail: brought to rest afterwards, looked at from all sides, judged.

A scenario is a coroutine function over a `Trial`: it lets waves of webhooks go, breaks something, mends it, and waits
for the product to be ready again by itself. Whatever it does, each delivery is answered 202 or 503, no process ends,
and the verdict over the databases and the marketplace's own log is the one of the chaos run.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import Signals
from typing import Any

import aiohttp

from tests.crash import evidence, reports
from tests.crash.chaos import Result
from tests.crash.kills import quantiles
from tests.crash.picture import Violation
from tests.crash.stories import Telling, tellings
from tests.crash.verdict import account_for, judge
from tests.crash.world import ACCOUNT, World, calls_of
from tests.support import pushes, servers
from tests.support.oracle import Oracle
from tests.support.servers import Server
from tests.support.system import Process, System
from tests.support.waiting import until

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
LONGEST = 120.0
"""Seconds after which something that must come is said to be missing; what it really took is reported."""
_AFTERWARDS = (timedelta(seconds=10), timedelta(hours=2), timedelta(days=3))
_LOOK_EVERY = 0.05


@dataclass
class Own:
    """A server of our own that a trial ends and starts again."""

    server: Server

    async def end(self, how: Signals) -> None:
        await asyncio.to_thread(servers.end, self.server, how)

    async def again(self) -> None:
        self.server = await asyncio.to_thread(servers.again, self.server)


@dataclass
class Trial:
    system: System
    world: World
    waves: list[list[Telling]]
    dice: random.Random
    told: dict[str, Any] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the mending to all processes being ready."""
    progress: Callable[[str], None] = lambda _: None

    def wave(self) -> None:
        """The next webhooks are on their way; none when all were told."""
        for one in self.waves.pop(0) if self.waves else ():
            self.world.deliver(one)

    async def accepted(self) -> None:
        await self.world.all_accepted(longest=LONGEST)

    async def ready(self) -> None:
        """All processes say that they can work, without anybody having touched them."""
        began = time.monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            for process in self.system.processes:
                await until(
                    lambda process=process: _ready(session, process), LONGEST, f"{process.name} to be ready again"
                )
        self.recoveries.append(time.monotonic() - began)

    async def refused(self) -> None:
        """Waves are let go until deliveries are told to come again; readiness says so, and the processes live."""
        began = self.world.statuses[503]

        def told_so() -> bool:
            if not self.world.under_way:
                self.wave()
            return self.world.statuses[503] > began

        await until(told_so, LONGEST, "503 to deliveries")
        await until(self._told_when, LONGEST, "Retry-After on a 503")

    async def _told_when(self) -> bool:
        """A repeat of what is under way; `Retry-After` stands on a 503."""
        key, (_, body) = list(self.world.bodies.items())[-1]
        headers = pushes.signed(self.system.clock.now(), key, body)
        self.world.sent[key] += 1
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90)) as session:
            url = self.system.url(f"/webhooks/generic/{ACCOUNT}")
            async with session.post(url, data=body, headers=headers) as answer:
                self.world.accepted[key] += answer.status == 202
                return answer.status == 503 and int(answer.headers["Retry-After"]) > 0

    async def settled(self) -> None:
        """At rest, the clock standing still."""
        async with evidence.databases(self.system) as found:
            await evidence.settle(self.system, found)


async def _ready(session: aiohttp.ClientSession, process: Process) -> bool:
    assert process.running, f"{process.name} ended: {process.log.read_text()[-2000:]}"
    await asyncio.sleep(_LOOK_EVERY)
    try:
        async with session.get(f"{process.url}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return False


Scenario = Callable[[Trial], Awaitable[None]]


@dataclass
class Load:
    """What is told, and in how many waves."""

    webhooks: int
    waves: int
    seed: int = 1

    def tellings(self) -> list[list[Telling]]:
        told = tellings(self.seed, self.webhooks)
        return [told[n * len(told) // self.waves : (n + 1) * len(told) // self.waves] for n in range(self.waves)]


async def tried(
    folder: Path,
    urls: Mapping[str, str] | None,
    load: Load,
    scenario: Scenario,
    *,
    replicas: int = 1,
    at: datetime = START,
    answers: Collection[int] = (202, 503),
    progress: Callable[[str], None] = lambda _: None,
) -> Result:
    """Starts everything, runs the scenario, tells what is left to be told, waits for rest, stops, judges.

    `answers`: what a delivery may be answered, beside 401 where the clock was moved between signing and reading.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    async with Oracle(log=folder / "marketplace.jsonl") as oracle:
        system = System(folder, pushes.accounts(oracle.url), at, urls, replicas=replicas)
        async with system:
            world = World(system, oracle)
            trial = Trial(system, world, load.tellings(), random.Random(load.seed), progress=progress)
            await scenario(trial)
            trial.told["seconds_of_faults"] = round(time.monotonic() - began)
            progress("mended for good; waiting for rest")
            return await _ended(trial, answers, began)


async def _ended(trial: Trial, answers: Collection[int], began: float) -> Result:
    system, world = trial.system, trial.world
    while trial.waves:
        trial.wave()
    await trial.accepted()
    await trial.ready()
    rest = time.monotonic()
    async with evidence.databases(system) as found:
        await evidence.settle(system, found)
        trial.told["seconds_to_rest"] = round(time.monotonic() - rest, 1)
        await evidence.pass_time(system, found, _AFTERWARDS)
        await trial.accepted()
        await evidence.settle(system, found)
    seen = await evidence.gauges(system)
    violations = [_ended_by_itself(p) for p in system.processes if not p.running]
    await system.stop()
    assert world.oracle.log is not None
    picture = await evidence.picture_of(system, calls_of(world.oracle.log), world.offered(), seen)
    violations += [*judge(picture), *_odd_answers(world, answers)]
    told = {
        **trial.told, "ready_again_seconds": quantiles(trial.recoveries), "answers": reports.plain(world.statuses),
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    return Result(violations, account_for(picture), told, picture)


def _ended_by_itself(process: Process) -> Violation:
    return Violation("C", "a process ended by itself", {"name": process.name, "log": process.log.read_text()[-500:]})


def _odd_answers(world: World, answers: Collection[int]) -> list[Violation]:
    odd = {status: n for status, n in world.statuses.items() if status not in {*answers, 401}}
    return [Violation("I21", "deliveries were answered as they must not be", {"answers": odd})] if odd else []
