"""What the marketplaces' clients share: parameters as text, a call within its time, a reply that must be an object."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.http import Answer, Call, Http, InDoubtFault
from shared.json_reader import MAX_BYTES, Unreadable, exact, read

READ_S, ACT_S = 10.0, 15.0
"""How long a reading and a change may take, in seconds."""


class NoAcknowledgement(InDoubtFault):
    """The reply neither says yes nor no."""


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as a form wants them: objects and lists as JSON, true and false in lower case; None is left out."""
    return {name: _as_text(value) for name, value in params.items() if value is not None}


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)


async def in_time(http: Http, call: Call, seconds: float) -> Answer:
    """Raises HttpFault kinds: InDoubtFault when there is no answer in time."""
    try:
        async with asyncio.timeout(seconds):
            return await http.call(call)
    except TimeoutError as fault:
        raise InDoubtFault(f"{call.label}: no answer in {seconds:.0f} s") from fault


def object_in(body: bytes, name: str, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object of a reply to `name`, its numbers exact. Raises InDoubtFault for anything else."""
    try:
        reply = exact(read(body, limit))
    except Unreadable as fault:
        raise InDoubtFault(f"{name}: unreadable answer ({len(body)} bytes)") from fault
    if not isinstance(reply, dict):
        raise InDoubtFault(f"{name}: the answer is no object")
    return reply
