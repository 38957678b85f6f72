"""A TCP proxy in the test's own loop: what passes through it can be cut, refused and mended without stopping a server."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Between us and `url`'s host and port; `url` of this object leads through it."""

    def __init__(self, url: str, default_port: int) -> None:
        self._target = urlsplit(url)
        self._port = self._target.port or default_port
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self.thaw()
        self.delay = 0.0
        """Seconds each piece waits before it is passed on, both ways."""
        self._listen = 0
        self.accepted = 0

    @property
    def url(self) -> str:
        user = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{user[0]}{user[1]}127.0.0.1:{self._listen}"))

    async def __aenter__(self) -> "Proxy":
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """All connections break and new ones are refused."""
        self.thaw()
        if self._server is not None:
            self._server.close()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def mend(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._listen)
            self._listen = self._server.sockets[0].getsockname()[1]

    def freeze(self, *, there: bool = True, back: bool = True) -> None:
        """Connections stay open and nothing moves any more: to the server (`there`), from it (`back`), or both."""
        for flowing, stopped in ((self._there, there), (self._back, back)):
            if stopped:
                flowing.clear()

    def thaw(self) -> None:
        self._there.set()
        self._back.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            there, back = await asyncio.open_connection(self._target.hostname, self._port)
            try:
                pumps = (self._pump(reader, back, self._there), self._pump(there, writer, self._back))
                ways = [asyncio.create_task(pump) for pump in pumps]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
            finally:
                await _abort(back)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            await _abort(writer)
            self._pipes.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        while data := await source.read(65536):
            await flowing.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            sink.write(data)
            await sink.drain()


async def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()
