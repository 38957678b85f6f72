"""The same steps drawn by hypothesis, which makes a schedule that fails as short as it can."""

from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.simulation.schedule import STEPS, Simulation

pytestmark = pytest.mark.timeout(600)
_TURNS = st.sampled_from((0, 3, 20, 80, 300))


class Schedules(RuleBasedStateMachine):
    """Any steps in any order; at the end all is brought to rest and judged."""

    kept: ClassVar[list[Simulation]] = []

    @property
    def simulation(self) -> Simulation:
        if not self.kept:
            self.kept.append(Simulation())
        return self.kept[0]

    @initialize(seed=st.integers(0, 1 << 32))
    def begin(self, seed: int) -> None:
        self.world = self.simulation.begin(seed)

    @rule(name=st.sampled_from(sorted(STEPS)), turns=_TURNS)
    def step(self, name: str, turns: int) -> None:
        STEPS[name][1](self.world)
        self.world.loop.run(turns)

    @rule(turns=_TURNS)
    def news(self, turns: int) -> None:
        self.world.senders.next_news()
        self.world.loop.run(turns)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            outcome = self.simulation.end(0)
            assert outcome.violations == [], "\n".join([*outcome.history, *map(str, outcome.violations)])


@pytest.fixture(autouse=True, scope="module")
def _let_go():
    yield
    while Schedules.kept:
        Schedules.kept.pop().close()


Schedules.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
TestSchedules = Schedules.TestCase
