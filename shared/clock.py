"""The only place where time is read. Everything else takes `now` as an argument or a `Clock` from its wiring."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970 in UTC: the form in which every `*_at` column is stored."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(value: int) -> datetime:
    return EPOCH + timedelta(microseconds=value)


def parse_time(text: str) -> datetime:
    """ISO 8601 with a zone -> aware UTC. Raises ValueError for text without a zone and for what no UTC time is."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone: {text!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time before the first or after the last year") from None


@lru_cache(maxsize=4096)
def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251


class TestClock:
    """Moves only when told. Kept in a file when several processes (or a restart) must share it."""

    __test__ = False

    def __init__(self, start: datetime | None = None, path: Path | None = None) -> None:
        self._path = path
        self._now = start or SystemClock().now()
        self._stamp = 0
        if path is not None and start is None and path.exists():
            self._read()
        else:
            self.set(self._now)

    def now(self) -> datetime:
        if self._path is not None and self._path.stat().st_mtime_ns != self._stamp:
            self._read()
        return self._now

    def set(self, moment: datetime) -> None:
        self._now = moment.astimezone(UTC)
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(f".{os.getpid()}")
        beside.write_text(format_time(self._now))
        beside.replace(self._path)
        self._stamp = self._path.stat().st_mtime_ns

    def advance(self, by: timedelta) -> None:
        self.set(self.now() + by)

    def _read(self) -> None:
        assert self._path is not None  # noqa: S101
        self._stamp = self._path.stat().st_mtime_ns
        self._now = parse_time(self._path.read_text().strip())


def monotonic() -> float:
    """Seconds for leases, rate limits and time-outs: real time that never jumps."""
    return time.monotonic()


def worked() -> float:
    """Seconds of CPU this thread has used: for bounds on work, which a busy machine must not make shorter."""
    return time.thread_time()


async def pause(seconds: float, stop: asyncio.Event) -> bool:
    """Sleeps real seconds or until `stop` is set; answers whether it was set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
