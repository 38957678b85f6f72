"""Webhooks in: verified, stored and enqueued in one transaction, answered."""

import json
from typing import Annotated

from dbos import DBOSClient, EnqueueOptions
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from bench.peers import orm_sync
from bench.peers.work import NotGenuine, Settings, verify

settings = Settings.from_environ()
engine = create_engine(settings.sqlalchemy("psycopg"), pool_size=10, max_overflow=10)
Session = sessionmaker(engine, expire_on_commit=False)
client = DBOSClient(system_database_engine=engine, application_name="peer")
app = FastAPI()


async def raw(request: Request) -> bytes:
    return await request.body()


@app.post("/webhooks/generic/{account}", status_code=202)
def receive(account: str, request: Request, body: Annotated[bytes, Depends(raw)]) -> Response:
    try:
        id_ = verify(settings.secret, request.headers, body)
    except NotGenuine:
        raise HTTPException(401) from None
    options = EnqueueOptions(queue_name="cases", workflow_name="on_webhook", workflow_id=id_)
    with Session.begin() as session:
        if orm_sync.accept(session, id_, body):
            client.enqueue_in_transaction(session, options, {"id": id_, **json.loads(body)})
    return Response(status_code=202)
