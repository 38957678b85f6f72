"""Many stored cases in minutes: all rows of one case that went the whole way, multiplied inside PostgreSQL.

Copy n gets ids, order, buyer and dedupe key of its own, in columns and documents alike, and lies n milliseconds further
back; the policy's counters are counted anew. What belongs to no case (playbooks, terms, leases) stays single.
"""

import re
from collections.abc import Mapping
from typing import Any

import asyncpg

from services.policy.deadlines import HOUR

_TABLES = (
    "intake.deliveries", "intake.raw", "intake.facts", "policy.orders", "policy.cases", "policy.case_log",
    "policy.outbound", "policy.case_events", "notifier.conversations", "notifier.errands", "notifier.attempts",
    "notifier.results",
)  # fmt: skip
_COUNTED = (
    "UPDATE policy.counters SET value = value * {times}",
    "DELETE FROM policy.deadlines",
    f"INSERT INTO policy.deadlines (hour, shard, cases, micros) SELECT deadline_at / {HOUR}, 0, count(*), "
    f"sum(deadline_at % {HOUR}) FROM policy.cases WHERE deadline_at IS NOT NULL GROUP BY 1",
)
"""The gauges' counters, as the product would have kept them."""
_STEP = 50_000
_OWN_NAMES = {
    "O-bench-0": "O-stored-",
    "R-bench-0": "R-stored-",
    "msg-bench-0": "msg-stored-",
    "buyer-0": "stored-buyer-",
}
_IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b|\b[0-9a-f]{64}\b")
_TAIL = 12
"""Hex digits at an id's end that become the copy's number."""
_MILLISECOND = 1000

Row = Mapping[str, Any]


async def fill(dsn: str, copies: int) -> None:
    """The database holds exactly one case, at rest, and no process works on it."""
    connection = await asyncpg.connect(dsn)
    try:
        shared = await _shared(connection)
        for table in _TABLES:
            for row in await connection.fetch(f"SELECT * FROM {table}"):
                sql = copying(table, await _copied_columns(connection, table, dict(row)), shared)
                for start in range(1, copies + 1, _STEP):
                    await connection.execute(sql, start, min(start + _STEP - 1, copies), timeout=1800)
        for sql in _COUNTED:
            await connection.execute(sql.format(times=copies + 1), timeout=3600)
        await connection.execute("VACUUM ANALYZE", timeout=3600)
    finally:
        await connection.close()


def copying(table: str, row: Row, shared: frozenset[str]) -> str:
    """INSERT of copies $1 … $2. `shared`: hashes that stay as they are."""
    values = ", ".join(_value(name, value, shared) for name, value in row.items())
    return f"INSERT INTO {table} ({', '.join(row)}) SELECT {values} FROM generate_series($1::bigint, $2::bigint) AS n"


def _value(name: str, value: Any, shared: frozenset[str]) -> str:
    if isinstance(value, str):
        return _own(value, shared)
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    if isinstance(value, int) and not isinstance(value, bool) and name.endswith("_at"):
        return f"{value} - n * {_MILLISECOND}"
    return "NULL" if value is None else str(value)


def _own(text: str, shared: frozenset[str]) -> str:
    """The text with everything in it that names the case naming copy n instead."""
    sql = _quoted(text)
    for id_ in sorted(set(_IDS.findall(text)) - shared):
        sql = f"replace({sql}, '{id_}', '{id_[:-_TAIL]}' || lpad(to_hex(n), {_TAIL}, '0'))"
    for name, own in _OWN_NAMES.items():
        if name in text:
            sql = f"replace({sql}, '{name}', '{own}' || n)"
    return sql


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def _shared(connection: Any) -> frozenset[str]:
    rows = await connection.fetch("SELECT hash FROM policy.playbooks UNION SELECT hash FROM policy.terms")
    return frozenset(str(row["hash"]) for row in rows)


async def _copied_columns(connection: Any, table: str, row: Row) -> dict[str, Any]:
    """Without what the database numbers itself."""
    schema, _, name = table.partition(".")
    own = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2 "
        "AND (column_default LIKE 'nextval%' OR is_identity = 'YES')",
        schema, name,
    )  # fmt: skip
    return {column: value for column, value in row.items() if column not in {one["column_name"] for one in own}}
