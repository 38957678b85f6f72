"""Stopped gracefully under load; broker and database cut off while running and given back: nothing lost, no restart."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.proxy import Proxy
from tests.support.system import SERVICES, System, until

pytestmark = [pytest.mark.crash, pytest.mark.asyncio, pytest.mark.timeout(400)]
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


async def _push(system: System, n: int) -> int:
    """The status; 0 when there was no answer."""
    body, headers = pushes.generic(
        START, "return.requested", f"msg_{n}", kind="return", external_id=f"R{n}", order_id=f"O{n}", reason="other",
        buyer={"id": f"B{n}", "locale": "en"},
    )  # fmt: skip
    try:
        return (await system.push("generic", "shop", body, headers))[0]
    except (aiohttp.ClientError, TimeoutError, ZeroDivisionError):
        return 0


async def _all_there(system: System, oracle: Oracle, accepted: set[int]) -> None:
    async def arrived() -> bool:
        return len(await system.cases()) >= len(accepted)

    await until(arrived, "all cases", 60)
    await system.drain()
    cases = await system.cases()
    assert sorted(c["external_id"] for c in cases) == sorted(f"R{n}" for n in accepted)
    assert oracle.said_twice() == []
    spoken = {b["data"]["case_id"] for b in oracle.effects().values() if b["type"] == "message.send"}
    assert spoken == {c["id"] for c in cases}


class _Load:
    """Deliveries one after the other in several lines, each its own, until told to end."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.statuses: dict[int, int] = {}
        self._next = 0
        self._stop = asyncio.Event()

    async def __aenter__(self) -> "_Load":
        self._lines = [asyncio.create_task(self._line()) for _ in range(8)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._lines)

    async def _line(self) -> None:
        while not self._stop.is_set():
            self._next += 1
            n = self._next
            self.statuses[n] = await _push(self.system, n)
            if self.statuses[n] == 0:
                await asyncio.sleep(0.05)

    @property
    def accepted(self) -> set[int]:
        return {n for n, status in self.statuses.items() if status == 202}

    async def until_accepted(self, more: int) -> None:
        wanted = len(self.accepted) + more

        async def enough() -> bool:
            return len(self.accepted) >= wanted

        await until(enough, f"{more} more deliveries to be accepted")


async def test_a_graceful_stop_under_load_fails_no_accepted_delivery(tmp_path: Path) -> None:
    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START) as system:
        async with _Load(system) as load:
            await load.until_accepted(40)
            began = asyncio.get_running_loop().time()
            await system.stop()
            assert asyncio.get_running_loop().time() - began < 20
        assert set(load.statuses.values()) <= {202, 503, 0}
        await system.start()
        kept = [d for d in await system._whole("/v1/admin/deliveries?") if d["outcome"] == "accepted"]
        assert len(kept) >= len(load.accepted)
        for n in set(load.statuses) - load.accepted:
            assert await _push(system, n) == 202
        await _all_there(system, oracle, set(load.statuses))
        assert [t for t in await system.tasks() if t["kind"] == "in_doubt"] == []


@pytest.mark.pg
@pytest.mark.rabbit
async def test_a_broker_that_is_cut_off_and_comes_back(
    tmp_path: Path, postgres_url: str, new_amqp_url: Callable[[], str]
) -> None:
    async with Oracle() as oracle, Proxy(new_amqp_url(), 5672) as broker:
        urls = {s: f"{postgres_url}?schema={s}" for s in SERVICES} | {"broker": broker.url}
        async with System(tmp_path, pushes.accounts(oracle.url), START, urls, replicas=1) as system:
            async with _Load(system) as load:
                await load.until_accepted(20)
                for _ in range(2):
                    await broker.cut()
                    await load.until_accepted(20)
                    await broker.mend()
                    await load.until_accepted(20)
            assert set(load.statuses.values()) == {202}, "intake takes deliveries all the time"
            await _all_there(system, oracle, load.accepted)
            assert all(process.running for process in system.processes)
            await system.stop()


@pytest.mark.pg
@pytest.mark.rabbit
async def test_a_database_that_is_cut_off_and_comes_back(
    tmp_path: Path, postgres_url: str, new_amqp_url: Callable[[], str]
) -> None:
    async with Oracle() as oracle, Proxy(postgres_url, 5432) as database:
        urls = {s: f"{database.url}?schema={s}" for s in SERVICES} | {"broker": new_amqp_url()}
        async with System(tmp_path, pushes.accounts(oracle.url), START, urls, replicas=1) as system:
            async with _Load(system) as load:
                await load.until_accepted(20)
                await database.cut()
                before = len(load.statuses)

                async def refused() -> bool:
                    return [load.statuses[n] for n in load.statuses if n > before].count(503) > 20

                await until(refused, "503 while the database is away")
                await _told_to_come_again(system)
                await database.mend()
                await load.until_accepted(20)
            assert set(load.statuses.values()) == {202, 503}
            refused_before = set(load.statuses) - load.accepted
            for n in sorted(refused_before)[:20]:
                assert await _push(system, n) == 202
            await _all_there(system, oracle, load.accepted | set(sorted(refused_before)[:20]))
            assert all(process.running for process in system.processes)
            await system.stop()


async def _told_to_come_again(system: System) -> None:
    """Every service says so, in the same form; readiness names what is missing."""
    body, headers = pushes.generic(START, "return.requested", "msg_x", kind="return", external_id="X", order_id="X")
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer sandbox"}) as session:
        url = system.url("/webhooks/generic/shop")
        async with session.post(url, data=body, headers=headers) as answer:
            assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True)
        for path in ("/v1/cases", "/v1/tasks", "/v1/messages", "/v1/admin/deliveries"):
            async with session.get(system.url(path)) as answer:
                said = await answer.json()
                assert (answer.status, said["code"]) == (503, "unavailable"), (path, said)
                assert int(answer.headers["Retry-After"]) > 0
        for process in system.processes:
            async with session.get(f"{process.url}/readyz") as answer:
                assert answer.status == 503
            async with session.get(f"{process.url}/healthz") as answer:
                assert answer.status == 200
