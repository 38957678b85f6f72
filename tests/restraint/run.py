"""Lives one after another, each judged, and summed up."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.restraint import lives, oracle
from tests.restraint.lives import Life
from tests.restraint.memory import Begun, History, Machine

_TOGETHER = 10
_A_LIFE = 50
"""Triggers at the least."""


@dataclass
class Sum:
    lives: int = 0
    triggers: int = 0
    attempts: int = 0
    left: int = 0
    """Messages the marketplace has taken."""
    ends: Counter[str] = field(default_factory=Counter)
    """Messages by what became of them."""
    faults: list[str] = field(default_factory=list)

    def add(self, life: Life, history: History, faults: list[str]) -> None:
        begun = [event for event in history.events if isinstance(event, Begun)]
        self.lives, self.triggers = self.lives + 1, self.triggers + life.triggers
        self.attempts += len(begun)
        self.left += len({event.errand_id for event in begun if event.taken})
        self.ends.update(str(row["status"]) for row in history.rows.values())
        self.faults += [f"seed {life.seed}: {fault}" for fault in faults]

    def join(self, other: "Sum") -> None:
        self.lives, self.triggers = self.lives + other.lives, self.triggers + other.triggers
        self.attempts, self.left = self.attempts + other.attempts, self.left + other.left
        self.ends.update(other.ends)
        self.faults += other.faults

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in self.ends.most_common())
        return (
            f"{self.triggers} triggers in {self.lives} lives, {self.attempts} attempts, {self.left} messages left"
            f" ({ends}); {len(self.faults)} promises broken"
        )


def one(seed: int) -> tuple[Life, History, list[str]]:
    life = lives.drawn(seed, _A_LIFE)
    history = Machine(life).run()
    return life, history, oracle.faults(life, history)


def many(first: int, triggers: int, jobs: int = 1) -> Iterator[Sum]:
    """The sum after each ten lives, until there were so many triggers: from the same seeds, however many `jobs`."""
    starts = range(first, first + triggers // _A_LIFE + _TOGETHER, _TOGETHER)
    summed = Sum()
    for lived in map(_some, starts) if jobs == 1 else _apart(starts, jobs):
        summed.join(lived)
        yield summed
        if summed.triggers >= triggers:
            return


def _some(first: int) -> Sum:
    summed = Sum()
    for seed in range(first, first + _TOGETHER):
        summed.add(*one(seed))
    return summed


def _apart(starts: range, jobs: int) -> Iterator[Sum]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_some, starts)
