"""The bus on RabbitMQ, through aio-pika. This module owns every connection, channel and consumer.

Plain connections, not "robust" ones: what was lost is opened and declared anew from here, so there is one answer to
"who consumes what". One connection publishes, another consumes (a broker that throttles publishers must not starve
consumers). Faults come out as BusUnavailable; nothing is published again from here, that is the relay's work.
aio-pika opens and declares; messages themselves go through the channel beneath it (aiormq), at half the price.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import spec
from aiormq.abc import AbstractChannel as PlainChannel
from aiormq.abc import DeliveredMessage

from shared.bus import envelope
from shared.bus.port import ROUTES, BusUnavailable, Event, Topology, Unread
from shared.bus.rabbit_link import CONFIRM, CONNECT, Link, Unroutable, faults, quietly, without_password
from shared.bus.topology import (
    DEAD,
    Queue,
    dead_arguments,
    dead_queue,
    find,
    is_dead,
    queue_arguments,
    queues,
    routing_key,
)
from shared.clock import pause
from shared.ids import digest

_DEADLINE = 8.0
_PREFETCH = 20
_PERSISTENT = 2
_WATCH_EVERY = 10.0

_log = structlog.get_logger(__name__)


class RabbitBus:
    """`Bus`. `watch_every` seconds: how often lost connections are reopened and silent consumers looked after."""

    def __init__(self, url: str, topology: Topology, *, watch_every: float = _WATCH_EVERY) -> None:
        self.topology = topology
        self._where = without_password(url)
        self._out = _Publisher(Link(url, "amends publish", self._where), topology)
        self._in = Link(url, "amends consume", self._where)
        self._subscriptions: set[_Subscription] = set()
        self._watch_every = watch_every
        self._stopping = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._stopping.clear()
        try:
            await self._out.ready()
        except BusUnavailable:
            await self._out.close()
            raise
        self._watch = asyncio.create_task(self._watching())

    async def stop(self) -> None:
        self._stopping.set()
        if self._watch is not None:
            await self._watch
        for subscription in list(self._subscriptions):
            await subscription.close()
        await self._out.close()
        await self._in.close()

    @property
    def healthy(self) -> bool:
        return self._out.is_open and all(s.is_open for s in self._subscriptions)

    @property
    def idle(self) -> bool:
        return not self._out.under_way

    async def publish(self, exchange: str, key: str, events: Sequence[Event], *, mandatory: bool = True) -> None:
        if self._stopping.is_set():
            raise BusUnavailable("the bus has been stopped")
        if events:
            await self._out.publish(exchange, routing_key(self.topology, exchange, key), events, mandatory)

    async def subscribe(self, queue: str) -> "_Subscription":
        if self._stopping.is_set():
            raise BusUnavailable("the bus has been stopped")
        connection = await self._in.connection()
        async with faults(f"cannot consume {queue} at {self._where}", CONNECT):
            channel = await connection.channel(publisher_confirms=False)
            subscription = _Subscription(queue, channel, self._subscriptions.discard)
            try:
                await subscription.open(self.topology)
            except BaseException:
                await subscription.close()
                raise
        self._subscriptions.add(subscription)
        return subscription

    async def waiting(self, exchange: str) -> int:
        names = [self.topology.prefix + queue.name for queue in queues(self.topology) if queue.exchange == exchange]
        connection = await self._in.connection()
        async with faults("cannot count what is waiting", CONNECT):
            return sum([(await _census(connection, name))[0] for name in names])

    async def _watching(self) -> None:
        while not await pause(self._watch_every, self._stopping):
            with suppress(BusUnavailable):
                await self._out.ready()
            for subscription in list(self._subscriptions):
                await self._look_after(subscription)

    async def _look_after(self, subscription: "_Subscription") -> None:
        """Messages wait, or the broker knows of no consumer, and nothing reaches us: begun anew."""
        if not subscription.is_quiet():
            return
        try:
            connection = await self._in.connection()
            async with faults("cannot look after the consumers", CONNECT):
                waiting, consumers = await _census(connection, self.topology.prefix + subscription.queue)
        except BusUnavailable:
            waiting, consumers = 0, 0
        if subscription.is_dead(waiting, consumers):
            _log.error("consumer_dead", queue=subscription.queue, waiting=waiting, consumers=consumers)
            await subscription.close("the broker no longer served this consumer")


async def _census(connection: AbstractConnection, name: str) -> tuple[int, int]:
    """Messages ready and consumers of a queue, on a channel of its own: a missing queue closes it."""
    async with await connection.channel(publisher_confirms=False) as channel:
        found = await channel.declare_queue(name, passive=True)
        result = found.declaration_result
        return result.message_count or 0, result.consumer_count or 0


class _Publisher:
    """One confirming channel and the declared topology."""

    def __init__(self, link: Link, topology: Topology) -> None:
        self._link, self._topology = link, topology
        self._lock = asyncio.Lock()
        self._channel: AbstractChannel | None = None
        self._ready: PlainChannel | None = None
        """None until everything is declared, and again once something is missing."""
        self.under_way = 0

    @property
    def is_open(self) -> bool:
        return self._link.is_open and self._channel is not None and not self._channel.is_closed

    async def ready(self) -> PlainChannel:
        if self._ready is not None and self.is_open:
            return self._ready
        async with self._lock:
            if self._ready is None or not self.is_open:
                self._ready = await self._opened()
            return self._ready

    async def close(self) -> None:
        await self._link.close()

    async def publish(self, exchange: str, key: str, events: Sequence[Event], mandatory: bool) -> None:
        channel = await self.ready()
        content_type, body = envelope.encode(events)
        alone = len(events) == 1
        properties = spec.Basic.Properties(
            content_type=content_type,
            delivery_mode=_PERSISTENT,
            message_id=events[0].id if alone else digest(*(event.id for event in events)),
            message_type=events[0].type if alone else None,
        )
        self.under_way += 1
        try:
            async with faults(f"no confirmation for {exchange}", _DEADLINE):
                await channel.basic_publish(
                    body, exchange=self._topology.prefix + exchange, routing_key=key, properties=properties,
                    mandatory=mandatory, timeout=CONFIRM,
                )  # fmt: skip
        except Unroutable:
            self._ready = None
            raise
        finally:
            self.under_way -= 1

    async def _opened(self) -> PlainChannel:
        self._ready = None
        connection = await self._link.connection()
        async with faults("the topology could not be declared", CONNECT * 3):
            if self._channel is not None:
                await quietly(self._channel)
            self._channel = await connection.channel(on_return_raises=True)
            await _declare_all(self._channel, self._topology)
            return await self._channel.get_underlay_channel()


async def _declare_all(channel: AbstractChannel, topology: Topology) -> None:
    prefix = topology.prefix
    for name in ROUTES:
        await channel.declare_exchange(prefix + name, "topic", durable=True)
    wanted = list(queues(topology))
    for name in sorted({dead_queue(queue.name) for queue in wanted}):
        await _declare_dead(channel, prefix, name)
    for queue in wanted:
        await _declare(channel, prefix, queue)


async def _declare(channel: AbstractChannel, prefix: str, queue: Queue) -> None:
    declared = await channel.declare_queue(
        prefix + queue.name, durable=True, arguments=queue_arguments(prefix, queue.name)
    )
    await declared.bind(prefix + queue.exchange, queue.binding)


async def _declare_dead(channel: AbstractChannel, prefix: str, name: str) -> None:
    exchange = await channel.declare_exchange(prefix + DEAD, "direct", durable=True)
    declared = await channel.declare_queue(prefix + name, durable=True, arguments=dead_arguments())
    await declared.bind(exchange, name)


class _Subscription:
    """A consumer on a channel of its own. Deliveries wait here, in order, until they are taken."""

    def __init__(self, queue: str, channel: AbstractChannel, forget: Callable[["_Subscription"], None]) -> None:
        self.queue = queue
        self._channel, self._forget = channel, forget
        self._waiting: deque[DeliveredMessage] = deque()
        self._arrived = asyncio.Event()
        self._lost: str | None = None
        self._batch: _Batch | None = None
        self._delivered = self._seen = self._suspicion = 0

    @property
    def is_open(self) -> bool:
        return self._lost is None and not self._channel.is_closed

    async def open(self, topology: Topology) -> None:
        name = topology.prefix + self.queue
        await self._channel.set_qos(prefetch_count=_PREFETCH)
        if is_dead(self.queue):
            await _declare_dead(self._channel, topology.prefix, self.queue)
            arguments = dead_arguments()
        else:
            await _declare(self._channel, topology.prefix, find(topology, self.queue))
            arguments = queue_arguments(topology.prefix, self.queue)
        await self._channel.declare_queue(name, durable=True, arguments=arguments)
        self._channel.close_callbacks.add(self._on_close)
        underlay = await self._channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_cancel)
        await underlay.basic_consume(name, self._on_message)

    async def take(self, limit: int) -> "_Batch":
        while not self._waiting and self._lost is None:
            self._arrived.clear()
            await self._arrived.wait()
        if self._lost is not None:
            raise BusUnavailable(self._lost)
        self._batch = _Batch(self, self._prefix(limit))
        return self._batch

    def _prefix(self, limit: int) -> list["_Taken"]:
        taken: list[_Taken] = []
        while self._waiting:
            message = _Taken(self._waiting[0])
            limit -= len(message.events) + len(message.unread)
            if taken and limit < 0:
                break
            self._waiting.popleft()
            taken.append(message)
        return taken

    async def acknowledge(self, message: DeliveredMessage) -> None:
        """This one and all before it."""
        if self._lost is not None:
            raise BusUnavailable(self._lost)
        async with faults("the acknowledgement did not go out", _DEADLINE):
            await message.channel.basic_ack(message.delivery_tag or 0, multiple=True)

    def put_back(self, messages: Sequence[DeliveredMessage]) -> None:
        """To us once more, in order, before what came later; closing the channel gives them to another."""
        self._waiting.extendleft(reversed(messages))
        self._arrived.set()

    async def close(self, why: str = "the subscription was closed") -> None:
        self._end(why)
        await quietly(self._channel)

    def is_quiet(self) -> bool:
        """Nothing in hand, nothing waiting here, and nothing came since the last look."""
        quiet = not self._waiting and (self._batch is None or not self._batch.is_open) and self._delivered == self._seen
        self._seen = self._delivered
        if not quiet:
            self._suspicion = 0
        return quiet and self._lost is None

    def is_dead(self, waiting: int, consumers: int) -> bool:
        """Said at the second look in a row: the first may have met a message on its way."""
        if self._waiting or self._delivered != self._seen or (consumers and not waiting):
            self._suspicion = 0
            return False
        self._suspicion += 1
        return self._suspicion > 1

    async def _on_message(self, message: DeliveredMessage) -> None:
        self._delivered += 1
        self._waiting.append(message)
        self._arrived.set()

    async def _on_cancel(self, _frame: object) -> None:
        self._end("the broker cancelled the consumer")

    def _on_close(self, _channel: object, fault: BaseException | None) -> None:
        self._end(f"the channel was lost: {type(fault).__name__}" if fault else "the channel was closed")

    def _end(self, why: str) -> None:
        if self._lost is None:
            self._lost = why
            self._waiting.clear()
            self._forget(self)
            self._arrived.set()


class _Taken:
    def __init__(self, message: DeliveredMessage) -> None:
        self.message = message
        self.events, self.unread = envelope.decode(message.header.properties.content_type, message.body)


class _Batch:
    def __init__(self, subscription: _Subscription, taken: Sequence[_Taken]) -> None:
        self._subscription, self._messages = subscription, [t.message for t in taken]
        self.events: list[Event] = [event for t in taken for event in t.events]
        self.unread: list[Unread] = [body for t in taken for body in t.unread]
        self.is_open = True

    async def ack(self) -> None:
        if self.is_open:
            self.is_open = False
            await self._subscription.acknowledge(self._messages[-1])

    async def give_back(self) -> None:
        if self.is_open:
            self.is_open = False
            self._subscription.put_back(self._messages)
