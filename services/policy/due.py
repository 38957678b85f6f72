"""Due clocks become facts, nearest marketplace deadline first; facts that found no case in 24 hours become tasks."""

from collections.abc import Iterable
from datetime import datetime

from services.policy import store
from services.policy.agenda import Agenda, Entry
from services.policy.batch import Batch, Held
from services.policy.handlers import WAITS, Policy
from services.policy.places import Places
from services.policy.walk import Walk
from shared import crashpoints, ids
from shared.clock import from_micros, to_micros
from shared.domain.case import Case, Clock
from shared.domain.facts import Fact
from shared.store.session import Tx

AT_ONCE = 200
_MOST_PER_CASE = 50

_WAITING = (
    "SELECT account, order_id FROM orders WHERE waiting_since_at IS NOT NULL AND waiting_since_at <= :since "
    "ORDER BY waiting_since_at LIMIT :limit"
)


async def fire(policy: Policy, agenda: Agenda | None = None) -> int:
    """One round of due clocks. Answers how many fired; orders that another transaction holds are left for later."""
    agenda = agenda or Agenda(policy.database, policy.clock)
    found = await agenda.take(AT_ONCE)
    if not found:
        return 0

    async def work(tx: Tx) -> tuple[Batch, list[datetime]]:
        batch = await policy.hold_free(tx, _places(found))
        crashpoints.hit("policy.clocks_held")
        walk = Walk(policy.world, batch)
        fired = [moment for entry in found for moment in _fire_case(walk, entry)]
        await policy.write(batch)
        crashpoints.hit("policy.clocks_decided")
        return batch, fired

    try:
        batch, fired = await policy.in_transaction(work)
    except BaseException:
        agenda.forget()
        raise
    agenda.put_back(entry for entry in found if entry.key not in batch.held)
    crashpoints.hit("policy.clocks_committed")
    policy.tell(batch.out)
    now = policy.clock.now()
    for moment in fired:
        policy.metrics.clock_lag_seconds.observe((now - moment).total_seconds())
    return len(fired)


def _places(found: Iterable[Entry]) -> Places:
    return Places({entry.id: entry.key for entry in found}, cases={entry.id for entry in found})


def _fire_case(walk: Walk, entry: Entry) -> list[datetime]:
    """Everything that is due on one case, in due order, checked again under the lock. When each was due."""
    fired: list[datetime] = []
    held = walk.batch.held.get(entry.key)
    while held is not None and entry.id in held.cases and len(fired) < _MOST_PER_CASE:
        case = held.cases[entry.id]
        clock = next_clock(case)
        if clock is None or clock.next_at > walk.batch.now or case.id in walk.batch.stuck:
            break
        fact = elapsed(case, clock, walk.batch.now)
        walk.batch.places.orders[fact.id] = entry.key
        walk.offer(fact)
        fired.append(clock.next_at)
        if held.cases[case.id].seq == case.seq:
            break
    return fired


def next_clock(case: Case) -> Clock | None:
    clocks = case.clocks.values() if case.is_open else ()
    return min(clocks, key=lambda clock: (clock.next_at, clock.due_at, clock.name), default=None)


def elapsed(case: Case, clock: Clock, now: datetime) -> Fact:
    """Its id is of (case, clock, generation, moment): whoever notices it, it is the same fact."""
    at_margin = clock.act_at is not None and not clock.acted
    moment = "margin" if at_margin else "due"
    return Fact(
        id=ids.digest(case.account, case.id, clock.name, str(clock.generation), moment),
        kind="timer.elapsed",
        account=case.account,
        marketplace=case.marketplace,
        order_id=case.order_id,
        case_kind=case.kind,
        external_id=case.external_id,
        case_id=case.id,
        occurred_at=clock.next_at,
        observed_at=now,
        source="clock",
        data={"clock": clock.name, "generation": clock.generation, "moment": moment},
    )


async def settle_orphans(policy: Policy) -> int:
    """Facts that waited their time. Answers how many became tasks."""
    now = policy.clock.now()
    async with policy.database.reading() as tx:
        found = await tx.rows(_WAITING, since=to_micros(now - WAITS), limit=AT_ONCE)
    if not found:
        return 0

    async def work(tx: Tx) -> tuple[Batch, int]:
        orders = [await store.order_document(tx, row["account"], row["order_id"]) for row in found]
        waiting = [order for order in orders if order is not None]
        facts = [fact for order in waiting for fact in order.waiting]
        batch = await policy.hold(tx, facts, [(order.account, order.order_id) for order in waiting])
        walk = Walk(policy.world, batch)
        count = sum(_settle(walk, held, now) for _, held in sorted(batch.held.items()) if not held.gone)
        await policy.write(batch)
        return batch, count

    batch, count = await policy.in_transaction(work)
    policy.tell(batch.out)
    return count


def _settle(walk: Walk, held: Held, now: datetime) -> int:
    """A last try to find the case (a playbook may have come since), then the task."""
    key = (held.order.account, held.order.order_id)
    walk.batch.places.orders |= {fact.id: key for fact in held.order.waiting}
    walk.settle_waiting(held)
    late = [fact for fact in held.order.waiting if fact.observed_at <= now - WAITS]
    for fact in late:
        walk.orphan(held, fact)
    return len(late)


async def due_now(tx: Tx, now: datetime) -> bool:
    """Whether anything waits to be fired or settled."""
    clocks = await tx.rows("SELECT 1 AS x FROM cases WHERE next_due_at <= :now LIMIT 1", now=to_micros(now))
    since = to_micros(now - WAITS)
    return bool(
        clocks or await tx.rows("SELECT 1 AS x FROM orders WHERE waiting_since_at <= :since LIMIT 1", since=since)
    )


async def next_due(tx: Tx) -> datetime | None:
    """The earliest moment at which a clock or a waiting fact is due."""
    row = await tx.row(
        "SELECT (SELECT min(next_due_at) FROM cases WHERE next_due_at IS NOT NULL) AS clock, "
        "(SELECT min(waiting_since_at) FROM orders WHERE waiting_since_at IS NOT NULL) AS fact"
    )
    clock, fact = (row["clock"], row["fact"]) if row else (None, None)
    moments = [from_micros(clock)] if clock is not None else []
    return min([*moments, from_micros(fact) + WAITS] if fact is not None else moments, default=None)
