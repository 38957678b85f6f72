"""Amazon's call limits: a token bucket per operation. Figures: reference A4, A5; the answer's header is the live rate."""

import asyncio
from collections.abc import Callable, Mapping

from shared.clock import monotonic
from shared.http import NotSentFault

RATES: Mapping[str, tuple[float, int]] = {
    "createReport": (0.0167, 15),
    "getReport": (2.0, 15),
    "getReportDocument": (0.0167, 15),
    "listFinancialEvents": (0.5, 30),
    "listFinancialEventsByOrderId": (0.5, 30),
    "createFeed": (0.0083, 15),
    "createFeedDocument": (0.5, 15),
    "getFeed": (2.0, 15),
    "getFeedDocument": (0.0222, 10),
    "createUploadDestinationForResource": (10.0, 10),
    "getOrder": (0.5, 30),
}
"""Operation -> calls per second, burst."""
OTHERS = (1.0, 5)
"""Messaging and everything else that is not named."""
PATIENCE = 5.0
"""Seconds a call may wait for its turn; beyond them it is put off."""


class Limits:
    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._buckets: dict[str, _Bucket] = {}

    async def turn(self, operation: str) -> None:
        """Waits for this operation's turn; raises NotSentFault (with the wait) when that takes too long."""
        wait = self._bucket(operation).take(self._now())
        if wait > PATIENCE:
            raise NotSentFault(f"{operation}: our own call limit", wait)
        if wait > 0:
            await asyncio.sleep(wait)

    def told(self, operation: str, rate: str | None) -> None:
        """`x-amzn-RateLimit-Limit` of an answer."""
        try:
            value = float(rate or "")
        except ValueError:
            return
        if 0 < value < 1e6:
            self._bucket(operation).rate = value

    def spent(self, operation: str) -> None:
        """The marketplace said 429: others (another process, a tool) share the limit."""
        self._bucket(operation).empty(self._now())

    def _bucket(self, operation: str) -> "_Bucket":
        if operation not in self._buckets:
            self._buckets[operation] = _Bucket(*RATES.get(operation, OTHERS), self._now())
        return self._buckets[operation]


class _Bucket:
    """`left` may go below zero: that much has been promised to callers who wait."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate, self._burst, self._left, self._at = rate, burst, float(burst), now

    def take(self, now: float) -> float:
        """Seconds until the turn; a wait longer than the patience is not promised."""
        self._fill(now)
        wait = max(0.0, (1 - self._left) / self.rate)
        if wait <= PATIENCE:
            self._left -= 1
        return wait

    def empty(self, now: float) -> None:
        self._fill(now)
        self._left = min(self._left, 0.0)

    def _fill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._at) * self.rate)
        self._at = now
