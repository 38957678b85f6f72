"""Two ways to load a server: closed (so many connections, each sends when it was answered) and open (a fixed rate).

The open loop leaves nothing out: a request's time counts from the moment it was *planned* for, whether or not a connection
was free then, so a server that stands still shows in every request it held up (no coordinated omission).
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import urlsplit

from bench.load.client import Connection, connect

_MOST = 1024
"""Connections of the open loop; what finds none free waits, and its time runs."""


@dataclass
class Outcome:
    """Per request, in order: `began` (sent, or planned for in the open loop) and `ended`, monotonic seconds; status 0: broken."""

    began: list[float]
    ended: list[float]
    statuses: list[int]
    late: list[float] = field(default_factory=list)
    """Open loop: how far behind its plan each request left: what the generator itself adds."""

    @staticmethod
    def of(count: int) -> "Outcome":
        return Outcome([0.0] * count, [0.0] * count, [0] * count)

    @property
    def accepted(self) -> int:
        return sum(200 <= status < 300 for status in self.statuses)

    @property
    def refused(self) -> dict[int, int]:
        return dict(Counter(status for status in self.statuses if not 200 <= status < 300))

    @property
    def seconds(self) -> list[float]:
        return [end - start for start, end in zip(self.began, self.ended, strict=True)]


async def closed(url: str, requests: Sequence[bytes], connections: int) -> Outcome:
    """All of them, `connections` at a time."""
    run = _Closed(requests)
    await run.over(urlsplit(url).hostname or "", urlsplit(url).port or 80, min(connections, len(requests)))
    return run.outcome


class _Closed:
    def __init__(self, requests: Sequence[bytes]) -> None:
        self._requests, self._next, self._left = requests, 0, len(requests)
        self.outcome = Outcome.of(len(requests))
        self._finished = asyncio.Event()
        self._repairs: set[asyncio.Task[None]] = set()

    async def over(self, host: str, port: int, connections: int) -> None:
        self._address = (host, port)
        held = [await connect(host, port, self._answered) for _ in range(connections)]
        for connection in held:
            self._send(connection)
        await self._finished.wait()
        for connection in held:
            connection.close()

    def _send(self, connection: Connection) -> None:
        if self._next < len(self._requests):
            connection.request, self._next = self._next, self._next + 1
            self.outcome.began[connection.request] = monotonic()
            connection.send(self._requests[connection.request])

    def _answered(self, connection: Connection, status: int, at: float) -> None:
        self.outcome.ended[connection.request], self.outcome.statuses[connection.request] = at, status
        self._left -= 1
        if not self._left:
            self._finished.set()
        elif connection.open:
            self._send(connection)
        elif self._next < len(self._requests):
            self._repairs.add(task := asyncio.create_task(self._replace()))
            task.add_done_callback(self._repairs.discard)

    async def _replace(self) -> None:
        """A server that closes its connections must not end the run; one that is gone fails what is left."""
        try:
            self._send(await connect(*self._address, self._answered))
        except OSError:
            await asyncio.sleep(0.01)
            lost = Connection(self._answered)
            self._send(lost)


async def steady(url: str, requests: Sequence[bytes], rate: float, connections: int = 16) -> Outcome:
    """`rate` requests a second, evenly, whatever the server does. `connections` are opened beforehand."""
    run = _Steady(requests, rate)
    await run.over(urlsplit(url).hostname or "", urlsplit(url).port or 80, connections)
    return run.outcome


class _Steady:
    def __init__(self, requests: Sequence[bytes], rate: float) -> None:
        self._requests, self._rate, self._left = requests, rate, len(requests)
        self.outcome = Outcome.of(len(requests))
        self.outcome.late = [0.0] * len(requests)
        self._free: deque[Connection] = deque()
        self._waiting: deque[int] = deque()
        self._opened, self._opening = 0, set[asyncio.Task[None]]()
        self._finished = asyncio.Event()

    async def over(self, host: str, port: int, connections: int) -> None:
        self._address = (host, port)
        for _ in range(connections):
            await self._open()
        pacer = _Pacer(self._rate, len(self._requests), self._due)
        pacer.start()
        await self._finished.wait()
        pacer.join()
        for connection in self._free:
            connection.close()

    def _due(self, index: int, planned: float) -> None:
        self.outcome.began[index] = planned
        self._waiting.append(index)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._free:
            connection = self._free.popleft()
            if not connection.open:
                self._opened -= 1
                continue
            index = self._waiting.popleft()
            connection.request = index
            self.outcome.late[index] = monotonic() - self.outcome.began[index]
            connection.send(self._requests[index])
        for _ in range(min(len(self._waiting) - len(self._opening), _MOST - self._opened - len(self._opening))):
            self._opening.add(task := asyncio.create_task(self._open_more()))
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        self._free.append(await connect(*self._address, self._answered))
        self._opened += 1

    async def _open_more(self) -> None:
        with contextlib.suppress(OSError):
            await self._open()
        if not self._opened:
            await asyncio.sleep(0.05)
            self._fail_one()
        asyncio.get_running_loop().call_soon(self._serve)

    def _fail_one(self) -> None:
        """Nobody listens: what waits is broken, not forgotten."""
        if self._waiting:
            self._ended(self._waiting.popleft(), 0, monotonic())

    def _answered(self, connection: Connection, status: int, at: float) -> None:
        self._free.append(connection)
        self._ended(connection.request, status, at)
        self._serve()

    def _ended(self, index: int, status: int, at: float) -> None:
        self.outcome.ended[index], self.outcome.statuses[index] = at, status
        self._left -= 1
        if not self._left:
            self._finished.set()


class _Pacer(threading.Thread):
    """Tells the loop of each planned moment. A thread, as the loop's own timers are a millisecond coarse."""

    def __init__(self, rate: float, count: int, due: Callable[[int, float], None]) -> None:
        super().__init__(daemon=True)
        self._loop, self._rate, self._count, self._due = asyncio.get_running_loop(), rate, count, due

    def run(self) -> None:
        start = monotonic() + 0.05
        for index in range(self._count):
            planned = start + index / self._rate
            ahead = planned - monotonic()
            if ahead > 0:
                time.sleep(ahead)
            self._loop.call_soon_threadsafe(self._due, index, planned)
