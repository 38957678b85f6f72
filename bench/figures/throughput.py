"""Cases per second, 64 closed-loop connections, from the first webhook to the last case recorded."""

from statistics import median

from bench.bench import Bench
from bench.figure import Figure, compare
from bench.rounds import LoadName, Runs
from bench.stage import Load

LOADS: frozenset[LoadName] = frozenset(("closed",))
_UNIT = "cases/s"


async def measure(bench: Bench) -> list[Figure]:
    runs = await bench.played()
    return [
        _beside(runs, "throughput_idiomatic", "÷ best idiomatic peer", best(runs, "idiomatic"), must=8, aim=14),
        _beside(runs, "throughput_tuned", "÷ hand-tuned peer", best(runs, "tuned"), must=4, aim=7),
        _beside(runs, "throughput_floor", "÷ floor without domain logic", best(runs, "floor"), must=0.4, aim=0.7),
        _embedded(runs),
    ]


def best(runs: Runs, kind: str) -> str:
    """The quickest of a kind; empty when none was measured."""
    found = {name: rates for name in runs.named(kind) if (rates := runs.values(name, "closed", _rate))}
    return max(found, key=lambda name: median(found[name]), default="")


def _beside(runs: Runs, name: str, about: str, other: str, *, must: float, aim: float) -> Figure:
    ours, theirs = (runs.values(who, "closed", _rate) for who in ("ours", other))
    return compare(name, f"cases/s {about}", _UNIT, ours, other, theirs, must=must, aim=aim, void=runs.void)


def _embedded(runs: Runs) -> Figure:
    """Here `ours` is the one process, the other the three."""
    one, three = (runs.values(who, "closed", _rate) for who in ("embedded", "ours"))
    about = "cases/s embedded ÷ apart"
    return compare("throughput_embedded", about, _UNIT, one, "ours", three, must=0.7, aim=1.0, void=runs.void)


def _rate(load: Load) -> float:
    return load.per_second
