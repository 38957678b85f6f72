"""Webhooks in: verified, stored by one statement, published, answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response

from bench.peers.faststream_tuned.queues import FACTS, broker
from bench.peers.faststream_tuned.store import Event, Store
from bench.peers.work import NotGenuine, Settings, verify

settings = Settings.from_environ()
rabbit, store = broker(settings.amqp), Store(settings.database)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with rabbit, store:
        await rabbit.declare_queue(FACTS)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/generic/{account}", status_code=202)
async def receive(account: str, request: Request) -> Response:
    body = await request.body()
    try:
        id_ = verify(settings.secret, request.headers, body)
    except NotGenuine:
        raise HTTPException(401) from None
    webhook = msgspec.json.decode(body)
    await store.accept(id_, body)
    event = Event(id_, webhook["type"], webhook["data"])
    await rabbit.publish(msgspec.json.encode(event), queue=FACTS, persist=True)
    return Response(status_code=202)
