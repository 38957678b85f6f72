"""A thin HTTP/1.1 client for the stage benches: keep-alive connections, requests made beforehand, answers timed.

Latency counts from the moment a request was planned for, so a server that stalls is charged for those that queue up.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httptools


@dataclass
class Answers:
    """Statuses and seconds from planned to answered, in the order of the answers."""

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def request(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = {"host": host, "content-type": "application/json", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, answers: Answers) -> None:
        self._answers, self._planned = answers, 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, raw: bytes, planned: float) -> "asyncio.Future[None]":
        self._planned, self.done = planned, asyncio.get_running_loop().create_future()
        self._transport.write(raw)  # type: ignore[attr-defined]
        return self.done

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._answers.statuses.append(self._parser.get_status_code())
        self._answers.seconds.append(time.perf_counter() - self._planned)
        self._parser = httptools.HttpResponseParser(self)
        self.done.set_result(None)

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(fault or ConnectionError("closed by the server"))

    def close(self) -> None:
        self._transport.close()


async def _connected(port: int, count: int, answers: Answers) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Connection(answers), "127.0.0.1", port) for _ in range(count)]
    return [connection for _, connection in made]


async def closed_loop(port: int, requests: Sequence[bytes], connections: int) -> Answers:
    """Each connection asks again as soon as it was answered."""
    answers, left = Answers(), iter(requests)

    async def keep_asking(connection: _Connection) -> None:
        for raw in left:
            await connection.ask(raw, time.perf_counter())
        connection.close()

    await asyncio.gather(*(keep_asking(one) for one in await _connected(port, connections, answers)))
    return answers


async def at_rate(port: int, requests: Sequence[bytes], per_second: float, connections: int = 32) -> Answers:
    """One request every `1 / per_second` seconds, answered or not; it waits for a free connection if it must."""
    answers = Answers()
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for connection in await _connected(port, connections, answers):
        free.put_nowait(connection)

    async def one(raw: bytes, planned: float) -> None:
        connection = await free.get()
        await connection.ask(raw, planned)
        free.put_nowait(connection)

    began, asked = time.perf_counter() + 0.05, []
    for n, raw in enumerate(requests):
        planned = began + n / per_second
        await asyncio.sleep(max(0.0, planned - time.perf_counter()))
        asked.append(asyncio.create_task(one(raw, planned)))
    await asyncio.gather(*asked)
    while not free.empty():
        free.get_nowait().close()
    return answers


def percentile(values: Sequence[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
