"""Batches over AMQP: many events in one persistent, confirmed message; acknowledged when their work is done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

FACTS, LETTERS = "facts", "letters"
PREFETCH = 50
"""AMQP messages, each a batch."""
MOST, LANES = 500, 2
"""Events of one transaction; transactions under way at a time: one computes while the other waits."""
_ARGUMENTS = {"x-queue-type": "quorum"}


class Event(msgspec.Struct):
    id: str
    body: msgspec.Raw
    """The webhook's or the letter's, as it came."""


_events = msgspec.json.Decoder(list[Event])
Handle = Callable[[list[Event]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Link:
    """One channel, confirms on."""

    channel: AbstractChannel

    async def publish(self, queue: str, events: list[Event]) -> None:
        """Confirmed when it returns."""
        message = aio_pika.Message(msgspec.json.encode(events), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self.channel.default_exchange.publish(message, queue)

    async def consume(self, queue: str, handle: Handle) -> None:
        """Takes what is waiting, at most `MOST` events, in `LANES` at a time. Runs until cancelled."""
        came: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await self.channel.set_qos(PREFETCH)
        source = await self.channel.declare_queue(queue, durable=True, arguments=_ARGUMENTS)
        await source.consume(came.put)
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(_lane(came, handle))


async def _lane(came: "asyncio.Queue[AbstractIncomingMessage]", handle: Handle) -> None:
    while True:
        messages = [await came.get()]
        events = _events.decode(messages[0].body)
        while not came.empty() and len(events) < MOST:
            messages.append(came.get_nowait())
            events += _events.decode(messages[-1].body)
        await handle(events)
        for message in messages:
            await message.ack()


@asynccontextmanager
async def link(url: str) -> AsyncIterator[Link]:
    """Both queues exist when it opens."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        for name in (FACTS, LETTERS):
            await channel.declare_queue(name, durable=True, arguments=_ARGUMENTS)
        yield Link(channel)
