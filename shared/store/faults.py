"""What can go wrong with a database, told alike for both ends: away, in the way of others, a value it does not hold.

Drivers' exceptions come out as SQLAlchemy's (`DBAPIError` and its kinds) with the driver's own under `orig`.
"""

import sqlite3
from collections.abc import Sequence

from sqlalchemy import exc
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

REPEATABLE = frozenset({"40001", "40P01", "55P03"})
_PG_AWAY = ("08", "53", "57P", "58", "25006", "25P03")
"""SQLSTATEs that mean: connection, resources, shutting down or starting, system error, read-only, idle too long."""
_SQLITE_AWAY = frozenset({5, 6, 7, 8, 10, 13, 14, 15})
"""Primary result codes BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL."""
_PG_KINDS: Sequence[tuple[str, type[DBAPIError]]] = (
    ("22", exc.DataError),
    ("23", exc.IntegrityError),
    ("42", exc.ProgrammingError),
)


class DatabaseAway(ConnectionError):
    """No connection could be opened."""


class Unstorable(ValueError):
    """Text that no database of ours holds."""


def of_postgres(sql: str, fault: BaseException, *, lost: bool) -> DBAPIError:
    """`lost`: the connection is gone with it. Values are never shown."""
    state = str(getattr(fault, "sqlstate", None) or "")
    kind = next((kind for prefix, kind in _PG_KINDS if state.startswith(prefix)), exc.OperationalError)
    return kind(sql, None, fault, hide_parameters=True, connection_invalidated=lost)


def of_sqlite(sql: str, fault: sqlite3.Error) -> DBAPIError:
    kind: type[DBAPIError] = getattr(exc, type(fault).__name__, exc.DatabaseError)
    return kind(sql, None, fault, hide_parameters=True)


def is_unstorable(fault: BaseException) -> bool:
    """A NUL or half a surrogate pair was asked for or sent in: the text is at fault, on both ends alike."""
    cause = _driver_fault(fault)
    while cause is not None:
        if isinstance(cause, Unstorable | UnicodeEncodeError):
            return True
        cause = cause.__cause__
    return state_of(fault) == "22021"


def is_away(fault: BaseException) -> bool:
    """The database cannot be reached or cannot store now (down, full, read-only): 503, come again."""
    if isinstance(fault, ConnectionError | TimeoutError | PoolTimeout):
        return True
    if isinstance(fault, DBAPIError) and fault.connection_invalidated:
        return True
    code = getattr(_driver_fault(fault), "sqlite_errorcode", None)
    state = state_of(fault)
    return (state is not None and state.startswith(_PG_AWAY)) or (code is not None and code & 0xFF in _SQLITE_AWAY)


def is_transient(fault: BaseException) -> bool:
    """Trying the same again later may well work: the database is away, or others were in the way."""
    return is_away(fault) or state_of(fault) in REPEATABLE | {"57014"}


def state_of(fault: BaseException) -> str | None:
    """PostgreSQL's SQLSTATE."""
    state = getattr(_driver_fault(fault), "sqlstate", None)
    return state if isinstance(state, str) else None


def _driver_fault(fault: BaseException) -> BaseException | None:
    return fault.orig if isinstance(fault, DBAPIError) else fault
