"""uvicorn as a part of our process: a socket is open when `start` returns, and our own code owns the signals."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.errors import ConfigurationError, Refusal, Unavailable
from shared.logs import get_logger
from shared.problems import problem
from shared.service import Service

_STOP = (signal.SIGTERM, signal.SIGINT)
_log = get_logger("reload")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


GRACE = 1.0
"""Real seconds between the red readiness and the closed port."""
HEAD_DEADLINE = 10.0
"""Real seconds a client may take for a request's first line and headers; its body has a deadline of its own."""


def _prompt(deadline: float) -> type[asyncio.Protocol]:
    """uvicorn waits for ever for the head of a request: such a connection is closed."""

    class Prompt(HttpToolsProtocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._late = self.loop.call_later(deadline, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            reading_head = self.cycle is None or self.cycle.response_complete
            if not reading_head:
                self._in_time()
            elif self._late is None:
                self._late = self.loop.call_later(deadline, self.transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def _in_time(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Prompt


class Draining:
    """In front of the application: once told to stop, `/readyz` is red and every connection ends with its answer."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.stopping = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.stopping or scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def last(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
            await send(message)

        await (_not_ready if scope["path"] == "/readyz" else self._app)(scope, receive, last)


async def _not_ready(scope: Any, receive: Any, send: Any) -> None:
    await problem(Unavailable("not ready: process", code="not_ready", missing={"process": "is being stopped"}))(
        scope, receive, send
    )


class HttpServer:
    """Serves one ASGI application on one port (0: a free one)."""

    def __init__(
        self, app: Any, *, host: str = "127.0.0.1", port: int = 0, head_deadline: float = HEAD_DEADLINE
    ) -> None:
        self._socket = _bound(host, port)
        self._door = Draining(app)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._door, lifespan="off", log_config=None, access_log=False, server_header=False, proxy_headers=False,
            http=_prompt(head_deadline), timeout_graceful_shutdown=15, timeout_keep_alive=75, h11_max_incomplete_event_size=65536,
        )  # fmt: skip
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                await self._task
                return
            await asyncio.sleep(0.001)

    async def drain(self) -> None:
        """Readiness turns red while the port stays open, so that whoever shares out requests looks elsewhere first."""
        self._door.stopping = True
        await asyncio.sleep(GRACE)

    async def stop(self) -> None:
        """In-flight requests are finished first."""
        self._door.stopping = True
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as fault:
        sock.close()
        raise ConfigurationError([f"port {port}: {fault.strerror}"]) from fault
    return sock


async def until_told_to_stop(services: Sequence[Service]) -> None:
    """Waits for SIGTERM or SIGINT; a second one ends the process at once. SIGHUP reads the accounts file anew."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def tell(number: signal.Signals) -> None:
        told.set()
        loop.remove_signal_handler(number)

    def reload() -> None:
        reloads.add(task := asyncio.create_task(_reload(services)))
        task.add_done_callback(reloads.discard)

    for number in _STOP:
        loop.add_signal_handler(number, tell, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await told.wait()


async def _reload(services: Sequence[Service]) -> None:
    """As `POST /v1/admin/reload`: what is not sound changes nothing and is told, one line per fault."""
    for service in services:
        try:
            _log.info("reloaded", service=service.name, accounts=await service.reload())
        except ConfigurationError as fault:
            _log.error("not_reloaded", service=service.name, faults=fault.faults)
        except Refusal as fault:
            _log.error("not_reloaded", service=service.name, faults=[fault.detail])
