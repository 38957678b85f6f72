"""The store's two ends behind one small surface: SQLite (embedded) and PostgreSQL (production).

Statements are plain SQL with named parameters. What differs between the ends is asked of the transaction:
`any_of`, `locked`, `insert`, `update`, `later`. Lists are bound as arrays on PostgreSQL and as JSON on SQLite.
Tables are SQLAlchemy's, and so is `run_sync` for what defines them; each statement of a transaction goes straight to
its driver. SQLite has one writing connection per file; urgent transactions (webhook commits) go before the others.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

from shared.store.faults import REPEATABLE, DatabaseAway, Unstorable, is_away, is_transient, is_unstorable, state_of
from shared.store.sqlite import Sqlite
from shared.store.tx import Led, OnConflict, Row, Tx, Watch

__all__ = [
    "Database", "DatabaseAway", "Led", "OnConflict", "Row", "Tx", "Unstorable", "is_away", "is_transient", "is_unstorable",
    "repeating",
]  # fmt: skip

if TYPE_CHECKING:
    from shared.store.postgres import Postgres

T = TypeVar("T")
_DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite"}


def _postgres(url: URL, pool: int, patience: float, schema: str | None) -> "Postgres":
    """Its driver takes 3 MB, which an embedded product can do without."""
    from shared.store.postgres import Postgres

    return Postgres(url, pool=pool, patience=patience, schema=schema)


class Database:
    """One database of one service. `url` as SQLAlchemy takes it, with or without the async driver's name.

    `schema` (PostgreSQL; also as a query parameter of the URL) keeps services apart that share one database;
    `migrate.upgrade` creates it. `patience`: real seconds to wait for a free connection.
    """

    def __init__(self, url: str, *, pool: int = 10, schema: str | None = None, patience: float = 10.0) -> None:
        parsed = make_url(url)
        parsed = parsed.set(drivername=_DRIVERS[parsed.get_backend_name()])
        named = parsed.query.get("schema")
        schema = schema or (named if isinstance(named, str) else None)
        self.url: URL = parsed.difference_update_query(["schema"])
        self.postgres = parsed.get_backend_name() == "postgresql"
        self.path = None if self.postgres else Path(parsed.database or "")
        self.schema = schema if self.postgres else None
        self._end: Postgres | Sqlite
        if self.path is None:
            self._end = _postgres(self.url, pool, patience, schema)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._end = Sqlite(self.path)

    def transaction(self, *, urgent: bool = False, long: bool = False) -> AbstractAsyncContextManager[Tx]:
        """Commits at the end, rolls back when anything is raised. `long`: its statements may take their time."""
        if isinstance(self._end, Sqlite):
            return self._end.transaction(urgent=urgent, long=long)
        return self._end.transaction(urgent=urgent)

    def reading(self) -> AbstractAsyncContextManager[Tx]:
        return self._end.reading()

    async def run_sync(self, work: Callable[..., T], *args: Any) -> T:
        """`work(connection, *args)` with a SQLAlchemy connection of its own, in one transaction: for definitions."""
        return await self._end.run_sync(work, *args)

    def watch(self, told: Watch | None) -> None:
        """`told` hears each statement from now on: for benches and tests that count them."""
        self._end.watch = told

    async def close(self) -> None:
        await self._end.close()


async def repeating(work: Callable[[], Awaitable[T]], times: int = 3) -> T:
    """Runs one batch's transaction; deadlocks and serialisation failures repeat it, at most `times` in all."""
    for left in range(times - 1, -1, -1):
        try:
            return await work()
        except DBAPIError as fault:
            if not left or state_of(fault) not in REPEATABLE:
                raise
    raise AssertionError("unreachable")
