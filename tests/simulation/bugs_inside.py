"""Bugs of intake, policy and the bus between them. `stage` is there for those that are a missing key in the database."""

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import msgspec

from services.intake.handlers import Writer
from services.policy import agenda, due
from services.policy import batch as batches
from services.policy import store as cases
from services.policy.core import news
from services.policy.handlers import Policy
from shared.bus import consume
from shared.store import sqlite
from shared.store.relay import Relay
from tests.simulation.loop import OWNER
from tests.simulation.seeding import bug, hop, nothing
from tests.simulation.stage import Stage
from tests.support.seeded import instead


@bug
def acknowledged_before_commit(_: Stage) -> Iterator[None]:
    real = consume._Loop._deal_with

    async def deal_with(self: Any, batch: Any) -> None:
        await batch.ack()
        await real(self, batch)

    with instead(consume._Loop, "_deal_with", deal_with):
        yield


@bug
def answered_before_commit(_: Stage) -> Iterator[None]:
    real = Writer.submit

    async def submit(self: Any, delivery: Any) -> str:
        task = asyncio.ensure_future(real(self, delivery))
        task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return str(delivery.outcome)

    with instead(Writer, "submit", submit):
        yield


@bug
def no_unique_key_of_deliveries(stage: Stage) -> Iterator[None]:
    disk = stage.disks["intake"]
    [made] = disk.all("SELECT sql FROM sqlite_master WHERE name = 'deliveries_once'")
    disk.change("DROP INDEX deliveries_once")
    try:
        yield
    finally:
        disk.empty()
        disk.change(made["sql"])


@bug
def repeated_facts_applied_again(_: Stage) -> Iterator[None]:
    """Policy does not look whether a fact is in the log."""
    insert = sqlite.SqliteTx.insert

    beneath = cases.beneath

    async def forgetful(*args: Any) -> Any:
        return (await beneath(*args))[0], {}

    async def careless(self: Any, table: Any, rows: Any, **kwargs: Any) -> Any:
        return await insert(
            self, table, rows, **{**kwargs, **({"on_conflict": "nothing"} if table.name == "case_log" else {})}
        )

    with instead(cases, "beneath", forgetful), instead(sqlite.SqliteTx, "insert", careless):
        yield


@bug
def no_row_lock(_: Stage) -> Iterator[None]:
    """Orders and cases are read before the transaction that writes them."""
    read: ContextVar[dict[str, Any] | None] = ContextVar("read", default=None)
    real, lock, beneath = Policy.in_transaction, cases.lock_orders, cases.beneath

    async def in_transaction(self: Any, work: Any, *, urgent: bool = False) -> Any:
        async with self.database.reading() as tx:
            orders = {(r["account"], r["order_id"]): r for r in await tx.rows("SELECT * FROM orders")}
            found = {
                c.id: c for r in await tx.rows("SELECT document FROM cases") for c in [cases.read_case(r["document"])]
            }
        read.set({"orders": orders, "cases": found})
        for _ in range(3):
            await hop()
        try:
            return await real(self, work, urgent=urgent)
        finally:
            read.set(None)

    async def lock_orders(tx: Any, keys: Any, **kwargs: Any) -> Any:
        before = (read.get() or {"orders": {}})["orders"]
        return [before.get((r["account"], r["order_id"]), r) for r in await lock(tx, keys, **kwargs)]

    async def old_cases(*args: Any) -> Any:
        before = (read.get() or {"cases": {}})["cases"]
        found, applied = await beneath(*args)
        return [before.get(case.id, case) for case in found], applied

    with (
        instead(Policy, "in_transaction", in_transaction),
        instead(cases, "lock_orders", lock_orders),
        instead(cases, "beneath", old_cases),
    ):
        yield


@bug
def told_before_commit(_: Stage) -> Iterator[None]:
    """Policy hands over to the bus what may yet be rolled back."""
    real = Policy.write

    async def write(self: Any, batch: Any) -> None:
        await real(self, batch)
        self.relay.hand_over(batch.out.outbound, batches.tables.outbound)
        await hop()

    with instead(Policy, "write", write):
        yield


@bug
def stale_revision_applied(_: Stage) -> Iterator[None]:
    with instead(news, "is_stale", lambda work: False):
        yield


@bug
def clock_fired_early(_: Stage) -> Iterator[None]:
    """By an hour."""
    early, take, next_clock = timedelta(hours=1), agenda.Agenda.take, due.next_clock

    class Hasty:
        def __init__(self, clock: Any) -> None:
            self._clock = clock

        def __getattr__(self, name: str) -> Any:
            return getattr(self._clock, name)

        @property
        def next_at(self) -> Any:
            return self._clock.next_at - early

    async def taken(self: Any, most: int) -> Any:
        clock, self._clock = self._clock, _Ahead(self._clock, early)
        try:
            return await take(self, most)
        finally:
            self._clock = clock

    def hasty(case: Any) -> Any:
        clock = next_clock(case)
        return Hasty(clock) if clock is not None else None

    elapsed = due.elapsed
    with (
        instead(agenda.Agenda, "take", taken),
        instead(due, "next_clock", hasty),
        instead(due, "elapsed", lambda case, clock, now: elapsed(case, clock._clock, now)),
    ):
        yield


class _Ahead:
    def __init__(self, clock: Any, by: timedelta) -> None:
        self._clock, self._by = clock, by

    def now(self) -> Any:
        return self._clock.now() + self._by


@bug
def clock_fired_twice(_: Stage) -> Iterator[None]:
    """Each notice of a due clock is a fact of its own, and what was decided on one is not looked at again."""
    fire_case, count = due._fire_case, iter(range(1 << 30))
    elapsed = due.elapsed

    def again(walk: Any, entry: Any) -> Any:
        held = walk.batch.held.get(entry.key)
        case = held.cases.get(entry.id) if held is not None else None
        fired = fire_case(walk, entry)
        if fired and case is not None and case.is_open and (clock := due.next_clock(case)) is not None:
            fact = due.elapsed(case, clock, walk.batch.now)
            walk.batch.places.orders[fact.id] = entry.key
            walk.offer(fact)
        return fired

    def of_its_own(case: Any, clock: Any, now: Any) -> Any:
        fact = elapsed(case, clock, now)
        return msgspec.structs.replace(fact, id=f"{fact.id}{next(count)}")

    with instead(due, "_fire_case", again), instead(due, "elapsed", of_its_own):
        yield


@bug
def marked_before_confirmed(_: Stage) -> Iterator[None]:
    real = Relay._publish

    async def publish(self: Any, *args: Any) -> bool:
        self._tasks.add(asyncio.ensure_future(real(self, *args)))
        return True

    with instead(Relay, "_publish", publish):
        yield


@bug
def handed_over_and_never_swept(_: Stage) -> Iterator[None]:
    async def sweep(*_: Any) -> tuple[int, int]:
        return 0, 0

    with instead(Relay, "_sweep", sweep):
        yield


@bug
def counters_outside_the_transaction(_: Stage) -> Iterator[None]:
    """Counted when the batch is written, whether it is then committed or not, and lost with the process."""
    real = Policy.in_transaction
    owed: dict[Any, list[tuple[Any, int]]] = {}
    count = cases.count

    async def later(tx: Any, deltas: Any, shard: int) -> None:
        owed.setdefault(OWNER.get(), []).append((deltas, shard))

    async def in_transaction(self: Any, work: Any, *, urgent: bool = False) -> Any:
        answer = await real(self, work, urgent=urgent)
        mine, owed[OWNER.get()] = owed.get(OWNER.get(), []), []
        async with self.database.transaction() as tx:
            for deltas, shard in mine:
                await count(tx, deltas, shard)
        return answer

    with instead(cases, "count", later), instead(Policy, "in_transaction", in_transaction):
        yield


@bug
def poison_acknowledged_and_dropped(_: Stage) -> Iterator[None]:
    with instead(consume._Loop, "_put_aside", nothing):
        yield
