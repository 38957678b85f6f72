"""Cases per second with many cases stored beside none: the product apart, on a filled and an empty database in turn."""

from bench.bench import Bench
from bench.figure import Figure, compare
from bench.ours import Apart
from bench.ours.filled import fill
from bench.rounds import LoadName
from bench.stage import Load, Place, staged

LOADS: frozenset[LoadName] = frozenset()
_ROOM = 1_000_000
"""Orders of one round on the filled database: their numbers must be new."""


async def measure(bench: Bench) -> list[Figure]:
    filled: list[Load] = []
    empty: list[Load] = []
    async with bench.ground.place() as place:
        await _fill(bench, place)
        for number in range(1, bench.plan.rounds + 1):
            empty.append(await _round(bench, None, 0, "empty"))
            filled.append(await _round(bench, place, number * _ROOM, "filled"))
    about = f"cases/s with {bench.plan.stored_cases:,} cases stored ÷ empty"
    void = [load.void for load in filled + empty if load.void]
    args = ("stored", about, "cases/s", _rates(filled), "empty", _rates(empty))
    return [compare(*args, must=0.9, aim=0.98, void=void)]


async def _fill(bench: Bench, place: Place) -> None:
    async with staged(Apart(), bench.ground, 1, at=place):
        pass
    bench.say(f"filling with {bench.plan.stored_cases:,} cases")
    await fill(place[0], bench.plan.stored_cases)


async def _round(bench: Bench, at: Place | None, first: int, name: str) -> Load:
    async with staged(Apart(), bench.ground, bench.plan.warm_up, at=at, first=first) as stage:
        load = await stage.closed(bench.plan.closed("ours"))
    bench.say(f"stored   {name:<16} {load.void or f'{load.per_second:,.0f} cases/s'}")
    return load


def _rates(loads: list[Load]) -> list[float]:
    return [load.per_second for load in loads if not load.void]
