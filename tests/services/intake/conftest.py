"""intake for real: its HTTP port, its store (SQLite and PostgreSQL), the embedded bus with a listener, the toy market."""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from amends.serve import HttpServer
from services.intake.settings import Settings
from services.intake.wiring import Intake, build
from shared.accounts import Config, load_config
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import FACTS, BusUnavailable, Event, Topology, queue_of
from shared.clock import TestClock
from shared.domain.facts import Fact, decode_fact
from shared.metrics import Metrics
from shared.settings import Process

MARKETPLACES = Path(__file__).parents[2] / "data" / "marketplaces"
START = datetime(2026, 1, 5, 10, tzinfo=UTC)
PUSH_SECRETS = {"toy-a": "push-secret-a", "toy-b": "push-secret-b"}
_SERVER = os.environ.get("AMENDS_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def toy_signature(secret: str, body: bytes) -> str:
    import hmac

    return hmac.new(secret.encode(), body, "sha256").hexdigest()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of this run's own."""
    name = f"amends_intake_{secrets.token_hex(4)}"
    asyncio.run(_execute(f"CREATE DATABASE {name}"))
    yield _SERVER.rpartition("/")[0] + f"/{name}"
    asyncio.run(_execute(f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(sql: str) -> None:
    connection = await asyncpg.connect(_SERVER)
    await connection.execute(sql)
    await connection.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.pg)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'intake.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return f"{url}?schema=t_{secrets.token_hex(4)}"


def accounts_file(folder: Path, market_url: str, old_secret: str | None = None) -> Path:
    path = folder / "accounts.yaml"
    lines = [f"marketplaces: {MARKETPLACES}", "accounts:"]
    for name, secret in PUSH_SECRETS.items():
        given = f"[{secret}, {old_secret}]" if old_secret and name == "toy-a" else secret
        lines += [
            f"  - id: {name}",
            "    marketplace: toy",
            f"    base_url: {market_url}",
            f"    secrets: {{push_secret: {given}, api_token: token}}",
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def config_of(folder: Path, market_url: str, old_secret: str | None = None) -> Config:
    return load_config(accounts_file(folder, market_url, old_secret), {}, service="intake", sandbox=True)


@dataclass
class Listener:
    """Everything that arrives on `amends.facts`, acknowledged at once."""

    bus: EmbeddedBus
    events: list[Event] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        for partition in range(self.bus.topology.partitions):
            subscription = await self.bus.subscribe(queue_of(FACTS, partition))
            self.tasks.append(asyncio.create_task(self._listen(subscription)))

    async def _listen(self, subscription: Any) -> None:
        with contextlib.suppress(BusUnavailable):
            while True:
                batch = await subscription.take(100)
                self.events += batch.events
                await batch.ack()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass
class Rig:
    """One running intake. `restart` ends it and starts it anew on the same store."""

    folder: Path
    store_url: str
    clock: TestClock
    market: Any
    market_url: str
    settings: Settings = field(default_factory=Settings)
    listening: bool = True
    old_secret: str | None = None
    metrics: Metrics = field(default_factory=Metrics)

    async def start(self) -> "Rig":
        self.metrics = Metrics()
        self.bus = EmbeddedBus(Topology(partitions=4))
        await self.bus.start()
        self.listener = Listener(self.bus)
        if self.listening:
            await self.listener.start()
        process = Process(data_dir=self.folder, database_urls={"intake": self.store_url}, sandbox=True, partitions=4)
        self.config = config_of(self.folder, self.market_url, self.old_secret)
        self.intake: Intake = build(
            process, self.config, self.clock, self.bus, metrics=self.metrics, settings=self.settings,
            reload=lambda: config_of(self.folder, self.market_url, self.old_secret),
        )  # fmt: skip
        await self.intake.start()
        self.server = HttpServer(self.intake.app)
        await self.server.start()
        self.http = aiohttp.ClientSession(self.server.url, headers={"Authorization": "Bearer sandbox"})
        return self

    async def stop(self) -> None:
        await self.http.close()
        await self.server.stop()
        await self.intake.stop()
        await self.bus.stop()
        await self.listener.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def body(self, id_: str, topic: str = "order_sent", **data: Any) -> bytes:
        push = {"id": id_, "topic": topic, "at": "2026-01-05T09:59:00Z", "data": {"order": "T-100", **data}}
        return json.dumps(push).encode()

    async def push(
        self, body: bytes, account: str = "toy-a", secret: str | None = None, **headers: str
    ) -> tuple[int, bytes]:
        signed = toy_signature(secret or PUSH_SECRETS.get(account, "?"), body)
        async with self.http.post(
            f"/webhooks/toy/{account}",
            data=body,
            headers={"Content-Type": "application/json", "X-Toy-Signature": signed, **headers},
        ) as answer:
            return answer.status, await answer.read()

    async def drain(self) -> None:
        async def quiet() -> bool:
            self.intake.kick()
            return not await self.intake.busy()

        await until(quiet)

    async def advance(self, by: timedelta) -> None:
        """As the sandbox does it: from one due moment to the next."""
        await self.drain()
        target = self.clock.now() + by
        while (due := await self.intake.next_due()) is not None and due <= target:
            self.clock.set(due)
            await self.drain()
        self.clock.set(target)
        await self.drain()

    def published(self) -> list[Fact]:
        """As they arrived, repeats included."""
        return [decode_fact(event.data) for event in self.listener.events]

    def facts(self, *kinds: str) -> list[Fact]:
        """As a receiver takes them: a repeat, known by its id, is swallowed."""
        found = list({fact.id: fact for fact in self.published()}.values())
        return [fact for fact in found if not kinds or fact.kind in kinds]

    async def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        async with self.intake.database.reading() as tx:
            return [dict(row) for row in await tx.rows(sql, **params)]

    async def outcomes(self) -> list[str]:
        return [row["outcome"] for row in await self.rows("SELECT outcome FROM deliveries ORDER BY received_at, id")]

    def counted(self, outcome: str, marketplace: str = "toy") -> float:
        labels = {"marketplace": marketplace, "outcome": outcome}
        return self.metrics.registry.get_sample_value("amends_deliveries_total", labels) or 0.0


async def until(check: Callable[[], Awaitable[Any]], longest: float = 20.0) -> Any:
    """Waits for a condition; its truthy value."""
    async with asyncio.timeout(longest):
        while not (value := await check()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return value


Start = Callable[..., Awaitable[Rig]]


@pytest_asyncio.fixture
async def start(tmp_path: Path, store_url: str) -> AsyncIterator[Start]:
    """Starts a rig with the given options; everything is stopped at the end."""
    clock = TestClock(START)
    async with market_running(clock) as (market, url):
        rigs: list[Rig] = []

        async def started(**options: Any) -> Rig:
            rigs.append(Rig(tmp_path, store_url, clock, market, url, **options))
            return await rigs[-1].start()

        yield started
        for rig in rigs:
            await rig.stop()


@pytest_asyncio.fixture
async def rig(start: Start) -> Rig:
    found = await start()
    await found.drain()
    return found


@contextlib.asynccontextmanager
async def market_running(clock: TestClock) -> AsyncIterator[tuple[Any, str]]:
    """The toy market's simulator on a port of its own."""
    from shared.ports import Account
    from shared.registry import Registry

    app = Registry(MARKETPLACES).simulators("toy").create(Account("sim", "toy"), {"api_token": "token"}, clock)
    server = HttpServer(app)
    await server.start()
    try:
        yield app.state.market, server.url
    finally:
        await server.stop()
