"""One public origin over the three services, split by path as every proxy in front of them must split it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from shared.bounds import MOST

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_SPLIT = (
    (re.compile(r"^/(webhooks/|v1/admin/deliveries|sandbox/poll)"), "intake"),
    (re.compile(r"^/(v1/messages|v1/cases/[^/]+/messages$|sandbox/(calls|faults))"), "notifier"),
    (re.compile(r"^/sandbox/"), "sandbox"),
)
_DOCUMENT = "/openapi.json"
_OF_ALL = {"/readyz", _DOCUMENT, "/v1/admin/resync", "/v1/admin/reload"}
_PARKED = "/v1/admin/parked"
_IN_TURN = ("intake", "policy", "notifier")
_USUAL = 50
_WITH = {401: [(b"www-authenticate", b"Bearer")], 503: [(b"retry-after", b"5")]}
_ABOUT = {"title": "Amends", "description": "After-sales cases of marketplace sellers: all three services' HTTP API."}


def owner_of(path: str) -> str:
    """The service a path belongs to."""
    return next((name for pattern, name in _SPLIT if pattern.match(path)), "policy")


class Joined:
    """Hands a request to its service; what concerns all three is asked of each and answered as one."""

    def __init__(self, apps: Mapping[str, Any]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path in _OF_ALL:
            await self._all(scope, receive, send)
        elif path == _PARKED and scope["method"] == "GET":
            await _answer(send, *await self._parked(scope))
        elif path.startswith(f"{_PARKED}/"):
            await self._one_parked(scope, receive, send)
        else:
            owner = owner_of(path)
            await self._apps[owner if owner in self._apps else "policy"](scope, receive, send)

    async def _all(self, scope: Scope, receive: Any, send: Any) -> None:
        body = await _read(receive)
        names = ["policy", "notifier", "intake"]
        if scope["path"] == _DOCUMENT and "sandbox" in self._apps:
            names.append("sandbox")
        answers = await asyncio.gather(*(call(self._apps[name], scope, body) for name in names))
        status = max(status for status, _ in answers)
        merged = _merged([content for one, content in answers if one == status])
        if scope["path"] == _DOCUMENT:
            merged["info"] = {**merged["info"], **_ABOUT}
        await _answer(send, status, merged)

    async def _parked(self, scope: Scope) -> tuple[int, Any]:
        """The three lists one after another. A cursor is the name of the service it goes on in, and that one's own."""
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        name, _, cursor = query.pop("cursor", f"{_IN_TURN[0]}.").partition(".")
        if name not in _IN_TURN:
            name, cursor = _IN_TURN[0], name
        items: list[Any] = []
        for here in _IN_TURN[_IN_TURN.index(name) :]:
            asked = query | ({"cursor": cursor} if cursor else {})
            if items:
                left = int(query.get("limit", _USUAL)) - len(items)
                if left == 0:
                    return 200, {"items": items, "next": f"{here}."}
                asked["limit"] = str(left)
            status, page = await call(self._apps[here], {**scope, "query_string": urlencode(asked).encode()})
            if status != 200:
                return status, page
            items += page["items"]
            if page["next"] is not None:
                return 200, {"items": items, "next": f"{here}.{page['next']}"}
            cursor = ""
        return 200, {"items": items, "next": None}

    async def _one_parked(self, scope: Scope, receive: Any, send: Any) -> None:
        """Of the service that knows it."""
        body = await _read(receive)
        for name in _IN_TURN:
            status, content = await call(self._apps[name], scope, body)
            if status != 404:
                break
        await _answer(send, status, content)


async def call(app: App, scope: Scope, body: bytes = b"") -> tuple[int, Any]:
    """One request to an ASGI application in this process: status and decoded JSON body."""
    status, parts = 500, []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    try:
        await app(dict(scope), receive, send)
    except Exception:
        if not parts:
            raise
    content = b"".join(parts)
    return status, msgspec.json.decode(content) if content else {}


def _merged(contents: list[Any]) -> Any:
    """Mappings are laid over each other, two levels deep: one OpenAPI document, one list of checks."""
    merged: dict[str, Any] = {}
    for content in contents:
        for key, value in content.items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = _deep(merged[key], value)
            else:
                merged[key] = value
    return merged


def _deep(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    both = {k: {**left[k], **v} for k, v in right.items() if isinstance(v, dict) and isinstance(left.get(k), dict)}
    return {**left, **right, **both}


async def _read(receive: Any) -> bytes:
    """The body, or as much of a too large one as makes every service refuse it."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body") or len(body) > MOST:
            return body


async def _answer(send: Any, status: int, content: Any) -> None:
    kind = b"application/problem+json" if status >= 400 else b"application/json"
    headers = [(b"content-type", kind), *_WITH.get(status, ())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(content)})
