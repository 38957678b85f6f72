"""F1: webhooks with repeats, disorder and delay while every process is killed at random; then the verdict.

    python -m tests.crash.chaos --stack embedded|apart --seed N [--webhooks 10000 --kills 200] [--report]

The fake marketplace's own log is the oracle. The schedule follows from the seed; `--history` writes it as it was kept,
`--replay` keeps it again. Ends with 1 on any violation.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.crash import evidence, reports
from tests.crash.kills import Keeper, Kill, quantiles, schedule
from tests.crash.picture import Picture, Violation
from tests.crash.stories import tellings
from tests.crash.verdict import account_for, judge
from tests.crash.world import World, calls_of
from tests.support import pushes, services
from tests.support.forking import ForkServer
from tests.support.oracle import Oracle
from tests.support.system import SERVICES, System

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
GAPS = {"embedded": 2.5, "apart": 4.0}
"""Longest pause before a kill, in seconds."""
_PER_WAVE = timedelta(minutes=40)
_AFTERWARDS = [timedelta(seconds=10), timedelta(minutes=5), timedelta(hours=2), *[timedelta(hours=12)] * 5]


@dataclass
class Result:
    violations: list[Violation]
    counts: dict[str, int]
    told: dict[str, Any]
    picture: Picture
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Chaos:
    """One run. `progress` gets a line now and then."""

    system: System
    world: World
    seed: int
    webhooks: int
    kills: Sequence[Kill]
    progress: Callable[[str], None] = lambda _: None

    async def run(self) -> Result:
        began = time.monotonic()
        async with Keeper(self.system) as keeper:
            await self._storm(keeper)
            await self.world.all_accepted()
            await keeper.all_ready()
            stormed = time.monotonic() - began
            self.progress("all accepted; waiting for rest")
            async with evidence.databases(self.system) as found:
                await self._at_rest(found)
            seen = await evidence.gauges(self.system)
        await self.system.stop()
        return await self._result(keeper, seen, stormed, time.monotonic() - began)

    async def _storm(self, keeper: Keeper) -> None:
        """Wave by wave: webhooks are let go, time passes, somebody dies. At most two waves wait to be accepted."""
        waves, dice = self._waves(), random.Random(f"time {self.seed}")
        for n, (wave, kill) in enumerate(zip(waves, self.kills, strict=True)):
            for one in wave:
                self.world.deliver(one)
            self.system.clock.set(self.system.clock.now() + dice.random() * _PER_WAVE)
            if not kill.again:
                await self.world.all_accepted(at_most_left=len(wave) * 2 + 20)
            await keeper.kill(kill)
            if n % 10 == 9:
                accepted = sum(self.world.accepted.values())
                self.progress(f"{n + 1}/{len(waves)} kills, {accepted} accepted, {len(self.world.under_way)} waiting")

    def _waves(self) -> list[list[Any]]:
        told, n = tellings(self.seed, self.webhooks), len(self.kills)
        waves: list[list[Any]] = [[] for _ in range(n)]
        for place, one in enumerate(told):
            waves[place * n // len(told)].append(one)
        return waves

    async def _at_rest(self, found: Mapping[str, Any]) -> None:
        await evidence.settle(self.system, found)
        for step in _AFTERWARDS:
            await evidence.pass_time(self.system, found, [step])
            await self.world.all_accepted()
        await evidence.settle(self.system, found)

    async def _result(self, keeper: Keeper, seen: Any, stormed: float, took: float) -> Result:
        log = self.world.oracle.log
        assert log is not None
        picture = await evidence.picture_of(self.system, calls_of(log), self.world.offered(), seen)
        violations = judge(picture)
        violations += [Violation("C", "a process ended by itself", {"how": how}) for how in keeper.by_themselves]
        if self.system.urls is None:
            files = evidence.intact(self.system.folder / "data")
            violations += [Violation("F17", "a damaged file", {n: said}) for n, said in files.items() if said != "ok"]
        told = {
            "kills": dict(keeper.kills), "kills_while_starting": keeper.starting,
            "recovery_seconds": quantiles(keeper.recoveries), "answers": reports.plain(self.world.statuses),
            "seconds_under_fire": round(stormed), "seconds": round(took),
        }  # fmt: skip
        return Result(violations, account_for(picture), told, picture, keeper.history)


async def once(
    folder: Path, urls: Mapping[str, str] | None, seed: int, webhooks: int, kills: Sequence[Kill], **more: Any
) -> Result:
    """Starts everything, runs, stops everything."""
    folder.mkdir(parents=True, exist_ok=True)
    with ForkServer() as server:
        async with Oracle(log=folder / "marketplace.jsonl") as oracle:
            system = System(folder, pushes.accounts(oracle.url), START, urls, server=server)
            async with system:
                return await Chaos(system, World(system, oracle), seed, webhooks, kills, **more).run()


def processes_of(stack: str) -> int:
    return 1 if stack == "embedded" else len(SERVICES) * 2


def planned(stack: str, seed: int, kills: int) -> list[Kill]:
    return schedule(seed, kills, processes_of(stack), GAPS[stack])


def main(argv: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(argv)
    kills = planned(asked.stack, asked.seed, asked.kills)
    if asked.replay:
        kept = json.loads(asked.replay.read_text())
        asked.seed, asked.webhooks = kept["seed"], kept["webhooks"]
        kills = [Kill(one["victim"], one["wait"], one["again"]) for one in kept["kills"]]
    with ExitStack() as stack:
        urls = _stack(stack) if asked.stack == "apart" else None
        folder = Path(asked.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="amends-chaos-")))
        began = time.monotonic()

        def progress(line: str) -> None:
            reports.say(f"[{time.monotonic() - began:6.0f} s] {line}")

        result = asyncio.run(once(folder, urls, asked.seed, asked.webhooks, kills, progress=progress))
        if asked.history:
            kept = {"seed": asked.seed, "webhooks": asked.webhooks, "stack": asked.stack, "kills": result.history}
            asked.history.write_text(json.dumps(kept, indent=1) + "\n")
        return _told(asked, result, urls)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.chaos", description="F1: random kill -9 of everything")
    parser.add_argument("--stack", choices=("embedded", "apart"), default="embedded")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--webhooks", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--report", action="store_true", help="write docs/guarantees/f1-<stack>-<seed>.json")
    parser.add_argument("--history", type=Path, help="write the schedule as it was kept")
    parser.add_argument("--replay", type=Path, help="keep such a schedule again")
    parser.add_argument("--keep", type=Path, help="folder for databases and logs, left there")
    return parser


def _stack(stack: ExitStack) -> dict[str, str]:
    """A database and a virtual host of this run's own."""
    server = stack.enter_context(services.postgres())
    database = services.new_database(server)
    stack.callback(services.drop_database, server, database)
    broker = stack.enter_context(services.rabbit())
    vhost = services.new_vhost(broker)
    if vhost is not None:
        stack.callback(services.drop_vhost, broker, vhost)
    return {s: f"{database}?schema={s}" for s in SERVICES} | {"broker": vhost or broker.url}


def _told(asked: argparse.Namespace, result: Result, urls: Mapping[str, str] | None) -> int:
    report = {
        "scenario": "F1", "stack": asked.stack, "seed": asked.seed, "webhooks": asked.webhooks, "kills": asked.kills,
        **reports.surroundings(urls), "counts": result.counts, **result.told,
        "violations": [str(violation) for violation in result.violations],
        "verdict": "ok" if not result.violations else "violated",
    }  # fmt: skip
    reports.say(json.dumps(report, indent=1))
    if asked.report:
        reports.write(f"f1-{asked.stack}-{asked.seed}", report)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
