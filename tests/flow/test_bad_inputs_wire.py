"""Clients that are slow or many, against the product's own server (docs/bad-inputs.md, rows 4 and 16)."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from amends.serve import HttpServer
from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import System

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(400)]
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


async def _hello(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def _serving(head_deadline: float) -> AsyncIterator[int]:
    server = HttpServer(_hello, head_deadline=head_deadline)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


async def _heard(reader: asyncio.StreamReader) -> bytes:
    """What came until the other side closed, politely or by a reset because we were still writing."""
    heard = b""
    with suppress(ConnectionError):
        while block := await reader.read(4096):
            heard += block
    return heard


async def _drip(port: int, before: bytes = b"") -> bytes:
    """One byte of the headers every 20 ms, until the other side has enough of it; what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(before)
    head = b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: " + b"x" * 10_000
    answer = asyncio.create_task(_heard(reader))
    try:
        for n in range(len(head)):
            if answer.done():
                break
            writer.write(head[n : n + 1])
            await asyncio.sleep(0.02)
    except ConnectionError:
        pass
    finally:
        writer.close()
    return await answer


async def test_headers_that_drip_are_cut_off_and_others_are_served() -> None:
    async with _serving(head_deadline=0.5) as port, aiohttp.ClientSession() as session:
        slow = [asyncio.create_task(_drip(port)) for _ in range(100)]
        again = asyncio.create_task(_drip(port, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"))
        for _ in range(5):
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert answer.status == 200
        async with asyncio.timeout(60):
            assert set(await asyncio.gather(*slow)) == {b""}
            assert (await again).count(b"HTTP/1.1 200") == 1, "also on a connection that was good before"


async def test_who_keeps_a_connection_is_not_cut_off() -> None:
    async with _serving(head_deadline=0.2) as port, aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert answer.status == 200
                assert answer.connection is None or answer.connection.transport is not None
            await asyncio.sleep(0.3)


@pytest.mark.slow
async def test_more_clients_than_files_were_allowed_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,200 at once where the shell allows 256 open files: each is answered, and the product goes on."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 4096:
        pytest.fail(f"this machine allows {most} open files only", pytrace=False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START, server=None) as system:
        await system.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
        system.processes[0].start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        await system.start()
        port = system.processes[0].port
        head = b"POST /webhooks/generic/shop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{"
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1200)]
        for _, writer in clients:
            writer.write(head)
        body, headers = pushes.generic(START, "return.requested", "m", kind="return", external_id="R1", order_id="O1")
        for _, writer in clients:
            writer.write(b"}")
        answers = await asyncio.gather(*(reader.readline() for reader, _ in clients))
        for _, writer in clients:
            writer.close()
        assert {answer.split(b" ")[1] for answer in answers} <= {b"401", b"503"}
        assert (await system.push("generic", "shop", body, headers))[0] == 202
