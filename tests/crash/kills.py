"""`kill -9` at random over all processes, each started again at once: while it works, and while it starts."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

from tests.support.system import Process, System
from tests.support.waiting import until

_STARTING = 0.25
_LOOK_EVERY = 0.02


@dataclass(frozen=True)
class Kill:
    """`victim`: index of a process. `again`: the one killed last, `wait` seconds after that, whether it is up or not."""

    victim: int
    wait: float
    again: bool


def schedule(seed: int, kills: int, processes: int, gap: float) -> list[Kill]:
    """`gap`: longest pause before a kill, in seconds."""
    dice = random.Random(f"kills {seed}")
    found: list[Kill] = []
    for n in range(kills):
        again = bool(n) and dice.random() < _STARTING
        victim = found[-1].victim if again else dice.randrange(processes)
        found.append(Kill(victim, dice.uniform(0, 1.0 if again else gap), again))
    return found


@dataclass
class Keeper:
    """Starts again what has ended. `async with`; leaves nothing to be started when it is left."""

    system: System
    kills: Counter[str] = field(default_factory=Counter)
    starting: int = 0
    """Kills of a process that was not ready yet."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from an end to being ready again."""
    by_themselves: list[str] = field(default_factory=list)
    """Ends nobody caused."""
    history: list[dict[str, Any]] = field(default_factory=list)

    async def __aenter__(self) -> "Keeper":
        self._began = asyncio.get_running_loop().time()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        self._ready = [True] * len(self.system.processes)
        self._tasks = [asyncio.create_task(self._keep(n)) for n in range(len(self.system.processes))]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def kill(self, kill: Kill) -> None:
        await asyncio.sleep(kill.wait)
        process = self.system.processes[kill.victim]
        await until(lambda: process.running, 60, f"{process.name} to be started")
        self.history.append({**asdict(kill), "at": round(self._now(), 3), "ready": self._ready[kill.victim]})
        self.starting += not self._ready[kill.victim]
        self.kills[process.name] += 1
        self._ready[kill.victim] = False
        process.end(signal.SIGKILL)

    async def all_ready(self, longest: float = 120) -> None:
        end = self._now() + longest
        while not all(self._ready):
            self._check()
            assert self._now() < end, "not ready again"
            await asyncio.sleep(_LOOK_EVERY)

    def _check(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _keep(self, n: int) -> None:
        process = self.system.processes[n]
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if process.running:
                continue
            self._note(process)
            ended = self._now()
            self._ready[n] = False
            await asyncio.to_thread(process.start)
            await until(lambda: self._settled(process), 120, f"{process.name} to be ready, or to end")
            if process.running:
                self._ready[n] = True
                self.recoveries.append(self._now() - ended)

    async def _settled(self, process: Process) -> bool:
        return not process.running or await self._answers(process)

    def _note(self, process: Process) -> None:
        code = process.handle.returncode if process.handle is not None else None
        if code != -signal.SIGKILL:
            self.by_themselves.append(f"{process.name} ended with {code}: {process.log.read_text()[-500:]}")

    async def _answers(self, process: Process) -> bool:
        try:
            async with self._session.get(f"{process.url}/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return False

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    return {"n": len(seconds), "p50": round(ordered[len(ordered) // 2], 2), "max": round(ordered[-1], 2)}
