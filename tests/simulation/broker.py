"""A broker under the simulation's hand: it keeps what it confirmed, hands out again what was not acknowledged, and may
duplicate, reorder, lose a confirmation, go away, or lose every queue, when a step of the schedule says so.

Messages pass through the product's own envelope. Queues, bindings and the delivery limit are those of `shared.bus`.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shared.bus import envelope
from shared.bus.port import ROUTES, BusUnavailable, Event, Topology, Unread
from shared.bus.topology import DELIVERY_LIMIT, dead_queue, find, is_dead, matches, queues, routing_key
from tests.simulation.loop import Process, SimLoop

_AWAY = "the broker is away"


@dataclass(eq=False, slots=True)
class Message:
    content_type: str
    body: bytes
    deliveries: int = 0

    def read(self) -> tuple[list[Event], list[Unread]]:
        return envelope.decode(self.content_type, self.body)


@dataclass(eq=False)
class _Queue:
    name: str
    exchange: str
    binding: str
    messages: deque[Message] = field(default_factory=deque)
    subscriptions: list["_Subscription"] = field(default_factory=list)

    def wake(self) -> None:
        for subscription in self.subscriptions:
            subscription.wake()


class Broker:
    """`disorder`: share of messages that go before others, as when theirs were refused first and came again."""

    def __init__(self, loop: SimLoop, topology: Topology, disorder: float = 0.0) -> None:
        self.loop, self.topology, self.disorder = loop, topology, disorder
        self.up = True
        self.held_back: frozenset[str] = frozenset()
        """Exchanges of which nothing is handed out: a backlog builds up."""
        self.lost_confirms = 0
        """So many of the next messages are taken and their confirmation is lost."""
        self.epoch = 0
        """Rises whenever connections are cut: what was under way on the old ones is not known to have arrived."""
        self._queues = {q.name: _Queue(q.name, q.exchange, q.binding) for q in queues(topology)}

    def connect(self, process: Process) -> "SimBus":
        bus = SimBus(self, process)
        process.on_death.append(bus.cut)
        return bus

    def queue(self, name: str) -> _Queue:
        if name not in self._queues:
            place = None if is_dead(name) else find(self.topology, name)
            self._queues[name] = _Queue(name, place.exchange if place else "", place.binding if place else "")
        return self._queues[name]

    def bound(self, exchange: str, key: str) -> list[_Queue]:
        key = routing_key(self.topology, exchange, key)
        return [q for q in self._queues.values() if q.exchange == exchange and matches(q.binding, key)]

    def lying(self) -> int:
        """Messages in queues and in hand."""
        in_hand = (s.unacked for q in self._queues.values() for s in q.subscriptions)
        return sum(len(q.messages) for q in self._queues.values()) + sum(map(len, in_hand))

    # what a schedule does to it

    def cut_all(self) -> None:
        """All connections are closed; what was not acknowledged comes again."""
        self.epoch += 1
        for subscription in list(self._subscriptions()):
            subscription.cut()

    def go_away(self) -> None:
        self.up = False
        self.cut_all()

    def come_back(self) -> None:
        self.up = True
        self.held_back: frozenset[str] = frozenset()
        """Exchanges of which nothing is handed out: a backlog builds up."""

    def hold_back(self, *exchanges: str) -> None:
        self.held_back = frozenset(exchanges)
        for queue in self._queues.values():
            queue.wake()

    def lose_everything(self) -> None:
        """Every queue is deleted."""
        self.cut_all()
        for queue in self._queues.values():
            queue.messages.clear()

    def duplicate(self, count: int) -> None:
        """Some messages that lie there lie there twice."""
        full = [q for q in self._queues.values() if q.messages]
        for _ in range(count if full else 0):
            queue = self.loop.dice.choice(full)
            message = self.loop.dice.choice(list(queue.messages))
            queue.messages.append(Message(message.content_type, message.body))
            queue.wake()

    def reorder(self) -> None:
        """As when a first publication was refused and the row came again later."""
        for queue in self._queues.values():
            if len(queue.messages) > 1:
                queue.messages.rotate(self.loop.dice.randrange(1, len(queue.messages)))

    def reverse(self) -> None:
        for queue in self._queues.values():
            queue.messages.reverse()

    def _subscriptions(self) -> Iterator["_Subscription"]:
        for queue in self._queues.values():
            yield from queue.subscriptions


class SimBus:
    """`Bus`, as one process has it."""

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker, self._process = broker, process
        self._mine: list[_Subscription] = []
        self.publishing = 0

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    @property
    def healthy(self) -> bool:
        return self._broker.up

    @property
    def idle(self) -> bool:
        return not self.publishing

    async def waiting(self, exchange: str) -> int:
        return sum(len(q.messages) for q in self._broker._queues.values() if q.exchange == exchange)

    async def publish(self, exchange: str, key: str, events: Sequence[Event], *, mandatory: bool = True) -> None:
        broker = self._broker
        if not broker.up or not self._process.alive:
            raise BusUnavailable(_AWAY)
        if not events:
            return
        epoch = broker.epoch
        self._enqueue(exchange, key, events)
        self.publishing += 1
        try:
            if broker.lost_confirms:
                broker.lost_confirms -= 1
                await broker.loop.hop()
                raise BusUnavailable("not confirmed in time")
            await broker.loop.hop()
        finally:
            self.publishing -= 1
        if broker.epoch != epoch:
            raise BusUnavailable("cut off before it was confirmed")

    def _enqueue(self, exchange: str, key: str, events: Sequence[Event]) -> None:
        bound = self._broker.bound(exchange, key)
        if not bound and ROUTES[exchange].mandatory:
            raise BusUnavailable(f"nobody listens to {exchange} {key}")
        content_type, body = envelope.encode(events)
        for queue in bound:
            place = len(queue.messages)
            if self._broker.loop.dice.random() < self._broker.disorder:
                place = self._broker.loop.dice.randrange(place + 1)
            queue.messages.insert(place, Message(content_type, body))
            queue.wake()

    async def subscribe(self, queue: str) -> "_Subscription":
        if not self._broker.up or not self._process.alive:
            raise BusUnavailable(_AWAY)
        subscription = _Subscription(self._broker, self._broker.queue(queue))
        self._mine.append(subscription)
        return subscription

    def cut(self) -> None:
        for subscription in self._mine:
            subscription.cut()


class _Subscription:
    """Only a queue's first subscription is served."""

    def __init__(self, broker: Broker, queue: _Queue) -> None:
        self._broker, self._queue = broker, queue
        self._open = True
        self._waits: asyncio.Future[None] | None = None
        self.unacked: list[Message] = []
        queue.subscriptions.append(self)

    def wake(self) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    async def take(self, limit: int) -> "_Batch":
        while self._open and not self._served:
            self._waits = self._broker.loop.create_future()
            await self._waits
        if not self._open:
            raise BusUnavailable(_AWAY)
        if self._broker.loop.dice.random() < 0.5:
            await self._broker.loop.hop()
        if not self._open:
            raise BusUnavailable(_AWAY)
        if not self._served:
            return await self.take(limit)
        return _Batch(self, self._prefix(limit))

    @property
    def _served(self) -> bool:
        first = self._queue.subscriptions[0] is self
        return bool(self._queue.messages) and first and self._queue.exchange not in self._broker.held_back

    def _prefix(self, limit: int) -> list[Message]:
        taken: list[Message] = []
        room = min(limit, self._broker.loop.dice.choice((1, 3, limit)))
        while self._queue.messages and (not taken or len(taken) < room):
            message = self._queue.messages.popleft()
            message.deliveries += 1
            taken.append(message)
        self.unacked += taken
        return taken

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.unacked = [message for message in self.unacked if message not in messages]

    def requeue(self, messages: Sequence[Message]) -> None:
        """Back to the head in their order; past the delivery limit to the dead letters."""
        for message in reversed([m for m in messages if m in self.unacked]):
            if message.deliveries > DELIVERY_LIMIT:
                dead = self._broker.queue(dead_queue(self._queue.name))
                dead.messages.append(Message(message.content_type, message.body))
                dead.wake()
            else:
                self._queue.messages.appendleft(message)
        self.acknowledge(messages)
        self._queue.wake()

    def cut(self) -> None:
        if not self._open:
            return
        self._open = False
        self._queue.subscriptions.remove(self)
        self.requeue(list(self.unacked))
        self.wake()

    async def close(self) -> None:
        self.cut()


class _Batch:
    def __init__(self, subscription: _Subscription, messages: list[Message]) -> None:
        self._subscription, self._messages = subscription, messages
        read = [message.read() for message in messages]
        self.events = [event for events, _ in read for event in events]
        self.unread = [body for _, bodies in read for body in bodies]

    async def ack(self) -> None:
        self._subscription.acknowledge(self._messages)

    async def give_back(self) -> None:
        self._subscription.requeue(self._messages)
