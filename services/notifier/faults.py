"""Faults the sandbox injects into sends: `timeout` cuts after the call was taken, `refused` before, `500`, `429`, `ok`."""

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from shared.errors import Invalid
from shared.http import Call, Fault

KINDS = ("timeout", "refused", "500", "429", "ok")
_sending: ContextVar[bool] = ContextVar("sending", default=False)


class Faults:
    """What goes wrong next, per channel. One fault is used up by one call that changes something, in a send or an act."""

    def __init__(self) -> None:
        self._next: dict[str, deque[str]] = defaultdict(deque)

    def add(self, channel: str, kinds: list[str]) -> None:
        """Raises Invalid for a fault there is none of."""
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise Invalid(f"faults are {', '.join(KINDS)}")
        self._next[channel].extend(kinds)

    def waiting(self, channel: str) -> list[str]:
        return list(self._next[channel])

    def hook(self, channel: str) -> Fault:
        async def fault(call: Call) -> str | None:
            waiting = self._next[channel]
            if not waiting or call.reads or not _sending.get():
                return None
            kind = waiting.popleft()
            return None if kind == "ok" else kind

        return fault


@contextmanager
def sending() -> Iterator[None]:
    """Calls made inside are part of a send or an act, not of a look-up."""
    token = _sending.set(True)
    try:
        yield
    finally:
        _sending.reset(token)
