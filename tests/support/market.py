"""A marketplace played by its own simulator over real HTTP: one account's source and channel against it, or the whole product."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from amends.serve import HttpServer
from shared.clock import TestClock
from shared.http import Call, Http
from shared.ports import Account, Channel, Record, Secrets, Source
from shared.registry import Registry
from tests.support.system import System

REGISTRY = Registry()
S = TypeVar("S", bound="Shop")
R = TypeVar("R", bound="Rehearsal")


async def control(url: str, path: str, body: Any = None) -> Any:
    """What a test does to a simulator, or sees of it: GET without a body, POST with one."""
    quiet = Http()
    try:
        content = None if body is None else msgspec.json.encode(body)
        call = Call("GET" if body is None else "POST", f"{url}/_control/{path}", body=content)
        return (await quiet.call(call)).json()
    finally:
        await quiet.close()


@dataclass
class Shop:
    """One account and what is made of its folder."""

    account: Account
    secrets: Secrets
    clock: TestClock
    http: Http
    faults: list[str | None] = field(default_factory=list)
    """What becomes of the next calls, in order: None for nothing, or what `shared.http.Http` takes."""
    calls: list[Call] = field(default_factory=list)

    source: Source = field(init=False)
    """One as long as the account stays the same: some remember what they have seen."""

    def __post_init__(self) -> None:
        make = REGISTRY.sources(self.account.marketplace)
        assert make is not None
        self.source = make(self.account, self.secrets, self.http, self.clock)

    def with_settings(self: S, **settings: Any) -> S:
        return replace(self, account=replace(self.account, settings={**self.account.settings, **settings}))

    @property
    def url(self) -> str:
        return str(self.account.base_url)

    @property
    def channel(self) -> Channel:
        make = REGISTRY.channels(self.account.marketplace)
        assert make is not None
        return make(self.account, self.secrets, self.http, self.clock)

    async def control(self, path: str, body: Any = None) -> Any:
        return await control(self.url, path, body)

    async def sweep(self, since: datetime | None = None) -> tuple[list[Record], list[str], int]:
        """All of one poll: its records, its references, its pages."""
        source, records, refs, pages, cursor = self.source, list[Record](), list[str](), 0, None
        while True:
            page = await source.poll(cursor, since)
            records, refs, pages = [*records, *page.records], [*refs, *page.refs], pages + 1
            cursor = page.cursor
            if cursor is None:
                return records, refs, pages


@asynccontextmanager
async def simulated(
    account: Account, secrets: Secrets, clock: TestClock, keep: Path | None = None
) -> AsyncIterator[str]:
    """The address of the account's marketplace."""
    server = HttpServer(REGISTRY.simulators(account.marketplace).create(account, secrets, clock, keep))
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


@asynccontextmanager
async def opened(
    kind: type[S], account: Account, secrets: Secrets, at: datetime, keep: Path, *, spare_reads: bool = False
) -> AsyncIterator[S]:
    """`spare_reads`: the faults are meant for what changes something."""
    clock, faults, calls = TestClock(at), list[str | None](), list[Call]()

    async def fault(call: Call) -> str | None:
        calls.append(call)
        return faults.pop(0) if faults and not (spare_reads and call.reads) else None

    http = Http(fault=fault)
    try:
        async with simulated(account, secrets, clock, keep) as url:
            yield kind(replace(account, base_url=url), secrets, clock, http, faults, calls)
    finally:
        await http.close()


@dataclass
class Rehearsal:
    """The product running (embedded), with the simulator as the marketplace."""

    system: System
    url: str

    async def control(self, path: str, body: Any = None) -> Any:
        return await control(self.url, path, body)

    async def decide(self, case: dict[str, Any], action: str, **params: Any) -> None:
        """An operator's action, and all that follows from it."""
        body = {"action": action, "params": params, "reason": "rehearsal"}
        key = {"Idempotency-Key": f"{action}-{case['seq']}"}
        await self.system.post(f"/v1/cases/{case['id']}/actions", body, headers=key)
        await self.system.drain()

    async def told(self, case: dict[str, Any]) -> list[tuple[str, str]]:
        """The messages of a case: purpose and status."""
        return [(m["purpose"], m["status"]) for m in await self.system.messages(case["id"])]


@asynccontextmanager
async def rehearsed(
    kind: type[R], account: Account, secrets: Secrets, at: datetime, folder: Path, accounts: Callable[..., str]
) -> AsyncIterator[R]:
    """`accounts`: the accounts file, given the marketplace's address as `url`."""
    system = System(folder, "", at, None)
    async with simulated(account, secrets, system.clock) as url:
        system.config.write_text(accounts(url=url))
        async with system:
            yield kind(system, url)
