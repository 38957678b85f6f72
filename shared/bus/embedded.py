"""The bus inside one process. Nothing is kept: an event is confirmed when its consumers acknowledged it (see `port`).

It is not kinder than a broker: events pass through bytes, come again after `give_back`, and with `Mischief` are
duplicated and swapped. A task that publishes while it holds a batch itself is not made to wait for consumers: the
confirmation of that batch's own events waits for them instead, so two handlers that publish to each other cannot lock
each other up. A relay publishes from tasks of its own and always waits for the true confirmation.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.bus import envelope
from shared.bus.port import ROUTES, BusUnavailable, Event, Topology, Unread
from shared.bus.topology import DELIVERY_LIMIT, Queue, dead_queue, find, is_dead, matches, queues, routing_key


@dataclass(frozen=True, slots=True)
class Mischief:
    """Shares of messages that are delivered twice, or swapped with the one before them in the queue."""

    seed: int
    duplicate: float = 0.1
    reorder: float = 0.1


@dataclass(eq=False, slots=True)
class _Message:
    content_type: str
    body: bytes
    done: asyncio.Future[None]
    deliveries: int = 0
    decoded: tuple[list[Event], list[Unread]] | None = None

    def read(self) -> tuple[list[Event], list[Unread]]:
        if self.decoded is None:
            self.decoded = envelope.decode(self.content_type, self.body)
        return self.decoded


@dataclass(eq=False, slots=True)
class _Queue:
    name: str
    exchange: str
    binding: str
    messages: deque[_Message] = field(default_factory=deque)
    subscribers: list["_Subscription"] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: _Message) -> None:
        self.messages.append(message)
        self.arrived.set()


class EmbeddedBus:
    """`Bus`. All queues of the topology exist from the start."""

    def __init__(self, topology: Topology | None = None, mischief: Mischief | None = None) -> None:
        self.topology = topology or Topology()
        self._mischief = mischief
        self._random = random.Random(mischief.seed if mischief else 0)  # noqa: S311
        self._queues: dict[str, _Queue] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._running = False
        self._in_hand: dict[asyncio.Task[Any] | None, _Batch] = {}
        """The open batch of each task that took one."""

    async def start(self) -> None:
        for q in queues(self.topology):
            self._queues.setdefault(q.name, _Queue(q.name, q.exchange, q.binding))
        self._running = True

    async def stop(self) -> None:
        self._running = False
        for queue in self._queues.values():
            queue.messages.clear()
            queue.arrived.set()
        for future in list(self._waiting):
            _settle(future, BusUnavailable("the embedded bus has stopped"))

    async def waiting(self, exchange: str) -> int:
        return sum(len(queue.messages) for queue in self._queues.values() if queue.exchange == exchange)

    @property
    def healthy(self) -> bool:
        return self._running

    @property
    def idle(self) -> bool:
        return not self._waiting

    async def publish(self, exchange: str, key: str, events: Sequence[Event], *, mandatory: bool = True) -> None:
        if not self._running:
            raise BusUnavailable("the embedded bus is not running")
        if not events:
            return
        key = routing_key(self.topology, exchange, key)
        bound = self._bound(exchange, key)
        if mandatory and not bound:
            raise BusUnavailable(f"no queue is bound to {exchange} with key {key}")
        content_type, body = envelope.encode(events)
        confirms = [self._enqueue(queue, content_type, body) for queue in bound]
        in_hand = self._in_hand.get(asyncio.current_task())
        if in_hand is not None:
            in_hand.children += confirms
            return
        for confirm in confirms:
            await asyncio.shield(confirm)

    async def subscribe(self, queue: str) -> "_Subscription":
        return _Subscription(self, self._queue(queue))

    def hold(self, batch: "_Batch") -> None:
        self._in_hand[batch.holder] = batch

    def release(self, batch: "_Batch") -> None:
        if self._in_hand.get(batch.holder) is batch:
            del self._in_hand[batch.holder]

    def _queue(self, name: str) -> _Queue:
        if name not in self._queues:
            place = Queue(name, "", "") if is_dead(name) else find(self.topology, name)
            self._queues[name] = _Queue(name, place.exchange, place.binding)
        return self._queues[name]

    def _bound(self, exchange: str, key: str) -> list[_Queue]:
        """Queues that take it. Where nobody need listen, only those that somebody listens to: memory keeps nothing."""
        found = [q for q in self._queues.values() if q.exchange == exchange and matches(q.binding, key)]
        return found if ROUTES[exchange].mandatory else [q for q in found if q.subscribers]

    def _enqueue(self, queue: _Queue, content_type: str, body: bytes) -> asyncio.Future[None]:
        message = _Message(content_type, body, self._future())
        queue.put(message)
        if self._mischief and self._random.random() < self._mischief.duplicate:
            queue.put(_Message(content_type, body, self._future()))
        if self._mischief and len(queue.messages) > 1 and self._random.random() < self._mischief.reorder:
            queue.messages[-1], queue.messages[-2] = queue.messages[-2], queue.messages[-1]
        return message.done

    def _future(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: asyncio.Future[None]) -> None:
        self._waiting.discard(future)
        if not future.cancelled():
            future.exception()

    def return_to(self, queue: _Queue, messages: Sequence[_Message]) -> None:
        """Back to the head in order; past the delivery limit to the dead letters."""
        for message in reversed(messages):
            if message.deliveries > DELIVERY_LIMIT:
                self._queue(dead_queue(queue.name)).put(message)
            elif self._running:
                queue.messages.appendleft(message)
        queue.arrived.set()


class _Batch:
    def __init__(self, bus: EmbeddedBus, queue: _Queue, messages: Sequence[_Message]) -> None:
        self._bus, self._queue, self._messages = bus, queue, messages
        self.events: list[Event] = [event for m in messages for event in m.read()[0]]
        self.unread: list[Unread] = [body for m in messages for body in m.read()[1]]
        self.children: list[asyncio.Future[None]] = []
        self.is_open = True
        self.holder = asyncio.current_task()
        bus.hold(self)

    def _close(self) -> bool:
        was_open, self.is_open = self.is_open, False
        self._bus.release(self)
        return was_open

    async def ack(self) -> None:
        if not self._close():
            return
        if self.children:
            _follow(self.children, [m.done for m in self._messages])
            return
        for message in self._messages:
            _settle(message.done)

    async def give_back(self) -> None:
        if self._close():
            self._bus.return_to(self._queue, self._messages)


class _Subscription:
    """Only the first subscriber of a queue is served, as with a single active consumer."""

    def __init__(self, bus: EmbeddedBus, queue: _Queue) -> None:
        self._bus, self._queue = bus, queue
        self._batch: _Batch | None = None
        queue.subscribers.append(self)

    async def take(self, limit: int) -> _Batch:
        queue = self._queue
        while not queue.messages or queue.subscribers[:1] != [self]:
            if not self._bus.healthy or self not in queue.subscribers:
                raise BusUnavailable("the embedded bus has stopped")
            queue.arrived.clear()
            await queue.arrived.wait()
        self._batch = _Batch(self._bus, queue, self._prefix(limit))
        return self._batch

    def _prefix(self, limit: int) -> list[_Message]:
        taken: list[_Message] = []
        while self._queue.messages:
            events, unread = self._queue.messages[0].read()
            limit -= len(events) + len(unread)
            if taken and limit < 0:
                break
            message = self._queue.messages.popleft()
            message.deliveries += 1
            taken.append(message)
        return taken

    async def close(self) -> None:
        if self._batch is not None:
            await self._batch.give_back()
        if self in self._queue.subscribers:
            self._queue.subscribers.remove(self)
        self._queue.arrived.set()


def _settle(future: asyncio.Future[None], fault: Exception | None = None) -> None:
    if future.done():
        return
    if fault is None:
        future.set_result(None)
    else:
        future.set_exception(fault)


def _follow(children: Sequence[asyncio.Future[None]], parents: Sequence[asyncio.Future[None]]) -> None:
    """The parents are confirmed once all children are, and fail with them."""
    left = len(children)

    def one_done(child: asyncio.Future[None]) -> None:
        nonlocal left
        left -= 1
        fault = None if child.cancelled() else child.exception()
        for parent in parents if fault or not left else ():
            _settle(parent, BusUnavailable(str(fault)) if fault else None)

    for child in children:
        child.add_done_callback(one_done)
