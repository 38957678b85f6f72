"""The texts of PostgreSQL's statements: parameters as `$n`, many rows as unnested arrays, several writes as one statement."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Table

_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
_PLACE = re.compile(r"\$(\d+)")
_TYPES = {BigInteger: "bigint", Integer: "integer", Boolean: "boolean", LargeBinary: "bytea"}


@lru_cache(maxsize=2000)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` as `$n`, and the names in that order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
    places = {name: f"${n}" for n, name in enumerate(names, 1)}
    return _PARAMETER.sub(lambda found: places[found[1]], sql), names


@lru_cache(maxsize=500)
def insertion(table: Table, columns: tuple[str, ...], tail: str) -> str:
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({_arrays(table, columns)}){tail}"


@lru_cache(maxsize=500)
def led_insertion(heads: tuple[tuple[Table, str, tuple[str, ...]], ...]) -> str:
    """The first table's insert, and beside it those of the tables it leads, in one statement."""
    (table, _, columns), *led = heads
    parts = [f"{insertion(table, columns, ' ON CONFLICT DO NOTHING RETURNING account, id')}"]
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
def setting(table: Table, columns: tuple[str, ...], keys: tuple[str, ...]) -> str:
    sets = ", ".join(f"{c} = v.{c}" for c in columns if c not in keys)
    match = " AND ".join(f"t.{k} = v.{k}" for k in keys)
    source = f"unnest({_arrays(table, columns)}) AS v({', '.join(columns)})"
    return f"UPDATE {table.name} AS t SET {sets} FROM {source} WHERE {match}"


def _arrays(table: Table, columns: Sequence[str], first: int = 1) -> str:
    kinds = (_TYPES.get(type(table.c[c].type), "text") for c in columns)
    return ", ".join(f"CAST(${n} AS {kind}[])" for n, kind in enumerate(kinds, first))


def columnwise(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in columns]


@lru_cache(maxsize=500)
def together(writes: tuple[str, ...], main: str | None) -> str:
    """All in one statement: `main`, or without one the first, and after it the others in their order.

    PostgreSQL runs the main statement, then those of its WITH that nobody reads, the last of them first
    (tests/contract/test_store_together.py).
    """
    first, *rest = (main, *writes) if main is not None else writes
    shifted, count = list[str](), _places(first)
    for sql in rest:
        shifted.append(_shifted(sql, count))
        count += _places(sql)
    named = ", ".join(f"w{n} AS ({sql})" for n, sql in reversed(list(enumerate(shifted))))
    return f"WITH {named} {first}" if named else first


def _shifted(sql: str, by: int) -> str:
    return _PLACE.sub(lambda found: f"${int(found[1]) + by}", sql)


def _places(sql: str) -> int:
    return max(map(int, _PLACE.findall(sql)), default=0)
