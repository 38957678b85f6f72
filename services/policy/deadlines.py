"""How much time open cases have left: by hour of their deadline, counted in the transactions that change it.

To the second it is exact all the same: of the hours in which a bound falls the cases themselves are counted, by index.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from services.policy import tables
from shared.clock import to_micros
from shared.store.session import Tx

HOUR = 3_600_000_000
"""Microseconds."""
Change = tuple[datetime | None, datetime | None]
"""The deadline of a case before and after; None: it has none."""
_PAST = timedelta(days=1)


async def count(tx: Tx, changes: Iterable[Change], shard: int) -> None:
    """Adds to the hours, in their order, so that two transactions never wait for each other crosswise."""
    sums: dict[int, tuple[int, int]] = {}
    for change in changes:
        for moment, sign in zip(change, (-1, 1), strict=True):
            if moment is not None:
                hour, micros = divmod(to_micros(moment), HOUR)
                cases, total = sums.get(hour, (0, 0))
                sums[hour] = cases + sign, total + sign * micros
    await _add(tx, sums, shard)


async def _add(tx: Tx, sums: dict[int, tuple[int, int]], shard: int) -> None:
    wanted = sorted((hour, *told) for hour, told in sums.items() if any(told))
    if not wanted:
        return
    hours, cases, micros = (list(column) for column in zip(*wanted, strict=True))
    if tx.postgres:
        arrays = ", ".join(f"CAST(:{name} AS bigint[])" for name in ("hours", "cases", "micros"))
        source = f"SELECT hour, :shard, cases, micros FROM unnest({arrays}) AS t (hour, cases, micros)"
        told = {"hours": hours, "cases": cases, "micros": micros}
    else:
        fields = ", ".join(f"json_extract(value, '$[{n}]')" for n in (1, 2))
        source = f"SELECT json_extract(value, '$[0]'), :shard, {fields} FROM json_each(:rows) WHERE true"
        told = {"rows": wanted}
    await tx.later(
        tables.deadlines,
        f"INSERT INTO deadlines (hour, shard, cases, micros) {source} ON CONFLICT (hour, shard) DO UPDATE "
        "SET cases = deadlines.cases + excluded.cases, micros = deadlines.micros + excluded.micros",
        shard=shard, **told,
    )  # fmt: skip


async def seconds_left(tx: Tx, now: datetime, bounds: Sequence[float]) -> tuple[list[int], float]:
    """Open cases whose deadline is at most each bound (seconds) ahead, and last all of them; and the sum of seconds."""
    at = to_micros(now)
    limits = [at + int(bound * 1_000_000) for bound in bounds]
    sql, told = question(limits)
    rows = await tx.rows(sql, **told)
    hours = [row for row in rows if row["part"] < 0]
    partly = {row["part"]: row["cases"] for row in rows if row["part"] >= 0}
    reached = [sum(row["cases"] for row in hours if row["hour"] < limit // HOUR) for limit in limits]
    every = sum(row["cases"] for row in hours)
    total = sum(row["hour"] * HOUR * row["cases"] + row["micros"] for row in hours)
    return [*(n + partly[part] for part, n in enumerate(reached)), every], (total - every * at) / 1_000_000


def question(limits: Sequence[int]) -> tuple[str, dict[str, int]]:
    """One statement: the hours (`part` -1), and by limit the cases of its hour up to it; of one moment therefore."""
    sums = "CAST(sum(cases) AS bigint) AS cases, CAST(sum(micros) AS bigint) AS micros"
    parts = [
        f"SELECT {n} AS part, count(*) AS cases, 0 AS micros, 0 AS hour FROM cases "
        f"WHERE deadline_at >= :from{n} AND deadline_at <= :to{n}"
        for n in range(len(limits))
    ]
    sql = " UNION ALL ".join([f"SELECT -1 AS part, {sums}, hour FROM deadlines GROUP BY hour", *parts])
    told = {f"from{n}": limit // HOUR * HOUR for n, limit in enumerate(limits)}
    return sql, told | {f"to{n}": limit for n, limit in enumerate(limits)}


async def fold(tx: Tx, now: datetime) -> None:
    """Hours long past, of all shards: into one row each, or none when no open case is left."""
    gone = await tx.rows(
        "DELETE FROM deadlines WHERE hour < :hour RETURNING hour, cases, micros", hour=to_micros(now - _PAST) // HOUR
    )
    sums: dict[int, tuple[int, int]] = {}
    for row in gone:
        cases, micros = sums.get(row["hour"], (0, 0))
        sums[row["hour"]] = cases + row["cases"], micros + row["micros"]
    await _add(tx, sums, 0)


async def counted(tx: Tx) -> dict[int, tuple[int, int]]:
    """Hour since 1970 -> open cases with a deadline in it, and the sum of their microseconds past the hour."""
    return await _by_hour(tx, "SELECT hour, cases, micros FROM deadlines")


async def recount(tx: Tx) -> dict[int, tuple[int, int]]:
    """The same from the cases themselves: what it must agree with."""
    sql = f"SELECT deadline_at / {HOUR} AS hour, 1 AS cases, deadline_at % {HOUR} AS micros FROM cases"
    return await _by_hour(tx, f"{sql} WHERE deadline_at IS NOT NULL")


async def _by_hour(tx: Tx, rows: str) -> dict[int, tuple[int, int]]:
    sums = "CAST(sum(cases) AS bigint) AS cases, CAST(sum(micros) AS bigint) AS micros"
    found = await tx.rows(f"SELECT hour, {sums} FROM ({rows}) AS t GROUP BY hour")
    return {row["hour"]: (row["cases"], row["micros"]) for row in found if row["cases"] or row["micros"]}
