"""How much is measured: the full run and the quick one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.contestant import Kind

_FULL: Mapping[Kind, int] = {"ours": 10_000, "idiomatic": 2_500, "tuned": 5_000, "floor": 20_000}
_QUICK: Mapping[Kind, int] = {"ours": 1_500, "idiomatic": 400, "tuned": 800, "floor": 3_000}


@dataclass(frozen=True)
class Plan:
    """Counts are cases of one round; samples of a percentile are those of all rounds together."""

    quick: bool = False
    rounds: int = 5
    count: int | None = None
    """Overrules the counts of the closed loop."""
    contestants: frozenset[str] = frozenset()
    """Names; empty: all."""
    modest_rate: float = 50.0
    modest_count: int = 600
    answer_rate: float = 200.0
    answer_count: int = 1_000
    stored_cases: int = 1_000_000
    clock_cases: int = 5_000_000
    deliveries: int = 10_000
    stage_facts: int = 10_000
    warm_up: int = 300
    counts: Mapping[Kind, int] = field(default_factory=lambda: _FULL)

    def closed(self, kind: Kind) -> int:
        return self.count or self.counts[kind]


def quick(rounds: int) -> Plan:
    """Small enough for three minutes: shows that all of it works, not how fast it is."""
    return Plan(
        quick=True, rounds=rounds, modest_count=150, answer_count=400, stored_cases=20_000, clock_cases=50_000, deliveries=1_000,
        stage_facts=1_000, warm_up=50, counts=_QUICK,
    )  # fmt: skip
