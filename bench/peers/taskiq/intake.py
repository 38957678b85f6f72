"""Webhooks in: verified, stored, queued, answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response

from bench.peers.events import Event, Webhook
from bench.peers.orm import accept, settings
from bench.peers.taskiq.tasks import facts, on_fact
from bench.peers.work import NotGenuine, verify


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await facts.startup()
    yield
    await facts.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/generic/{account}", status_code=202)
async def receive(account: str, request: Request) -> Response:
    body = await request.body()
    try:
        id_ = verify(settings.secret, request.headers, body)
    except NotGenuine:
        raise HTTPException(401) from None
    webhook = Webhook.model_validate_json(body)
    await accept(id_, body)
    await on_fact.kiq(Event(id=id_, type=webhook.type, timestamp=webhook.timestamp, data=webhook.data))
    return Response(status_code=202)
