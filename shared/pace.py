"""How fast one account may be served: a token bucket in real seconds. Pure."""


class Pace:
    """Token bucket in real seconds. `take` answers how many of `wanted` may go now."""

    def __init__(self, per_second: float, now: float) -> None:
        self._rate = max(per_second, 0.01)
        self._most = max(self._rate, 1.0)
        self._tokens = self._most
        self._at = now

    def available(self, now: float) -> int:
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return int(self._tokens)

    def take(self, count: int) -> None:
        self._tokens -= count

    @property
    def seconds_to_next(self) -> float:
        return max(0.0, (1.0 - self._tokens) / self._rate)
