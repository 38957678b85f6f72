"""policy's gauges: from counters kept in the transactions that change them, and cheap indexed queries."""

import asyncio
from datetime import datetime, timedelta

import structlog

from services.policy import deadlines
from services.policy.walk import World
from shared.clock import Clock, monotonic, to_micros
from shared.domain.money import from_minor
from shared.metrics import Metrics, replace
from shared.store.partitions import Ownership
from shared.store.relay import Relay
from shared.store.session import Database, Tx

_WINDOW = timedelta(days=30)
_SHARE = 50
"""What is not counted beforehand is read for at most one part in so many of the time."""
_PATIENCE = 1.0
"""Seconds a scrape waits for them; what takes longer is in the next one."""
_NEAR = {"1h": timedelta(hours=1), "4h": timedelta(hours=4), "12h": timedelta(hours=12)}
"""The values of `within`: how far ahead the marketplace's deadline lies at most."""
_UNFIRED = timedelta(minutes=1)

_log = structlog.get_logger(__name__)


class Gauges:
    """Refreshed ahead of a scrape, by the one replica that owns partition 0; what is slow to read more rarely."""

    def __init__(
        self, database: Database, metrics: Metrics, clock: Clock, relay: Relay, world: World, owned: Ownership
    ) -> None:
        self._database, self._metrics, self._clock, self._relay = database, metrics, clock, relay
        self._world, self._owned = world, owned
        self._looked_at, self._every = 0.0, 0.0
        self._reading: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Nothing is read any more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait((self._reading,))

    async def refresh(self) -> None:
        oldest = await self._relay.oldest_unpublished_seconds()
        self._metrics.unpublished_oldest_seconds.labels("policy").set(oldest)
        left = self._metrics.deadline_seconds_left
        if not self._owned.owns(0):
            self._clear()
            return
        async with self._database.reading() as tx:
            counted = await counters(tx)
            left.set(*await deadlines.seconds_left(tx, self._clock.now(), left.bounds))
        replace(self._metrics.cases, counted.get("cases", {}))
        replace(self._metrics.tasks_open, counted.get("tasks_open", {}))
        risk = counted.get("money_at_risk", {})
        replace(self._metrics.money_at_risk, {k: _major(v, k[1]) for k, v in risk.items()})
        await self._slow()

    def _clear(self) -> None:
        m = self._metrics
        told = (m.cases, m.money_at_risk, m.tasks_open, m.tasks_overdue, m.deadlines_at_risk, m.dispute_rate)
        for gauge in told:
            gauge.clear()
        m.deadline_seconds_left.clear()

    async def _slow(self) -> None:
        """Beside the scrape: with millions of cases it takes seconds."""
        if self._reading is None or self._reading.done():
            if monotonic() - self._looked_at < self._every:
                return
            self._looked_at = monotonic()
            self._reading = asyncio.create_task(self._read_slow(self._clock.now()))
        await asyncio.wait((self._reading,), timeout=_PATIENCE)

    async def _read_slow(self, now: datetime) -> None:
        began = monotonic()
        try:
            async with self._database.reading() as tx:
                near, overdue = await at_risk(tx, now), await tasks_overdue(tx, now)
            replace(self._metrics.deadlines_at_risk, near)
            replace(self._metrics.tasks_overdue, overdue)
            async with self._database.reading() as tx:
                accounts = self._world.terms.accounts
                rates: dict[tuple[str, ...], float] = {(a,): await dispute_rate(tx, a, now) for a in accounts}
            replace(self._metrics.dispute_rate, rates)
            async with self._database.transaction() as tx:
                await deadlines.fold(tx, now)
        except Exception as fault:
            _log.warning("gauges_not_read", fault=type(fault).__name__)
        self._every = _SHARE * (monotonic() - began)


async def counters(tx: Tx) -> dict[str, dict[tuple[str, ...], float]]:
    """Name -> label values -> sum over the shards."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for row in await tx.rows(
        "SELECT name, labels, CAST(sum(value) AS bigint) AS value FROM counters GROUP BY name, labels"
    ):
        if row["value"]:
            found.setdefault(row["name"], {})[tuple(row["labels"].split("\x1f"))] = row["value"]
    return found


async def recount(tx: Tx) -> dict[str, dict[tuple[str, ...], float]]:
    """The same from the tables themselves: what the counters must agree with."""
    sums = {
        "cases": "SELECT marketplace, kind, phase, count(*) AS n FROM cases GROUP BY marketplace, kind, phase",
        "money_at_risk": "SELECT marketplace, at_risk_currency, CAST(sum(at_risk_minor) AS bigint) AS n FROM cases "
        "WHERE at_risk_minor IS NOT NULL GROUP BY marketplace, at_risk_currency",
        "tasks_open": "SELECT kind, count(*) AS n FROM tasks WHERE status = 'open' GROUP BY kind",
    }
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for name, sql in sums.items():
        for row in await tx.rows(sql):
            labels = tuple(str(value) for column, value in row.items() if column != "n")
            found.setdefault(name, {})[labels] = row["n"]
    return found


async def at_risk(tx: Tx, now: datetime) -> dict[tuple[str, ...], float]:
    """`within` -> open cases whose marketplace deadline comes so soon and that wait for somebody: a task is open on them,
    or their clocks do not fire (a minute late, or out of the due index because the case failed)."""
    sums = ", ".join(f"count(CASE WHEN deadline_at <= :to_{name} THEN 1 END) AS within_{name}" for name in _NEAR)
    limits = {f"to_{name}": to_micros(now + ahead) for name, ahead in _NEAR.items()}
    row = await tx.row(
        f"SELECT {sums} FROM cases WHERE deadline_at > :now AND deadline_at <= :furthest AND (next_due_at IS NULL "
        "OR next_due_at <= :late OR EXISTS (SELECT 1 FROM tasks WHERE tasks.case_id = cases.id AND status = 'open'))",
        now=to_micros(now), late=to_micros(now - _UNFIRED), furthest=max(limits.values()), **limits,
    )  # fmt: skip
    return {(name,): row[f"within_{name}"] if row else 0 for name in _NEAR}


async def tasks_overdue(tx: Tx, now: datetime) -> dict[tuple[str, ...], float]:
    """Kind -> open tasks past their time."""
    sql = "SELECT kind, count(*) AS n FROM tasks WHERE status = 'open' AND due_at <= :now GROUP BY kind"
    return {(row["kind"],): row["n"] for row in await tx.rows(sql, now=to_micros(now))}


async def dispute_rate(tx: Tx, account: str, now: datetime) -> float:
    """Disputes of 30 days neither withdrawn nor cancelled, to orders known in them (at least the disputed ones)."""
    since = to_micros(now - _WINDOW)
    row = await tx.row(
        "SELECT count(*) AS disputes, count(DISTINCT order_id) AS orders FROM cases WHERE account = :account "
        "AND kind = 'dispute' AND opened_at > :since AND (outcome IS NULL OR outcome NOT IN ('withdrawn', 'cancelled'))",
        account=account, since=since,
    )  # fmt: skip
    known = await tx.row(
        "SELECT count(*) AS orders FROM orders WHERE account = :account AND first_seen_at > :since",
        account=account, since=since,
    )  # fmt: skip
    disputes, disputed = (row["disputes"], row["orders"]) if row else (0, 0)
    return disputes / max(known["orders"] if known else 0, disputed, 1)


def _major(minor: float, currency: str) -> float:
    return float(from_minor(int(minor), currency).value)
