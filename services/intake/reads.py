"""Reading the marketplaces: each account's source with its pace and breaker, and records compared with those kept."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.intake import deliveries, store, tables
from services.intake.deliveries import Delivery
from services.intake.settings import Settings
from services.intake.telling import Telling
from shared.accounts import AccountEntry, Config
from shared.clock import Clock, monotonic, to_micros
from shared.domain.facts import Source as FactSource
from shared.domain.facts import encode
from shared.http import Http
from shared.ports import Record, Source
from shared.store.session import Tx

RETRIES = tuple(timedelta(minutes=m) for m in (1, 5, 15, 30))
HOURLY = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(hours=24)
LEASE_MICROS = 60_000_000
PORTION = 20
"""Records compared and stored together: a report may bring thousands, and nothing else runs while some are compared."""
_FAULTS_TO_OPEN = 5
_OPEN_FOR = timedelta(minutes=1)
_SANDBOX_PACE = 50.0


def retry_gap(attempts: int) -> timedelta:
    """After the nth failure: 1, 5, 15, 30 minutes, then hourly."""
    return RETRIES[attempts - 1] if attempts <= len(RETRIES) else HOURLY


def portions(records: Sequence[Record]) -> list[tuple[Record, ...]]:
    """In their order; one that is empty where there are no records."""
    return [tuple(records[at : at + PORTION]) for at in range(0, len(records), PORTION)] or [()]


class Breaker:
    """Opens after 5 faults in a row, for a minute of the injected clock; then one more fault opens it again."""

    def __init__(self) -> None:
        self._faults = 0
        self.until: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        return self.until is not None and now < self.until

    def success(self) -> None:
        self._faults, self.until = 0, None

    def fault(self, now: datetime) -> None:
        self._faults += 1
        if self._faults >= _FAULTS_TO_OPEN:
            self.until = now + _OPEN_FOR


class Pace:
    """Spaces calls evenly in real time."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = 0.0

    async def wait(self) -> None:
        now = monotonic()
        turn = max(now, self._next)
        self._next = turn + self._gap
        if turn > now:
            await asyncio.sleep(turn - now)


@dataclass(slots=True)
class Reader:
    """One account's source as long as its configuration stays the same."""

    entry: AccountEntry
    source: Source
    pace: Pace
    breaker: Breaker = field(default_factory=Breaker)
    running: int = 0


class Readers:
    """By account; made when first needed, anew after a reload changed the account."""

    def __init__(self, config: Callable[[], Config], http: Http, clock: Clock, settings: Settings) -> None:
        self._config, self._http, self._clock, self._settings = config, http, clock, settings
        self._readers: dict[str, Reader] = {}

    def accounts(self) -> list[str]:
        """Those whose marketplace has a source."""
        config = self._config()
        return [id for id, e in config.accounts.items() if config.registry.sources(e.account.marketplace) is not None]

    def get(self, account: str) -> Reader | None:
        config = self._config()
        entry = config.accounts.get(account)
        make = config.registry.sources(entry.account.marketplace) if entry else None
        if entry is None or make is None:
            return None
        known = self._readers.get(account)
        if known is None or known.entry != entry:
            source = make(entry.account, config.secrets_for(account, "source"), self._http, self._clock)
            known = self._readers[account] = Reader(entry, source, Pace(self._per_second(entry)))
        return known

    def ready(self, now: datetime) -> list[str]:
        """Accounts that may be read now: breaker closed, not at their limit of reads at once."""
        limit = self._settings.reads_per_account
        found = [(account, self._readers.get(account)) for account in self.accounts()]
        return [a for a, r in found if r is None or not (r.breaker.is_open(now) or r.running >= limit)]

    def blocked_until(self, now: datetime) -> dict[str, datetime]:
        """Accounts whose breaker is open, and until when."""
        known = {a: r.breaker.until for a, r in self._readers.items() if r.breaker.is_open(now)}
        return {account: until for account, until in known.items() if until is not None}

    def _per_second(self, entry: AccountEntry) -> float:
        setting = entry.account.settings.get("messages_per_second")
        if setting:
            return float(setting)
        return _SANDBOX_PACE if entry.account.sandbox else self._settings.reads_per_second


@dataclass(slots=True)
class _Kept:
    """A reference's last record while a batch is compared with it."""

    version: int
    hash: str
    revision: int | None
    read_began_at: int
    body: str


class Comparer:
    """Records as read -> deliveries for what is new, in the caller's transaction."""

    def __init__(self, config: Callable[[], Config], partitions: int, telling: Telling) -> None:
        self._config = config
        self._partitions = partitions
        self._telling = telling

    async def take(
        self, tx: Tx, entry: AccountEntry, source: FactSource, records: Sequence[Record], began: datetime, now: datetime
    ) -> "Taken":
        """Stores what changed. After the commit: its rows to the relay, and `tell`."""
        account = entry.account
        kept = await _locked(tx, account.id, sorted({record.ref for record in records}))
        changed: dict[str, _Kept] = {}
        made: list[Delivery] = []
        stale = 0
        for record in records:
            before, hash_ = kept[record.ref], deliveries.record_hash(record)
            if before.version and hash_ == before.hash:
                continue
            if _is_older(record, before, began):
                stale += 1
                continue
            made.append(self._delivery(entry, source, record, before, hash_, now))
            after = _Kept(before.version + 1, hash_, record.revision, to_micros(began), encode(record.body).decode())
            kept[record.ref] = changed[record.ref] = after
        await tx.update(tables.records, ("account", "ref"), [_row(account.id, r, k) for r, k in changed.items()])
        stored = await store.put(tx, made, self._partitions)
        if stale:
            await store.count(tx, {(account.id, "stale_record"): stale})
        return Taken(stored.rows, list(zip(made, stored.outcomes, strict=True)), account.marketplace, stale)

    def tell(self, taken: "Taken") -> None:
        """Counts it, once it is committed."""
        for delivery, outcome in taken.stored:
            self._telling.stored(delivery, outcome)
        if taken.stale:
            self._telling.ended(taken.marketplace, "stale_record", taken.stale)

    def _delivery(
        self, entry: AccountEntry, source: FactSource, record: Record, before: _Kept, hash_: str, now: datetime
    ) -> Delivery:
        facet = self._config().registry.records(entry.account.marketplace)
        if facet is None:
            raise RuntimeError(f"{entry.account.marketplace} has a source but no records")
        previous: Mapping[str, Any] | None = msgspec.json.decode(before.body) if before.version else None
        raw = deliveries.record_raw(record, previous)
        body, _ = deliveries.record_of(raw)
        reading = deliveries.compare(facet, body, previous, entry.account, now)
        key = f"{record.ref}#{before.version + 1}:{hash_}"
        return deliveries.identified(entry.account, source, key, raw, now, reading)


@dataclass(slots=True)
class Taken:
    """What came of one reading: fact rows, each delivery with its outcome as stored, how many records were older."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    stored: list[tuple[Delivery, str]] = field(default_factory=list)
    marketplace: str = ""
    stale: int = 0


def _is_older(record: Record, before: _Kept, began: datetime) -> bool:
    """By the marketplace's own revision; where there is none, by which read began first."""
    if not before.version:
        return False
    if record.revision is not None and before.revision is not None:
        return record.revision < before.revision
    return to_micros(began) < before.read_began_at


async def _locked(tx: Tx, account: str, refs: Sequence[str]) -> dict[str, _Kept]:
    """The kept records of these references, locked; a reference seen first gets its row (version 0) to lock."""
    if not refs:
        return {}
    empty = _Kept(0, "", None, 0, "")
    await tx.insert(tables.records, [_row(account, ref, empty) for ref in refs], on_conflict="nothing")
    rows = await tx.rows(
        "SELECT ref, version, hash, revision, read_began_at, body FROM records "
        f"WHERE account = :account AND {tx.any_of('ref', 'refs')} ORDER BY ref{tx.locked()}",
        account=account,
        refs=list(refs),
    )
    return {r["ref"]: _Kept(r["version"], r["hash"], r["revision"], r["read_began_at"], r["body"]) for r in rows}


def _row(account: str, ref: str, kept: _Kept) -> dict[str, Any]:
    return {
        "account": account, "ref": ref, "version": kept.version, "hash": kept.hash, "revision": kept.revision,
        "read_began_at": kept.read_began_at, "body": kept.body,
    }  # fmt: skip
