"""From committed rows to the bus. The row that caused an event carries `published_at`: there is no outbox to forget.

Rows come straight from memory after their commit (`hand_over`), many to one message: what comes while a message of its
partition is under way goes together into the next, and a second one is under way with it only when it is full. So messages
grow with the load, and order holds while all is well. A feed that nobody waits for may gather longer (`Feed.gather`). What
memory did not take or the bus refused is found again by the sweeper: it is then published from the table, oldest first,
until that has caught up.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, text

from shared import crashpoints
from shared.bus.envelope import MAX_EVENTS
from shared.bus.port import ROUTES, Bus, BusUnavailable, Event
from shared.clock import Clock, from_micros, monotonic, pause, to_micros
from shared.store.desk import Desk, Lane, Row, cut
from shared.store.session import Database, Tx, is_transient

HELD = 10_000
_WINDOW = 2
_SWEEP_EVERY = 1.0
_LONGEST_PAUSE = 5.0
_SWEPT = 1000
_LATE = timedelta(seconds=2)
_MARK_EVERY = 0.25
"""Real seconds between two markings under load: marking a few rows costs as much as storing many. A lone one goes at once."""
_MARK_AT_LEAST = 1000
_DRAIN = 5.0
_FOREVER = 1 << 62

_log = structlog.get_logger(__name__)


def feed_table(name: str, metadata: MetaData, *more: Column[Any], per_account: bool = True) -> Table:
    """A table whose rows are events, with the partial index the sweeper reads. `per_account`: the account leads its key."""
    keys = [Column("account", Text, primary_key=True)] if per_account else []
    unpublished = text("published_at IS NULL")
    return Table(
        name,
        metadata,
        *keys,
        Column("id", Text, primary_key=True),
        Column("partition", Integer, nullable=False),
        Column("type", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("published_at", BigInteger),
        *more,
        Index(f"{name}_unpublished", "created_at", postgresql_where=unpublished, sqlite_where=unpublished),
    )


@dataclass(frozen=True, eq=False)
class Feed:
    """A table whose rows are events: its primary key, `id, type, subject, body, created_at, published_at`.

    `key_column` holds the routing key (`partition` on a partitioned exchange). `source` is the CloudEvents source.
    `gather`: real seconds between two messages of one routing key: a lone row goes at once, what comes soon after it together.
    """

    table: Table
    exchange: str
    source: str
    key_column: str = "partition"
    gather: float = 0.0

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.primary_key)

    @property
    def columns(self) -> tuple[str, ...]:
        wanted = (*self.keys, "id", self.key_column, "type", "subject", "body", "created_at")
        return tuple(dict.fromkeys(wanted))

    def event(self, row: Row) -> Event:
        return Event(
            id=row["id"],
            type=row["type"],
            source=self.source,
            subject=row["subject"],
            time=from_micros(row["created_at"]),
            data=row["body"].encode(),
        )


class Relay:
    """Publishes the feeds of one service. `start` also finds what a crash left behind."""

    def __init__(self, database: Database, bus: Bus, feeds: Sequence[Feed], clock: Clock) -> None:
        self._database, self._bus, self._clock = database, bus, clock
        self._desks = {feed.table.name: Desk(feed) for feed in feeds}
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: list[asyncio.Task[None]] = []
        self._stop, self._kicked = asyncio.Event(), asyncio.Event()
        self._to_mark, self._hurried, self._marked_at = asyncio.Event(), asyncio.Event(), float("-inf")
        self._marks, self._sealing, self._resyncs = asyncio.Lock(), asyncio.Lock(), 0
        """A mark for what was published before a `resync` must not come after it: it holds both locks, in this order. A mark
        may wait for a sweep's commit (the rows are locked), so a sweep never waits for `_marks`."""
        self._failures = 0
        self._last_now: datetime | None = None

    @property
    def healthy(self) -> bool:
        return not self._failures

    @property
    def busy(self) -> bool:
        """Rows are held in memory or the table has not been caught up with."""
        return any(desk.held or desk.behind for desk in self._desks.values())

    async def start(self) -> None:
        self._stop.clear()
        self._workers = [asyncio.create_task(self._sweeping()), asyncio.create_task(self._marking())]

    async def stop(self) -> None:
        """Waits a little for confirmations; what is not confirmed stays in its table."""
        self.kick()
        self._stop.set()
        self._to_mark.set()
        for desk in self._desks.values():
            self._drop(desk)
        await _ended(self._tasks)
        self._to_mark.set()
        await _ended(self._workers)
        self._workers = []

    def kick(self) -> None:
        """What gathers goes out, what is confirmed is marked, and the table is looked at, without waiting."""
        for desk in self._desks.values():
            for key, lane in desk.lanes.items():
                if lane.timer is not None:
                    self._fill(desk, key, hurry=True)
        self._kicked.set()
        self._hurried.set()

    def hand_over(self, rows: Iterable[Row], table: Table | None = None) -> None:
        """Rows just committed, with the feed's columns. `table` may be left out where there is one feed. Never waits."""
        desk = self._desk(table)
        taken = desk.fresh(list(rows))
        full = sum(len(d.held) for d in self._desks.values()) + len(taken) > HELD
        if desk.behind or full or self._stop.is_set() or not self._workers:
            desk.behind = desk.missed = True
            return
        for row in taken:
            desk.held.add(row["id"])
            desk.lanes.setdefault(str(row[desk.feed.key_column]), Lane()).rows.append(row)
        for key in {str(row[desk.feed.key_column]) for row in taken}:
            self._fill(desk, key)

    async def pending(self) -> int:
        """Rows not yet known to be published, all feeds together."""
        async with self._database.reading() as tx:
            counts = [await tx.row(f"SELECT count(*) AS n FROM {t} WHERE published_at IS NULL") for t in self._desks]
        return sum(row["n"] for row in counts if row is not None)

    async def waiting(self) -> int:
        """As `pending`, without a look at the tables while memory holds all there is."""
        if any(desk.behind for desk in self._desks.values()):
            return await self.pending()
        return sum(len(desk.held) for desk in self._desks.values())

    async def oldest_unpublished_seconds(self) -> float:
        async with self._database.reading() as tx:
            sql = "SELECT min(created_at) AS at FROM {} WHERE published_at IS NULL"
            rows = [await tx.row(sql.format(table)) for table in self._desks]
        oldest = [row["at"] for row in rows if row is not None and row["at"] is not None]
        return max(0.0, (to_micros(self._clock.now()) - min(oldest)) / 1e6) if oldest else 0.0

    async def resync(self, since: datetime | None = None) -> int:
        """All rows created since then are published once more; receivers know repeats by id. Answers how many."""
        at = to_micros(since) if since is not None else -_FOREVER
        count = 0
        async with self._marks, self._sealing:
            self._resyncs += 1
            async with self._database.transaction(long=True) as tx:
                for table in self._desks:
                    sql = f"UPDATE {table} SET published_at = NULL WHERE created_at >= :at AND published_at IS NOT NULL"
                    count += await tx.run(sql, at=at)
            for desk in self._desks.values():
                count += desk.leave_unmarked(at)
                desk.behind = desk.missed = True
        self.kick()
        return count

    def _desk(self, table: Table | None) -> Desk[Feed]:
        if table is None and len(self._desks) > 1:
            raise ValueError("this relay has several feeds: name the table")
        return self._desks[table.name] if table is not None else next(iter(self._desks.values()))

    # from memory

    def _fill(self, desk: Desk[Feed], key: str, *, hurry: bool = False) -> None:
        """A second message follows at once only when it is a full one: what comes meanwhile goes together."""
        lane = desk.lanes[key]
        while lane.rows and (not lane.under_way or (lane.under_way < _WINDOW and len(lane.rows) >= MAX_EVENTS)):
            wait = 0.0 if hurry or len(lane.rows) >= MAX_EVENTS else lane.sent_at + desk.feed.gather - monotonic()
            if wait > 0:
                lane.timer = lane.timer or asyncio.get_running_loop().call_later(wait, self._gathered, desk, key)
                return
            lane.under_way += 1
            lane.sent_at = monotonic()
            task = asyncio.create_task(self._send_held(desk, key, cut(lane.rows)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _gathered(self, desk: Desk[Feed], key: str) -> None:
        desk.lanes[key].timer = None
        self._fill(desk, key, hurry=True)

    async def _send_held(self, desk: Desk[Feed], key: str, rows: list[Row]) -> None:
        try:
            sent = await self._publish(desk.feed, key, rows)
        except asyncio.CancelledError:
            desk.forget(rows)
            raise
        desk.lanes[key].under_way -= 1
        if not sent:
            desk.forget(rows)
            self._drop(desk)
            return
        desk.confirmed += rows
        self._to_mark.set()
        if len(desk.confirmed) >= _MARK_AT_LEAST:
            self._hurried.set()
        self._fill(desk, key)

    def _drop(self, desk: Desk[Feed]) -> None:
        """What waits in memory is left to the sweeper."""
        for lane in desk.lanes.values():
            desk.forget(lane.rows)
            lane.rows.clear()
        desk.behind = True

    async def _publish(self, feed: Feed, key: str, rows: Sequence[Row]) -> bool:
        route = ROUTES[feed.exchange]
        crashpoints.hit("relay.taken")
        try:
            await self._bus.publish(feed.exchange, key, [feed.event(r) for r in rows], mandatory=route.mandatory)
        except BusUnavailable as fault:
            self._report(str(fault))
            return False
        except Exception as fault:
            _log.exception("publish_failed", table=feed.table.name)
            self._report(type(fault).__name__)
            return False
        if self._failures:
            _log.info("publishing_again", table=feed.table.name)
        self._failures = 0
        crashpoints.hit("relay.confirmed")
        return True

    def _report(self, why: str) -> None:
        if not self._failures:
            _log.warning("publishing_stopped", why=why)
        self._failures += 1

    # marking

    async def _marking(self) -> None:
        while True:
            await self._to_mark.wait()
            self._to_mark.clear()
            if (wait := self._marked_at + _MARK_EVERY - monotonic()) > 0 and not self._stop.is_set():
                await pause(wait, self._hurried)
            self._hurried.clear()
            for desk in self._desks.values():
                if not await self._mark_confirmed(desk):
                    self._to_mark.set()
                    await pause(_SWEEP_EVERY, self._stop)
            if self._stop.is_set() and not self._tasks:
                return

    async def _mark_confirmed(self, desk: Desk[Feed]) -> bool:
        async with self._marks:
            rows, desk.confirmed = desk.confirmed, []
            return not rows or await self._mark_all(desk, rows)

    async def _mark_all(self, desk: Desk[Feed], rows: list[Row]) -> bool:
        self._marked_at = monotonic()
        try:
            async with self._database.transaction() as tx:
                await self._mark(tx, desk.feed, rows)
        except Exception as fault:
            if not is_transient(fault) or self._stop.is_set():
                _log.exception("marking_failed", table=desk.feed.table.name)
                desk.forget(rows)
                return True
            desk.confirmed = rows + desk.confirmed
            return False
        desk.forget(rows)
        return True

    async def _mark(self, tx: Tx, feed: Feed, rows: Sequence[Row]) -> None:
        if rows:
            at = to_micros(self._clock.now())
            marks = [{**{key: row[key] for key in feed.keys}, "published_at": at} for row in rows]
            await tx.update(feed.table, feed.keys, marks)

    # from the table

    async def _sweeping(self) -> None:
        while not self._stop.is_set():
            late = self._late_before()
            for desk in self._desks.values():
                try:
                    await self._catch_up(desk, late)
                except Exception as fault:
                    if not is_transient(fault):
                        _log.exception("sweep_failed", table=desk.feed.table.name)
            self._kicked.clear()
            if not self._stop.is_set():
                await pause(min(_LONGEST_PAUSE, _SWEEP_EVERY * (1 + self._failures)), self._kicked)

    def _late_before(self) -> int:
        """Rows created before are late. On a clock that stands still, age says nothing: all are."""
        now, before = self._clock.now(), self._last_now
        self._last_now = now
        return _FOREVER if now == before else to_micros(now - _LATE)

    async def _catch_up(self, desk: Desk[Feed], late: int) -> None:
        while not self._stop.is_set():
            desk.missed = False
            found, published = await self._sweep(desk, _FOREVER if desk.behind else late)
            if published < found:
                desk.behind = True
                return
            if found < _SWEPT and not desk.missed:
                desk.behind = False
                return

    async def _sweep(self, desk: Desk[Feed], before: int) -> tuple[int, int]:
        """Rows found and rows published. On PostgreSQL they stay locked meanwhile: another replica takes others."""
        begun = self._resyncs
        if not self._database.postgres:
            async with self._database.reading() as tx:
                rows = await self._unpublished(tx, desk, before)
            done = await self._publish_found(desk, rows)
            async with self._sealing:
                if done and begun == self._resyncs:
                    async with self._database.transaction() as tx:
                        await self._mark(tx, desk.feed, done)
            return len(rows), len(done)
        async with AsyncExitStack() as until_committed, self._database.transaction() as tx:
            rows = await self._unpublished(tx, desk, before)
            done = await self._publish_found(desk, rows)
            await until_committed.enter_async_context(self._sealing)
            await self._mark(tx, desk.feed, done if begun == self._resyncs else ())
        return len(rows), len(done)

    async def _unpublished(self, tx: Tx, desk: Desk[Feed], before: int) -> list[Row]:
        feed = desk.feed
        held = set(desk.held)
        rows = await tx.rows(
            f"SELECT {', '.join(feed.columns)} FROM {feed.table.name} WHERE published_at IS NULL AND created_at < :before"
            f" ORDER BY created_at, {', '.join(feed.keys)} LIMIT {_SWEPT + len(held)}{tx.locked(skip=True)}",
            before=before,
        )
        held |= desk.held
        found: list[Row] = [dict(row) for row in rows if row["id"] not in held]
        return found[:_SWEPT]

    async def _publish_found(self, desk: Desk[Feed], rows: Sequence[Row]) -> list[Row]:
        lanes: dict[str, deque[Row]] = {}
        for row in rows:
            lanes.setdefault(str(row[desk.feed.key_column]), deque()).append(row)
        done = await asyncio.gather(*(self._publish_lane(desk.feed, key, lane) for key, lane in lanes.items()))
        return [row for part in done for row in part]

    async def _publish_lane(self, feed: Feed, key: str, lane: deque[Row]) -> list[Row]:
        done: list[Row] = []
        while lane and not self._stop.is_set():
            group = cut(lane)
            if not await self._publish(feed, key, group):
                break
            done += group
        return done


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Each gets a moment: a bus that does not answer must not keep us from stopping."""
    under_way = set(tasks)
    if under_way:
        _, late = await asyncio.wait(under_way, timeout=_DRAIN)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
