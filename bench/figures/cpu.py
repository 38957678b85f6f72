"""CPU seconds per 1,000 cases of all processes: the contestant's own, PostgreSQL's and RabbitMQ's; the driver's not."""

from bench.bench import Bench
from bench.figure import Figure, compare
from bench.rounds import LoadName, Runs
from bench.stage import Load

LOADS: frozenset[LoadName] = frozenset(("closed",))


async def measure(bench: Bench) -> list[Figure]:
    runs = await bench.played()
    other = thriftiest(runs)
    ours, theirs = (runs.values(who, "closed", _cost) for who in ("ours", other))
    about = "CPU s per 1,000 cases: best idiomatic peer ÷ ours"
    return [
        compare(
            "cpu", about, "s/1,000 cases", ours, other, theirs, must=8, aim=14, upside_down=True, void=runs.void
        )
    ]  # fmt: skip


def thriftiest(runs: Runs) -> str:
    """The idiomatic peer with the least CPU; empty when none was measured."""
    found = {name: sorted(costs) for name in runs.named("idiomatic") if (costs := runs.values(name, "closed", _cost))}
    return min(found, key=lambda name: found[name][len(found[name]) // 2], default="")


def _cost(load: Load) -> float:
    return load.cpu_per_1000
