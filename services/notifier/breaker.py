"""One breaker per account: after 20 failures in a row nothing leaves for a while, then one errand at a time is tried. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

MOST_FAILURES = 20
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=2)
_CREDENTIALS_PAUSE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Breaker:
    failures: int = 0
    opened: int = 0
    """How often in a row it opened; each time it stays open longer."""
    open_until: datetime | None = None
    why: str | None = None

    def is_open(self, now: datetime) -> bool:
        return self.open_until is not None and now < self.open_until

    @property
    def probing(self) -> bool:
        """Not proven whole since it opened: one at a time."""
        return self.open_until is not None

    def succeeded(self) -> "Breaker":
        return self if self == CLOSED else CLOSED

    def failed(self, why: str, now: datetime) -> "Breaker":
        failures = self.failures + 1
        if failures < MOST_FAILURES and not self.probing:
            return replace(self, failures=failures, why=why)
        if self.is_open(now):
            return replace(self, failures=failures)
        pause = min(_FIRST_PAUSE * 2**self.opened, _LONGEST_PAUSE)
        return Breaker(failures, self.opened + 1, now + pause, why)

    def tripped(self, why: str, now: datetime) -> "Breaker":
        """The account's credentials were refused: no errand would fare better."""
        return Breaker(self.failures + 1, self.opened + 1, now + _CREDENTIALS_PAUSE, why)


CLOSED = Breaker()
