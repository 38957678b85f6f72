"""Resident memory of the one-process product: at rest after its start, and after thousands of deliveries."""

import asyncio

from bench import cpu
from bench.bench import Bench
from bench.figure import Figure, compare
from bench.ours import Embedded
from bench.rounds import LoadName
from bench.stage import Load, staged

LOADS: frozenset[LoadName] = frozenset()
_MEGABYTE = 1e6
_MOST_AT_REST, _WISHED_AT_REST = 150.0, 110.0
_AT_REST = 3.0
"""Seconds of quiet before each look."""


async def measure(bench: Bench) -> list[Figure]:
    """One round: memory does not depend on what else the machine does."""
    async with staged(Embedded(), bench.ground, 0) as stage:
        before = await _resident(stage.running.pids)
        load = await stage.closed(bench.plan.deliveries)
        after = await _resident(stage.running.pids)
    bench.say(f"memory   embedded  {before:,.0f} MB at rest, {after:,.0f} MB after {load.count:,} deliveries")
    return _figures(before, after, load)


async def _resident(pids: list[int]) -> float:
    await asyncio.sleep(_AT_REST)
    return cpu.resident(pids) / _MEGABYTE


def _figures(before: float, after: float, load: Load) -> list[Figure]:
    void = [load.void] if load.void else []
    at_rest = compare(
        "memory_idle", "resident memory of the one process at rest ÷ its bound", "MB", [before], "bound", [_MOST_AT_REST],
        must=1.0, aim=_WISHED_AT_REST / _MOST_AT_REST, more_is_better=False,
    )  # fmt: skip
    grown = compare(
        "memory_grown", f"… after {load.count:,} deliveries ÷ at rest", "MB", [after], "at rest", [before],
        must=1.2, aim=1.1, more_is_better=False, void=void,
    )  # fmt: skip
    return [at_rest, grown]
