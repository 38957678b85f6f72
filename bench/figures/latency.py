"""End to end at a modest 50 webhooks a second: from the planned moment of the webhook to the message at the sink.

Percentiles are of the samples of all rounds together (3,000 in the full run); per round they are in `rounds`.
"""

from collections.abc import Sequence

from bench.bench import Bench
from bench.figure import Figure, compare, percentile
from bench.rounds import LoadName, Runs

LOADS: frozenset[LoadName] = frozenset(("modest",))


async def measure(bench: Bench) -> list[Figure]:
    runs = await bench.played()
    return [
        _figure(runs, "latency_p50", 0.5, must=0.6, aim=0.35),
        _figure(runs, "latency_p99", 0.99, must=0.9, aim=0.5),
    ]


def _figure(runs: Runs, name: str, share: float, *, must: float, aim: float) -> Figure:
    other = _quickest(runs, share)
    ours, theirs = (pooled(runs, who, share) for who in ("ours", other))
    about = f"end-to-end p{share * 100:.0f} at 50/s ÷ best idiomatic peer"
    found = compare(name, about, "ms", ours, other, theirs, must=must, aim=aim, more_is_better=False, void=runs.void)
    by_round = {"ours": each(runs, "ours", share), "other": each(runs, other, share)}
    found.rounds.update(by_round)
    return found


def _quickest(runs: Runs, share: float) -> str:
    found = {name: value[0] for name in runs.named("idiomatic") if (value := pooled(runs, name, share))}
    return min(found, key=lambda name: found[name], default="")


def pooled(runs: Runs, name: str, share: float) -> Sequence[float]:
    """Milliseconds: one value, or none."""
    samples = [1000 * second for load in runs.of(name, "modest") for second in load.travels]
    return [percentile(samples, share)] if samples else []


def each(runs: Runs, name: str, share: float) -> list[float]:
    return [1000 * percentile(load.travels, share) for load in runs.of(name, "modest")]
