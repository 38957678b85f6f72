"""Many lives counted together. Not in `__main__`: the processes of `--jobs` import it by name."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from tests.generated.markets import playbooks
from tests.generated.play import Life

CHUNK = 250


class Counted(msgspec.Struct):
    """A chunk of lives, or all of them. `reached`: rows that fired and states that were entered, by playbook."""

    lives: int = 0
    counts: dict[str, int] = {}
    reached: dict[str, set[str]] = {}
    broken: list[tuple[int, str, str]] = []

    def __add__(self, other: "Counted") -> "Counted":
        reached = {n: self.reached.get(n, set()) | other.reached.get(n, set()) for n in self.reached | other.reached}
        counts = Counter(self.counts) + Counter(other.counts)
        return Counted(self.lives + other.lives, dict(counts), reached, self.broken + other.broken)


def chunk(first: int) -> Counted:
    """The lives of `CHUNK` seeds."""
    return total(Life(seed).run() for seed in range(first, first + CHUNK))


def total(lives: Iterator[Life]) -> Counted:
    every, counts = Counted(), Counter[str]()
    for life in lives:
        every.lives += 1
        counts.update(life.counts)
        counts.update({f"{effect} effects": n for effect, n in life.effects.items()})
        counts.update(f"ended {case.outcome}" if case.outcome else "left open" for case in life.held.cases.values())
        counts["cases"] += len(life.held.cases)
        for name, rows in life.seen.items():
            every.reached[name] = every.reached.get(name, set()) | rows
        every.broken += [(life.seed, *found) for found in life.judge.broken[:1]]
    every.counts = dict(counts)
    return every


def reached(every: Counted) -> dict[str, str]:
    """Of each playbook how many of its rows fired and how many of its states were entered."""
    told = {}
    for _, book in sorted(playbooks().current.items()):
        found = every.reached.get(book.name, set())
        rows = {
            row.id for row in (*book.opens_on, *book.everywhere, *(r for s in book.states.values() for r in s.rows))
        }
        states = {f"state:{name}" for name in book.states}
        told[book.name] = f"{len(rows & found)} of {len(rows)} rows, {len(states & found)} of {len(states)} states"
    return told
