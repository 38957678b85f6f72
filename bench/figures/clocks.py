"""Clocks with millions of open cases: one claim beside one with ten thousand, the lag at a steady rate, and the work done.

The cases are copies of a real one (bench/clocks/filled.py); what is measured is the real policy service.
"""

import asyncio
import json
import sys
from typing import Any

from bench.bench import Bench
from bench.contestant import ROOT
from bench.figure import Figure, compare
from bench.processes import clean_environ
from bench.rounds import LoadName

LOADS: frozenset[LoadName] = frozenset()
_RATE = 500
_SECONDS = 8
"""Of each round at that rate: more than 3,000 samples."""
_FEW = 500
"""So many times fewer cases in the other database."""
_MOST_LAG, _WISHED_LAG = 50.0, 15.0
"""Milliseconds."""


async def measure(bench: Bench) -> list[Figure]:
    cases = bench.plan.clock_cases
    async with bench.ground.place() as (many, host), bench.ground.place() as (few, _):
        bench.say(f"clocks   filling with {cases:,} open cases")
        await _told("fill", many, count=cases)
        await _told("fill", few, count=cases // _FEW)
        return [
            await _claim(bench, many, few),
            await _lag(bench, many, host),
            await _rate(bench, many, host),
        ]


async def _claim(bench: Bench, many: str, few: str) -> Figure:
    found = (await _told("claim", many, few, rounds=bench.plan.rounds))["databases"]
    ours, other = ([1000 * seconds for seconds in one["claims"]] for one in found)
    cases = bench.plan.clock_cases
    about = f"one claim of 200 due clocks with {cases:,} open cases ÷ with {cases // _FEW:,}"
    bench.say(f"clocks   claims, ms: {_listed(ours)} with many, {_listed(other)} with few")
    args = ("clock_claim", about, "ms", ours, f"{cases // _FEW:,} open cases", other)
    return compare(*args, must=1.5, aim=1.2, more_is_better=False)


async def _lag(bench: Bench, many: str, host: str) -> Figure:
    ours: list[float] = []
    void: list[str] = []
    for _ in range(bench.plan.rounds):
        try:
            found = await _told("lag", many, amqp=host, rate=_RATE, count=_RATE * _SECONDS)
        except RuntimeError as fault:
            void.append(str(fault))
            continue
        ours.append(1000 * found["p99"])
        bench.say(
            f"clocks   lag, ms: p50 {1000 * found['p50']:.1f}, p99 {ours[-1]:.1f}, most {1000 * found['max']:.1f}"
        )
    about = f"clock lag p99 at {_RATE} due/s, {bench.plan.clock_cases:,} open cases ÷ its bound"
    args = ("clock_lag", about, "ms", ours, "bound", [_MOST_LAG] * len(ours))
    return compare(*args, must=1.0, aim=_WISHED_LAG / _MOST_LAG, more_is_better=False, void=void)


async def _rate(bench: Bench, many: str, host: str) -> Figure:
    count = max(400, bench.plan.stage_facts // 2)
    found = await _told("rate", many, amqp=host, rounds=bench.plan.rounds, count=count)
    bench.say(f"clocks   per s: {_listed(found['fired'])} fired, {_listed(found['applied'])} facts applied")
    about = "clocks fired through the whole decision ÷ facts applied, per second"
    return compare("clock_rate", about, "per s", found["fired"], "facts", found["applied"], must=0.8, aim=1.0)


async def _told(what: str, *databases: str, **options: Any) -> dict[str, Any]:
    """In a process of its own. Raises RuntimeError."""
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.clocks.measure", what, "--postgres", *databases, *given,
        cwd=ROOT, env=clean_environ(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"clocks {what}: ended with {process.returncode}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:,.1f}" for value in values)
