"""What every service does with its one database: open it at start, and hold its own clock against it."""

from pathlib import Path

from shared import crashpoints
from shared.clock import Clock, SystemClock, from_micros
from shared.errors import Unavailable
from shared.store import migrate
from shared.store.session import Database, is_away

LARGEST_SKEW = 2.0
"""Seconds by which a process may differ from its database before it is not ready (I16)."""


async def open_at_head(service: str, database: Database, migrations: Path, *, alone: bool) -> None:
    """Alone, a process migrates its database itself; with others it must be at head already.

    Raises ConfigurationError (not at head), Unavailable (cannot be reached).
    """
    try:
        await (migrate.upgrade if alone else migrate.check)(database, migrations)
    except Exception as fault:
        if is_away(fault):
            raise Unavailable(f"{service}: its database cannot be reached") from fault
        raise
    crashpoints.hit("store.opened")


async def clock_fault(database: Database, clock: Clock, largest: float = LARGEST_SKEW) -> str | None:
    """Why our clock is not to be trusted. A test clock and a file have nobody to disagree with."""
    if not database.postgres or not isinstance(clock, SystemClock):
        return None
    async with database.reading() as tx:
        row = await tx.row(f"SELECT {tx.micros_now()} AS at")
    assert row is not None  # noqa: S101
    apart = abs((from_micros(row["at"]) - clock.now()).total_seconds())
    return f"{apart:.1f} s apart from the database" if apart > largest else None
