"""Lives one after another, each judged, and summed up."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.restraint import lives, oracle
from tests.restraint.lives import Life
from tests.restraint.memory import Begun, History, Machine


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

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in self.ends.most_common())
        return (
            f"{self.triggers} triggers in {self.lives} lives, {self.attempts} attempts, {self.left} messages left"
            f" ({ends}); {len(self.faults)} promises broken"
        )


def one(seed: int) -> tuple[Life, History, list[str]]:
    life = lives.drawn(seed)
    history = Machine(life).run()
    return life, history, oracle.faults(life, history)


def many(first: int, triggers: int) -> Iterator[Sum]:
    """The sum after each life, until there were so many triggers."""
    summed, seed = Sum(), first
    while summed.triggers < triggers:
        summed.add(*one(seed))
        seed += 1
        yield summed
