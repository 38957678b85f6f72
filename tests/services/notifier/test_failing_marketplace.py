"""F10: a marketplace that times out, breaks, resets, storms and dies for ten minutes, over real HTTP, on both stores.

`AMENDS_F10_SENDS=5000` makes it the long run.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from services.notifier import lines
from shared.accounts import AccountEntry, Config
from shared.clock import Clock
from shared.domain.errands import Errand
from shared.ports import Account
from shared.registry import Registry
from tests.services.notifier.harness import MARKET, START, Marketplace, World, message

SENDS = int(os.environ.get("AMENDS_F10_SENDS", "300"))
WAVES, DEAD_WAVE = 10, 4
GOOD_PER_WAVE = 5
DEAD = timedelta(minutes=10)
FAULTS = (("hang", 0.30), ("5xx", 0.20), ("reset", 0.10))


@dataclass
class Failing:
    """`/bad` fails as F10 says, `/good` never does. What it took is the oracle."""

    clock: Clock
    chance: random.Random
    taken: Counter[str] = field(default_factory=Counter)
    taken_at: dict[str, datetime] = field(default_factory=dict)
    good_at: dict[str, datetime] = field(default_factory=dict)
    calls: int = 0
    stormy: bool = False
    whole: bool = False
    dead_until: datetime = START
    over: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def dead(self) -> bool:
        return self.clock.now() < self.dead_until

    async def send(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        key = msgspec.json.decode(await request.read())["key"]
        what = "dead" if self.dead else "storm" if self.stormy else self._fault()
        if what == "storm":
            return web.Response(status=429, headers={"Retry-After": "20"})
        if what == "ok" or (what != "dead" and self.chance.random() < 0.5):
            self.taken[key] += 1
            self.taken_at.setdefault(key, self.clock.now())
        return await self._answered(what, key, request)

    def _fault(self) -> str:
        if self.whole:
            return "ok"
        dice = self.chance.random()
        for what, share in FAULTS:
            if dice < share:
                return what
            dice -= share
        return "ok"

    async def _answered(self, what: str, key: str, request: web.Request) -> web.StreamResponse:
        if what == "hang":
            await self.over.wait()
        if what in ("hang", "reset", "dead") and request.transport is not None:
            request.transport.abort()
        if what == "5xx":
            return web.Response(status=self.chance.choice((500, 502, 503, 504)))
        return web.json_response({"id": f"toy-{key}"})

    async def thread(self, request: web.Request) -> web.StreamResponse:
        if self.dead:
            return web.Response(status=503)
        key = request.query["key"]
        return web.json_response({"found": key in self.taken or key in self.good_at})

    async def good(self, request: web.Request) -> web.StreamResponse:
        key = msgspec.json.decode(await request.read())["key"]
        assert key not in self.good_at
        self.good_at[key] = self.clock.now()
        return web.json_response({"id": f"toy-{key}"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Failing"]:
        app = web.Application()
        app.add_routes([web.post("/bad/send", self.send), web.get("/bad/thread", self.thread)])
        app.add_routes([web.post("/good/send", self.good), web.get("/good/thread", self.thread)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.over.set()
            await runner.cleanup()


def config(url: str) -> Config:
    entries = {
        id_: AccountEntry(
            Account(id_, "toy", "en", "UTC", f"{url}/{id_}", settings={"ability": "readable"}, sandbox=True),
            {"token": "t"},
            {},
        )
        for id_ in ("bad", "good")
    }
    return Config(entries, Registry(MARKET), None, MARKET)


def wave(n: int) -> tuple[list[Errand], list[Errand]]:
    size = SENDS // WAVES
    bad = [message(k, account="bad", id=f"bad-{k:05}") for k in range(n * size, (n + 1) * size)]
    return bad, [message(k, account="good", id=f"good-{n}-{k}") for k in range(GOOD_PER_WAVE)]


async def through_a_death(world: World, shop: Failing, bad: list[Errand]) -> None:
    """The marketplace is away for ten minutes: hardly anybody calls it, and all goes on soon after."""
    shop.dead_until, shop.stormy, shop.whole = world.clock.now() + DEAD, False, True
    before = shop.calls
    await world.pour(*bad)
    await world.settled()
    assert shop.calls - before <= 20
    await world.advance(DEAD - timedelta(seconds=1))
    assert shop.calls - before <= 20 + 11  # one at a time, at growing distances
    back = world.clock.now() + timedelta(seconds=1)
    await world.advance(timedelta(minutes=2, seconds=1))
    assert [at for at in shop.taken_at.values() if at >= back], "two minutes after it is back nothing has been sent"
    shop.whole = False


@pytest.mark.asyncio
@pytest.mark.timeout(600)
async def test_a_failing_marketplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_CALL_SECONDS", 1.0)
    world = World(store_url, Marketplace(), {}, tmp_path)
    async with Failing(world.clock, random.Random(SENDS)).running() as shop:
        notifier = await world.start(config=config(shop.url))
        try:
            for n in range(WAVES):
                bad, good = wave(n)
                shop.stormy = n % 3 == 1
                if n == DEAD_WAVE:
                    await through_a_death(world, shop, bad)
                    bad = []
                await world.pour(*bad, *good)
                now = world.clock.now()
                await world.settled()
                assert {shop.good_at.get(e.id) for e in good} == {now}, "the other account was held up"
                await world.advance(timedelta(minutes=1))
            shop.stormy = False
            await world.advance(timedelta(hours=12))
            async with notifier.database.reading() as tx:
                rows = await tx.rows("SELECT id, status FROM errands WHERE account = 'bad'")
        finally:
            await world.stop()
    standing = {row["id"]: row["status"] for row in rows}
    assert len(standing) == SENDS // WAVES * WAVES
    assert set(shop.taken.values()) == {1}, "something was sent twice"
    assert set(standing.values()) <= {"sent", "in_doubt"}
    sent = {id_ for id_, status in standing.items() if status == "sent"}
    assert sent <= shop.taken.keys()
    assert len(sent) > 0.9 * len(standing)
    told = Counter(f.data["errand_id"] for f in world.facts if f.kind == "message.sent" and f.account == "bad")
    assert told == Counter(sent)
    doubtful = {f.data["errand_id"] for f in world.facts if f.kind == "message.in_doubt"}
    assert {id_ for id_, status in standing.items() if status == "in_doubt"} <= doubtful
