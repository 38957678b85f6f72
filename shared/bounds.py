"""No body of the HTTP API is read beyond its limit, whoever sends it: in front of everything that reads bodies."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MOST = 1_000_000
MOST_OF_FILES = 21_000_000
"""Bytes; the second for `multipart/form-data`, a file of 20 MB and what stands around it."""


class Bounded:
    """Middleware. Raises HTTPException 413 from within the reading of a body."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = most_of(scope)

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413)
            return message

        await self._app(scope, bounded, send)


def most_of(scope: MutableMapping[str, Any]) -> int:
    type_ = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return MOST_OF_FILES if type_.startswith(b"multipart/form-data") else MOST
