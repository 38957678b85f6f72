"""A cheap HTTP/1.1 client: one connection, one request at a time, whole requests as bytes."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

import httptools

Answered = Callable[["Connection", int, float], None]
"""The connection, the status (0: it broke before an answer), the moment of the answer."""


class Connection(asyncio.Protocol):
    """`send` only when not `busy`; `answered` is called once per request, then the connection is free again."""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.busy = False
        self.request = -1
        """Whose turn it is: set by the owner."""

    @property
    def open(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._done(0)

    def send(self, request: bytes) -> None:
        self.busy = True
        if self._transport is None:
            self._done(0)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status, keeps = self._parser.get_status_code(), self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if not keeps:
            self.close()
        self._done(status)

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _done(self, status: int) -> None:
        if self.busy:
            self.busy = False
            self._answered(self, status, monotonic())


async def connect(host: str, port: int, answered: Answered) -> Connection:
    _, protocol = await asyncio.get_running_loop().create_connection(lambda: Connection(answered), host, port)
    return protocol
