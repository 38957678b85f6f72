"""Fetches: one row per reference that was asked for, one read of it at a time, until what was wanted has been read."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from services.intake import deliveries, reads, store
from services.intake.handlers import HandOver
from services.intake.reads import Comparer, Reader, Readers
from services.intake.settings import Settings
from services.intake.telling import Telling, log
from shared import crashpoints
from shared.clock import Clock, from_micros, to_micros
from shared.http import HttpFault
from shared.ports import NotYetThere, Record
from shared.store.session import Database, Tx, repeating

_CLAIMED = 5
_OPEN = "done < wanted"


@dataclass(frozen=True, slots=True)
class _Claim:
    account: str
    ref: str
    order_id: str | None
    wanted: int
    attempts: int
    first_wanted_at: datetime
    owner: str


class Fetches:
    """Leases are on the database's time, retries on the injected clock. `owner` names this process's worker."""

    def __init__(
        self, database: Database, readers: Readers, comparer: Comparer, relay: HandOver, clock: Clock,
        settings: Settings, telling: Telling, partitions: int, owner: str,
    ) -> None:  # fmt: skip
        self._database, self._readers, self._comparer, self._relay = database, readers, comparer, relay
        self._clock, self._settings, self._partitions, self._owner = clock, settings, partitions, owner
        self._telling = telling
        self._claims = 0
        self._running: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> set[asyncio.Task[None]]:
        return self._running

    async def round(self) -> bool:
        """Starts what is due and fits; answers whether there was anything."""
        free = self._settings.reads_at_once - len(self._running)
        accounts = self._readers.ready(self._clock.now())
        if free <= 0 or not accounts:
            return False
        claims = await self._claim(accounts, min(free, _CLAIMED))
        for claim in claims:
            task = asyncio.create_task(self._one(claim))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return bool(claims)

    async def release_all(self) -> None:
        """Leases of a process that is gone; only where there can be no other (one process, SQLite)."""
        async with self._database.transaction() as tx:
            await tx.run("UPDATE fetches SET owner = NULL, lease_until = 0 WHERE lease_until > 0")

    async def due(self) -> bool:
        """Some reference is to be read now, or is being read (here or by another replica)."""
        now = self._clock.now()
        blocked = self._readers.blocked_until(now)
        accounts = [a for a in self._readers.accounts() if a not in blocked]
        async with self._database.reading() as tx:
            sql = f"SELECT 1 FROM fetches WHERE {_OPEN} AND next_at <= :now AND {tx.any_of('account', 'accounts')} LIMIT 1"
            return await tx.row(sql, now=to_micros(now), accounts=accounts) is not None

    async def next_due(self) -> datetime | None:
        """The next retry ahead; an account whose breaker is open waits for that."""
        now = self._clock.now()
        blocked = self._readers.blocked_until(now)
        async with self._database.reading() as tx:
            rows = await tx.rows(
                f"SELECT account, min(next_at) AS at FROM fetches WHERE {_OPEN} AND {tx.any_of('account', 'accounts')} "
                "GROUP BY account",
                accounts=self._readers.accounts(),
            )
        moments = [max(from_micros(row["at"]), blocked.get(row["account"], now)) for row in rows]
        return min((moment for moment in moments if moment > now), default=None)

    async def _claim(self, accounts: list[str], limit: int) -> list[_Claim]:
        self._claims += 1
        owner = f"{self._owner}:{self._claims}"
        async with self._database.transaction() as tx:
            rows = await tx.rows(
                f"UPDATE fetches SET owner = :owner, lease_until = {tx.micros_now()} + {reads.LEASE_MICROS} "
                "WHERE (account, ref) IN (SELECT account, ref FROM fetches "
                f"WHERE {_OPEN} AND next_at <= :now AND lease_until < {tx.micros_now()} "
                f"AND {tx.any_of('account', 'accounts')} ORDER BY next_at LIMIT {limit}{tx.locked(skip=True)}) "
                "RETURNING account, ref, order_id, wanted, attempts, first_wanted_at",
                owner=owner, now=to_micros(self._clock.now()), accounts=accounts,
            )  # fmt: skip
        return [_claim(row, owner) for row in rows]

    async def _one(self, claim: _Claim) -> None:
        """Never raises: what goes wrong is a retry, a lease that runs out at worst."""
        try:
            reader = self._readers.get(claim.account)
            if reader is not None:
                await self._read(claim, reader)
        except Exception:
            log.exception("fetch_failed", account=claim.account)

    async def _read(self, claim: _Claim, reader: Reader) -> None:
        reader.running += 1
        began = self._clock.now()
        crashpoints.hit("intake.fetch_claimed")
        try:
            await reader.pace.wait()
            async with asyncio.timeout(self._settings.read_timeout):
                records = list(await reader.source.fetch(claim.ref))
        except NotYetThere as fault:
            reader.breaker.success()
            await self._again(claim, f"not yet there: {fault}"[:200], None)
        except Exception as fault:
            reader.breaker.fault(self._clock.now())
            if not isinstance(fault, HttpFault | TimeoutError):
                log.exception("source_failed", account=claim.account)
            why = fault.why if isinstance(fault, HttpFault) else type(fault).__name__
            await self._again(claim, why, getattr(fault, "retry_after", None))
        else:
            reader.breaker.success()
            crashpoints.hit("intake.read")
            await self._keep(claim, reader, records, began)
        finally:
            reader.running -= 1

    async def _keep(self, claim: _Claim, reader: Reader, records: Sequence[Record], began: datetime) -> None:
        """Portion by portion; with the last one the reference is done. What is read again for that leaves no trace."""
        portions = reads.portions(records)
        for nth, portion in enumerate(portions, 1):
            taken = await repeating(partial(self._portion, claim, reader, portion, began, last=nth == len(portions)))
            if taken is None:
                return
            crashpoints.hit("intake.fetched")
            self._comparer.tell(taken)
            self._relay.hand_over(taken.rows)

    async def _portion(
        self, claim: _Claim, reader: Reader, records: Sequence[Record], began: datetime, *, last: bool
    ) -> reads.Taken | None:
        """None: another has the reference now."""
        now = self._clock.now()
        async with self._database.transaction() as tx:
            if not await (_finish(tx, claim, now) if last else _stay(tx, claim)):
                return None
            return await self._comparer.take(tx, reader.entry, "fetch", records, began, now)

    async def _again(self, claim: _Claim, why: str, retry_after: float | None) -> None:
        now, attempts = self._clock.now(), claim.attempts + 1
        if now - claim.first_wanted_at >= reads.GIVE_UP_AFTER:
            self._relay.hand_over(await self._give_up(claim, why, now))
            return
        latest = claim.first_wanted_at + reads.GIVE_UP_AFTER
        gap = max(reads.retry_gap(attempts).total_seconds(), retry_after or 0.0)
        next_at = min(to_micros(now) + int(gap * 1e6), max(to_micros(latest), to_micros(now) + 60_000_000))
        async with self._database.transaction() as tx:
            await _release(tx, claim, done=None, attempts=attempts, next_at=next_at, why=why)

    async def _give_up(self, claim: _Claim, why: str, now: datetime) -> list[dict[str, Any]]:
        """After 24 h policy is told, so that a person looks; asking again starts anew."""
        reader = self._readers.get(claim.account)
        if reader is None:
            return []
        account = reader.entry.account
        notice = deliveries.gave_up(account, claim.ref, claim.order_id, claim.first_wanted_at, why, now)
        async with self._database.transaction() as tx:
            if not await _release(tx, claim, done=claim.wanted, attempts=0, next_at=to_micros(now), why=why):
                return []
            stored = await store.put(tx, [notice], self._partitions)
        self._telling.stored(notice, stored.outcomes[0])
        return stored.rows


def _claim(row: Mapping[Any, Any], owner: str) -> _Claim:
    return _Claim(
        row["account"], row["ref"], row["order_id"], row["wanted"], row["attempts"],
        from_micros(row["first_wanted_at"]), owner,
    )  # fmt: skip


async def _finish(tx: Tx, claim: _Claim, now: datetime) -> bool:
    return await _release(tx, claim, done=claim.wanted, attempts=0, next_at=to_micros(now), why=None)


async def _stay(tx: Tx, claim: _Claim) -> bool:
    """Goes on with what was read; False when the lease ran out and another has it."""
    touched = await tx.run(
        f"UPDATE fetches SET lease_until = {tx.micros_now()} + {reads.LEASE_MICROS} "
        "WHERE account = :account AND ref = :ref AND owner = :owner",
        account=claim.account, ref=claim.ref, owner=claim.owner,
    )  # fmt: skip
    return touched == 1


async def _release(tx: Tx, claim: _Claim, *, done: int | None, attempts: int, next_at: int, why: str | None) -> bool:
    """Ends the claim; False when the lease ran out and another has it: then nothing of ours may be kept.

    A new ask during the read has raised `wanted` and set `next_at` to its own moment: it stays due.
    """
    touched = await tx.run(
        "UPDATE fetches SET owner = NULL, lease_until = 0, attempts = :attempts, why = :why, "
        "done = coalesce(CAST(:done AS integer), done), "
        "first_wanted_at = CASE WHEN CAST(:done AS integer) IS NULL THEN first_wanted_at ELSE :next_at END, "
        "next_at = CASE WHEN wanted > :wanted THEN next_at ELSE :next_at END "
        "WHERE account = :account AND ref = :ref AND owner = :owner",
        attempts=attempts, why=why, done=done, next_at=next_at, wanted=claim.wanted,
        account=claim.account, ref=claim.ref, owner=claim.owner,
    )  # fmt: skip
    return touched == 1
