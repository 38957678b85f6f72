"""A request's body as it comes in: at most so many bytes in at most so many seconds."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from services.intake.settings import Settings
from shared.errors import Refusal, TooLarge

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_LINGER, _LINGER_BYTES = 2.0, 8_000_000
"""Seconds and bytes for which the rest of a refused body is let through."""


class Gone(Exception):
    """The client left before its body was whole."""


class Tap:
    """The request's body as it comes in."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def __call__(self) -> Message:
        message = await self._receive()
        self._more = message["type"] == "http.request" and bool(message.get("more_body"))
        return message

    async def run_out(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Lets what is still on its way flow off for a while: a connection closed on it would take our answer along."""
        if any(name == b"expect" for name, _ in headers):
            return
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while self._more and size < _LINGER_BYTES:
                    size += len((await self()).get("body", b""))


async def whole(receive: Receive, settings: Settings) -> bytes:
    """Raises Gone, TooLarge, and Refusal 408."""
    parts, size = [], 0
    try:
        with _Deadline(settings.read_deadline):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > settings.body_limit:
                    raise TooLarge("the body is too large")
                if not message.get("more_body"):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError as fault:
        raise Refusal("the body did not come in time", code="request_timeout", status=408) from fault


class _Deadline:
    """`asyncio.timeout` at a fifth of its price: nearly every body is there already when it is asked for."""

    def __init__(self, seconds: float) -> None:
        self._task = asyncio.current_task()
        self._late = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        if self._task is not None:
            self._late = True
            self._task.cancel()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, _fault: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not self._late or self._task is None:
            return
        if not self._task.uncancel() and kind is asyncio.CancelledError:
            raise TimeoutError
