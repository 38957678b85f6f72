"""The measure for answer times: FastAPI verifies and reads, and stores nothing."""

from fastapi import FastAPI, HTTPException, Request, Response

from bench.peers.events import Webhook
from bench.peers.work import NotGenuine, Settings, verify

settings = Settings.from_environ()
app = FastAPI()


@app.post("/webhooks/generic/{account}", status_code=202)
async def receive(account: str, request: Request) -> Response:
    body = await request.body()
    try:
        verify(settings.secret, request.headers, body)
    except NotGenuine:
        raise HTTPException(401) from None
    Webhook.model_validate_json(body)
    return Response(status_code=202)
