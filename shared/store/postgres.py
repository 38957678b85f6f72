"""The PostgreSQL end: asyncpg itself, without a layer between; a statement costs a third of what it costs through one.

A pool whose lost connections are noticed by the loop and opened anew, so nothing is asked before a statement is sent.
Named parameters become `$1`; lists are bound as arrays; many rows go in and out through unnested arrays.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar, cast

import asyncpg
from sqlalchemy import Connection, Table
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared.store import faults
from shared.store.statements import columnwise, insertion, led_insertion, numbered, setting, together
from shared.store.tx import Led, OnConflict, Row, Tx, Watch, ending

T = TypeVar("T")
_PLANS = {
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}  # fmt: skip
"""Rows are looked up by keys. A statement is planned once and not for each of its values, which costs as much as running it;
a plan made while a table was small must not read it whole each time."""
_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_MANY_QUERIES = 1 << 30
_CLOSING = 5.0
_ANSWER = 15.0
"""Seconds after which a connection that says nothing is given up: longer than the server lets a statement take."""


class Postgres:
    """`schema`: the search path of each connection."""

    def __init__(self, url: URL, *, pool: int, patience: float, schema: str | None) -> None:
        self._url, self._size, self._patience = url, pool, patience
        self._settings = {
            "idle_in_transaction_session_timeout": "15000",
            "statement_timeout": "10000",
            "lock_timeout": "3000",
            "application_name": "amends",
            **_PLANS,
            **({"search_path": schema} if schema else {}),
        }
        self._lock = asyncio.Lock()
        self._pool: Any = None
        self.watch: Watch | None = None

    @asynccontextmanager
    async def transaction(self, *, urgent: bool = False) -> AsyncIterator[Tx]:
        async with self._connected() as connection:
            tx = PostgresTx(connection, self.watch)
            try:
                yield tx
                await tx.write_rest()
            except BaseException:
                await asyncio.shield(tx.roll_back())
                raise
            await tx.commit()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """Each statement sees what is committed when it begins."""
        async with self._connected() as connection:
            yield PostgresTx(connection, self.watch, reading=True)

    async def run_sync(self, work: Callable[..., T], *args: Any) -> T:
        """On a connection of its own, in one transaction."""
        engine = create_async_engine(
            self._url, poolclass=NullPool, hide_parameters=True, connect_args={"server_settings": self._settings}
        )
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(_passing, work, args)
        except OSError as fault:
            raise _away(fault) from fault
        finally:
            await engine.dispose()

    async def close(self) -> None:
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSING):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        pool = self._pool or await self._opened()
        try:
            connection = await pool.acquire(timeout=self._patience)
        except OSError as fault:
            raise _away(fault) from fault
        except _FAULTS as fault:
            raise faults.of_postgres("connect", fault, lost=True) from fault
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def _opened(self) -> Any:
        """Nothing is connected yet."""
        async with self._lock:
            if self._pool is None:
                _, options = cast(Any, asyncpg_dialect)().create_connect_args(self._url)
                for name in [n for n in options if n.startswith("prepared_statement_")]:
                    del options[name]
                self._pool = await asyncpg.create_pool(
                    **options, min_size=0, max_size=self._size, max_queries=_MANY_QUERIES, reset=_cleared,
                    max_inactive_connection_lifetime=0, command_timeout=_ANSWER, server_settings=self._settings,
                )  # fmt: skip
        return self._pool


class _Write(NamedTuple):
    """One that is kept: to which table, its text and its values."""

    table: Table
    sql: str
    values: Sequence[Any]


class PostgresTx(Tx):
    """Begun with the first statement that is not all there is. `reading`: never begun."""

    postgres = True

    def __init__(self, connection: Any, watch: Watch | None, *, reading: bool = False) -> None:
        self._connection, self._watch, self._reading = connection, watch, reading
        self._begun = False
        self._kept: list[_Write] = []

    async def rows(self, sql: str, **params: Any) -> Sequence[Row]:
        await self.send()
        text, names = numbered(sql)
        return await self._fetch(text, [params[name] for name in names])

    async def peek(self, sql: str, **params: Any) -> Sequence[Row]:
        if self._kept:
            return await self.rows(sql, **params)
        text, names = numbered(sql)
        return await self._fetch(text, [params[name] for name in names], alone=True)

    async def run(self, sql: str, **params: Any) -> int:
        await self.send()
        text, names = numbered(sql)
        return await self._execute(text, [params[name] for name in names])

    async def in_turn(self, names: Iterable[str]) -> None:
        keys = sorted({int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True) for name in names})
        if keys:
            await self.send()
            await self._say(
                f"SELECT pg_advisory_xact_lock(k) FROM unnest('{{{','.join(map(str, keys))}}}'::bigint[]) AS t(k)"
            )

    async def later(self, table: Table, sql: str, **params: Any) -> None:
        text, names = numbered(sql)
        await self._keep(table, text, [params[name] for name in names])

    def any_of(self, column: str, param: str, type_: str = "text") -> str:
        return f"{column} = ANY(CAST(:{param} AS {type_}[]))"

    def among(self, columns: Sequence[str], param: str) -> str:
        arrays = ", ".join(f"CAST(:{param}{n} AS text[])" for n in range(len(columns)))
        return f"({', '.join(columns)}) IN (SELECT * FROM unnest({arrays}))"

    def tuples(self, param: str, values: Iterable[Sequence[str]], width: int = 2) -> dict[str, Any]:
        found = list(values)
        return {f"{param}{n}": [value[n] for value in found] for n in range(width)}

    def locked(self, *, skip: bool = False) -> str:
        return " FOR UPDATE SKIP LOCKED" if skip else " FOR UPDATE"

    def micros_now(self) -> str:
        return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS bigint)"

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
        sql, values = insertion(table, columns, ending(on_conflict, returning)), columnwise(columns, rows)
        if not returning:
            await self._keep(table, sql, values)
            return []
        await self._send_if_kept(table)
        writes, kept = self._taken()
        return await self._fetch(together(writes, sql), [*values, *kept])

    async def insert_led(
        self, table: Table, rows: Sequence[Mapping[str, Any]], led: Sequence[Led], *, alone: bool = False
    ) -> set[str]:
        if not rows:
            return set()
        await self.send()
        led = [one for one in led if one.rows]
        heads = ((table, "", tuple(rows[0])), *((one.table, one.link, tuple(one.rows[0])) for one in led))
        values = [column for part in (rows, *(one.rows for one in led)) for column in columnwise(tuple(part[0]), part)]
        return {row["id"] for row in await self._fetch(led_insertion(heads), values, alone=alone)}

    async def update(self, table: Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            columns = tuple(rows[0])
            await self._keep(table, setting(table, columns, tuple(keys)), columnwise(columns, rows))

    async def send(self) -> None:
        await self._write()

    async def write_rest(self) -> None:
        """All there was to do may be one statement: then it is its own transaction."""
        await self._write(alone=True)

    async def commit(self) -> None:
        if self._begun:
            await _sent("COMMIT", self._connection, self._connection.execute, "COMMIT")

    async def roll_back(self) -> None:
        """Where that fails, the connection is of no more use: `_cleared` sees to it."""
        if self._begun:
            with suppress(*_FAULTS, OSError):
                await self._connection.execute("ROLLBACK")

    async def _keep(self, table: Table, sql: str, values: Sequence[Any]) -> None:
        await self._send_if_kept(table)
        self._kept.append(_Write(table, sql, values))

    async def _send_if_kept(self, table: Table) -> None:
        """What is sent together does not see each other's rows: of one table only one at a time."""
        if any(write.table is table for write in self._kept):
            await self.send()

    def _taken(self) -> tuple[tuple[str, ...], list[Any]]:
        """The texts of what is kept, and all its values."""
        kept, self._kept = self._kept, []
        return tuple(write.sql for write in kept), [value for write in kept for value in write.values]

    async def _write(self, *, alone: bool = False) -> None:
        if self._kept:
            writes, values = self._taken()
            await self._execute(together(writes, None), values, alone=alone)

    async def _fetch(self, sql: str, values: Sequence[Any], *, alone: bool = False) -> list[Row]:
        return [dict(row) for row in await self._ask(self._connection.fetch, sql, values, alone)]

    async def _execute(self, sql: str, values: Sequence[Any], *, alone: bool = False) -> int:
        """`UPDATE 5`, `INSERT 0 5`: the last word is the number of rows, where there is one."""
        count = (await self._ask(self._connection.execute, sql, values, alone)).rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def _ask(self, how: Callable[..., Any], sql: str, values: Sequence[Any], alone: bool) -> Any:
        if not self._begun and not self._reading and not alone:
            await self._say()
        if self._watch is not None:
            self._watch(sql)
        return await _sent(sql, self._connection, how, sql, *values)

    async def _say(self, sql: str = "") -> None:
        """What has no values goes in one round trip with the beginning of the transaction."""
        if self._watch is not None and sql:
            self._watch(sql)
        said = sql if self._begun else f"BEGIN; {sql}"
        self._begun = True
        await _sent(said, self._connection, self._connection.execute, said)


async def _sent(sql: str, connection: Any, work: Callable[..., Any], *args: Any) -> Any:
    try:
        return await work(*args)
    except TimeoutError as fault:
        raise _silent(connection) from fault
    except (*_FAULTS, ConnectionError) as fault:
        raise faults.of_postgres(sql, fault, lost=_is_lost(connection, fault)) from fault


async def _cleared(connection: Any) -> None:
    """Before it is lent to the next: one that is still in somebody's transaction is dropped."""
    if connection.is_in_transaction():
        connection.terminate()


def _silent(connection: Any) -> Exception:
    """Nobody hears what it may still say; what became of a statement or COMMIT under way is not known."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
    return faults.DatabaseAway("no answer from the database in time")


def _is_lost(connection: Any, fault: BaseException) -> bool:
    """A connection that was closed is no longer the pool's, and says so by raising."""
    try:
        return isinstance(fault, ConnectionError) or bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def _away(fault: OSError) -> Exception:
    why = "no connection was free in time" if isinstance(fault, TimeoutError) else fault.strerror
    return faults.DatabaseAway(f"no connection to the database: {why or type(fault).__name__}")


def _passing(connection: Connection, work: Callable[..., T], args: Sequence[Any]) -> T:
    return work(connection, *args)
