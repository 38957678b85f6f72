"""A policy on an empty database of either end, with small playbooks of its own and a clock that is moved by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import services.policy
from shared.clock import TestClock
from shared.store import migrate
from shared.store.session import Database
from tests.services.policy.policy_rig import START, Rig, build, charts

MIGRATIONS = Path(services.policy.__path__[0]) / "migrations"


@pytest.fixture
def clock() -> TestClock:
    return TestClock(START)


@pytest_asyncio.fixture
async def rig(database: Database, clock: TestClock) -> AsyncIterator[Rig]:
    await migrate.upgrade(database, MIGRATIONS)
    made = build(database, clock)
    await made.policy.world.playbooks.adopt(database, charts(), clock.now())
    yield made
