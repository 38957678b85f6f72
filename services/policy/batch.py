"""One batch under its locks: orders, cases and what is to be written, in memory; read once, written once.

One lock order: orders sorted by (account, order id). Cases are only touched under their order's lock.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from services.policy import deadlines, places, rows, store, tables
from services.policy.deadlines import Change
from services.policy.places import Places
from services.policy.rows import Row
from services.policy.store import Identity, Key
from shared.bus.port import Event
from shared.clock import to_micros
from shared.domain.case import Case
from shared.domain.facts import Fact, encode
from shared.domain.order import Order
from shared.store import parked
from shared.store.session import Tx


class Again(Exception):
    """Another transaction was first with what we read: the batch is to be repeated."""


@dataclass(slots=True)
class Held:
    """An order under our lock with the cases loaded for it (by id)."""

    order: Order
    before: Order
    version: int
    first_seen_at: int
    fresh: bool = False
    """Not in the database yet."""
    cases: dict[str, Case] = field(default_factory=dict)
    gone: bool = False
    """Merged into another order: its row is deleted."""

    @property
    def open(self) -> list[Case]:
        return [case for case in self.cases.values() if case.is_open]


News = tuple[str, tuple[str, ...], float]
"""(metric, labels, value) to be told once committed."""


@dataclass
class Outcome:
    """Rows to be written. Grows fact by fact; what fails alone is cut off again (`mark`, `back`)."""

    log: list[Row] = field(default_factory=list)
    new_cases: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    closed_tasks: list[str] = field(default_factory=list)
    outbound: list[Row] = field(default_factory=list)
    case_events: list[Row] = field(default_factory=list)
    parked: list[tuple[Fact, Exception]] = field(default_factory=list)
    terms: list[Row] = field(default_factory=list)
    counts: list[tuple[str, str, int]] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    deadlines: list[Change] = field(default_factory=list)
    due: list[int] = field(default_factory=list)
    """When the cases written fall due next (microseconds)."""

    def mark(self) -> list[int]:
        return [len(part) for part in _parts(self)]

    def back(self, mark: Sequence[int]) -> None:
        for part, length in zip(_parts(self), mark, strict=True):
            del part[length:]


_parts: Callable[[Outcome], tuple[list[Any], ...]] = attrgetter(*Outcome.__dataclass_fields__)


@dataclass
class Batch:
    """`held`: by key. `applied`: (account, fact id) -> {case id: content hash} of facts already in the log."""

    tx: Tx
    now: datetime
    places: Places
    held: dict[Key, Held] = field(default_factory=dict)
    applied: store.Applied = field(default_factory=dict)
    identities: dict[Identity, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    documents: dict[str, tuple[Case, str]] = field(default_factory=dict)
    """Cases as decisions left them, with their JSON, by case id."""
    out: Outcome = field(default_factory=Outcome)

    def of(self, fact: Fact) -> Held | None:
        """The order a fact is about; None when it was not to be had (skipped: somebody else holds it)."""
        return self.held.get(self.places.orders[fact.id])

    def put_case(self, held: Held, case: Case) -> None:
        self.identities[case.account, case.kind, case.external_id] = case.id
        held.cases[case.id] = case

    def take_back(self, held: Held, cases: dict[str, Case]) -> None:
        """The order's cases are again those of before."""
        for id_ in held.cases.keys() - cases.keys():
            case = held.cases[id_]
            del self.identities[case.account, case.kind, case.external_id]
        held.cases = cases

    def row_of(self, case: Case) -> Row:
        decided, document = self.documents.get(case.id, (None, ""))
        return rows.case_row(case, document if decided is case else rows.text(case), stuck=case.id in self.stuck)

    def log(self, row: Row) -> None:
        """From here on the same fact is a repeat, within this batch too."""
        self.out.log.append(row)
        self.applied.setdefault((row["account"], row["fact_id"]), {})[row["case_id"]] = row["fact_hash"]


async def hold(tx: Tx, facts: Sequence[Fact], now: datetime, also: Collection[Key] = ()) -> Batch:
    """Finds, locks and reads all that these facts are about, and the orders `also` that are there. Raises Again."""
    found = await places.find(tx, facts)
    found.orders |= {f"{account} {order_id}": (account, order_id) for account, order_id in also}
    found.known |= set(also)
    batch = Batch(tx=tx, now=now, places=found)
    await _read(batch, found.keys & found.known, facts)
    _begin(batch)
    for provisional, real in sorted(found.merges):
        await _merge(batch, provisional, real)
    return batch


async def hold_free(tx: Tx, found: Places, now: datetime) -> Batch:
    """Of these places what nobody else holds now: for work that can wait."""
    batch = Batch(tx=tx, now=now, places=found)
    await _read(batch, found.keys, skip=True)
    return batch


async def _read(batch: Batch, keys: Collection[Key], facts: Sequence[Fact] = (), *, skip: bool = False) -> None:
    """Of orders that nobody knows there is nothing to lock, and nothing beneath them."""
    if not keys:
        return
    for row in await store.lock_orders(batch.tx, keys, skip=skip):
        order = store.read_order(row["document"])
        key = (row["account"], row["order_id"])
        batch.held[key] = Held(order, order, row["version"], row["first_seen_at"])
    told = ((fact.account, fact.id) for fact in facts)
    cases, batch.applied = await store.beneath(batch.tx, batch.held, sorted(batch.places.cases), told)
    for case in cases:
        batch.put_case(batch.held[case.account, case.order_id], case)


def _begin(batch: Batch) -> None:
    """Orders that are new begin blank: written at the end, all at once, and Again where another was first.

    What the database knew of a moment ago and is gone was merged away meanwhile: Again.
    """
    if batch.places.cases - {id for held in batch.held.values() for id in held.cases}:
        raise Again
    for key in batch.places.keys - batch.held.keys():
        if key in batch.places.known:
            raise Again
        order = Order(account=key[0], order_id=key[1])
        batch.held[key] = Held(order, order, 0, to_micros(batch.now), fresh=True)


async def _merge(batch: Batch, provisional: Key, real: Key) -> None:
    """The provisional order's cases, waiting facts and knowledge go over to the real one."""
    other, held = batch.held[provisional], batch.held[real]
    held.order = places.merged(held.order, other.order)
    for case in other.cases.values():
        batch.put_case(held, msgspec.structs.replace(case, order_id=real[1]))
        batch.out.changed.append(case.id)
    other.cases, other.gone = {}, True
    await batch.tx.run(
        "UPDATE refs SET order_id = :real WHERE account = :account AND order_id = :provisional",
        account=real[0], real=real[1], provisional=provisional[1],
    )  # fmt: skip
    await batch.tx.run(
        "UPDATE cases SET order_id = :real WHERE account = :account AND order_id = :provisional",
        account=real[0], real=real[1], provisional=provisional[1],
    )  # fmt: skip


async def write(batch: Batch, shard: int) -> None:
    """All rows of the batch, as few statements as the store can: a batch of nothing but news is a single one, and its own
    transaction.

    What changes lies under our locks. What is new follows, its orders first: whoever was before us with one of them is
    waited for there, in key order, so that two batches with the same new orders never wait for each other crosswise; then
    the insert raises, and the batch is repeated.
    """
    tx, out = batch.tx, batch.out
    changed, fresh = await _orders(batch)
    await tx.update(tables.orders, ("account", "order_id"), changed)
    await tx.insert(tables.orders, fresh)
    new_cases = await _write_cases(batch)
    await tx.insert(tables.refs, _claims(batch.places))
    if out.tasks or out.closed_tasks:
        await tx.send()
        await _write_tasks(batch)
    for fact, fault in out.parked:
        await parked.park(tx, tables.parked, fact_event(fact), fault, batch.now, attempts=1)
    await tx.insert(tables.cases, new_cases)
    await store.put(tx, tables.terms, out.terms)
    await tx.insert(tables.case_log, out.log)
    await tx.insert(tables.outbound, out.outbound, on_conflict="nothing")
    await tx.insert(tables.case_events, out.case_events, on_conflict="nothing")
    await store.count(tx, _sums(out.counts), shard)
    await deadlines.count(tx, out.deadlines, shard)


def fact_event(fact: Fact) -> Event:
    """The form in which a fact travels and is parked."""
    return Event(
        id=fact.id,
        type=rows.FACT,
        source="/amends/policy",
        subject=fact.order_id or places.strongest_reference(fact),
        time=fact.observed_at,
        data=encode(fact),
    )


async def _orders(batch: Batch) -> tuple[list[Row], list[Row]]:
    """In key order: rows that changed, rows that are new. Those merged away are deleted."""
    fresh: list[Row] = []
    changed: list[Row] = []
    for key, held in sorted(batch.held.items()):
        if held.gone:
            await store.delete_order(batch.tx, key)
            continue
        is_changed = held.order is not held.before and held.order != held.before
        held.version += is_changed
        if held.fresh or is_changed:
            row = rows.order_row(held.order, held.version, held.first_seen_at)
            (fresh if held.fresh else changed).append(row)
    return changed, fresh


def _claims(found: Places) -> list[Row]:
    return [{"account": a, "ref": ref, "order_id": order} for (a, ref), order in sorted(found.refs.items())]


async def _write_cases(batch: Batch) -> list[Row]:
    """Those that were there; answers the rows of the new ones."""
    out, every = batch.out, {case.id: case for held in batch.held.values() for case in held.cases.values()}
    fresh = set(out.new_cases)
    new_rows = [batch.row_of(every[id]) for id in sorted(fresh)]
    old_rows = [rows.changed(batch.row_of(every[id])) for id in sorted(set(out.changed) - fresh)]
    await batch.tx.update(tables.cases, ("id",), old_rows)
    out.due += [row["next_due_at"] for row in (*new_rows, *old_rows) if row["next_due_at"] is not None]
    return new_rows


async def _write_tasks(batch: Batch) -> None:
    """What is no longer needed is closed; `answer_task` marks the one a person answered. Counted as it came out."""
    tx, out = batch.tx, batch.out
    opened = await tx.insert(tables.tasks, out.tasks, on_conflict="nothing", returning=("kind",))
    out.counts += [("tasks_open", row["kind"], 1) for row in opened]
    if out.closed_tasks:
        sql = "UPDATE tasks SET status = 'closed', closed_at = :now WHERE status = 'open' AND {} RETURNING kind"
        wanted = {"now": to_micros(batch.now), "ids": sorted(out.closed_tasks)}
        closed = await tx.rows(sql.format(tx.any_of("id", "ids")), **wanted)
        out.counts += [("tasks_open", row["kind"], -1) for row in closed]


def _sums(counts: Iterable[tuple[str, str, int]]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for name, labels, delta in counts:
        sums[name, labels] = sums.get((name, labels), 0) + delta
    return sums
