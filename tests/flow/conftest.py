"""The flow suite runs on both stacks: `embedded` (SQLite, one process) and `apart` (RabbitMQ, PostgreSQL, two of each)."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from amends.serve import HttpServer
from shared.marketplaces.aliexpress import simulator
from shared.ports import Account
from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import SERVICES, System

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


@dataclass
class World:
    """The product, and around it the marketplaces as our tests control them."""

    system: System
    shop: Oracle
    aliexpress: str
    """URL of the AliExpress simulator."""

    async def control(self, path: str, body: Any = None) -> Any:
        async with aiohttp.ClientSession() as session:
            method = "GET" if body is None else "POST"
            async with session.request(method, f"{self.aliexpress}/_control/{path}", json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

    async def push_generic(self, type_: str, id_: str, **data: Any) -> int:
        body, headers = pushes.generic(self.system.clock.now(), type_, id_, **data)
        status, _ = await self.system.push("generic", "shop", body, headers)
        return status

    async def ring(self, order: str) -> int:
        """AliExpress tells that something about the order's dispute changed."""
        body, headers = pushes.aliexpress(self.system.clock.now(), order, f"6{order[1:]}")
        status, _ = await self.system.push("aliexpress", "ae-main", body, headers)
        return status


@pytest.fixture(params=["embedded", pytest.param("apart", marks=[pytest.mark.pg, pytest.mark.rabbit])])
def stack(request: pytest.FixtureRequest) -> dict[str, str] | None:
    """URLs of the stack's database and broker; None: embedded."""
    if request.param == "embedded":
        return None
    postgres, amqp = request.getfixturevalue("postgres_url"), request.getfixturevalue("amqp_url")
    return {s: f"{postgres}?schema={s}" for s in SERVICES} | {"broker": amqp}


WorldMaker = Callable[..., AbstractAsyncContextManager[World]]


@asynccontextmanager
async def opened(folder: Path, stack: dict[str, str] | None, **options: Any) -> AsyncIterator[World]:
    async with Oracle() as shop:
        system = System(folder, "", START, stack, **options)
        account = Account(id="ae-main", marketplace="aliexpress", sandbox=True)
        secrets = {"app_key": pushes.APP_KEY, "app_secret": pushes.APP_SECRET, "access_token": "demo-token"}
        server = HttpServer(simulator.create(account, secrets, system.clock))
        await server.start()
        system.config.write_text(pushes.accounts(shop.url, server.url))
        try:
            async with system:
                yield World(system, shop, server.url)
        finally:
            await server.stop()


@pytest.fixture
def world(stack: dict[str, str] | None, tmp_path: Path) -> WorldMaker:
    return partial(opened, tmp_path, stack)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One embedded product for a whole file; each test brings its own orders."""
    async with opened(tmp_path_factory.mktemp("product"), None) as running:
        yield running
