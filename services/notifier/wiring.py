"""notifier's composition root: every part from the process's settings; nothing is built at import."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog
from fastapi import APIRouter

from services.notifier import api, app, store, tables
from services.notifier.composer import Composer
from services.notifier.dispatch import Dispatcher
from services.notifier.faults import Faults
from services.notifier.handlers import Handlers
from services.notifier.ledger import Ledger
from services.notifier.lines import Lines
from services.notifier.planner import Planner
from services.notifier.settings import Settings
from services.notifier.worker import Worker
from shared import health, ids
from shared.accounts import Config
from shared.auth import load_keys
from shared.bus.consume import Consumer
from shared.bus.port import FACTS, OUTBOUND, Bus, Event, Unread
from shared.bus.topology import dead_queue
from shared.clock import Clock
from shared.cursors import Cursors
from shared.metrics import Metrics, replace
from shared.ports import Account
from shared.settings import Process
from shared.store import migrate
from shared.store import parked as parking
from shared.store.blobs import Blobs
from shared.store.opening import clock_fault, open_at_head
from shared.store.partitions import Ownership, Partitions, SoleOwner
from shared.store.relay import Feed, Relay
from shared.store.session import Database

MIGRATIONS = Path(__file__).parent / "migrations"
Reload = Callable[[], Config]
_RESULTS_EVERY = 0.1
"""Seconds: policy takes in what became of many errands at the price of one, and no buyer waits for it."""

_log = structlog.get_logger(__name__)


def build(
    process: Process,
    config: Config,
    clock: Clock,
    bus: Bus,
    *,
    metrics: Metrics | None = None,
    settings: Settings | None = None,
    reload: Reload | None = None,
    ownership: Ownership | None = None,
) -> "Notifier":
    """Raises ConfigurationError: templates, rules and channels of the accounts' marketplaces are checked here, whole.

    `ownership` None: this process is the only notifier (embedded), or on its own database takes part in the leases.
    """
    return Notifier(process, config, clock, bus, metrics or Metrics(), settings or Settings(), reload, ownership)


class Notifier:
    """`shared.service.Service`."""

    name = "notifier"

    def __init__(
        self, process: Process, config: Config, clock: Clock, bus: Bus, metrics: Metrics, settings: Settings,
        reload: Reload | None, ownership: Ownership | None,
    ) -> None:  # fmt: skip
        self.config = config
        self._process, self._clock, self._bus, self._metrics, self._reload = process, clock, bus, metrics, reload
        url = process.database_url(self.name)
        self.database = Database(url)
        self.relay = Relay(
            self.database, bus, [Feed(tables.results, FACTS, "/amends/notifier", gather=_RESULTS_EVERY)], clock
        )
        self._composer = _composer(config)
        self.faults = Faults()
        self._settings = settings
        self._lines = Lines(config, clock, self.faults, _rates(self._composer, settings))
        self.owner = ids.new_id("notifier", self.name, clock.now())
        self._ownership = ownership or self._owning()
        self.dispatcher = Dispatcher(
            self.database, self._lines, self._planner, clock, self._ownership, process.partitions, self.owner, self._done,
            Blobs(process.blobs),
        )  # fmt: skip
        self.handlers = Handlers(
            self.database,
            self._accounts,
            self._composer_now,
            clock,
            process.partitions,
            self._done,
            self.dispatcher.desk,
            settings.batch,
        )
        consumer = Consumer(bus, (), self.handlers.handle, self.park, dead=dead_queue(self.name), limit=settings.batch)
        self._worker = Worker(consumer, self.dispatcher, self._ownership, settings, sole=process.embedded)
        self.app = app.make(load_keys(process.api_keys_file, sandbox=process.sandbox), self._routers(url))
        metrics.before_scrape.append(self._refresh)
        self._started = False

    async def start(self) -> None:
        """Raises ConfigurationError when the database is not at head, Unavailable when it cannot be reached."""
        if self._started:
            return
        await open_at_head(self.name, self.database, MIGRATIONS, alone=self._process.embedded)
        await self.relay.start()
        await self._worker.start()
        self._started = True

    async def stop(self) -> None:
        if not self._started:
            return
        self._started = False
        await self._worker.stop()
        await self.relay.stop()
        await self._lines.close()
        await self.database.close()

    def kick(self) -> None:
        self.relay.kick()
        self._worker.kick()

    async def busy(self) -> bool:
        if self._worker.in_hand or self.relay.busy:
            return True
        if await self.dispatcher.busy() or await self.relay.pending() > 0:
            return True
        return await self._bus.waiting(OUTBOUND) > 0

    async def next_due(self) -> datetime | None:
        return await self.dispatcher.next_due()

    async def reload(self) -> int:
        """Checked whole, then swapped. A removed account's errands wait; what is under way ends on the old line."""
        if self._reload is not None:
            config = await asyncio.to_thread(self._reload)
            composer = await asyncio.to_thread(_composer, config)
            self._lines.replace(config, _rates(composer, self._settings))
            self.config, self._composer = config, composer
            self.kick()
        return len(self.config.accounts)

    async def park(self, item: Event | Unread, fault: Exception) -> None:
        async with self.database.transaction() as tx:
            await parking.park(tx, tables.parked, item, fault, self._clock.now())
        self._metrics.parked.labels(self.name, type(fault).__name__).inc()

    async def retry(self, parked_id: str) -> bool:
        """Handles a parked event now, in the transaction that takes it out. Raises Unreadable when it still is."""
        async with self.database.transaction() as tx:
            item = await parking.retry(tx, parked_id, self._clock.now())
            if item is None:
                return False
            ledger = await self.handlers.take_in_one(tx, item)
        self._done(ledger)
        return True

    def _accounts(self) -> Config:
        return self.config

    def _composer_now(self) -> Composer:
        return self._composer

    def _planner(self, now: datetime) -> Planner:
        return Planner(self.config.accounts, self._composer, now)

    def _owning(self) -> Ownership:
        if self._process.embedded:
            return SoleOwner(self._process.partitions)
        return Partitions(self.database, self._process.partitions, self.owner)

    def _done(self, ledger: Ledger) -> None:
        """After a commit."""
        self.relay.hand_over(ledger.results)
        for change, times in Counter(ledger.changes).items():
            counter = self._metrics.messages if change.what == "message" else self._metrics.acts
            counter.labels(change.marketplace, change.name, change.status).inc(times)
        for rule in ledger.broken_rules:
            self._metrics.rule_violations.labels(rule).inc()
        for rule in ledger.likenesses:
            self._metrics.rule_likenesses.labels(rule).inc()
        self.dispatcher.wake.set()

    def _routers(self, url: str) -> list[APIRouter]:
        cursors = Cursors(hashlib.sha256(url.encode()).digest())
        routers = [
            health.router(self._checks(), self._metrics, self.name),
            api.messages(self.database, cursors, self._composer_now),
            api.admin(self.database, cursors, self.relay.resync, self.retry, self.reload),
        ]
        if not self._process.sandbox:
            return routers
        return [*routers, api.sandbox(self.database, cursors, self.faults, self._marketplaces)]

    def _marketplaces(self) -> list[str]:
        """Of the configuration as it is now: a reload may bring new ones."""
        return self.config.registry.names()

    def _checks(self) -> dict[str, health.Check]:
        checks: dict[str, health.Check] = {"database": self._database_answers, "broker": self._broker_answers}
        checks["clock"] = self._clock_agrees
        return checks

    async def _database_answers(self) -> str | None:
        if not self._started:
            return "not started"
        await migrate.check(self.database, MIGRATIONS)
        return None

    async def _broker_answers(self) -> str | None:
        if not self._bus.healthy:
            return "the broker is away"
        return None if self._worker.healthy else "nothing is taken in or sent at the moment"

    async def _clock_agrees(self) -> str | None:
        return await clock_fault(self.database, self._clock)

    async def _refresh(self) -> None:
        oldest = await self.relay.oldest_unpublished_seconds()
        self._metrics.unpublished_oldest_seconds.labels(self.name).set(oldest)
        if not self._ownership.owns(0):
            self._metrics.breakers_open.clear()
            return
        async with self.database.reading() as tx:
            replace(self._metrics.breakers_open, await store.breakers_open(tx, self.config.accounts))


def _composer(config: Config) -> Composer:
    names = {entry.account.marketplace for entry in config.accounts.values()}
    composer = Composer(config.registry, names, over=config.templates)
    for said in composer.waiting:
        _log.warning("own_template_is_held", why=said)
    composer.prepare()
    return composer


def _rates(composer: Composer, settings: Settings) -> Callable[[Account], float]:
    """Calls per second of an account that does not say: its marketplace's figure; in the sandbox all have the same."""

    def per_second(account: Account) -> float:
        named = None if account.sandbox else composer.book(account.marketplace).calls_per_second
        return float(named or settings.per_second)

    return per_second
