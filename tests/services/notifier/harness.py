"""A notifier on a real store, an embedded bus and a marketplace that answers over real HTTP as the test says."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from services.notifier.settings import Settings
from services.notifier.wiring import Notifier, build
from shared import ids
from shared.accounts import AccountEntry, Config
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import OUTBOUND, Event, Topology
from shared.clock import TestClock, monotonic
from shared.domain.errands import Conversation, Errand, Resolution, Withdrawal
from shared.domain.facts import Fact, decode_fact, encode
from shared.domain.order import Buyer
from shared.ports import Account
from shared.registry import Registry
from shared.settings import Process
from shared.store import migrate

MARKET = Path(__file__).parent / "market"
START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ACCOUNT = "toy-main"
TYPES = {
    Errand: "amends.errand.planned.v1", Withdrawal: "amends.errand.withdrawn.v1",
    Resolution: "amends.errand.resolved.v1", Conversation: "amends.conversation.v1",
}  # fmt: skip


@dataclass
class Marketplace:
    """Answers as scripted (then `ok`), and remembers what it took: the oracle of the tests."""

    script: deque[str] = field(default_factory=deque)
    taken: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    reads: int = 0
    hide: int = 0
    """For so many readings the listing lags behind what was taken."""
    read_faults: int = 0
    delay: float = 0.0
    """Real seconds it takes to answer."""
    provider_id: str = "toy-{key}"
    released: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def keys(self) -> list[str]:
        return [call["key"] for call in self.taken]

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        await asyncio.sleep(self.delay)
        call = msgspec.json.decode(await request.read())
        what = self.script.popleft() if self.script else "ok"
        if what == "wait, then 400":
            self.waiting.set()
            await self.released.wait()
            what = "400"
        if what in ("429", "503"):
            return web.Response(status=int(what), headers={"Retry-After": "30"})
        if what in ("400", "401", "404", "500"):
            return web.Response(status=int(what), text="{}")
        self.taken.append(call)
        if what == "409":
            return web.Response(status=409)
        if what == "hang":
            self.waiting.set()
            await self.released.wait()
        if what == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if what in ("502", "504"):
            return web.Response(status=int(what))
        if what == "html":
            return web.Response(text="<html>", content_type="text/html")
        return web.json_response({"id": self.provider_id.format(key=call["key"])})

    async def _thread(self, request: web.Request) -> web.Response:
        self.reads += 1
        if self.read_faults:
            self.read_faults -= 1
            return web.Response(status=500)
        if self.hide:
            self.hide -= 1
            return web.json_response({"found": False})
        return web.json_response({"found": request.query["key"] in self.keys()})

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Marketplace"]:
        app = web.Application()
        app.add_routes([web.post("/send", self._post), web.post("/act", self._post), web.get("/thread", self._thread)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.released.set()
            await runner.cleanup()


def config_of(url: str, settings: Mapping[str, Any], accounts: tuple[str, ...] = (ACCOUNT,)) -> Config:
    entries = {
        id_: AccountEntry(
            Account(id_, "toy", "en", "Asia/Shanghai", url, settings=dict(settings), sandbox=True), {"token": "t"}, {}
        )
        for id_ in accounts
    }
    return Config(entries, Registry(MARKET), None, MARKET)


class World:
    """One or more notifiers on one database; facts they report are taken off the bus as policy would."""

    def __init__(self, url: str, marketplace: Marketplace, settings: Mapping[str, Any], tmp: Path) -> None:
        self.url, self.marketplace, self.settings, self.tmp = url, marketplace, settings, tmp
        self.clock = TestClock(START)
        self.bus = EmbeddedBus(Topology(partitions=2))
        self.facts: list[Fact] = []
        self.published: list[str] = []
        self.patience: float | None = 10.0
        """Seconds for one thing to be taken in; None for one that is made to stand still."""
        self.notifiers: list[Notifier] = []
        self.reloaded = config_of(marketplace.url, settings)
        self._n = 0
        self._reader: asyncio.Task[None] | None = None

    async def start(
        self, *, embedded: bool = True, accounts: tuple[str, ...] = (ACCOUNT,), config: Config | None = None
    ) -> Notifier:
        process = Process(
            data_dir=self.tmp,
            broker_url="embedded://" if embedded else "amqp://unused",
            database_urls={"notifier": self.url},
            sandbox=True,
            partitions=2,
        )
        config = config or config_of(self.marketplace.url, self.settings, accounts)
        settings = Settings(per_second=10_000, recover_every=0.2, stop_within=0.2)
        notifier = build(process, config, self.clock, self.bus, settings=settings, reload=lambda: self.reloaded)
        if not embedded:
            await migrate.upgrade(notifier.database, MIGRATIONS)
        if self._reader is None:
            await self.bus.start()
            self._reader = asyncio.create_task(self._read())
        await notifier.start()
        self.notifiers.append(notifier)
        return notifier

    async def _read(self) -> None:
        async def one(queue: str) -> None:
            subscription = await self.bus.subscribe(queue)
            while True:
                batch = await subscription.take(100)
                for event in batch.events:
                    self.published.append(event.id)
                    if self.published.count(event.id) == 1:  # as policy does: a repeat is swallowed
                        self.facts.append(decode_fact(event.data))
                await batch.ack()

        await asyncio.gather(one("policy.facts.0"), one("policy.facts.1"))

    async def stop(self) -> None:
        for notifier in self.notifiers:
            await notifier.stop()
        self.notifiers = []
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        await self.bus.stop()

    async def publish(self, *things: Errand | Withdrawal | Resolution | Conversation) -> None:
        """Ordered, in one message per partition. Does not wait for the notifier."""
        for thing in things:
            self._n += 1
            key = str(ids.partition_of(thing.account, thing.order_id, 2))
            event = Event(f"e{self._n}", TYPES[type(thing)], "/policy", thing.order_id, self.clock.now(), encode(thing))
            await asyncio.wait_for(self.bus.publish(OUTBOUND, key, [event]), self.patience)

    async def pour(self, *things: Errand | Conversation) -> None:
        """Many to one message, as policy's relay would. Returns once all are taken in."""
        groups: dict[str, list[Event]] = {}
        for thing in things:
            self._n += 1
            key = str(ids.partition_of(thing.account, thing.order_id, 2))
            event = Event(f"e{self._n}", TYPES[type(thing)], "/policy", thing.order_id, self.clock.now(), encode(thing))
            groups.setdefault(key, []).append(event)
        await asyncio.gather(*(self.bus.publish(OUTBOUND, key, events) for key, events in groups.items()))

    async def settled(self, longest: float = 60.0) -> None:
        """Until nothing is in flight and nothing is due at this moment."""
        end, quiet = monotonic() + longest, 0
        while quiet < 2:
            for notifier in self.notifiers:
                notifier.kick()
            await asyncio.sleep(0.005)
            busy = [await notifier.busy() for notifier in self.notifiers]
            quiet = 0 if any(busy) or not self.bus.idle else quiet + 1
            assert monotonic() < end, "still busy"

    async def advance(self, by: timedelta) -> None:
        """From one due moment to the next, as the sandbox does."""
        await self.settled()
        target = self.clock.now() + by
        while True:
            moments = [m for n in self.notifiers if (m := await n.next_due()) is not None and m <= target]
            if not moments:
                break
            self.clock.set(max(min(moments), self.clock.now()))
            await self.settled()
        self.clock.set(target)
        await self.settled()

    def kinds(self, errand_id: str | None = None) -> list[str]:
        return [f.kind for f in self.facts if errand_id is None or f.data["errand_id"] == errand_id]

    def fact(self, kind: str) -> Fact:
        return next(f for f in self.facts if f.kind == kind)

    async def row(self, errand_id: str) -> dict[str, Any]:
        async with self.notifiers[0].database.reading() as tx:
            row = await tx.row("SELECT * FROM errands WHERE id = :id", id=errand_id)
        assert row is not None
        return dict(row)

    async def status(self, errand_id: str) -> str:
        return str((await self.row(errand_id))["status"])


MIGRATIONS = Path(migrate.__file__).parents[2] / "services/notifier/migrations"
BUYER = Buyer(id="b1", name="Ann", locale="en", time_zone="Europe/Berlin")


def message(n: int = 1, text: str | None = "Hello, we are looking into it.", **changes: Any) -> Errand:
    base = Errand(
        id=f"msg_toy_{n:04}", what="message", name="free_text", account=ACCOUNT, marketplace="toy",
        order_id=f"80000000{n:02}", case_id=f"case_{n}", case_kind="dispute", phase="awaiting_seller",
        created_at=START, buyer=BUYER, text=text,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def act(n: int = 1, name: str = "refund", **changes: Any) -> Errand:
    return message(n, None, id=f"act_toy_{n:04}", what="act", name=name, **changes)


def withdrawal(errand: Errand, why: str = "no longer true") -> Withdrawal:
    return Withdrawal(
        errand_id=errand.id, account=errand.account, order_id=errand.order_id, case_id=errand.case_id,
        what=errand.what, name=errand.name, why=why,
    )  # fmt: skip


def resolution(errand: Errand, answer: Any) -> Resolution:
    return Resolution(
        errand_id=errand.id, account=errand.account, order_id=errand.order_id, case_id=errand.case_id,
        answer=answer, by="sam",
    )  # fmt: skip


Opened = Callable[..., Awaitable[World]]
