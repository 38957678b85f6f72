"""The real policy service in this process on a database of its own, and cases that fall due in it."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from bench.clocks.filled import Spread, Template, multiply, template
from bench.stages.policy import KeptBus
from services.policy import wiring
from shared.bus import open_bus
from shared.bus.port import Bus, Topology
from shared.clock import Clock, SystemClock, TestClock
from shared.ports import Account
from shared.registry import Registry
from shared.settings import Process, load_config
from shared.store import migrate
from shared.store.session import Database
from tests.support.pushes import accounts

PARTITIONS = 8
_MIGRATED = timedelta(days=1)
"""How long ago the case was opened that all others are made from."""


@dataclass
class Ground:
    """`service` is not started. `made` is what cases are copied from; `count`: how many copies there are."""

    url: str
    service: wiring.PolicyService
    bus: Bus
    registry: Registry
    account: Account
    made: Template
    count: int
    lags: list[float] = field(default_factory=list)
    """Seconds from due to committed, of each clock fired."""

    async def add(self, count: int, spread: Spread) -> None:
        """More open cases, due as `spread` says."""
        await multiply(self.url, self.made, count, spread, after=self.count)
        self.count += count

    async def fired(self, count: int, longest: float) -> None:
        """Waits until so many more clocks have fired and all that came of them is published. Raises TimeoutError."""
        wanted, end = len(self.lags) + count, time.monotonic() + longest
        while len(self.lags) < wanted or self.service.relay.busy:
            if time.monotonic() > end:
                raise TimeoutError(f"{wanted - len(self.lags)} of {count} clocks have not fired")
            await asyncio.sleep(0.01)

    async def timers(self) -> int:
        """How many clocks have ever fired here, none of them twice. Raises RuntimeError."""
        async with self.service.database.reading() as tx:
            row = await tx.row(
                "SELECT count(*) AS n, count(DISTINCT fact_id) AS facts FROM case_log WHERE fact LIKE '%timer.elapsed%'"
            )
        if row is None or row["n"] != row["facts"]:
            raise RuntimeError(f"a clock fired twice: {dict(row or {})}")
        return int(row["n"])

    async def verify(self, before: int, count: int) -> None:
        """So many more have fired by now, none early. Raises RuntimeError."""
        found = await self.timers() - before
        if found != count or min(self.lags, default=0) < 0:
            raise RuntimeError(f"{found} clocks fired of {count} due, the first {min(self.lags, default=0):f} s late")


@asynccontextmanager
async def ground(url: str, amqp: str | None = None, clock: Clock | None = None) -> AsyncIterator[Ground]:
    """On an empty database the first case is made, a day ago."""
    with tempfile.TemporaryDirectory(prefix="amends-bench-clocks-") as folder:
        file = Path(folder) / "accounts.yaml"
        file.write_text(accounts("http://127.0.0.1:9"))
        config = load_config(file, {})
        broker = {"broker_url": amqp} if amqp else {}
        process = Process(data_dir=Path(folder), database_urls={"policy": url}, partitions=PARTITIONS, **broker)
        (account,) = (entry.account for entry in config.accounts.values())
        bus = open_bus(amqp, Topology(PARTITIONS)) if amqp else KeptBus(Topology(PARTITIONS))
        await bus.start()
        service = wiring.build(process, config, clock or SystemClock(), bus)
        try:
            await migrate.upgrade(service.database, wiring.MIGRATIONS)
            past = wiring.build(process, config, TestClock(SystemClock().now() - _MIGRATED), bus)
            made = await _made(past, account, config.registry)
            count = await _copies(service.database, made)
            found = Ground(url, service, bus, config.registry, account, made, count)
            _watch(found)
            yield found
        finally:
            await service.stop()
            await service.database.close()
            await bus.stop()


async def _made(past: wiring.PolicyService, account: Account, registry: Registry) -> Template:
    await past.world.playbooks.adopt(past.database, past.world.playbooks.current, past.policy.clock.now())
    try:
        return await template(past.policy, account, registry)
    finally:
        await past.database.close()


async def _copies(database: Database, made: Template) -> int:
    """The last copy's number, which its id ends in."""
    own = made.case["id"]
    async with database.reading() as tx:
        row = await tx.row(
            "SELECT id FROM cases WHERE id >= :first AND id <= :last AND id <> :own ORDER BY id DESC LIMIT 1",
            first=own[:-12] + "0" * 12, last=own[:-12] + "f" * 12, own=own,
        )  # fmt: skip
    return int(row["id"][-12:], 16) if row else 0


def _watch(found: Ground) -> None:
    lag = found.service.policy.metrics.clock_lag_seconds
    observe = lag.observe

    def watched(amount: float) -> None:
        found.lags.append(amount)
        observe(amount)

    lag.observe = watched  # type: ignore[method-assign]
