"""Kept deliveries listed and read once more after a mend. Facts that were already published keep their ids."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from services.intake import deliveries, store, tables
from services.intake.deliveries import Delivery, Raw, Reading
from services.intake.handlers import HandOver
from services.intake.store import Ask
from services.intake.telling import Telling
from shared.accounts import AccountEntry, Config
from shared.clock import Clock, from_micros, to_micros
from shared.ports import Inbound
from shared.store.session import Database, Tx, repeating

_BATCH = 200
_COLUMNS = "account, id, marketplace, source, received_at, outcome, code, why, ref, facts, replayed_at"
_WITH_RAW = (
    "SELECT d.account, d.id, d.dedupe_key, d.marketplace, d.source, d.received_at, d.outcome, d.content_hash, d.code, "
    "d.why, d.ref, r.method, r.query, r.headers, r.body FROM deliveries d "
    "LEFT JOIN raw r ON r.account = d.account AND r.delivery_id = d.id"
)
Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which deliveries: these ids, or all of an outcome, of an account, received since then."""

    ids: tuple[str, ...] = ()
    outcome: str | None = None
    account: str | None = None
    since: datetime | None = None

    def where(self, tx: Tx, prefix: str = "") -> tuple[str, dict[str, Any]]:
        parts, params = ["1 = 1"], dict[str, Any]()
        if self.ids:
            parts.append(tx.any_of(f"{prefix}id", "ids"))
            params["ids"] = list(self.ids)
        for name in ("outcome", "account"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{prefix}{name} = :{name}")
                params[name] = value
        if self.since is not None:
            parts.append(f"{prefix}received_at >= :since")
            params["since"] = to_micros(self.since)
        return " AND ".join(parts), params


@dataclass(slots=True)
class Replayed:
    """`left`: why some were passed over, by delivery id."""

    replayed: int = 0
    facts: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    last: Place | None
    again: list[Delivery] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    added: set[str] = field(default_factory=set)
    """Ids of the facts that were not there before."""


class Replay:
    def __init__(
        self, database: Database, config: Callable[[], Config], relay: HandOver, clock: Clock, telling: Telling,
        partitions: int,
    ) -> None:  # fmt: skip
        self._database, self._config, self._relay = database, config, relay
        self._clock, self._telling, self._partitions = clock, telling, partitions

    async def listed(self, choice: Choice, after: Place | None, limit: int) -> list[dict[str, Any]]:
        """Newest first; `after` is (received_at, id) of the last one seen."""
        async with self._database.reading() as tx:
            where, params = choice.where(tx)
            if after is not None:
                where += " AND (received_at, id) < (:at, :after)"
                params |= {"at": after[0], "after": after[1]}
            rows = await tx.rows(
                f"SELECT {_COLUMNS} FROM deliveries WHERE {where} ORDER BY received_at DESC, id DESC LIMIT {int(limit)}",
                **params,
            )
        return [dict(row) for row in rows]

    async def waiting(
        self, outcomes: Sequence[str], account: str | None, accounts: frozenset[str] | None, after: Place, limit: int
    ) -> list[dict[str, Any]]:
        """Those of these outcomes, oldest first. `accounts`: only theirs (None: all)."""
        async with self._database.reading() as tx:
            where, params = Choice(account=account).where(tx)
            where += f" AND {tx.any_of('outcome', 'outcomes')} AND (received_at, id) > (:at, :after)"
            params |= {"outcomes": list(outcomes), "at": after[0], "after": after[1]}
            if accounts is not None:
                where += f" AND {tx.any_of('account', 'accounts')}"
                params["accounts"] = sorted(accounts)
            rows = await tx.rows(
                f"SELECT {_COLUMNS} FROM deliveries WHERE {where} ORDER BY received_at, id LIMIT {int(limit)}", **params
            )
        return [dict(row) for row in rows]

    async def one(self, delivery_id: str) -> dict[str, Any] | None:
        """A delivery with what is kept of it word for word (`raw`, None after 30 days)."""
        async with self._database.reading() as tx:
            row = await tx.row(f"SELECT {_COLUMNS} FROM deliveries WHERE id = :id", id=delivery_id)
            if row is None:
                return None
            raw = await tx.row(
                "SELECT method, query, headers, body FROM raw WHERE account = :account AND delivery_id = :id",
                account=row["account"], id=delivery_id,
            )  # fmt: skip
        if raw is None:
            return {**row, "raw": None}
        kept = {"method": raw["method"], "query": raw["query"], "headers": msgspec.json.decode(raw["headers"])}
        return {**row, "raw": kept | {"body_base64": b64encode(raw["body"]).decode()}}

    async def run(self, choice: Choice) -> Replayed:
        """In batches, oldest first, each one transaction."""
        done, after, seen = Replayed(), (-1, ""), set[str]()
        while True:
            batch = await repeating(partial(self._batch, choice, after))
            self._relay.hand_over(batch.published)
            self._tally(batch, done)
            if batch.last is None:
                done.left |= dict.fromkeys(set(choice.ids) - done.left.keys() - seen, "no such delivery")
                return done
            seen |= {delivery.id for delivery in batch.again}
            after = batch.last

    async def _batch(self, choice: Choice, after: Place) -> "_Batch":
        async with self._database.transaction() as tx:
            where, params = choice.where(tx, "d.")
            rows = await tx.rows(
                f"{_WITH_RAW} WHERE {where} AND (d.received_at, d.id) > (:at, :after) "
                f"ORDER BY d.received_at, d.id LIMIT {_BATCH}",
                at=after[0], after=after[1], **params,
            )  # fmt: skip
            batch = _Batch(last=(rows[-1]["received_at"], rows[-1]["id"]) if rows else None)
            for row in rows:
                self._again(row, batch)
            await self._apply(tx, batch)
        return batch

    def _again(self, row: Mapping[Any, Any], batch: "_Batch") -> None:
        """The delivery as it reads now, or why it cannot be read again."""
        entry = self._config().accounts.get(row["account"])
        if row["outcome"] == "conflict":
            batch.left[row["id"]] = "a conflict is never applied"
        elif entry is None:
            batch.left[row["id"]] = "its account is not configured"
        elif row["body"] is None:
            batch.left[row["id"]] = "its bytes are no longer kept"
        else:
            batch.again.append(_reread(row, entry, self._config()))

    async def _apply(self, tx: Tx, batch: "_Batch") -> None:
        rows = [row for delivery in batch.again for row in store.fact_rows(delivery, self._partitions)]
        batch.added = {
            row["id"] for row in await tx.insert(tables.facts, rows, on_conflict="nothing", returning=("id",))
        }
        by_account: dict[str, list[str]] = {}
        for row in rows:
            by_account.setdefault(row["account"], []).append(row["id"])
        for account, ids in by_account.items():
            sql = f"UPDATE facts SET published_at = NULL WHERE account = :account AND {tx.any_of('id', 'ids')}"
            await tx.run(sql, account=account, ids=ids)
        await tx.update(tables.deliveries, ("account", "id"), [self._row(delivery) for delivery in batch.again])
        asks = [Ask(d.account, d.ref) for d in batch.again if d.ref and _asks(d)]
        await store.ask(tx, asks, self._clock.now())
        batch.published = rows

    def _tally(self, batch: "_Batch", done: Replayed) -> None:
        done.left |= batch.left
        for delivery in batch.again:
            done.replayed += 1
            done.facts += len(delivery.facts)
            done.outcomes[delivery.outcome] = done.outcomes.get(delivery.outcome, 0) + 1
            self._telling.ended(delivery.marketplace, "replayed")
            self._telling.facts(fact for fact in delivery.facts if fact.id in batch.added)

    def _row(self, delivery: Delivery) -> dict[str, Any]:
        return {
            "account": delivery.account, "id": delivery.id, "outcome": delivery.outcome, "code": delivery.code,
            "why": delivery.why, "ref": delivery.ref, "facts": len(delivery.facts),
            "replayed_at": to_micros(self._clock.now()),
        }  # fmt: skip


def _asks(delivery: Delivery) -> bool:
    """A doorbell, or a fetch that was given up: the reference is read anew."""
    return delivery.outcome == "needs_fetch" or delivery.code == deliveries.GAVE_UP


def _reread(row: Mapping[Any, Any], entry: AccountEntry, config: Config) -> Delivery:
    raw = Raw(bytes(row["body"]), msgspec.json.decode(row["headers"]), row["method"], row["query"])
    reading = _reading(row, raw, entry, config)
    received = from_micros(row["received_at"])
    try:
        facts = deliveries.facts_of(entry.account, row["source"], row["dedupe_key"], received, reading.drafts)
    except ValueError as fault:
        reading, facts = Reading("failed", ref=reading.ref, code="bad_draft", why=str(fault)[:300]), ()
    return Delivery(
        id=row["id"], account=row["account"], marketplace=row["marketplace"], source=row["source"],
        key=row["dedupe_key"], content_hash=row["content_hash"], received_at=received, raw=raw,
        outcome=reading.outcome, facts=facts, ref=reading.ref, code=reading.code, why=reading.why,
    )  # fmt: skip


def _reading(row: Mapping[Any, Any], raw: Raw, entry: AccountEntry, config: Config) -> Reading:
    marketplace, received = entry.account.marketplace, from_micros(row["received_at"])
    if row["code"] == deliveries.GAVE_UP:
        return Reading("failed", ref=row["ref"], code=deliveries.GAVE_UP, why=row["why"])
    if row["source"] == "push":
        webhook = config.registry.webhooks(marketplace)
        inbound = Inbound(raw.body, raw.headers, raw.query, raw.method)
        return deliveries.parse(webhook, inbound, entry.account) if webhook else Reading("failed", code="no_facet")
    records = config.registry.records(marketplace)
    if records is None:
        return Reading("failed", code="no_facet")
    record, previous = deliveries.record_of(raw)
    return deliveries.compare(records, record, previous, entry.account, received)
