"""Bad requests as bytes on a socket, under both HTTP parsers: each is answered, nothing is stored, the service lives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvicorn

from amends.serve import _bound, _Server
from services.intake.settings import Settings

pytestmark = pytest.mark.asyncio
SETTINGS = Settings(read_deadline=0.5)


@dataclass
class Wire:
    rig: Any
    port: int

    async def send(self, *parts: bytes, finish: bool = False) -> bytes:
        """What comes back until the other side closes or has been silent for a while."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
        if finish:
            writer.close()
            return b""
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(15):
                while chunk := await reader.read(65536):
                    received += chunk
                    if _is_whole(received):
                        break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return received

    async def status(self, *parts: bytes) -> int:
        """0: closed without an answer."""
        answer = await self.send(*parts)
        return int(answer.split(b" ")[1]) if answer else 0

    def request(self, body: bytes = b"{}", *extra: bytes, line: bytes = b"POST /webhooks/toy/toy-a HTTP/1.1") -> bytes:
        """With a good signature unless the body or the headers are spoilt."""
        import hmac

        signature = hmac.new(b"push-secret-a", body, "sha256").hexdigest().encode()
        headers = [line, b"Host: here", b"X-Toy-Signature: " + signature, *extra]
        if not any(h.lower().startswith((b"content-length", b"transfer-encoding")) for h in extra):
            headers.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(headers) + b"\r\n\r\n" + body


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    for header in head.lower().split(b"\r\n"):
        if header.startswith(b"content-length:"):
            return bool(found) and len(body) >= int(header.partition(b":")[2])
    return False


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'intake.db'}"


@pytest_asyncio.fixture(params=["h11", "httptools"])
async def wire(request: pytest.FixtureRequest, start: Any) -> AsyncIterator[Wire]:
    rig = await start(settings=SETTINGS)
    sock = _bound("127.0.0.1", 0)
    config = uvicorn.Config(
        rig.intake.app, http=request.param, lifespan="off", log_config=None, access_log=False,
        h11_max_incomplete_event_size=65536,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    found = Wire(rig, sock.getsockname()[1])
    yield found
    assert await found.status(found.request(rig.body("alive"))) == 200, "it still does its work"
    server.should_exit = True
    await task
    sock.close()


async def test_the_good_request_is_good(wire: Wire) -> None:
    assert await wire.status(wire.request(wire.rig.body("p1"))) == 200
    assert await wire.rig.outcomes() == ["accepted"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_over_the_limit_is_413_in_the_marketplace_s_shape(wire: Wire, framing: str) -> None:
    size = 1_000_001
    if framing == "length":
        answer = await wire.send(wire.request(b"", b"Content-Length: %d" % size))
    else:
        chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
        answer = await wire.send(wire.request(b"", b"Transfer-Encoding: chunked"), chunk)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert answer.endswith(b'{"ok":false}') and b"connection: close" in answer.lower()
    assert await wire.rig.outcomes() == []


async def test_a_body_of_exactly_the_limit_is_taken(wire: Wire) -> None:
    body = b" " * 1_000_000
    assert await wire.status(wire.request(body)) == 200
    assert await wire.rig.outcomes() == ["unreadable"]


async def test_a_body_that_does_not_come_is_given_up_on(wire: Wire) -> None:
    assert await wire.status(wire.request(b"{", b"Content-Length: 100")) == 408
    assert await wire.rig.outcomes() == []


async def test_slow_clients_do_not_stop_others(wire: Wire) -> None:
    slow = [asyncio.create_task(wire.send(wire.request(b"{", b"Content-Length: 9"))) for _ in range(100)]
    assert await wire.status(wire.request(wire.rig.body("p1"))) == 200
    answers = await asyncio.gather(*slow)
    assert {answer.split(b" ")[1] for answer in answers} == {b"408"}


@pytest.mark.parametrize(
    ("extra", "statuses"),
    [
        ([b"Content-Length: 2", b"Transfer-Encoding: chunked"], {400}),
        ([b"Content-Length: 2", b"Content-Length: 3"], {400}),
        ([b"Content-Length: -1"], {400}),
        ([b"Host: elsewhere"], {400}),
        ([b"X-A: a\nX-Toy-Signature: b"], {400, 401}),
        ([b"Content-Encoding: gzip"], {415}),
        ([b"Content-Encoding: br, gzip"], {415}),
        ([b"Content-Type: text/plain"], {415}),
        ([b"Content-Type: application/json; charset=utf-16"], {415}),
        ([b"X-Big: " + b"x" * 40_000], {400, 431}),
        ([b"X-Huge: " + b"x" * 200_000], {0, 400, 431}),
        ([b"X-%d: 1" % n for n in range(500)], {431}),
        ([b"X-Toy-Signature: " + b"x" * 10_000], {401}),
    ],
)
async def test_bad_headers_are_refused_and_nothing_is_stored(
    wire: Wire, extra: list[bytes], statuses: set[int]
) -> None:
    body = b"2\r\n{}\r\n0\r\n\r\n" if b"Transfer-Encoding: chunked" in extra else b"{}"
    assert await wire.status(wire.request(body, *extra)) in statuses
    assert await wire.rig.outcomes() == []


async def test_no_host_is_refused(wire: Wire) -> None:
    request = wire.request(wire.rig.body("p1")).replace(b"Host: here\r\n", b"")
    assert await wire.status(request) == 400
    assert await wire.rig.outcomes() == []


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        (b"PUT /webhooks/toy/toy-a HTTP/1.1", {405}),
        (b"FOO /webhooks/toy/toy-a HTTP/1.1", {400, 405}),
        (b"HEAD /webhooks/toy/toy-a HTTP/1.1", {405}),
        (b"POST /webhooks/toy/..%2ftoy-a HTTP/1.1", {404}),
        (b"POST /webhooks/toy/toy-a%00 HTTP/1.1", {404}),
        (b"POST /webhooks/toy/%c0%ae HTTP/1.1", {404}),
        (b"POST /webhooks/toy/" + b"a" * 8000 + b" HTTP/1.1", {404}),
        (b"POST /webhooks/toy/toy-a/more HTTP/1.1", {404}),
    ],
)
async def test_bad_methods_and_paths(wire: Wire, line: bytes, statuses: set[int]) -> None:
    assert await wire.status(wire.request(wire.rig.body("p1"), line=line)) in statuses
    assert await wire.rig.outcomes() == []


async def test_a_client_that_leaves_mid_body_leaves_nothing(wire: Wire) -> None:
    await wire.send(wire.request(b'{"id"', b"Content-Length: 100"), finish=True)
    assert await wire.status(wire.request(wire.rig.body("p1"))) == 200
    assert await wire.rig.outcomes() == ["accepted"]
    assert wire.rig.counted("gone", "unknown") + wire.rig.counted("malformed") == 1


async def test_a_client_that_leaves_before_the_answer_finds_its_delivery_stored(wire: Wire) -> None:
    request = wire.request(wire.rig.body("p1"))
    await wire.send(request, finish=True)
    while not await wire.rig.outcomes():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert await wire.status(request) == 200
    assert await wire.rig.outcomes() == ["accepted"]
    assert wire.rig.counted("duplicate") == 1


async def test_what_is_pipelined_after_a_refusal_is_not_heard(wire: Wire) -> None:
    refused = wire.request(b"{}", b"Content-Encoding: gzip")
    answer = await wire.send(refused + wire.request(wire.rig.body("p1")))
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer.lower()
    assert await wire.rig.outcomes() == []
