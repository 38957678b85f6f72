"""How long a webhook waits for its answer at 200 a second, beside an endpoint that verifies and stores nothing."""

from collections.abc import Sequence

from bench.bench import Bench
from bench.figure import Figure, compare, percentile
from bench.rounds import LoadName, Runs

LOADS: frozenset[LoadName] = frozenset(("answers",))
_SHARE = 0.99


async def measure(bench: Bench) -> list[Figure]:
    runs = await bench.played()
    other = next((name for name in runs.named("bare") if runs.of(name, "answers")), "")
    ours, theirs = (_pooled(runs, who) for who in ("ours", other))
    about = "webhook answer p99 at 200/s ÷ bare FastAPI that verifies and stores nothing"
    found = compare(
        "answer_p99", about, "ms", ours, other, theirs, must=3, aim=2, more_is_better=False, void=runs.void
    )  # fmt: skip
    found.rounds.update({"ours": _each(runs, "ours"), "other": _each(runs, other)})
    return [found]


def _pooled(runs: Runs, name: str) -> Sequence[float]:
    samples = [1000 * second for load in runs.of(name, "answers") for second in load.answers]
    return [percentile(samples, _SHARE)] if samples else []


def _each(runs: Runs, name: str) -> list[float]:
    return [1000 * percentile(load.answers, _SHARE) for load in runs.of(name, "answers")]
