"""intake's composition root: every part from the process's settings; nothing is built at import."""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from services.intake import admin, app, parked, tables
from services.intake.api import Door
from services.intake.fetches import Fetches
from services.intake.handlers import Writer
from services.intake.limits import Limits
from services.intake.listening import Listening
from services.intake.polls import Polls
from services.intake.reach import Reach
from services.intake.reads import Comparer, Readers
from services.intake.replay import Replay
from services.intake.settings import Settings
from services.intake.telling import Telling
from services.intake.worker import Worker
from shared import health, ids
from shared.accounts import Config
from shared.auth import load_keys
from shared.bus.port import FACTS, Bus
from shared.clock import Clock, monotonic
from shared.cursors import Cursors
from shared.errors import NotFound, Unavailable
from shared.http import Guard, Http, base_host
from shared.metrics import Metrics, replace
from shared.settings import Process
from shared.store import migrate
from shared.store.opening import clock_fault, open_at_head
from shared.store.relay import Feed, Relay
from shared.store.session import Database

MIGRATIONS = Path(__file__).parent / "migrations"
_POLL_PATIENCE = 50.0
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
) -> "Intake":
    """`reload` reads the accounts file anew, for `POST /v1/admin/reload`; without it the configuration stays."""
    return Intake(process, config, clock, bus, metrics or Metrics(), settings or Settings(), reload)


class Intake:
    """`shared.service.Service`."""

    name = "intake"

    def __init__(
        self, process: Process, config: Config, clock: Clock, bus: Bus, metrics: Metrics, settings: Settings,
        reload: Reload | None,
    ) -> None:  # fmt: skip
        self.config = config
        self._process, self._clock, self._bus, self._metrics, self._reload = process, clock, bus, metrics, reload
        url = process.database_url(self.name)
        self.database = Database(url)
        self.relay = Relay(self.database, bus, [Feed(tables.facts, FACTS, "/amends/intake")], clock)
        self._http = Http(guard=Guard(self._hosts))
        telling = Telling(metrics)
        self.writer = Writer(self.database, self.relay, process.partitions, settings.waiting_limit, self.kick)
        self._reading(settings, telling)
        limits = Limits(settings)
        self._worker = Worker(
            self.database,
            self.writer,
            self.fetches,
            self.polls,
            self.listening,
            clock,
            settings,
            lambda: self._count_backlog(limits),
        )
        self.replay = Replay(self.database, self._config, self.relay, clock, telling, process.partitions)
        self.door = Door(self._config, self.writer, clock, settings, telling, limits)
        cursors = Cursors(hashlib.sha256(url.encode()).digest())
        routers = [
            health.router(self._checks(), metrics, self.name),
            admin.routes(self.replay, self.relay, cursors, self.reload),
            parked.routes(self.replay, cursors),
            *([admin.sandbox_routes(self.poll_now)] if process.sandbox else []),
        ]
        self.app = app.make(self.door, load_keys(process.api_keys_file, sandbox=process.sandbox), routers)
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
        await self._http.close()
        await self.database.close()

    def kick(self) -> None:
        self.relay.kick()
        self._worker.kick()

    async def busy(self) -> bool:
        """Asked in the order in which work travels: what has left one stage is seen in the next."""
        if self.door.inside or self.writer.waiting:
            return True
        if await self.polls.due() or await self.fetches.due() or await self.relay.pending() > 0:
            return True
        return bool(self.polls.running or self.fetches.running or self.relay.busy)

    async def next_due(self) -> datetime | None:
        return await self.fetches.next_due()

    async def poll_now(self, account: str) -> None:
        """Runs this account's source once, now, and waits until nothing of intake's is in flight.

        A poll under way is waited for first: it began before what the caller wants to be seen.
        """
        if account not in self._readers.accounts():
            raise NotFound("no such account, or its marketplace has nothing to poll")
        end = monotonic() + _POLL_PATIENCE
        await self._settled(end)
        await self.polls.ask([account])
        await self._settled(end)

    async def _settled(self, end: float) -> None:
        while True:
            self.kick()
            await asyncio.sleep(0.005)
            if not await self.busy():
                return
            if monotonic() > end:
                raise Unavailable("the poll is still under way")

    async def poll_all(self) -> None:
        """Asks every source to read once, now."""
        await self.polls.ask(self._readers.accounts())
        self.kick()

    async def reload(self) -> int:
        """Checked whole, then swapped; accounts seen first are polled at once."""
        if self._reload is not None:
            self.config = await asyncio.to_thread(self._reload)
            await self.polls.begin_new()
            self.kick()
        return len(self.config.accounts)

    def _config(self) -> Config:
        return self.config

    def _hosts(self) -> set[str]:
        """Hosts the operator named himself: they may lie inside his own network."""
        named = (base_host(entry.account.base_url) for entry in self.config.accounts.values())
        return {host for host in named if host}

    def _reading(self, settings: Settings, telling: Telling) -> None:
        """Fetches and polls: what this service reads by itself."""
        owner = ids.new_id("reader", self.name, self._clock.now())
        self._readers = Readers(self._config, self._http, self._clock, settings)
        comparer = Comparer(self._config, self._process.partitions, telling)
        self.fetches = Fetches(
            self.database, self._readers, comparer, self.relay, self._clock, settings, telling,
            self._process.partitions, owner,
        )  # fmt: skip
        self.polls = Polls(self.database, self._readers, comparer, self.relay, self._clock, settings, owner)
        self.listening = Listening(self.database, self._config, self.writer, self._clock, telling, owner)
        self._reach = Reach(self.database, self._config, self.polls.ways, self.listening, self._clock)

    async def _count_backlog(self, limits: Limits) -> None:
        limits.backlog = await self.relay.waiting()

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
        return None if self._bus.healthy else "the broker is away"

    async def _clock_agrees(self) -> str | None:
        return await clock_fault(self.database, self._clock)

    async def _refresh(self) -> None:
        oldest = await self.relay.oldest_unpublished_seconds()
        self._metrics.unpublished_oldest_seconds.labels(self.name).set(oldest)
        replace(self._metrics.source_away_seconds, await self._reach.away())
