from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.services.notifier.harness import Marketplace, Opened, World


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.pg)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, new_database: Callable[[], str]) -> str:
    return f"sqlite:///{tmp_path / 'notifier.db'}" if request.param == "sqlite" else new_database()


@pytest_asyncio.fixture
async def open_world(store_url: str, tmp_path: Path) -> AsyncIterator[Opened]:
    """`await open_world(ability="keyed", …settings)`: a started notifier and its marketplace."""
    async with AsyncExitStack() as stack:

        async def open_(start: bool = True, **settings: Any) -> World:
            marketplace = await stack.enter_async_context(Marketplace().running())
            world = World(store_url, marketplace, settings, tmp_path)
            if start:
                await world.start()
            stack.push_async_callback(world.stop)
            return world

        yield open_
