"""Facts in, cases moved, letters asked for; one message, one transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from faststream import AckPolicy, FastStream

from bench.peers.faststream_tuned.queues import FACTS, LETTERS, broker
from bench.peers.faststream_tuned.store import Event, Store
from bench.peers.work import Settings

settings = Settings.from_environ()
rabbit, store = broker(settings.amqp), Store(settings.database)
_events = msgspec.json.Decoder(Event)


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    async with store:
        yield


app = FastStream(rabbit, lifespan=lifespan)


@rabbit.subscriber(FACTS, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_fact(body: bytes) -> None:
    asked = await store.advance(_events.decode(body))
    if asked is not None:
        await rabbit.publish(msgspec.json.encode(asked), queue=LETTERS, persist=True)


@app.after_startup
async def announce() -> None:
    await rabbit.declare_queue(LETTERS)
    settings.announce("policy")
