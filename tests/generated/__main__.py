"""Many generated cases by command, or one life again:

    python -m tests.generated --cases 200000 [--from-seed N] [--jobs 2] [--report]
    python -m tests.generated --seed 4711            # that one again, made short where it fails, with its history
    python -m tests.generated --bugs                 # every seeded bug must be caught

Exit 1 at anything that must not be. A seed gives the same life wherever and after whatever it runs.
"""

import argparse
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from typing import Any

import msgspec

from tests.crash.reports import FOLDER, plain, say, surroundings, write
from tests.generated.bugs import BUGS, SEEDS, caught
from tests.generated.counting import CHUNK, Counted, chunk, reached
from tests.generated.markets import playbooks
from tests.generated.play import RULES, shortest

_SHOWN = 5


def main() -> int:
    asked = _parsed()
    if asked.seed is not None:
        return _one(asked.seed)
    return _bugs() if asked.bugs else _many(asked)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.generated", description="generated cases")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--from-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="add this run to docs/guarantees/generated.json")
    parser.add_argument("--seed", type=int, help="this one only, with its history")
    parser.add_argument("--bugs", action="store_true", help="seed each bug and see that it is caught")
    return parser.parse_args()


def _one(seed: int) -> int:
    life = shortest(seed)
    for line in life.history:
        say(line)
    for rule, what in life.judge.broken:
        say(f"{rule}: {what}")
    return 1 if life.judge.broken else 0


def _bugs() -> int:
    missed = []
    for name in BUGS:
        life = caught(name)
        missed += [] if life else [name]
        where = f"seed {life.seed}: {': '.join(life.judge.broken[0])}" if life else f"NOT caught in {SEEDS} seeds"
        say(f"{name:44} {where}"[:200])
    say(f"{len(BUGS) - len(missed)} of {len(BUGS)} seeded bugs caught")
    return 1 if missed else 0


def _many(asked: argparse.Namespace) -> int:
    began, every = time.monotonic(), Counted()
    for found in _chunks(asked.from_seed, asked.jobs):
        every += found
        told = f"{every.counts['cases']}/{asked.cases} cases, {len(every.broken)} lives broken, {time.monotonic() - began:.0f} s"
        sys.stderr.write(f"\r{told}")
        if every.counts["cases"] >= asked.cases:
            break
    sys.stderr.write("\n")
    _show(every.broken)
    last = asked.from_seed + every.lives - 1
    say(
        f"{every.counts['cases']} cases of {every.lives} orders, seeds {asked.from_seed} to {last}, "
        f"{every.counts['decisions']} decisions, {len(RULES)} rules; {len(every.broken)} with a violation"
    )
    if asked.report:
        say(f"written to {write('generated', _report(asked.from_seed, last, every, time.monotonic() - began))}")
    return 1 if every.broken else 0


def _show(broken: list[tuple[int, str, str]]) -> None:
    for seed, rule, what in broken[:_SHOWN]:
        say(f"seed {seed}: {rule}: {what}\n  again, and shorter: python -m tests.generated --seed {seed}")
    for rule, times in Counter(rule for _, rule, _ in broken).most_common():
        say(f"{times} times {rule}")


def _chunks(first: int, jobs: int) -> Iterator[Counted]:
    """One after the other for as long as they are asked for."""
    if jobs == 1:
        yield from (chunk(start) for start in count(first, CHUNK))
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        starts = count(first, CHUNK)
        ahead: deque[Future[Counted]] = deque(pool.submit(chunk, next(starts)) for _ in range(2 * jobs))
        try:
            while True:
                yield ahead.popleft().result()
                ahead.append(pool.submit(chunk, next(starts)))
        finally:
            pool.shutdown(cancel_futures=True)


def _report(first: int, last: int, every: Counted, seconds: float) -> dict[str, Any]:
    """This run beside those before it: many cases may take several sittings, each with its commit and seeds."""
    run: dict[str, Any] = {
        "seeds": {"from": first, "to": last},
        "violations": every.broken,
        "counts": plain(every.counts),
        "reached": reached(every),
        "playbooks": {book.name: book.version for _, book in sorted(playbooks().current.items())},
        "seconds": round(seconds),
        **surroundings(None),
    }
    known = FOLDER / "generated.json"
    before = msgspec.json.decode(known.read_bytes())["runs"] if known.exists() else []
    runs = [*(one for one in before if one["seeds"]["from"] != first), run]
    return {
        "what": "generated cases: random news, operators, clocks and answers through every shipped playbook (tests/generated)",
        "rules": sorted(RULES),
        "cases": sum(one["counts"]["cases"] for one in runs),
        "with_a_violation": sum(len(one["violations"]) for one in runs),
        "runs": runs,
    }


if __name__ == "__main__":
    sys.exit(main())
