"""policy's composition root: every part from the process's settings; nothing is built at import."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from services.policy import admin, api, app, due, shipped, tables
from services.policy.handlers import Policy
from services.policy.metrics import Gauges
from services.policy.operators import Operators
from services.policy.playbooks import Playbooks
from services.policy.retry import Parked, told_apart
from services.policy.settings import Settings
from services.policy.store import Key
from services.policy.terms import TermsBook
from services.policy.walk import World
from services.policy.worker import Worker
from shared import crashpoints, health, ids
from shared.accounts import Config
from shared.auth import load_keys
from shared.bus.consume import Consumer
from shared.bus.grouping import Grouped
from shared.bus.port import CASES, FACTS, OUTBOUND, Bus, Event, queue_of
from shared.bus.topology import dead_queue
from shared.clock import Clock, SystemClock
from shared.cursors import Cursors
from shared.errors import ConfigurationError, Invalid
from shared.metrics import Metrics
from shared.settings import Process
from shared.store.blobs import Blobs
from shared.store.opening import clock_fault, open_at_head
from shared.store.partitions import Ownership, Partitions, SoleOwner
from shared.store.relay import Feed, Relay
from shared.store.session import Database

MIGRATIONS = Path(__file__).parent / "migrations"
_SOURCE = "/amends/policy"
_CASES_EVERY = 0.25
"""Seconds between two messages of one kind of case news: it is for others to listen to, and nothing here waits for it."""
Reload = Callable[[], Config]


def build(
    process: Process,
    config: Config,
    clock: Clock,
    bus: Bus,
    *,
    metrics: Metrics | None = None,
    settings: Settings | None = None,
    reload: Reload | None = None,
) -> "PolicyService":
    """Reads and checks all playbooks: raises ConfigurationError naming every fault. `reload` reads the accounts anew."""
    return PolicyService(process, config, clock, bus, metrics or Metrics(), settings or Settings(), reload)


class PolicyService:
    """`shared.service.Service`."""

    name = "policy"

    def __init__(
        self, process: Process, config: Config, clock: Clock, bus: Bus, metrics: Metrics, settings: Settings,
        reload: Reload | None,
    ) -> None:  # fmt: skip
        self._process, self._config, self._clock, self._bus = process, config, clock, bus
        self._metrics, self._settings, self._reload = metrics, settings, reload
        url = process.database_url(self.name)
        self.database = Database(url)
        charts = shipped.read_all(config.registry, config.playbooks)
        self.world = World(Playbooks(charts), TermsBook(config, config.registry), process.partitions)
        told = Feed(tables.case_events, CASES, _SOURCE, "key", gather=_CASES_EVERY)
        feeds = [Feed(tables.outbound, OUTBOUND, _SOURCE), told]
        self.relay = Relay(self.database, bus, feeds, clock)
        self.policy = Policy(self.database, self.world, self.relay, clock, metrics)
        self.operators = Operators(self.policy)
        self.parked = Parked(self.policy)
        self._owned = self._ownership()
        self._grouped = Grouped(self.policy.advance, settings.batch)
        dead = dead_queue(queue_of(FACTS, 0))
        self._consumer = Consumer(bus, (), self._handle, self.parked.put, dead=dead, limit=settings.batch)
        self._worker = Worker(self.policy, settings, self._clock_agrees, self._looks_after)
        self._gauges = Gauges(self.database, metrics, clock, self.relay, self.world, self._owned)
        metrics.before_scrape.append(self._gauges.refresh)
        self.app = self._application(url)
        self._started = False

    async def start(self) -> None:
        """Raises ConfigurationError (not at head, a version with other content), Unavailable."""
        if self._started:
            return
        await open_at_head(self.name, self.database, MIGRATIONS, alone=self._process.embedded)
        await self.world.playbooks.adopt(self.database, self.world.playbooks.current, self._clock.now())
        await self.world.terms.recall(self.database)
        await self.relay.start()
        await self._consumer.start()
        await self._owned.start(self._assign)
        await self._worker.start()
        self._started = True

    async def stop(self) -> None:
        if not self._started:
            return
        self._started = False
        await self._consumer.stop()
        await self._worker.stop()
        await self._owned.stop()
        await self.relay.stop()
        await self._gauges.stop()
        await self.database.close()

    def kick(self) -> None:
        self.relay.kick()
        self._consumer.kick()
        self._worker.kick()

    async def busy(self) -> bool:
        if self._consumer.busy or self._worker.running or self.relay.busy:
            return True
        async with self.database.reading() as tx:
            if await due.due_now(tx, self._clock.now()):
                return True
        return await self.relay.pending() > 0 or await self._bus.waiting(FACTS) > 0

    async def next_due(self) -> datetime | None:
        async with self.database.reading() as tx:
            return await due.next_due(tx)

    async def reload(self) -> int:
        """Checked whole, then swapped: accounts, terms, playbooks. Answers the number of accounts. Raises Invalid."""
        try:
            config = self._config if self._reload is None else await asyncio.to_thread(self._reload)
            charts = await asyncio.to_thread(shipped.read_all, config.registry, config.playbooks)
            fresh = TermsBook(config, config.registry)
            await self.world.playbooks.adopt(self.database, charts, self._clock.now())
        except ConfigurationError as fault:
            raise Invalid("nothing was changed", code="bad_configuration", faults=fault.faults) from None
        crashpoints.hit("policy.playbooks_stored")
        self._config = config
        self.world.terms.take_over(fresh)
        return len(fresh.accounts)

    async def _handle(self, events: list[Event]) -> None:
        """What is no fact is at fault by itself and is put aside; the others go on without it."""
        facts, unfit = told_apart(events)
        if facts:
            await self._grouped.take(facts)
        for event, fault in unfit:
            await self.parked.put(event, fault)

    async def _assign(self, partitions: frozenset[int]) -> None:
        await self._consumer.assign(queue_of(FACTS, partition) for partition in sorted(partitions))

    def _looks_after(self, order: Key) -> bool:
        return self._owned.owns(ids.partition_of(*order, self._process.partitions))

    def _ownership(self) -> Ownership:
        """Embedded there is one process; apart there may be replicas."""
        if self._process.embedded:
            return SoleOwner(self._process.partitions)
        owner = ids.new_id("replica", self.name, SystemClock().now())
        return Partitions(self.database, self._process.partitions, owner)

    def _application(self, url: str) -> object:
        cursors = Cursors(hashlib.sha256(f"policy {url}".encode()).digest())
        routers = [
            health.router(self._checks(), self._metrics, self.name),
            api.cases_router(self.policy, self.operators, cursors),
            api.tasks_router(self.policy, self.operators, cursors),
            admin.evidence_router(self.operators, Blobs(self._process.blobs)),
            admin.playbooks_router(self.world, cursors),
            admin.admin_router(self.parked, self.relay, cursors, self.reload),
        ]
        return app.make(load_keys(self._process.api_keys_file, sandbox=self._process.sandbox), routers)

    def _checks(self) -> dict[str, health.Check]:
        checks: dict[str, health.Check] = {"database": self._database_answers, "broker": self._broker_answers}
        checks["clock"] = self._clock_agrees
        checks["clocks"] = self._clocks_fire
        return checks

    async def _clocks_fire(self) -> str | None:
        return "due clocks do not fire" if self._worker.held_up else None

    async def _database_answers(self) -> str | None:
        if not self._started:
            return "not started"
        async with self.database.reading() as tx:
            await tx.row("SELECT 1 AS x")
        return None

    async def _broker_answers(self) -> str | None:
        if not self._bus.healthy:
            return "the broker is away"
        return None if self._consumer.healthy else "not consuming"

    async def _clock_agrees(self) -> str | None:
        return await clock_fault(self.database, self._clock, self._settings.skew)
