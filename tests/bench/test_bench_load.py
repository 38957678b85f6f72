"""The generator leaves nothing out, and the sink counts what comes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest

from bench.load import generator, pushes
from bench.load.sink import Sink
from shared import standard_webhooks

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers every request 202, unless it stands still or hangs up."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.going.set()
        self.taken = 0
        self.hang_up_after: int | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readexactly(len(REQUEST)):
                self.taken += 1
                if self.taken == self.hang_up_after:
                    break
                await self.going.wait()
                writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"


@pytest.mark.asyncio
async def test_a_server_that_stands_still_shows_in_every_request_it_held_up() -> None:
    """200 a second over 4 connections, half a second of silence: a generator that waited would have seen 4 slow ones."""
    server, rate, silence = Server(), 200.0, 0.5
    async with serving(server) as url:
        run = asyncio.create_task(generator.steady(url, [REQUEST] * 300, rate, connections=4))
        await _until(lambda: server.taken > 60)
        server.going.clear()
        before = server.taken
        await asyncio.sleep(silence)
        during = server.taken - before
        server.going.set()
        outcome = await run
    assert outcome.accepted == 300
    assert during > 4, "requests went on being sent"
    slow = sum(second > silence / 2 for second in outcome.seconds)
    assert slow >= 0.8 * rate * silence / 2, f"{slow} slow answers"
    assert max(outcome.seconds) >= 0.9 * silence


@pytest.mark.asyncio
async def test_the_open_loop_keeps_its_rate() -> None:
    async with serving(Server()) as url:
        outcome = await generator.steady(url, [REQUEST] * 100, 200.0)
    gaps = [later - earlier for earlier, later in zip(outcome.began, outcome.began[1:], strict=False)]
    assert all(gap == pytest.approx(1 / 200.0, abs=1e-6) for gap in gaps), "planned moments are even"
    assert len(outcome.late) == 100 and min(outcome.late) >= 0


@pytest.mark.asyncio
async def test_the_closed_loop_sends_each_request_once() -> None:
    server = Server()
    async with serving(server) as url:
        outcome = await generator.closed(url, [REQUEST] * 500, 16)
    assert (server.taken, outcome.accepted, outcome.refused) == (500, 500, {})
    assert all(second > 0 for second in outcome.seconds)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["closed", "steady"])
async def test_a_connection_that_breaks_costs_one_answer_and_no_more(way: str) -> None:
    server = Server()
    server.hang_up_after = 50
    async with serving(server) as url:
        if way == "closed":
            outcome = await generator.closed(url, [REQUEST] * 200, 4)
        else:
            outcome = await generator.steady(url, [REQUEST] * 200, 1000.0, connections=4)
    assert (outcome.accepted, outcome.refused) == (199, {0: 1})


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    async with serving(Server()) as url:
        pass
    with pytest.raises(OSError):
        await generator.closed(url, [REQUEST], 1)


def test_a_push_is_genuine_and_about_a_kilobyte() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    head, _, body = pushes.request("http://127.0.0.1:80/webhooks/generic/a", 7, now).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    standard_webhooks.verify(
        pushes.SECRET, message_id=headers["webhook-id"], timestamp=headers["webhook-timestamp"],
        signature=headers["webhook-signature"], body=body, now=now,
    )  # fmt: skip
    assert 900 <= len(body) <= 1100
    assert json.loads(body)["data"]["order_id"] == pushes.order_of(7)
    assert pushes.number_of(pushes.order_of(7)) == 7 and pushes.number_of("O-other") is None


@pytest.mark.asyncio
async def test_the_sink_notes_the_first_and_counts_the_second() -> None:
    sink = Sink()
    url = await sink.start()
    async with aiohttp.ClientSession() as session:
        for number, key in ((3, "a"), (4, "b"), (3, "a"), (5, None)):
            body = json.dumps({"data": {"order_id": pushes.order_of(number)}})
            headers = {"Idempotency-Key": key} if key else {}
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 200 and (await answer.json())["id"]
    await sink.stop()
    assert (sink.seen(3, 3), sink.twice, sink.strays) == (2, 1, 1)


async def _until(check: Callable[[], bool]) -> None:
    while not check():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
