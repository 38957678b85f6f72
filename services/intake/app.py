"""intake's ASGI application: the bare webhook door in front, FastAPI behind it for everything else."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI

from services.intake.api import Door
from shared import problems
from shared.auth import Keys

_DOOR = "/webhooks/{marketplace}/{account}"
_REPLIES = {
    "2XX": "kept, in the marketplace's own shape",
    "401": "not proven genuine, or stale",
    "403": "for another seller",
    "404": "no such account",
    "405": "another method",
    "413": "too large",
    "415": "no JSON or form",
    "503": "cannot be kept now",
}
_DELIVER: dict[str, Any] = {
    "tags": ["webhooks"],
    "summary": "Deliver",
    "description": "A marketplace's push, its bytes as they are; proven by the marketplace's own signature.",
    "parameters": [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("marketplace", "account")
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}},
    "responses": {status: {"description": about} for status, about in _REPLIES.items()},
}


class Application:
    """`api` is the FastAPI part (its OpenAPI document, its state)."""

    def __init__(self, door: Door, api: FastAPI) -> None:
        self._door = door
        self.api = api

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/webhooks/"):
            await self._door(scope, receive, send)
        else:
            await self.api(scope, receive, send)


class _Api(FastAPI):
    """Its document names the door too, which is no route of FastAPI's."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["paths"][_DOOR] = {"post": _DELIVER}
        return document


def make(door: Door, keys: Keys, routers: Sequence[APIRouter]) -> Application:
    api = _Api(title="Amends intake", docs_url="/docs", redoc_url=None)
    api.state.keys = keys
    problems.install(api)
    for router in routers:
        api.include_router(router)
    return Application(door, api)
