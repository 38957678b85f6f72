"""Work that passes every named place, while processes die at one place after the other and start again at once."""

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from amends.serve import HttpServer
from shared.clock import to_micros
from shared.crashpoints import EXIT_CODE
from shared.marketplaces.aliexpress import simulator
from shared.ports import Account
from shared.store.session import Database
from tests.crash import evidence
from tests.crash.picture import Offered, Picture
from tests.crash.world import calls_of
from tests.support import pushes
from tests.support.forking import ForkServer
from tests.support.oracle import Oracle
from tests.support.system import Process, System, until

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
_LONGEST = 120
_POISON = {"intake": ("facts", "amends.fact.v1"), "policy": ("outbound", "amends.errand.planned.v1")}


class NotYet(Exception):
    """Come again."""


@dataclass
class Dying:
    """`places`: by process name, where it dies one after the other. Each death arms the next place."""

    system: System
    databases: Mapping[str, Database]
    places: Mapping[str, Sequence[str]]
    passed: list[str] = field(default_factory=list)
    """`service place` of each death."""

    def __post_init__(self) -> None:
        self._left = {name: deque(places) for name, places in self.places.items()}
        self._armed: dict[str, str] = {}

    @property
    def done(self) -> bool:
        return not self._armed and not any(self._left.values())

    async def watch(self) -> None:
        for process in self.system.processes:
            if self._left.get(process.name):
                process.end(signal.SIGKILL)
                await self._start(process)
        while True:
            await asyncio.sleep(0.02)
            for process in self.system.processes:
                if not process.running:
                    self._note(process)
                    await self._start(process)

    def _note(self, process: Process) -> None:
        code = process.handle.returncode if process.handle is not None else None
        place = self._armed.pop(process.name, None)
        assert code == EXIT_CODE, f"{process.name} ended with {code} at {place}: {process.log.read_text()[-2000:]}"
        self.passed.append(f"{process.name} {place}")

    async def _start(self, process: Process) -> None:
        process.env = {name: value for name, value in process.env.items() if name != "AMENDS_CRASHPOINT"}
        if left := self._left.get(process.name):
            self._armed[process.name] = left.popleft()
            process.env = {**process.env, "AMENDS_CRASHPOINT": self._armed[process.name]}
        await self._leases_over(process)
        await asyncio.to_thread(process.start)

    async def _leases_over(self, process: Process) -> None:
        """As if the 15 to 20 s had gone by for which a dead process keeps what it held."""
        if process.name == "embedded":
            return
        async with self.databases[process.name].transaction() as tx:
            if process.name == "intake":
                await tx.run("UPDATE fetches SET lease_until = 0")
                return
            await tx.run("UPDATE partitions SET owner = NULL, until = 0")
            await tx.run("DELETE FROM replicas")
            if process.name == "notifier":
                await tx.run("UPDATE errands SET lease_until = 0 WHERE status = 'sending'")


@dataclass
class Rounds:
    """The product with its outside world. Whatever is asked of it is asked again until it is answered, as outsiders do."""

    system: System
    shop: Oracle
    databases: Mapping[str, Database]
    dying: Dying
    pushes: int = 6
    offered: dict[str, bytes] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    watcher: asyncio.Task[None] | None = None

    async def until_passed(self, most: int) -> None:
        """Rounds until every place was passed, at most so many; then rest."""
        self.watcher = asyncio.create_task(self.dying.watch())
        try:
            n = 0
            while not self.dying.done:
                assert n < most, f"never passed: {self.dying._left} {self.dying._armed}"
                await self._round(n)
                n += 1
        finally:
            self.watcher.cancel()
            await asyncio.gather(self.watcher, return_exceptions=True)
        await evidence.settle(self.system, self.databases)

    async def _round(self, n: int) -> None:
        numbers = range(n * self.pushes, (n + 1) * self.pushes)
        again = [numbers[k] for k in (0, 0, 1)]
        await asyncio.gather(self._ring(n), self._reload(), *(self._push(k) for k in [*numbers, *again]))
        await self._poison(n)
        await self._rest()
        await self._act(numbers[0])
        for hours in (37, 12, 23):
            self.system.clock.set(self.system.clock.now() + timedelta(hours=hours))
            await self._rest()

    async def _push(self, n: int) -> None:
        money = {"value": "20.00", "currency": "EUR"}
        key = f"msg_{n}"
        body, _ = pushes.generic(
            START, "return.requested", key, kind="return", external_id=f"R{n}", order_id=f"O{n}",
            reason="changed_mind", amount=money, paid=money, buyer={"id": f"B{n}", "name": "Ada", "locale": "en"},
        )  # fmt: skip
        self.offered[key] = body
        await self._deliver("generic", "shop", body, key)

    async def _ring(self, n: int) -> None:
        body, headers = pushes.aliexpress(self.system.clock.now(), f"82000000{n:02}", f"62000000{n:02}")
        await self._deliver("aliexpress", "ae-main", body, None, headers)

    async def _deliver(
        self, marketplace: str, account: str, body: bytes, key: str | None, headers: dict[str, str] | None = None
    ) -> None:
        async def once() -> None:
            if key is not None:
                self.sent[key] = self.sent.get(key, 0) + 1
            signed = headers or pushes.signed(self.system.clock.now(), str(key), body)
            status, said = await self.system.push(marketplace, account, body, signed)
            if status == 503:
                raise NotYet
            assert status in (200, 202), (status, said)

        await self._again(once, "a delivery to be accepted")

    async def _poison(self, n: int) -> None:
        """What no release of ours writes: rows that their receivers cannot read."""
        urls = evidence.urls_of(self.system)
        for service, (table, type_) in _POISON.items():
            row = {"id": f"poison_{service}_{n}", "type": type_, "at": to_micros(self.system.clock.now())}
            more = {"account": "shop", "delivery_id": "none"} if service == "intake" else {}
            names = ["id", "type", "partition", "subject", "body", "created_at", *more]
            sql = (
                f"INSERT INTO {table} ({', '.join(names)}) VALUES (:id, :type, 0, 'poison', '{{}}', :at"
                + "".join(f", :{name}" for name in more)
                + ")"
            )
            database = Database(urls[service], pool=1)
            try:
                async with database.transaction() as tx:
                    await tx.run(sql, **row, **more)
            finally:
                await database.close()

    async def _act(self, n: int) -> None:
        """One click of an operator, repeated under its key."""
        found = await self._again(lambda: self._ask("GET", f"/v1/cases?external_id=R{n}"), "the case")
        action = {"action": "authorise", "params": {}, "reason": "a good customer"}
        path, key = f"/v1/cases/{found['items'][0]['id']}/actions", {"Idempotency-Key": f"click-{n}"}
        await self._again(lambda: self._ask("POST", path, json=action, headers=key), "the action to be done")

    async def _reload(self) -> None:
        await self._again(lambda: self._ask("POST", "/v1/admin/reload", json={}), "a reload")

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        status, said = await self.system.request(method, path, **more)
        if status == 503 or (status == 409 and said["code"] == "in_flight"):
            raise NotYet
        assert status in (200, 202), (path, status, said)
        return said

    async def _rest(self) -> None:
        """However often it dies on the way."""
        self._check()
        await evidence.settle(self.system, self.databases, looks=1)
        self._check()

    def _check(self) -> None:
        if self.watcher is not None and self.watcher.done():
            self.watcher.result()

    async def _again(self, ask: Any, what: str) -> Any:
        """`ask` until it answers without a cut connection or a 503."""

        async def once() -> list[Any]:
            self._check()
            try:
                return [await ask()]
            except (aiohttp.ClientError, TimeoutError, ZeroDivisionError, ConnectionError, NotYet):
                return []

        [answer] = await until(once, what, _LONGEST)
        return answer

    async def picture(self) -> Picture:
        """Stops the product."""
        assert self.shop.log is not None
        seen = await evidence.gauges(self.system)
        await self.system.stop()
        offered = [Offered("shop", key, body, self.sent[key], 1) for key, body in self.offered.items()]
        picture = await evidence.picture_of(self.system, calls_of(self.shop.log), offered, seen)
        return replace(picture, logged=frozenset({"shop"}))


@asynccontextmanager
async def rounds(
    folder: Path, server: ForkServer, urls: Mapping[str, str] | None, places: Mapping[str, Sequence[str]], **more: Any
) -> AsyncIterator[Rounds]:
    """A running system, the marketplaces around it, and where its processes are to die."""
    async with Oracle(log=folder / "marketplace.jsonl") as shop:
        system = System(folder, "", START, urls, replicas=1, server=server)
        account = Account(id="ae-main", marketplace="aliexpress", sandbox=True)
        secrets = {"app_key": pushes.APP_KEY, "app_secret": pushes.APP_SECRET, "access_token": "demo-token"}
        market = HttpServer(simulator.create(account, secrets, system.clock))
        await market.start()
        system.config.write_text(pushes.accounts(shop.url, market.url))
        try:
            async with system, evidence.databases(system) as found:
                yield Rounds(system, shop, found, Dying(system, found, places), **more)
        finally:
            await market.stop()
