"""The HTTP client: which addresses it calls, and what each end of a call means, against a real server on the loopback."""

import asyncio
import gzip
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.resolver import DefaultResolver

from shared.http import MAX_ANSWER, Call, Guard, Http, InDoubtFault, NotSentFault, RefusedFault, base_host
from tests.support.certificates import self_signed

PRIVATE = [
    "https://127.0.0.1/", "https://10.0.0.8/", "https://172.16.3.4/", "https://192.168.1.1/", "https://169.254.169.254/latest/",
    "https://[::1]/", "https://[fe80::1]/", "https://[fc00::1]/", "https://[::ffff:127.0.0.1]/", "https://[2002:7f00:1::]/",
    "https://0.0.0.0/", "https://224.0.0.1/", "https://100.64.0.1/", "http://93.184.216.34/", "ftp://example.com/", "https:///x",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_inside_addresses_and_plain_http_are_refused(url: str) -> None:
    with pytest.raises(NotSentFault):
        Guard().check(url)


def test_public_https_and_what_the_operator_named_pass() -> None:
    Guard().check("https://93.184.216.34/x")
    Guard().check("https://api.example.com/x")
    guard = Guard(lambda: ("127.0.0.1",))
    guard.check("http://127.0.0.1:8000/x")
    with pytest.raises(NotSentFault):
        guard.check("http://127.0.0.2:8000/x")
    assert base_host("http://LOCALHOST:8/x") == "localhost"
    assert base_host(None) is None


@asynccontextmanager
async def serving(answer: web.StreamResponse | None = None, handler=None) -> AsyncIterator[tuple[str, list[str]]]:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        if handler is not None:
            return await handler(request)
        assert answer is not None
        return answer

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_a_name_that_turns_inside_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the address that is called: a second, other answer of the name server is of no use."""
    asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET):
        asked.append(host)
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    monkeypatch.setattr(DefaultResolver, "resolve", resolve)
    http = Http(timeout=2, guard=Guard())
    with pytest.raises(NotSentFault, match="private network"):
        await http.call(Call("POST", "https://rebind.example/x"))
    await http.close()
    assert asked == ["rebind.example"]


@pytest.mark.asyncio
async def test_redirects_are_not_followed() -> None:
    async with serving(web.Response(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"})) as (url, seen):
        http = Http(timeout=2, guard=Guard(lambda: ("127.0.0.1",)))
        with pytest.raises(InDoubtFault):
            await http.call(Call("POST", f"{url}/a"))
        await http.close()
    assert seen == ["/a"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "headers", "fault", "after"),
    [
        (429, {"Retry-After": "30"}, NotSentFault, 30.0),
        (429, {"Retry-After": "-1"}, NotSentFault, None),
        (429, {"Retry-After": "1000000000"}, NotSentFault, 3600.0),
        (429, {"Retry-After": "0"}, NotSentFault, 1.0),
        (429, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, NotSentFault, None),
        (429, {}, NotSentFault, None),
        (503, {"Retry-After": "5"}, NotSentFault, 5.0),
        (503, {}, InDoubtFault, None),
        (500, {}, InDoubtFault, None),
        (400, {}, RefusedFault, None),
        (404, {}, RefusedFault, None),
    ],
)
async def test_what_a_status_means(status: int, headers: dict[str, str], fault: type, after: float | None) -> None:
    async with serving(web.Response(status=status, headers=headers)) as (url, _):
        http = Http(timeout=2)
        with pytest.raises(fault) as caught:
            await http.call(Call("POST", url))
        await http.close()
    assert caught.value.retry_after == after


@pytest.mark.asyncio
async def test_too_large_too_slow_and_no_answer_at_all() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.05)
        return response

    async with serving(web.Response(body=b"x" * (MAX_ANSWER + 1))) as (url, _):
        http = Http(timeout=2)
        with pytest.raises(InDoubtFault, match="1 MB"):
            await http.call(Call("GET", url))
        await http.close()

    async def long(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (MAX_ANSWER + 1))

    async with serving(handler=long) as (url, _):
        http = Http(timeout=2)
        document = await http.call(Call("GET", url, limit=MAX_ANSWER + 1))
        with pytest.raises(InDoubtFault, match="over"):
            await http.call(Call("GET", url, limit=100))
        await http.close()
    assert len(document.body) == MAX_ANSWER + 1
    async with serving(handler=drip) as (url, _):
        http = Http(timeout=0.3)
        with pytest.raises(InDoubtFault):
            await http.call(Call("GET", url))
        await http.close()
    http = Http(timeout=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentFault):
            await http.call(Call("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/"))
    await http.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("rounds", [1, 2])
async def test_a_bomb_of_zeros_is_cut_off(rounds: int) -> None:
    """200 MB that travel as a few kilobytes: no more of them than the limit is ever held."""
    bomb = b"\0" * 200_000_000
    for _ in range(rounds):
        bomb = gzip.compress(bomb)
    headers = {"Content-Encoding": ", ".join(["gzip"] * rounds)}
    async with serving(web.Response(body=bomb, headers=headers)) as (url, _):
        http = Http(timeout=5)
        tracemalloc.start()
        try:
            with pytest.raises(InDoubtFault):
                (await http.call(Call("POST", url))).json()
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            await http.close()
    assert peak < 20_000_000


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "days"), [("localhost", 9), ("elsewhere.example", 9), ("localhost", -1)])
async def test_a_certificate_that_proves_nothing_means_not_sent(tmp_path: Path, name: str, days: int) -> None:
    """Self-signed, of another host, expired: no byte of the request leaves."""
    seen: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=self_signed(tmp_path, name, days=days))
    port = server.sockets[0].getsockname()[1]
    http = Http(timeout=3)
    with pytest.raises(NotSentFault):
        await http.call(Call("POST", f"https://localhost:{port}/", body=b"money"))
    await http.close()
    server.close()
    await server.wait_closed()
    assert seen in ([], [b""])


@pytest.mark.asyncio
async def test_injected_faults_cut_before_or_after_the_call_was_taken() -> None:
    waiting = ["timeout", "refused", "500", "429", None]

    async def fault(_call: Call) -> str | None:
        return waiting.pop(0)

    async def taken(_: web.Request) -> web.Response:
        return web.json_response({})

    async with serving(handler=taken) as (url, seen):
        http = Http(timeout=2, fault=fault)
        ends = []
        for _ in range(5):
            try:
                await http.call(Call("POST", url))
                ends.append("done")
            except (NotSentFault, InDoubtFault) as said:
                ends.append(type(said).__name__)
        await http.close()
    assert ends == ["InDoubtFault", "NotSentFault", "InDoubtFault", "NotSentFault", "done"]
    assert len(seen) == 2  # the one that timed out was taken
