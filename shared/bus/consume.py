"""Takes events off queues: one loop per queue, a batch handled and committed, then acknowledged.

Attempts are counted here, never by redelivery. A batch that fails is split until the event at fault stands alone; after
`TRIES` failed attempts it goes to `park` and the others go on. While the database is away nothing is at fault: the batch
waits. Order within a queue is kept: nothing overtakes a batch that is being tried again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from shared import crashpoints
from shared.bus.port import Batch, Bus, BusUnavailable, Event, Subscription, Unread, Unreadable
from shared.clock import monotonic, pause
from shared.store.session import is_transient

TRIES = 5
LARGEST = 500
_SMALLEST = 20
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0
_SLOW, _QUICK = 0.5, 0.1
_WATCH_EVERY = 1.0
_SLICE = 0.010

Handle = Callable[[list[Event]], Awaitable[None]]
"""Does all of it and commits, in one transaction; raises when nothing was committed."""
Park = Callable[[Event | Unread, Exception], Awaitable[None]]
"""Puts aside, and commits, what cannot be handled."""

_log = structlog.get_logger(__name__)


class Breather:
    """For long pure work inside a handler: `await breather.breathe()` between items lets others run every 10 ms."""

    def __init__(self, slice_seconds: float = _SLICE) -> None:
        self._slice = slice_seconds
        self._since = monotonic()

    async def breathe(self) -> None:
        if monotonic() - self._since > self._slice:
            await asyncio.sleep(0)
            self._since = monotonic()


class Consumer:
    """`queues` without prefix. `dead`: the service's dead letters, which go straight to `park`."""

    def __init__(
        self,
        bus: Bus,
        queues: Iterable[str],
        handle: Handle,
        park: Park,
        *,
        dead: str | None = None,
        limit: int = LARGEST,
        waits_for: Callable[[BaseException], bool] = is_transient,
    ) -> None:
        self._bus, self._handle, self._park, self._waits_for = bus, handle, park, waits_for
        self._limit = limit
        self._wanted = frozenset(queues)
        self._dead = dead
        self._loops: dict[str, _Loop] = {}
        self._watch: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> None:
        self._stop.clear()
        self._open_missing()
        self._watch = asyncio.create_task(self._watching())

    async def stop(self) -> None:
        """What is in hand is finished and acknowledged; what waits for the database is given back."""
        self._stop.set()
        if self._watch is not None:
            await self._watch
        await self._close(list(self._loops))

    async def assign(self, queues: Iterable[str]) -> None:
        """Takes up new queues; returns when those no longer named are let go, each between two batches."""
        self._wanted = frozenset(queues)
        if self._watch is None or self._stop.is_set():
            return
        await self._close([name for name in self._loops if name not in self._names()])
        self._open_missing()

    def kick(self) -> None:
        for loop in self._loops.values():
            loop.kick()

    @property
    def busy(self) -> bool:
        """Events are in hand."""
        return any(loop.in_hand for loop in self._loops.values())

    @property
    def healthy(self) -> bool:
        """Each wanted queue has a living, subscribed loop that is not held up."""
        names = self._names()
        return names <= self._loops.keys() and all(self._loops[name].healthy for name in names)

    def _names(self) -> frozenset[str]:
        return self._wanted | ({self._dead} if self._dead else frozenset())

    def _open_missing(self) -> None:
        for name in self._names() - self._loops.keys():
            handle = self._refuse if name == self._dead else self._handle
            self._loops[name] = _Loop(self._bus, name, handle, self._park, self._limit, self._waits_for)

    async def _close(self, names: Sequence[str]) -> None:
        loops = [self._loops.pop(name) for name in names]
        await asyncio.gather(*(loop.stop() for loop in loops))

    async def _refuse(self, events: list[Event]) -> None:
        for event in events:
            await self._park(event, DeadLetter("the broker gave it up after too many deliveries"))

    async def _watching(self) -> None:
        """A loop that has ended though nobody stopped it is reported and begun anew."""
        while not await pause(_WATCH_EVERY, self._stop):
            for name in [n for n, loop in self._loops.items() if loop.task.done()]:
                _log.error("consumer_ended", queue=name, fault=_describe(self._loops[name].task))
                del self._loops[name]
            self._open_missing()


class DeadLetter(Exception):
    """The broker's delivery limit was reached before we could give our own verdict."""


class _Loop:
    def __init__(
        self,
        bus: Bus,
        queue: str,
        handle: Handle,
        park: Park,
        limit: int,
        waits_for: Callable[[BaseException], bool],
    ) -> None:
        self._bus, self._queue, self._handle, self._park, self._waits_for = bus, queue, handle, park, waits_for
        self._largest = self._limit = limit
        self._stop, self._kicked = asyncio.Event(), asyncio.Event()
        self._held_up = self.in_hand = False
        self._subscription: Subscription | None = None
        self.task = asyncio.create_task(self._run(), name=f"consume {queue}")

    @property
    def healthy(self) -> bool:
        return self._subscription is not None and not self._held_up and not self.task.done()

    def kick(self) -> None:
        self._kicked.set()

    async def stop(self) -> None:
        self._stop.set()
        self._kicked.set()
        if self._subscription is not None and not self.in_hand:
            await self._subscription.close()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._subscription = await self._bus.subscribe(self._queue)
                failures = 0
                await self._drain(self._subscription)
            except BusUnavailable as fault:
                failures += 1
                if failures == 1 and not self._stop.is_set():
                    _log.warning("consumer_cut_off", queue=self._queue, fault=str(fault))
                await self._wait(failures)
            finally:
                await self._let_go()

    async def _let_go(self) -> None:
        subscription, self._subscription, self.in_hand = self._subscription, None, False
        if subscription is not None:
            await subscription.close()

    async def _drain(self, subscription: Subscription) -> None:
        while not self._stop.is_set():
            batch = await subscription.take(self._limit)
            self.in_hand = True
            try:
                await self._deal_with(batch)
            finally:
                self.in_hand = False

    async def _deal_with(self, batch: Batch) -> None:
        began = monotonic()
        crashpoints.hit("consume.taken")
        try:
            await self._settle(list(batch.events), 0)
            for body in batch.unread:
                await self._put_aside(body, Unreadable(body.why))
        except _Stopped:
            await batch.give_back()
            return
        except BaseException:
            await batch.give_back()
            raise
        crashpoints.hit("consume.handled")
        self._adapt(len(batch.events), monotonic() - began)
        await batch.ack()

    def _adapt(self, events: int, seconds: float) -> None:
        """Row locks and the loop are not held for long: slow batches get smaller, quick full ones larger again."""
        if seconds > _SLOW:
            self._limit = max(min(_SMALLEST, self._largest), self._limit // 2)
        elif seconds < _QUICK and events * 2 > self._limit:
            self._limit = min(self._largest, self._limit * 2)

    async def _settle(self, events: list[Event], attempts: int) -> None:
        """Handles them all, in order: together, or halved as often as needed."""
        while events:
            fault = await self._attempt(events)
            if fault is None:
                return
            attempts += 1
            if len(events) > 1:
                middle = len(events) // 2
                await self._settle(events[:middle], attempts)
                events = events[middle:]
                continue
            if attempts >= TRIES:
                _log.error("event_parked", queue=self._queue, type=events[0].type, fault=type(fault).__name__)
                await self._put_aside(events[0], fault)
                return
            await self._wait(attempts)

    async def _attempt(self, events: list[Event]) -> Exception | None:
        return await self._patiently(lambda: self._handle(events), self._waits_for)

    async def _put_aside(self, item: Event | Unread, fault: Exception) -> None:
        """Nothing may vanish: until it is parked, this queue stands still, and says so."""
        await self._patiently(lambda: self._park(item, fault), lambda _: True)
        crashpoints.hit("consume.parked")

    async def _patiently(
        self, work: Callable[[], Awaitable[None]], waits_for: Callable[[BaseException], bool]
    ) -> Exception | None:
        failures = 0
        while True:
            try:
                await work()
            except Exception as fault:
                if not waits_for(fault):
                    return fault
                failures += 1
                self._report_held_up(fault)
                await self._wait(failures)
                if self._stop.is_set():
                    raise _Stopped from fault
            else:
                self._held_up = False
                return None

    def _report_held_up(self, fault: Exception) -> None:
        if not self._held_up:
            _log.warning("consumer_waits", queue=self._queue, fault=type(fault).__name__)
        self._held_up = True

    async def _wait(self, failures: int) -> None:
        self._kicked.clear()
        if not self._stop.is_set():
            await pause(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (failures - 1)), self._kicked)


class _Stopped(Exception):
    """Asked to stop while a batch was waiting: it is given back."""


def _describe(task: "asyncio.Task[None]") -> str:
    fault = None if task.cancelled() else task.exception()
    return type(fault).__name__ if fault else "ended"
