"""What a service is to those who run it: the embedded run, a process of its own, the sandbox and the tests."""

from datetime import datetime
from typing import Any, Protocol


class Service(Protocol):
    name: str
    """intake, policy or notifier."""
    app: Any
    """Its ASGI application, `/healthz`, `/readyz`, `/metrics`, `/docs` included."""

    async def start(self) -> None:
        """Opens and checks its database, subscribes, starts its workers. Raises ConfigurationError, Unavailable."""
        ...

    async def stop(self) -> None:
        """No new claims, finish what is in hand, release the rest; within 20 s."""
        ...

    def kick(self) -> None:
        """Wakes all workers: time has moved or there is work."""
        ...

    async def busy(self) -> bool:
        """Something is in flight or due by its clock: unpublished rows, events in hand, sends, fetches and polls due."""
        ...

    async def reload(self) -> int:
        """Reads the accounts file anew, checks it whole, then swaps; the number of accounts. Raises ConfigurationError."""
        ...

    async def next_due(self) -> datetime | None:
        """The earliest moment ahead at which it has something to do (clocks, retries, look-ups, holds; not polls)."""
        ...
