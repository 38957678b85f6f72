"""Which replica looks after which partition. Leases on the database's own time; correctness never rests on them.

Each replica says that it lives and takes free partitions up to its fair share, ceil(partitions / living replicas). What
it has above that it gives up between two batches. Partitions above the configured number stay in the table and are
looked after too, so that queues are drained after the number was lowered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from shared.clock import pause
from shared.store.session import Database, Tx, is_transient, repeating

LEASE = 15.0
_SECOND = 1_000_000

OnChange = Callable[[frozenset[int]], Awaitable[None]]
"""Called with all partitions owned from now on; returns once those no longer named are let go."""

_log = structlog.get_logger(__name__)


class Ownership(Protocol):
    @property
    def owned(self) -> frozenset[int]: ...

    def owns(self, partition: int) -> bool: ...

    async def start(self, on_change: OnChange) -> None: ...

    async def stop(self) -> None: ...


class SoleOwner:
    """One process owns all partitions for as long as it runs."""

    def __init__(self, n: int) -> None:
        self._all = frozenset(range(n))

    @property
    def owned(self) -> frozenset[int]:
        return self._all

    def owns(self, partition: int) -> bool:
        return partition in self._all

    async def start(self, on_change: OnChange) -> None:
        await on_change(self._all)

    async def stop(self) -> None:
        return None


def partition_tables(metadata: MetaData) -> tuple[Table, Table]:
    """`partitions` and `replicas`, for a service's tables. `until`: microseconds of the database's clock."""
    partitions = Table(
        "partitions",
        metadata,
        Column("n", Integer, primary_key=True, autoincrement=False),
        Column("owner", Text),
        Column("until", BigInteger, nullable=False),
    )
    replicas = Table(
        "replicas",
        metadata,
        Column("id", Text, primary_key=True),
        Column("until", BigInteger, nullable=False),
    )
    return partitions, replicas


_CALM, _SHORT = 15, 75
"""Rounds within one lease: as a rule, and while our share is still in other hands."""
_STUCK = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
    " AND application_name = current_setting('application_name') AND state = 'active' AND wait_event = 'ClientRead'"
    " AND state_change < clock_timestamp() - make_interval(secs => :lease)"
)
"""A process that stood still between preparing a statement and running it: its transaction counts as at work, so that no
time-out of PostgreSQL's ends it, and what it has locked stays so for as long as it stands still."""


class Partitions:
    """`n` partitions shared with other replicas. `owner`: this process's own name, never used by another one."""

    def __init__(self, database: Database, n: int, owner: str, *, lease: float = LEASE) -> None:
        self._database, self._n, self._owner = database, n, owner
        self._lease = lease
        self._owned: frozenset[int] = frozenset()
        self._renewed = self._looked = 0.0
        self._wanting = False
        self._on_change: OnChange | None = None
        self._stop = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    @property
    def owned(self) -> frozenset[int]:
        """Empty once the lease could not be renewed in time."""
        return self._owned

    def owns(self, partition: int) -> bool:
        return partition in self._owned

    async def start(self, on_change: OnChange) -> None:
        """Takes a first share, then keeps it in balance."""
        self._stop.clear()
        self._on_change = on_change
        await self._round()
        self._loop = asyncio.create_task(self._keeping())

    async def stop(self) -> None:
        """Lets everything go at once, so that others need not wait for the leases to end."""
        self._stop.set()
        if self._loop is not None:
            await self._loop
        await self._change(frozenset())
        try:
            async with self._database.transaction() as tx:
                await tx.run("UPDATE partitions SET owner = NULL, until = 0 WHERE owner = :me", me=self._owner)
                await tx.run("DELETE FROM replicas WHERE id = :me", me=self._owner)
        except Exception as fault:
            if not is_transient(fault):
                raise

    async def _keeping(self) -> None:
        loop = asyncio.get_running_loop()
        while not await pause(self._lease / (_SHORT if self._wanting else _CALM), self._stop):
            try:
                await self._end_stuck(loop.time())
                await self._round()
            except Exception as fault:
                if not is_transient(fault):
                    _log.exception("partitions_failed")
                if self._owned and loop.time() > self._renewed + self._lease:
                    _log.warning("partitions_lost", why=type(fault).__name__)
                    await self._change(frozenset())

    async def _round(self) -> None:
        """Renews, takes up free ones, and gives up the excess once it is no longer being worked on."""
        began = asyncio.get_running_loop().time()
        held, excess = await repeating(self._share)
        self._renewed = began
        await self._change(held - excess)
        if excess:
            async with self._database.transaction() as tx:
                sql = f"UPDATE partitions SET owner = NULL, until = 0 WHERE owner = :me AND {tx.any_of('n', 'given', 'integer')}"
                await tx.run(sql, me=self._owner, given=sorted(excess))

    async def _end_stuck(self, now: float) -> None:
        """Before our own round, which may have to wait for what it holds."""
        if not self._database.postgres or now < self._looked + self._lease / 3:
            return
        self._looked = now
        async with self._database.reading() as tx:
            if ended := await tx.rows(_STUCK, lease=self._lease):
                _log.warning("stuck_transactions_ended", count=len(ended))

    async def _share(self) -> tuple[frozenset[int], frozenset[int]]:
        async with self._database.transaction() as tx:
            return await self._shared_out(tx)

    async def _shared_out(self, tx: Tx) -> tuple[frozenset[int], frozenset[int]]:
        now, until = tx.micros_now(), int(self._lease * _SECOND)
        await self._announce(tx, now, until)
        await tx.run("DELETE FROM replicas WHERE until < " + now)
        living = await tx.row("SELECT count(*) AS n FROM replicas")
        known = await tx.rows(f"SELECT n, owner, until > {now} AS alive FROM partitions ORDER BY n{tx.locked()}")
        fair = -(-len(known) // max(1, living["n"] if living else 1))
        mine = [row["n"] for row in known if row["owner"] == self._owner]
        free = [row["n"] for row in known if row["owner"] != self._owner and not row["alive"]]
        held = frozenset(mine) | frozenset(free[: max(0, fair - len(mine))])
        self._wanting = len(held) < len(known) // max(1, living["n"] if living else 1)
        sql = f"UPDATE partitions SET owner = :me, until = {now} + :lease WHERE {tx.any_of('n', 'held', 'integer')}"
        await tx.run(sql, me=self._owner, lease=until, held=sorted(held))
        return held, frozenset(sorted(held)[fair:])

    async def _announce(self, tx: Tx, now: str, lease: int) -> None:
        sql = f"INSERT INTO replicas (id, until) VALUES (:me, {now} + :lease)"
        again = f" ON CONFLICT (id) DO UPDATE SET until = {now} + :lease"
        await tx.run(sql + again, me=self._owner, lease=lease)
        for n in range(self._n):
            await tx.run("INSERT INTO partitions (n, until) VALUES (:n, 0) ON CONFLICT DO NOTHING", n=n)

    async def _change(self, owned: frozenset[int]) -> None:
        """`owned` shrinks before the work on it is let go, and grows before it is taken up."""
        if owned == self._owned:
            return
        self._owned = owned
        if self._on_change is not None:
            await self._on_change(owned)
