"""Webhooks in: verified, stored, queued, answered. Plain `def`: FastAPI runs what blocks in its threads."""

import json
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response

from bench.peers import orm_sync
from bench.peers.celery.app import Session, on_fact, settings
from bench.peers.work import NotGenuine, verify

app = FastAPI()


async def raw(request: Request) -> bytes:
    return await request.body()


@app.post("/webhooks/generic/{account}", status_code=202)
def receive(account: str, request: Request, body: Annotated[bytes, Depends(raw)]) -> Response:
    try:
        id_ = verify(settings.secret, request.headers, body)
    except NotGenuine:
        raise HTTPException(401) from None
    webhook = json.loads(body)
    with Session.begin() as session:
        orm_sync.accept(session, id_, body)
    on_fact.delay({"id": id_, **webhook})
    return Response(status_code=202)
