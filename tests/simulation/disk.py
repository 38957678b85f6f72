"""What outlives a process: SQLite files with the services' own schema. Every statement is a real one on a real file.

Only the hand that holds a connection is the simulation's: it has no thread, and the dice decide how long it takes. A dead
process's open transaction is rolled back, and its hands do nothing any more.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from shared.store import faults, sqlite
from tests.simulation.loop import OWNER, SimLoop

T = TypeVar("T")
FULL = 13
"""SQLITE_FULL: nothing was stored."""
_WAITS = 0.15
"""Share of statements whose caller has to wait."""
_KEPT = ("alembic_version", "playbooks")


class Disk:
    """One service's database file, at the head of its migrations."""

    def __init__(self, service: str, path: Path) -> None:
        self.service, self.path = service, path
        self.loop: SimLoop
        self.writer: SimHand | None = None
        self.line: list[asyncio.Future[None]] = []
        self.fail_in: int | None = None
        """After so many more writing statements one fails, and its transaction with it."""
        self.committed: Callable[[], None] | None = None
        self._free: dict[bool, list[sqlite3.Connection]] = {True: [], False: []}
        self._admin = self._opened(read_only=False)
        names = self._admin.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self._tables = [name for (name,) in names if name not in _KEPT and not name.startswith("sqlite_")]

    def reset(self, loop: SimLoop) -> None:
        """Empty tables for the next schedule."""
        self.loop, self.writer, self.fail_in, self.committed, self.line = loop, None, None, None, []
        self.empty()

    def empty(self) -> None:
        self._admin.execute("BEGIN IMMEDIATE")
        for table in self._tables:
            self._admin.execute(f"DELETE FROM {table}")
        self._admin.execute("COMMIT")

    def all(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        """Read from outside, behind every service's back."""
        cursor = self._admin.execute(sql, params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def change(self, sql: str) -> None:
        self._admin.execute(sql)

    def one(self, sql: str) -> Any:
        return self._admin.execute(sql).fetchone()[0]

    def take(self, read_only: bool) -> sqlite3.Connection:
        free = self._free[read_only]
        return free.pop() if free else self._opened(read_only)

    def give_back(self, connection: sqlite3.Connection, read_only: bool) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        self._free[read_only].append(connection)

    def fail_if_due(self, sql: str) -> None:
        if self.fail_in is None:
            return
        self.fail_in -= 1
        if self.fail_in < 0:
            self.fail_in = None
            fault = sqlite3.OperationalError("database or disk is full")
            fault.sqlite_errorcode = FULL
            raise faults.of_sqlite(sql, fault)

    def passed_on(self) -> None:
        """Nobody writes any more: all that wait look again."""
        self.writer = None
        line, self.line = self.line, []
        for waiting in line:
            if not waiting.done():
                waiting.set_result(None)

    def close(self) -> None:
        for connection in (self._admin, *self._free[True], *self._free[False]):
            connection.close()

    def _opened(self, read_only: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, cached_statements=512, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function("julianday", 1, lambda _: 2_460_000.5 + self.loop.now / 86_400)
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        return connection


class SimHand(sqlite._Hand):
    """A service's connection, without its thread."""

    def __init__(self, disk: Disk, *, read_only: bool) -> None:
        self._disk, self._read_only = disk, read_only
        self._owner = OWNER.get()
        self._connection: sqlite3.Connection | None = None
        self._owner.on_death.append(self._let_go)

    @property
    def connection(self) -> sqlite3.Connection:
        if not self._owner.alive:
            raise asyncio.CancelledError
        if self._connection is None:
            self._connection = self._disk.take(self._read_only)
        return self._connection

    async def there(self, work: Callable[[], T]) -> T:
        """Carried out at once; its caller may have to wait for the answer."""
        answer = work()
        if self._disk.loop.dice.random() < _WAITS:
            await self._disk.loop.hop()
        return answer

    async def begin(self) -> None:
        while self._disk.writer is not None:
            self._disk.line.append(self._disk.loop.create_future())
            await self._disk.line[-1]
        self.connection.execute("BEGIN IMMEDIATE")
        self._disk.writer = self

    def commit(self) -> None:
        self._disk.fail_if_due("COMMIT")
        super().commit()
        if self._disk.committed is not None:
            self._disk.committed()
        self._disk.passed_on()

    def abandon(self) -> None:
        super().abandon()
        if self._disk.writer is self:
            self._disk.passed_on()

    def execute(self, sql: str, params: Any = ()) -> sqlite3.Cursor:
        self._writes(sql)
        return super().execute(sql, params)

    def execute_many(self, sql: str, rows: Any) -> None:
        self._writes(sql)
        super().execute_many(sql, rows)

    def _writes(self, sql: str) -> None:
        if not self._read_only:
            self._disk.fail_if_due(sql)

    async def close(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._disk.give_back(connection, self._read_only)
            if self._disk.writer is self:
                self._disk.passed_on()


async def aside(self: sqlite.SqliteTx, sql: str, work: Callable[[], T]) -> T:
    """For `SqliteTx._do`: others may run between any two statements, as they may where the database is a server."""
    return await self._hand.there(work)
