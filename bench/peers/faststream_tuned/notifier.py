"""Letters out: rendered, marked, sent, recorded; one message at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from faststream import AckPolicy, FastStream

from bench.peers.faststream_tuned.queues import LETTERS, broker
from bench.peers.faststream_tuned.store import Letter, Store
from bench.peers.work import Settings

settings = Settings.from_environ()
rabbit, store = broker(settings.amqp), Store(settings.database)
_letters = msgspec.json.Decoder(Letter)


class Http:
    """The one session, opened on the worker's own loop."""

    session: aiohttp.ClientSession


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    async with store, aiohttp.ClientSession() as Http.session:
        yield


app = FastStream(rabbit, lifespan=lifespan)


@rabbit.subscriber(LETTERS, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_letter(body: bytes) -> None:
    asked = _letters.decode(body)
    said = await store.take(asked)
    if said is None:
        return
    headers = {"Idempotency-Key": asked.id, "Content-Type": "application/json"}
    async with Http.session.post(settings.sink, data=msgspec.json.encode(said), headers=headers) as answer:
        answer.raise_for_status()
    await store.record(asked.id)


@app.after_startup
async def announce() -> None:
    settings.announce("notifier")
