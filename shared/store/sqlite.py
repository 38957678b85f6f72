"""The SQLite end: Python's own driver. One connection per file writes, a few read.

Statements of a writing transaction run where they are asked: handing each to a thread and back costs more than it takes
itself. What waits for the disk (the commit, a lock of another process) and what may take long (reads, `long`
transactions) runs in the connection's own thread.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table, create_engine, event
from sqlalchemy.pool import NullPool

from shared.store import faults
from shared.store.tx import Led, OnConflict, Row, Tx, Watch, ending

T = TypeVar("T")
_READERS = 4
_BUSY = 5.0
"""Real seconds for which another process's lock is waited for."""
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


class Sqlite:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turnstile = _Turnstile()
        self._writer = _Hand(path, read_only=False)
        self._readers = [_Hand(path, read_only=True) for _ in range(_READERS)]
        self._free = asyncio.Semaphore(_READERS)
        self.watch: Watch | None = None

    @asynccontextmanager
    async def transaction(self, *, urgent: bool = False, long: bool = False) -> AsyncIterator[Tx]:
        """Commits at the end, rolls back when anything is raised."""
        async with self._turnstile.turn(urgent):
            await self._writer.begin()
            try:
                yield SqliteTx(self._writer, aside=long, watch=self.watch)
                await self._writer.there(self._writer.commit)
            finally:
                self._writer.abandon()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """All statements see the same moment."""
        async with self._free:
            reader = self._readers.pop()
            try:
                await reader.there(reader.snapshot)
                yield SqliteTx(reader, aside=True, watch=self.watch)
            finally:
                reader.abandon()
                self._readers.append(reader)

    async def run_sync(self, work: Callable[..., T], *args: Any) -> T:
        """On a connection of its own, in one transaction."""
        async with self._turnstile.turn(urgent=False):
            return await self._writer.there(lambda: self._with_connection(work, args))

    def _with_connection(self, work: Callable[..., T], args: Sequence[Any]) -> T:
        engine = create_engine("sqlite://", creator=lambda: _open(self._path, False, _BUSY), poolclass=NullPool)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as connection:
            return work(connection, *args)

    async def close(self) -> None:
        for hand in (self._writer, *self._readers):
            await hand.close()


class _Hand:
    """A connection with a thread of its own; used from one place at a time."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._path, self._read_only = path, read_only
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite {path.name}")
        self._connection: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """Raises DBAPIError when the file cannot be opened."""
        if self._connection is None:
            try:
                self._connection = _open(self._path, self._read_only, _BUSY if self._read_only else 0)
            except sqlite3.Error as fault:
                raise faults.of_sqlite("open", fault) from fault
        return self._connection

    async def there(self, work: Callable[[], T]) -> T:
        """In the thread. A cancellation waits for the call under way: one cut short would leave it holding the lock."""
        return await _whole(asyncio.get_running_loop().run_in_executor(self._thread, work))

    async def begin(self) -> None:
        """At once where the file is open and no other process writes to it."""
        if self._connection is not None:
            with suppress(sqlite3.OperationalError):
                self._connection.execute("BEGIN IMMEDIATE")
                return
        try:
            await self.there(self._begin_patiently)
        except BaseException:
            self.abandon()
            raise

    def _begin_patiently(self) -> None:
        self.connection.execute(f"PRAGMA busy_timeout={int(_BUSY * 1000)}")
        try:
            self.execute("BEGIN IMMEDIATE")
        finally:
            self.connection.execute("PRAGMA busy_timeout=0")

    def snapshot(self) -> None:
        self.connection.execute("BEGIN")

    def commit(self) -> None:
        self.execute("COMMIT")

    def abandon(self) -> None:
        """What is still open is rolled back."""
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def execute(self, sql: str, params: Any = ()) -> sqlite3.Cursor:
        try:
            return self.connection.execute(sql, params)
        except sqlite3.Error as fault:
            raise faults.of_sqlite(sql, fault) from fault

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        try:
            self.connection.executemany(sql, rows)
        except sqlite3.Error as fault:
            raise faults.of_sqlite(sql, fault) from fault

    def fetch(self, sql: str, params: Any = ()) -> list[Row]:
        try:
            cursor = self.connection.execute(sql, params)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.Error as fault:
            raise faults.of_sqlite(sql, fault) from fault

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self.there(connection.close)
        self._thread.shutdown(wait=False)


class SqliteTx(Tx):
    """`aside`: each statement runs in the connection's thread."""

    postgres = False

    def __init__(self, hand: _Hand, *, aside: bool, watch: Watch | None) -> None:
        self._hand, self._aside, self._watch = hand, aside, watch

    async def rows(self, sql: str, **params: Any) -> Sequence[Row]:
        return await self._do(sql, lambda: self._hand.fetch(sql, _bound(params)))

    async def peek(self, sql: str, **params: Any) -> Sequence[Row]:
        return await self.rows(sql, **params)

    async def run(self, sql: str, **params: Any) -> int:
        return await self._do(sql, lambda: self._hand.execute(sql, _bound(params)).rowcount)

    def any_of(self, column: str, param: str, type_: str = "text") -> str:
        return f"{column} IN (SELECT value FROM json_each(:{param}))"

    def among(self, columns: Sequence[str], param: str) -> str:
        fields = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(columns)))
        return f"({', '.join(columns)}) IN (SELECT {fields} FROM json_each(:{param}))"

    def tuples(self, param: str, values: Iterable[Sequence[str]], width: int = 2) -> dict[str, Any]:
        return {param: list(values)}

    def locked(self, *, skip: bool = False) -> str:
        return ""

    def micros_now(self) -> str:
        return "CAST((julianday('now') - 2440587.5) * 86400000000 AS integer)"

    async def insert(
        self,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        on_conflict: OnConflict = "raise",
        returning: Sequence[str] = (),
    ) -> list[Row]:
        if not rows:
            return []
        columns = tuple(rows[0])
        sql = _insertion(table.name, columns, ending(on_conflict, returning))
        values = [[_plain(row[column]) for column in columns] for row in rows]
        if returning:
            return await self._do(sql, lambda: [found for one in values for found in self._hand.fetch(sql, one)])
        await self._do(sql, lambda: self._hand.execute_many(sql, values))
        return []

    async def in_turn(self, names: Iterable[str]) -> None:
        """They do."""

    async def later(self, table: Table, sql: str, **params: Any) -> None:
        await self.run(sql, **params)

    async def send(self) -> None:
        """It is."""

    async def insert_led(
        self, table: Table, rows: Sequence[Mapping[str, Any]], led: Sequence[Led], *, alone: bool = False
    ) -> set[str]:
        new = {row["id"] for row in await self.insert(table, rows, on_conflict="nothing", returning=("id",))}
        for one in led:
            led_rows = [row for row in one.rows if row[one.link] in new]
            await self.insert(one.table, led_rows, on_conflict="nothing")
        return new

    async def update(self, table: Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            columns = tuple(rows[0])
            order = [c for c in columns if c not in keys] + list(keys)
            sql = _setting(table.name, columns, tuple(keys))
            values = [[_plain(row[column]) for column in order] for row in rows]
            await self._do(sql, lambda: self._hand.execute_many(sql, values))

    async def _do(self, sql: str, work: Callable[[], T]) -> T:
        if self._watch is not None:
            self._watch(sql)
        return await self._hand.there(work) if self._aside else work()


class _Turnstile:
    """Lets one writer through at a time, urgent ones first."""

    def __init__(self) -> None:
        self._busy = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, urgent: bool) -> AsyncIterator[None]:
        if self._busy:
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            (self._urgent if urgent else self._others).append(mine)
            try:
                await mine
            except asyncio.CancelledError:
                if mine.done() and not mine.cancelled():
                    self._next()
                raise
        self._busy = True
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        for line in (self._urgent, self._others):
            while line:
                waiter = line.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._busy = False


async def _whole(work: Awaitable[T]) -> T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()
        raise


def _open(path: Path, read_only: bool, busy: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    for pragma in (*_PRAGMAS, *(["query_only=ON"] if read_only else [])):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@lru_cache(maxsize=500)
def _insertion(table: str, columns: tuple[str, ...], tail: str) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}){tail}"


@lru_cache(maxsize=500)
def _setting(table: str, columns: tuple[str, ...], keys: tuple[str, ...]) -> str:
    sets = ", ".join(f"{c} = ?" for c in columns if c not in keys)
    return f"UPDATE {table} SET {sets} WHERE {' AND '.join(f'{k} = ?' for k in keys)}"


def _bound(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in params.items()}


def _plain(value: Any) -> Any:
    """Lists as JSON, and text with a NUL refused, as PostgreSQL does."""
    if isinstance(value, str):
        if "\0" in value:
            raise faults.Unstorable("text with a NUL character cannot be stored")
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, list | tuple) else value
