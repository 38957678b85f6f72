"""Letters out: rendered, marked, sent, recorded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import aiohttp
from faststream import AckPolicy, ContextRepo, FastStream
from faststream.annotations import Context

from bench.peers.faststream.queues import LETTERS, broker
from bench.peers.orm import record, settings, take

rabbit = broker(settings.amqp)


@asynccontextmanager
async def lifespan(context: ContextRepo) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as http:
        context.set_global("http", http)
        yield


app = FastStream(rabbit, lifespan=lifespan)


@rabbit.subscriber(LETTERS, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_letter(message_id: str, http: Annotated[aiohttp.ClientSession, Context("http")]) -> None:
    said = await take(message_id)
    if said is None:
        return
    async with http.post(settings.sink, json=said, headers={"Idempotency-Key": message_id}) as answer:
        answer.raise_for_status()
    await record(message_id)


@app.after_startup
async def announce() -> None:
    settings.announce("notifier")
