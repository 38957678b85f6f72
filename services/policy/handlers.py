"""The throat of policy: every fact, whoever brings it, goes through `advance` in one transaction."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError

from services.policy import batch as batches
from services.policy import rows, tables
from services.policy.batch import Again, Batch, Outcome
from services.policy.places import Places
from services.policy.store import Key
from services.policy.walk import Walk, World
from shared import crashpoints, ids
from shared.bus.consume import Breather
from shared.clock import Clock
from shared.domain.facts import Fact
from shared.domain.order import Order
from shared.metrics import Metrics
from shared.store.relay import Relay
from shared.store.session import Database, Tx, repeating

T = TypeVar("T")
WAITS = timedelta(hours=24)
"""How long a fact may wait on its order for a case; then it is an orphan."""
_TIMES = 3
_RACES = 10


class Policy:
    """The use cases. `relay` gets what was committed; nothing else leaves."""

    def __init__(self, database: Database, world: World, relay: Relay, clock: Clock, metrics: Metrics) -> None:
        self.database, self.world, self.relay, self.clock, self.metrics = database, world, relay, clock, metrics
        self.expect: Callable[[int], None] = lambda _: None
        """Told, after a commit, when the first of its cases falls due (microseconds)."""

    async def advance(self, facts: Sequence[Fact]) -> None:
        """Applies a batch in its order, once each; returns after the commit. Raises when nothing was committed."""

        async def work(tx: Tx) -> Batch:
            batch = await self.hold(tx, facts)
            await self.apply(batch, facts)
            await self.write(batch)
            return batch

        self.tell((await self.in_transaction(work)).out)

    async def in_transaction(self, work: Callable[[Tx], Awaitable[T]], *, urgent: bool = False) -> T:
        """One transaction, repeated when another was first with the same identity or in the way."""

        async def once() -> T:
            async with self.database.transaction(urgent=urgent) as tx:
                return await work(tx)

        for left in range(_RACES - 1, -1, -1):
            try:
                return await repeating(once, _TIMES)
            except (Again, IntegrityError):
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def hold(self, tx: Tx, facts: Sequence[Fact], also: Collection[Key] = ()) -> Batch:
        """The batch with its orders (and those `also`) locked and everything read that deciding needs."""
        return await self._with_playbooks(await batches.hold(tx, facts, self.clock.now(), also))

    async def hold_free(self, tx: Tx, places: Places) -> Batch:
        """The same for work that can wait: orders that another transaction holds are left out."""
        return await self._with_playbooks(await batches.hold_free(tx, places, self.clock.now()))

    async def _with_playbooks(self, batch: Batch) -> Batch:
        hashes = (c.playbook_hash for held in batch.held.values() for c in held.cases.values())
        await self.world.playbooks.need(batch.tx, hashes)
        return batch

    async def apply(self, batch: Batch, facts: Iterable[Fact]) -> None:
        """Fact by fact. What raises alone is parked, with its cases out of the due index; the others go on."""
        walk, breather = Walk(self.world, batch), Breather()
        for key in sorted({real for _, real in batch.places.merges}):
            walk.settle_waiting(batch.held[key])
        for fact in facts:
            walk.offer(fact)
            await breather.breathe()

    async def write(self, batch: Batch) -> None:
        self._converse(batch)
        key = min(batch.held, default=None)
        shard = ids.partition_of(*key, self.world.partitions) if key else 0
        await batches.write(batch, shard)
        crashpoints.hit("policy.decided")

    def _converse(self, batch: Batch) -> None:
        """What notifier must know of a thread, whenever it changes on an order that has a case.

        A new order on whose thread nothing has happened has nothing to tell: each errand carries the buyer.
        """
        for held in batch.held.values():
            if held.gone or not held.order.open_cases or _thread(held.before) == _thread(held.order):
                continue
            if held.fresh and not any(_said(held.order)):
                continue
            partition = ids.partition_of(held.order.account, held.order.order_id, self.world.partitions)
            row = rows.conversation_row(held.order, held.version + 1, partition, batch.now)
            batch.out.outbound.insert(0, row)

    def tell(self, out: Outcome) -> None:
        """After the commit: to the bus, and to the metrics."""
        crashpoints.hit("policy.committed")
        self.world.terms.stored([row["hash"] for row in out.terms])
        if out.outbound:
            self.relay.hand_over(out.outbound, tables.outbound)
        if out.case_events:
            self.relay.hand_over(out.case_events, tables.case_events)
        if out.due:
            self.expect(min(out.due))
        for name, labels, value in out.news:
            metric = getattr(self.metrics, name)
            metric = metric.labels(*labels) if labels else metric
            metric.observe(value) if name.endswith("_seconds") else metric.inc(value)


def _thread(order: Order) -> tuple[Any, ...]:
    """What a conversation tells, and whether it is told at all."""
    return (*_said(order), order.buyer, bool(order.open_cases))


def _said(order: Order) -> tuple[Any, ...]:
    """What has been heard on the thread so far: all empty where nothing has."""
    return order.last_buyer_message_at, order.window_until, order.closed_chats, order.opted_out
