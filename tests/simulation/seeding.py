"""How bugs are seeded into the product: by name, each replacing one function for as long as it is open."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.simulation.loop import SimLoop
from tests.simulation.schedule import Outcome, Simulation
from tests.simulation.stage import Stage

Bug = Callable[[Stage], AbstractContextManager[None]]
SEEDS = 1500
"""Within so many each must be caught."""
BUGS: dict[str, Bug] = {}


def bug(seeded: Callable[[Stage], Iterator[None]]) -> None:
    BUGS[seeded.__name__] = contextmanager(seeded)


def caught(simulation: Simulation, name: str, seeds: int = SEEDS) -> Outcome | None:
    """The first schedule whose verdict finds the bug out."""
    with BUGS[name](simulation.stage):
        for seed in range(seeds):
            outcome = simulation.run(seed)
            if outcome.violations:
                return outcome
    return None


async def hop() -> None:
    """Others may run."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    await loop.hop()


async def nothing(*_: Any, **__: Any) -> None:
    return None
