"""The marketplace's side: takes each message over HTTP, notes when it came, answers at once."""

import asyncio
import re
from collections import Counter
from time import monotonic
from typing import cast

import httptools

from bench.load.pushes import number_of

_ORDER = re.compile(rb'"order_id":\s*"([^"]+)"')
_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{"id":"m-000001"}'


class Sink:
    """`came`: the moment of the first message of each order's number; `calls`: how many came for it."""

    def __init__(self) -> None:
        self.came: dict[int, float] = {}
        self.calls: Counter[int] = Counter()
        self.strays = 0
        """Messages of no order of ours, or without an Idempotency-Key."""
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Its URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Receiver(self), "127.0.0.1", 0, backlog=1024)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/messages"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def take(self, body: bytes, keyed: bool) -> None:
        found = _ORDER.search(body)
        number = number_of(found[1].decode()) if found else None
        if number is None or not keyed:
            self.strays += 1
            return
        self.calls[number] += 1
        self.came.setdefault(number, monotonic())

    def seen(self, first: int, count: int) -> int:
        return sum(number in self.came for number in range(first, first + count))

    @property
    def twice(self) -> int:
        """Messages beyond the first of their order."""
        return sum(self.calls.values()) - len(self.calls)


class _Receiver(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []
        self._keyed = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._parts, self._keyed = [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._keyed = self._keyed or (name.lower() == b"idempotency-key" and bool(value))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._sink.take(b"".join(self._parts), self._keyed)
        if self._transport is not None:
            self._transport.write(_ANSWER)
