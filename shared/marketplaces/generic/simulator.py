"""The seller's own system, as the channel meets it: checks the signature, takes each idempotency key once, remembers.

Control surface: `GET /_control/sent` what was taken, in order, with the number of attempts; `POST /_control/sign` the
headers for a body, so that a person can play the shop with nothing but curl.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared import standard_webhooks
from shared.clock import Clock, format_time
from shared.errors import Refusal
from shared.json_reader import Unreadable, read
from shared.ports import Account, NotGenuine, Secrets

_TYPES = ("message.send", "act.perform")


class _Taken(msgspec.Struct):
    id: str
    at: str
    idempotency_key: str
    type: str
    data: Any
    content: str
    attempts: int = 1


class _Shop:
    def __init__(self, secrets: Secrets, clock: Clock, keep: Path | None) -> None:
        self._secret = secrets["signing_secret"]
        self._clock = clock
        self._keep = keep
        self._taken: dict[str, _Taken] = {}
        if keep is not None and keep.exists():
            self._taken = msgspec.json.decode(keep.read_bytes(), type=dict[str, _Taken])

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        try:
            self._verify(request, body)
            event = read(body)
        except NotGenuine as refusal:
            return _problem(refusal)
        except Unreadable as fault:
            return _problem(Refusal(str(fault), code="unreadable", status=400))
        if not isinstance(event, dict) or event.get("type") not in _TYPES:
            return _problem(Refusal("no such type", code="unknown_type", status=422))
        return self._take(request.headers.get("idempotency-key", ""), event, body)

    async def sent(self, request: Request) -> Response:
        rows = [msgspec.structs.asdict(taken) for taken in self._taken.values()]
        shown = [{k: v for k, v in row.items() if k != "content"} for row in rows]
        return Response(msgspec.json.encode(shown), media_type="application/json")

    async def sign(self, request: Request) -> Response:
        body, now = await request.body(), self._clock.now()
        id_ = request.query_params.get("id") or f"msg_{hashlib.sha256(body).hexdigest()[:24]}"
        return JSONResponse(standard_webhooks.headers(self._secret, id_, now, body))

    def _verify(self, request: Request, body: bytes) -> None:
        standard_webhooks.verify(
            self._secret,
            message_id=_single(request, "webhook-id"),
            timestamp=_single(request, "webhook-timestamp"),
            signature=_single(request, "webhook-signature"),
            body=body,
            now=self._clock.now(),
        )

    def _take(self, key: str, event: dict[str, Any], body: bytes) -> Response:
        if not key:
            return _problem(Refusal("Idempotency-Key is missing", code="no_idempotency_key", status=400))
        content = hashlib.sha256(body).hexdigest()
        known = self._taken.get(key)
        if known is None:
            number = f"shop-{len(self._taken) + 1}"
            now = format_time(self._clock.now())
            self._taken[key] = _Taken(number, now, key, event["type"], event.get("data"), content)
        elif known.content != content:
            return _problem(Refusal("the key was used for something else", code="key_reused", status=422))
        else:
            known.attempts += 1
        if self._keep is not None:
            self._keep.write_bytes(msgspec.json.encode(self._taken))
        return JSONResponse({"id": self._taken[key].id}, 202)


def create(account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Starlette:
    """`keep`: a JSON file in which what was taken survives a restart, so that a used key stays used."""
    shop = _Shop(secrets, clock, keep)
    return Starlette(
        routes=[
            Route("/_control/sent", shop.sent),
            Route("/_control/sign", shop.sign, methods=["POST"]),
            Route("/{path:path}", shop.receive, methods=["POST"]),
        ]
    )


def _single(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _problem(refusal: Refusal) -> Response:
    return JSONResponse(refusal.problem(), refusal.status, media_type="application/problem+json")
