"""A rolling restart under load, apart: two replicas of each service, one at a time by SIGTERM. Nothing accepted is lost."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import SERVICES, Process, System, until

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
PAUSE = 0.1


class Front:
    """A load balancer: only replicas that say they are ready, and another one when a connection is refused."""

    def __init__(self, system: System, http: aiohttp.ClientSession) -> None:
        self._system, self._http = system, http
        self.failed: list[str] = []
        self.accepted = 0
        self.ready: set[int] = set()
        self.reds = 0

    def _replicas(self) -> list[Process]:
        return [p for p in self._system.processes if p.name == "intake"]

    async def look(self) -> None:
        """Goes on looking until cancelled."""
        while True:
            for replica in self._replicas():
                status = await self._readiness(replica)
                self.reds += status == 503
                (self.ready.add if status == 200 else self.ready.discard)(replica.port)
            await asyncio.sleep(PAUSE)

    async def _readiness(self, replica: Process) -> int:
        try:
            async with self._http.get(f"{replica.url}/readyz") as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0

    async def deliver(self, n: int) -> None:
        money = {"value": "20.00", "currency": "EUR"}
        body, headers = pushes.generic(
            START, "return.requested", f"msg_{n:05}", kind="return", external_id=f"R{n:05}", order_id=f"O{n:05}",
            reason="defective", amount=money, paid=money, buyer={"id": f"B{n}", "name": "Ada", "locale": "en"},
        )  # fmt: skip
        for _ in range(200):
            for replica in [p for p in self._replicas() if p.port in self.ready]:
                try:
                    status = await self._post(replica, body, headers)
                except aiohttp.ClientConnectorError:
                    continue
                except aiohttp.ClientError as fault:
                    self.failed.append(f"{n}: {type(fault).__name__}")
                    return
                self.accepted += status == 202
                if status not in (202, 503):
                    self.failed.append(f"{n}: {status}")
                if status != 503:
                    return
            await asyncio.sleep(PAUSE)
        self.failed.append(f"{n}: no replica took it")

    async def _post(self, replica: Process, body: bytes, headers: Any) -> int:
        url = f"{replica.url}/webhooks/generic/shop"
        async with self._http.post(url, data=body, headers={"Content-Type": "application/json", **headers}) as answer:
            return answer.status


async def _keep_delivering(front: Front, stop: asyncio.Event) -> int:
    for n in itertools.count():
        if stop.is_set():
            return n
        await front.deliver(n)
        await asyncio.sleep(0.02)
    raise AssertionError("unreachable")


async def _roll(system: System, front: Front) -> None:
    for process in system.processes:
        assert await asyncio.to_thread(process.end) == 0, f"{process.name} did not end cleanly"
        await system.start()
        if process.name == "intake":
            await until(lambda process=process: _is_in(front, process), "the front to see it again", 60)  # type: ignore[misc]


async def _is_in(front: Front, process: Process) -> bool:
    return process.port in front.ready


@pytest.mark.crash
@pytest.mark.pg
@pytest.mark.rabbit
@pytest.mark.timeout(600)
@pytest.mark.asyncio
async def test_rolling_restart_apart(tmp_path: Path, postgres_url: str, amqp_url: str) -> None:
    urls = {s: f"{postgres_url}?schema={s}" for s in SERVICES} | {"broker": amqp_url}
    connector = aiohttp.TCPConnector(force_close=True)
    async with AsyncExitStack() as stack:
        oracle = await stack.enter_async_context(Oracle())
        made = System(tmp_path, pushes.accounts(oracle.url), START, urls)
        system = await stack.enter_async_context(made)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        front, stop = Front(system, http), asyncio.Event()
        looking = asyncio.create_task(front.look())
        delivering = asyncio.create_task(_keep_delivering(front, stop))
        await _roll(system, front)
        stop.set()
        count = await delivering
        looking.cancel()
        assert front.failed == []
        assert front.accepted == count > 0
        assert front.reds > 0, "readiness was never seen red while the port was open"
        await _settled(system, oracle, count)


async def _settled(system: System, oracle: Oracle, count: int) -> None:
    """Each accepted delivery is one case that was spoken of once; nothing is in doubt."""

    async def spoken_of() -> bool:
        await system.advance(timedelta(minutes=1), step=timedelta(minutes=1))
        cases = {c["id"] for c in await system.cases()}
        spoken = {body["data"]["case_id"] for body in oracle.effects().values() if body["type"] == "message.send"}
        return len(cases) == count and cases <= spoken

    await until(spoken_of, "every case to be spoken of", 240)
    assert oracle.said_twice() == []
    assert [task for task in await system.tasks() if task["kind"] == "in_doubt"] == []
