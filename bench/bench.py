"""What the figures draw on: the servers, the plan, and the rounds all of them share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench import rounds
from bench.contestant import Contestant
from bench.ground import Ground
from bench.plan import Plan
from bench.rounds import LoadName, Runs


@dataclass
class Bench:
    """`loads`: what the chosen figures need of the shared rounds; they are played once, by whoever asks first."""

    ground: Ground
    plan: Plan
    contestants: Sequence[Contestant]
    loads: frozenset[LoadName]
    say: Callable[[str], None]
    runs: Runs | None = field(default=None)
    faults: list[str] = field(default_factory=list)
    """Figures that could not be measured at all."""

    async def played(self) -> Runs:
        if self.runs is None:
            self.runs = await rounds.play(self.contestants, self.loads, self.ground, self.plan, self.say)
        return self.runs
