"""What is parked: listed, shown, and handled once more."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.policy import rows, store, tables
from services.policy.batch import Batch
from services.policy.handlers import Policy
from services.policy.queries import Page
from services.policy.views import Json
from services.policy.walk import Walk
from shared import crashpoints
from shared.auth import Principal
from shared.bus.port import Event, Unread, Unreadable
from shared.clock import EPOCH
from shared.domain.facts import Fact, decode_fact
from shared.errors import Conflict, NotFound
from shared.store import parked
from shared.store.session import Tx


def fact_of(event: Event) -> Fact:
    """Raises Unreadable for another type, msgspec.ValidationError for a fact that is none."""
    if event.type != rows.FACT:
        raise Unreadable(f"policy does not understand events of type {event.type}")
    return decode_fact(event.data)


def told_apart(events: Iterable[Event]) -> tuple[list[Fact], list[tuple[Event, Exception]]]:
    """The facts, and the events that are none, each with why."""
    facts: list[Fact] = []
    unfit: list[tuple[Event, Exception]] = []
    for event in events:
        try:
            facts.append(fact_of(event))
        except (Unreadable, msgspec.MsgspecError, RecursionError) as fault:
            unfit.append((event, fault))
    return facts, unfit


class Parked:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def put(self, item: Event | Unread, fault: Exception) -> None:
        """With a task for a person; commits."""
        now = self._policy.clock.now()
        async with self._policy.database.transaction() as tx:
            id_ = await parked.park(tx, tables.parked, item, fault, now)
            kept = await parked.body_of(tx, id_)
            account = kept["account"] if kept else ""
            since = item.time if isinstance(item, Event) else EPOCH
            why = f"an event could not be taken in: {type(fault).__name__}"
            task = rows.own_task("conflict", why, account, since, now, id_)
            row = rows.task_row(task, account=account, marketplace="", order_id=None, case_id=None)
            added = await tx.insert(tables.tasks, [row], on_conflict="nothing", returning=("id",))
            await store.count(tx, {("tasks_open", "conflict"): len(added)}, 0)
            await tx.send()
            crashpoints.hit("policy.parking")
        self._policy.metrics.parked.labels("policy", type(fault).__name__).inc()

    async def listed(self, who: Principal, account: str | None, page: Page) -> Json:
        async with self._policy.database.reading() as tx:
            after, most = page.after() or (0, ""), page.limit + 1
            found = await parked.waiting(tx, after=after, limit=most, account=account, accounts=who.accounts)
        return page.answer([{**row, "place": row["parked_at"]} for row in found], _shown)

    async def one(self, who: Principal, id_: str) -> Json:
        async with self._policy.database.reading() as tx:
            row = await parked.body_of(tx, id_)
        if row is None or not who.sees(row["account"]):
            raise NotFound("nothing of that id is parked here")
        return _shown(row)

    async def retry(self, who: Principal, id_: str) -> Json:
        """In one transaction: taken out, handled. What fails again stays parked and is told. Raises Conflict."""
        await self.one(who, id_)

        async def work(tx: Tx) -> Batch:
            item = await parked.retry(tx, id_, self._policy.clock.now())
            if item is None:
                raise Conflict("it is not waiting any more", code="not_parked")
            if isinstance(item, Unread):
                raise Conflict(f"it still cannot be read: {item.why}", code="unreadable")
            fact = _readable(item)
            batch = await self._policy.hold(tx, [fact])
            Walk(self._policy.world, batch).offer(fact)
            if batch.out.parked:
                again = batch.out.parked[0][1]
                raise Conflict(f"it failed again: {type(again).__name__}", code="failed_again") from again
            batch.out.closed_tasks += self._tasks_of(fact, item)
            await self._policy.write(batch)
            return batch

        self._policy.tell((await self._policy.in_transaction(work)).out)
        return {"service": "policy", "id": id_, "status": "handled"}

    def _tasks_of(self, fact: Fact, item: Event) -> list[str]:
        """Those that were opened when it was parked: by the throat, or by the consumer."""
        now = self._policy.clock.now()
        taken_in = rows.own_task("conflict", "", fact.account, item.time, now, item.id)
        return [rows.parked_task(fact, "", now).id, taken_in.id]


def _readable(event: Event) -> Fact:
    try:
        return fact_of(event)
    except (Unreadable, msgspec.ValidationError, msgspec.DecodeError) as fault:
        raise Conflict(f"it still is no fact: {fault}", code="unreadable") from None


def _shown(row: Mapping[Any, Any]) -> Json:
    return parked.shown(row, "policy")
