"""The PostgreSQL end: asyncpg itself, without a layer between; a statement costs a third of what it costs through one.

A pool whose lost connections are noticed by the loop and opened anew, so nothing is asked before a statement is sent.
Named parameters become `$1`; lists are bound as arrays; many rows go in and out through unnested arrays.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar, cast

import asyncpg
from sqlalchemy import BigInteger, Boolean, Connection, Integer, LargeBinary, Table
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared.store import faults
from shared.store.tx import Led, OnConflict, Row, Tx, Watch, ending

T = TypeVar("T")
_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
_TYPES = {BigInteger: "bigint", Integer: "integer", Boolean: "boolean", LargeBinary: "bytea"}
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
            **({"search_path": schema} if schema else {}),
        }
        self._lock = asyncio.Lock()
        self._pool: Any = None
        self.watch: Watch | None = None

    @asynccontextmanager
    async def transaction(self, *, urgent: bool = False) -> AsyncIterator[Tx]:
        async with self._connected() as connection:
            begun = connection.transaction()
            await _sent("BEGIN", connection, begun.start)
            try:
                yield PostgresTx(connection, self.watch)
            except BaseException:
                await asyncio.shield(_rolled_back(begun))
                raise
            await _sent("COMMIT", connection, begun.commit)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """Each statement sees what is committed when it begins."""
        async with self._connected() as connection:
            yield PostgresTx(connection, self.watch)

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
        except faults.ASYNCPG as fault:
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


class PostgresTx(Tx):
    postgres = True

    def __init__(self, connection: Any, watch: Watch | None) -> None:
        self._connection, self._watch = connection, watch

    async def rows(self, sql: str, **params: Any) -> Sequence[Row]:
        numbered, names = _numbered(sql)
        return await self._fetch(numbered, [params[name] for name in names])

    async def run(self, sql: str, **params: Any) -> int:
        numbered, names = _numbered(sql)
        return await self._execute(numbered, [params[name] for name in names])

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
        sql = _insertion(table, columns, ending(on_conflict, returning))
        return await self._fetch(sql, _columnwise(columns, rows))

    async def insert_led(self, table: Table, rows: Sequence[Mapping[str, Any]], led: Sequence[Led]) -> set[str]:
        if not rows:
            return set()
        led = [one for one in led if one.rows]
        heads = ((table, "", tuple(rows[0])), *((one.table, one.link, tuple(one.rows[0])) for one in led))
        values = [column for part in (rows, *(one.rows for one in led)) for column in _columnwise(tuple(part[0]), part)]
        return {row["id"] for row in await self._fetch(_led_insertion(heads), values)}

    async def update(self, table: Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            columns = tuple(rows[0])
            await self._execute(_setting(table, columns, tuple(keys)), _columnwise(columns, rows))

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[Row]:
        if self._watch is not None:
            self._watch(sql)
        try:
            return [dict(row) for row in await self._connection.fetch(sql, *values)]
        except TimeoutError as fault:
            raise _silent(self._connection) from fault
        except (*faults.ASYNCPG, ConnectionError) as fault:
            raise faults.of_postgres(sql, fault, lost=_is_lost(self._connection, fault)) from fault

    async def _execute(self, sql: str, values: Sequence[Any]) -> int:
        """`UPDATE 5`, `INSERT 0 5`: the last word is the number of rows, where there is one."""
        if self._watch is not None:
            self._watch(sql)
        try:
            done = await self._connection.execute(sql, *values)
        except TimeoutError as fault:
            raise _silent(self._connection) from fault
        except (*faults.ASYNCPG, ConnectionError) as fault:
            raise faults.of_postgres(sql, fault, lost=_is_lost(self._connection, fault)) from fault
        count = done.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0


async def _sent(sql: str, connection: Any, work: Callable[[], Any]) -> None:
    try:
        await work()
    except TimeoutError as fault:
        raise _silent(connection) from fault
    except (*faults.ASYNCPG, ConnectionError) as fault:
        raise faults.of_postgres(sql, fault, lost=_is_lost(connection, fault)) from fault


async def _rolled_back(begun: Any) -> None:
    """Where that fails, the connection is of no more use: `_cleared` sees to it."""
    with suppress(*faults.ASYNCPG, OSError):
        await begun.rollback()


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


@lru_cache(maxsize=2000)
def _numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` as `$n`, and the names in that order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
    places = {name: f"${n}" for n, name in enumerate(names, 1)}
    return _PARAMETER.sub(lambda found: places[found[1]], sql), names


@lru_cache(maxsize=500)
def _insertion(table: Table, columns: tuple[str, ...], tail: str) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({_arrays(table, columns)}){tail}"


@lru_cache(maxsize=500)
def _led_insertion(heads: tuple[tuple[Table, str, tuple[str, ...]], ...]) -> str:
    """The first table's insert, and beside it those of the tables it leads, in one statement."""
    (table, _, columns), *led = heads
    parts = [f"{_insertion(table, columns, ' ON CONFLICT DO NOTHING RETURNING account, id')}"]
    first = len(columns) + 1
    for other, link, names in led:
        source = f"unnest({_arrays(other, names, first)}) AS v({', '.join(names)})"
        parts.append(
            f"INSERT INTO {other.name} ({', '.join(names)}) SELECT v.* FROM {source} "
            f"JOIN new ON new.account = v.account AND new.id = v.{link} ON CONFLICT DO NOTHING"
        )
        first += len(names)
    named = (f"{'new' if n == 0 else f'led{n}'} AS ({sql})" for n, sql in enumerate(parts))
    return f"WITH {', '.join(named)} SELECT id FROM new"


@lru_cache(maxsize=500)
def _setting(table: Table, columns: tuple[str, ...], keys: tuple[str, ...]) -> str:
    sets = ", ".join(f"{c} = v.{c}" for c in columns if c not in keys)
    match = " AND ".join(f"t.{k} = v.{k}" for k in keys)
    source = f"unnest({_arrays(table, columns)}) AS v({', '.join(columns)})"
    return f"UPDATE {table.name} AS t SET {sets} FROM {source} WHERE {match}"


def _arrays(table: Table, columns: Sequence[str], first: int = 1) -> str:
    kinds = (_TYPES.get(type(table.c[c].type), "text") for c in columns)
    return ", ".join(f"CAST(${n} AS {kind}[])" for n, kind in enumerate(kinds, first))


def _columnwise(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in columns]
