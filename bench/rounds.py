"""Interleaved rounds: in each round every contestant is started fresh and loaded, one after the other, so that what the
machine does meanwhile meets them all alike. What is compared is one run's, never two runs'."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.contestant import Contestant
from bench.figure import Values
from bench.ground import Ground
from bench.plan import Plan
from bench.stage import Load, Stage, staged

LoadName = Literal["closed", "modest", "answers"]
Say = Callable[[str], None]


@dataclass
class Runs:
    """All loads of all rounds by contestant."""

    contestants: Sequence[Contestant]
    loads: dict[tuple[str, LoadName], list[Load]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """Rounds that did not come to a load at all."""

    def of(self, name: str, load: LoadName) -> list[Load]:
        """Those that count."""
        return [one for one in self.loads.get((name, load), []) if not one.void]

    def values(self, name: str, load: LoadName, value: Callable[[Load], float]) -> Values:
        return [value(one) for one in self.of(name, load)]

    @property
    def void(self) -> list[str]:
        told = [
            f"{name}, {load}: {one.void}" for (name, load), loads in self.loads.items() for one in loads if one.void
        ]
        return told + self.faults

    def named(self, *kinds: str) -> list[str]:
        return [c.name for c in self.contestants if c.kind in kinds]


async def play(
    contestants: Sequence[Contestant], wanted: frozenset[LoadName], ground: Ground, plan: Plan, say: Say
) -> Runs:
    """Every contestant in every round; the order turns, so that nobody always comes after the same other."""
    runs = Runs(contestants)
    taking = [c for c in contestants if _loads(c, wanted)]
    for number in range(plan.rounds):
        start = number % max(len(taking), 1)
        for contestant in [*taking[start:], *taking[:start]]:
            await _turn(runs, contestant, _loads(contestant, wanted), ground, plan, number, say)
    return runs


async def _turn(
    runs: Runs, contestant: Contestant, loads: Iterable[LoadName], ground: Ground, plan: Plan, number: int, say: Say
) -> None:
    try:
        async with staged(contestant, ground, 0 if contestant.kind == "bare" else plan.warm_up) as stage:
            for load in loads:
                done = await _put(stage, load, plan)
                runs.loads.setdefault((contestant.name, load), []).append(done)
                say(f"round {number + 1}  {contestant.name:<16} {load:<8} {_told(done)}")
    except Exception as fault:
        runs.faults.append(f"{contestant.name}, round {number + 1}: {type(fault).__name__}: {fault}")
        say(f"round {number + 1}  {contestant.name:<16} void: {fault}")


async def _put(stage: Stage, load: LoadName, plan: Plan) -> Load:
    if load == "closed":
        return await stage.closed(plan.closed(stage.contestant.kind))
    if load == "modest":
        return await stage.steady(plan.modest_count, plan.modest_rate)
    return await stage.steady(plan.answer_count, plan.answer_rate)


def _loads(contestant: Contestant, wanted: frozenset[LoadName]) -> list[LoadName]:
    """The closed loop comes last: what it leaves behind must not meet the modest rates."""
    fitting: dict[str, tuple[LoadName, ...]] = {
        "ours": ("modest", "answers", "closed") if contestant.name == "ours" else ("closed",),
        "idiomatic": ("modest", "closed"),
        "tuned": ("closed",),
        "floor": ("closed",),
        "bare": ("answers",),
    }
    return [load for load in fitting[contestant.kind] if load in wanted]


def _told(load: Load) -> str:
    if load.void:
        return f"void: {load.void}"
    return f"{load.per_second:8,.0f} cases/s  {load.cpu_per_1000:6.2f} CPU s per 1,000"
