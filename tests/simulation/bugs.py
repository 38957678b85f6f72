"""All seeded bugs, by name. Each must be found out by the verdict within `SEEDS` schedules."""

from tests.simulation import bugs_inside, bugs_sending
from tests.simulation.seeding import BUGS, SEEDS, caught

__all__ = ["BUGS", "SEEDS", "bugs_inside", "bugs_sending", "caught"]
