"""Millions of open cases in minutes: one real case, made by the product, multiplied inside PostgreSQL.

Each copy is what the product would have written: its own ids, its own order, and its clock (the planned act twelve hours
before the marketplace's deadline) at a moment of its own, in columns and document alike. Copies have no log rows.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from bench.stages.policy import opening, sent
from services.policy.deadlines import HOUR
from services.policy.handlers import Policy
from shared.clock import format_time, to_micros
from shared.domain.errands import Errand
from shared.ports import Account
from shared.registry import Registry

STEP = 200_000
"""Rows per statement."""
_ORDER, _RETURN = "O-0", "R-0"
_IDS = re.compile(r"[a-z]+_[0-9a-z]+_[0-9a-f-]{36}")
_SHUFFLE = 2_654_435_761
"""A prime, so that neighbours in time are not neighbours in the table."""


@dataclass(frozen=True)
class Spread:
    """When the copies fall due: the k-th at `first + k * every`."""

    first: datetime
    every: timedelta


@dataclass(frozen=True)
class Template:
    """A case at rest with its order, as their rows."""

    case: Mapping[str, Any]
    order: Mapping[str, Any]

    @property
    def moments(self) -> tuple[datetime, datetime]:
        """Of its one clock: when the planned act is due, and when the marketplace decides."""
        (clock,) = msgspec.json.decode(self.case["document"])["clocks"].values()
        return datetime.fromisoformat(clock["act_at"]), datetime.fromisoformat(clock["due_at"])


async def template(policy: Policy, account: Account, registry: Registry) -> Template:
    """A return asked for and acknowledged, made unless it is there. `account`: of the generic marketplace."""
    async with policy.database.reading() as tx:
        known = await tx.rows("SELECT id FROM cases LIMIT 1")
    if not known:
        now = policy.clock.now()
        await policy.advance([opening(0, now, registry, account)])
        async with policy.database.reading() as tx:
            (planned,) = await tx.rows("SELECT body FROM outbound WHERE type = 'amends.errand.planned.v1'")
        await policy.advance([sent(msgspec.json.decode(planned["body"], type=Errand), now)])
    async with policy.database.reading() as tx:
        (case,) = await tx.rows(
            "SELECT * FROM cases WHERE account = :a AND external_id = :id", a=account.id, id=_RETURN
        )
        (order,) = await tx.rows("SELECT * FROM orders WHERE account = :a AND order_id = :id", a=account.id, id=_ORDER)
    return Template(dict(case), dict(order))


async def multiply(
    dsn: str, made: Template, count: int, spread: Spread, *, after: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> None:  # fmt: skip
    """Adds `count` copies, numbered from `after + 1`, and counts them in the gauges' counters. Vacuumed when they are many."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET maintenance_work_mem TO '256MB'")
        indexes = await _without_indexes(connection) if count >= STEP else []
        for start in range(0, count, STEP):
            size = min(STEP, count - start)
            for sql in _copies(made, spread, count, after, start + 1, start + size):
                await connection.execute(sql)
            told(f"{start + size:,} of {count:,} cases")
        for sql in indexes:
            await connection.execute(sql)
        if count >= STEP or count > after:
            await connection.execute("VACUUM ANALYZE cases, orders", timeout=3600)
    finally:
        await connection.close()


async def _without_indexes(connection: Any) -> list[str]:
    """Drops those that only find; the statements that make them again."""
    found = await connection.fetch(
        "SELECT c.relname AS name, pg_get_indexdef(c.oid) AS sql FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid IN ('cases'::regclass, 'orders'::regclass) AND NOT i.indisunique"
    )
    for row in found:
        await connection.execute(f"DROP INDEX {row['name']}")
    return [row["sql"] for row in found]


def _copies(made: Template, spread: Spread, count: int, after: int, first: int, last: int) -> list[str]:
    """Both INSERTs for copies `first` … `last`. `n` numbers a copy, `act` is when it is due in microseconds."""
    act, due = made.moments
    every = spread.every // timedelta(microseconds=1)
    moment = f"({to_micros(spread.first)} + (i::bigint * {_SHUFFLE} % {count}) * {every})"
    margin = (due - act) // timedelta(microseconds=1)
    numbers = f"(SELECT (i + {after}) AS n, {moment} AS act FROM generate_series({first}, {last}) AS i) AS s"
    own = {
        "next_due_at": "act", "deadline_at": f"act + {margin}", "id": _own_ids(_quoted(made.case["id"])),
        "order_id": "'O-' || n", "external_id": "'R-' || n",
    }  # fmt: skip
    document = _own_ids(_quoted(made.case["document"]))
    for name, was, offset in (("act_at", act, 0), ("due_at", due, margin)):
        document = f"""replace({document}, '"{name}":"{format_time(was)}"', '"{name}":"' || {_iso(offset)} || '"')"""
    case = {**own, "document": _own_names(document)}
    order = {"order_id": own["order_id"], "document": _own_names(_own_ids(_quoted(made.order["document"])))}
    found = [_insert("cases", made.case, case, numbers), _insert("orders", made.order, order, numbers)]
    return [*found, *_counts(made, margin, numbers, last - first + 1)]


def _counts(made: Template, margin: int, numbers: str, count: int) -> list[str]:
    """As the product counts what it writes."""
    case = made.case
    labels = {
        "cases": (count, case["marketplace"], case["kind"], case["phase"]),
        "money_at_risk": (count * (case["at_risk_minor"] or 0), case["marketplace"], case["at_risk_currency"] or ""),
    }
    rows = ", ".join(f"('{name}', '{chr(31).join(of)}', 0, {n})" for name, (n, *of) in labels.items() if n)
    hours = f"SELECT (act + {margin}) / {HOUR}, 0, count(*), sum((act + {margin}) % {HOUR}) FROM {numbers} GROUP BY 1"
    return [
        f"INSERT INTO counters (name, labels, shard, value) VALUES {rows} "
        "ON CONFLICT (name, labels, shard) DO UPDATE SET value = counters.value + excluded.value",
        f"INSERT INTO deadlines (hour, shard, cases, micros) {hours} ON CONFLICT (hour, shard) DO UPDATE "
        "SET cases = deadlines.cases + excluded.cases, micros = deadlines.micros + excluded.micros",
    ]


def _insert(table: str, row: Mapping[str, Any], own: Mapping[str, str], source: str) -> str:
    values = ", ".join(own.get(name, _quoted(value)) for name, value in row.items())
    return f"INSERT INTO {table} ({', '.join(row)}) SELECT {values} FROM {source}"


def _own_ids(text: str) -> str:
    """Every id in it ends in the copy's number."""
    for found in sorted(set(_IDS.findall(text))):
        text = f"replace({text}, '{found}', '{found[:-12]}' || lpad(to_hex(n), 12, '0'))"
    return text


def _own_names(document: str) -> str:
    for name in (_ORDER, _RETURN):
        document = f"""replace({document}, '"{name}"', '"{name[:2]}' || n || '"')"""
    return document


def _iso(offset: int) -> str:
    """As the product writes a moment with microseconds."""
    day, at = 86_400_000_000, f"(act + {offset})"
    moment = f"date '1970-01-01' + ({at} / {day})::int + make_interval(secs => {at} % {day} / 1e6)"
    return f"""to_char({moment}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value)
