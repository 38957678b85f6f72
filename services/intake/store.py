"""All SQL of intake's webhook path: deliveries with their bytes, facts and asks, in one transaction."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DataError, IntegrityError

from services.intake import tables
from services.intake.deliveries import Delivery, anchor, conflict
from shared import ids
from shared.clock import to_micros
from shared.domain.facts import Fact, encode
from shared.store.session import Led, Tx

FACT_TYPE = "amends.fact.v1"
Key = tuple[str, str]


@dataclass(slots=True)
class Stored:
    """`outcomes`: one per delivery, in order (`duplicate` and `conflict` for repeats). `rows`: facts to hand to the relay."""

    outcomes: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)


def refuses_rows(fault: BaseException) -> bool:
    """The database is there and says no to a value: the row is at fault, not the store."""
    if isinstance(fault, IntegrityError | DataError | OverflowError | ValueError):
        return True
    orig = getattr(fault, "orig", None)
    if str(getattr(orig, "sqlstate", None) or "")[:2] in {"22", "23"}:
        return True
    return isinstance(orig, ValueError) or isinstance(getattr(orig, "__cause__", None), ValueError)


async def put(tx: Tx, group: Sequence[Delivery], partitions: int) -> Stored:
    """Stores what is new; equal keys are folded, the same key with other content is kept as a conflict."""
    first: dict[Key, Delivery] = {}
    for delivery in group:
        first.setdefault((delivery.account, delivery.key), delivery)
    alone = all(delivery.outcome != "needs_fetch" for delivery in group)
    rows = await _insert(tx, first, partitions, alone=alone)
    hashes = await _kept_hashes(tx, [d for d in first.values() if d.id not in rows])
    outcomes = [
        _outcome(d, rows, hashes.get((d.account, d.key)) or first[d.account, d.key].content_hash) for d in group
    ]
    told = list(zip(group, outcomes, strict=True))
    if conflicts := [conflict(delivery) for delivery, outcome in told if outcome == "conflict"]:
        rows |= await _insert(tx, {(d.account, d.key): d for d in conflicts}, partitions)
    if asked := [_asked(d) for d in first.values() if d.outcome == "needs_fetch" and d.ref and d.id in rows]:
        await ask(tx, asked, group[0].received_at)
    await count(tx, Counter((d.account, "duplicate") for d, outcome in told if outcome == "duplicate"))
    return Stored(outcomes, [row for facts in rows.values() for row in facts])


async def _insert(
    tx: Tx, deliveries: Mapping[Key, Delivery], partitions: int, *, alone: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """Those that are new, with their bytes and facts: id -> rows of its facts. In one order, so that no two wait crosswise.

    `alone`: they may stay without what follows, since nobody has been answered and whoever comes again finds them.
    """
    ordered = [deliveries[key] for key in sorted(deliveries)]
    rows = {d.id: fact_rows(d, partitions) for d in ordered}
    led = (
        Led(tables.raw, "delivery_id", [_raw_row(d) for d in ordered]),
        Led(tables.facts, "delivery_id", [row for facts in rows.values() for row in facts]),
    )
    new = await tx.insert_led(tables.deliveries, [_delivery_row(d) for d in ordered], led, alone=alone)
    return {id_: facts for id_, facts in rows.items() if id_ in new}


def _outcome(delivery: Delivery, new: Container[str], kept_hash: str) -> str:
    if delivery.id in new:
        return delivery.outcome
    return "duplicate" if delivery.content_hash == kept_hash else "conflict"


async def _kept_hashes(tx: Tx, known: Sequence[Delivery]) -> dict[Key, str]:
    if not known:
        return {}
    rows = await tx.rows(
        "SELECT account, dedupe_key, content_hash FROM deliveries "
        f"WHERE {tx.any_of('account', 'accounts')} AND {tx.any_of('dedupe_key', 'keys')}",
        accounts=sorted({d.account for d in known}),
        keys=sorted({d.key for d in known}),
    )
    return {(row["account"], row["dedupe_key"]): row["content_hash"] for row in rows}


def fact_rows(delivery: Delivery, partitions: int) -> list[dict[str, Any]]:
    return [fact_row(fact, delivery.id, delivery.received_at, partitions) for fact in delivery.facts]


def fact_row(fact: Fact, delivery_id: str, now: datetime, partitions: int) -> dict[str, Any]:
    subject = anchor(fact)
    return {
        "account": fact.account, "id": fact.id, "delivery_id": delivery_id, "type": FACT_TYPE,
        "partition": ids.partition_of(fact.account, subject, partitions), "subject": f"{fact.account}/{subject}",
        "body": encode(fact).decode(), "created_at": to_micros(now),
    }  # fmt: skip


def _delivery_row(delivery: Delivery) -> dict[str, Any]:
    return {
        "account": delivery.account, "id": delivery.id, "dedupe_key": delivery.key,
        "marketplace": delivery.marketplace, "source": delivery.source, "received_at": to_micros(delivery.received_at),
        "outcome": delivery.outcome, "content_hash": delivery.content_hash, "code": delivery.code,
        "why": delivery.why, "ref": delivery.ref, "facts": len(delivery.facts),
    }  # fmt: skip


def _raw_row(delivery: Delivery) -> dict[str, Any]:
    raw = delivery.raw
    return {
        "account": delivery.account, "delivery_id": delivery.id, "method": raw.method, "query": raw.query,
        "headers": encode(raw.headers).decode(), "body": raw.body, "received_at": to_micros(delivery.received_at),
    }  # fmt: skip


def _asked(delivery: Delivery) -> "Ask":
    order_id = next((fact.order_id for fact in delivery.facts if fact.order_id), None)
    return Ask(delivery.account, delivery.ref or "", order_id)


@dataclass(frozen=True, slots=True)
class Ask:
    account: str
    ref: str
    order_id: str | None = None


_ASK = (
    "INSERT INTO fetches (account, ref, order_id, wanted, done, attempts, first_wanted_at, next_at, lease_until) "
    "VALUES (:account, :ref, :order_id, 1, 0, 0, :now, :now, 0) ON CONFLICT (account, ref) DO UPDATE SET "
    "wanted = fetches.wanted + 1, next_at = CASE WHEN fetches.next_at > :now THEN :now ELSE fetches.next_at END, "
    "first_wanted_at = CASE WHEN fetches.done = fetches.wanted THEN :now ELSE fetches.first_wanted_at END, "
    "order_id = coalesce(fetches.order_id, excluded.order_id)"
)


async def ask(tx: Tx, asks: Sequence[Ask], now: datetime | None) -> None:
    """Raises `wanted` once per reference; in one order, so that two askers never wait for each other."""
    for one in sorted({(a.account, a.ref): a for a in asks}.values(), key=lambda a: (a.account, a.ref)):
        await tx.run(_ASK, account=one.account, ref=one.ref, order_id=one.order_id, now=to_micros(now) if now else 0)


_COUNT = (
    "INSERT INTO counters (account, name, value) VALUES (:account, :name, :by) "
    "ON CONFLICT (account, name) DO UPDATE SET value = counters.value + :by"
)


async def count(tx: Tx, counts: Mapping[tuple[str, str], int]) -> None:
    for (account, name), by in sorted(counts.items()):
        await tx.run(_COUNT, account=account, name=name, by=by)
