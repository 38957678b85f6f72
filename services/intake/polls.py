"""Polls: what is not pushed is read page by page; the cursor is kept between pages, so a poll resumes where it stood."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.intake import reads, store
from services.intake.handlers import HandOver
from services.intake.reach import Ways
from services.intake.reads import Comparer, Reader, Readers
from services.intake.settings import Settings
from services.intake.store import Ask
from services.intake.telling import log
from shared.clock import Clock, from_micros, to_micros
from shared.domain.facts import encode
from shared.durations import parse_duration
from shared.http import HttpFault
from shared.ports import NotYetThere, Page
from shared.store.session import Database, Tx, repeating

_CLAIMED = 5


@dataclass(frozen=True, slots=True)
class _Claim:
    """`began`: when the whole poll this page belongs to began; `since`: when the last whole one did."""

    account: str
    cursor: Mapping[str, Any] | None
    since: datetime | None
    began: datetime
    attempts: int
    owner: str


class Polls:
    def __init__(
        self, database: Database, readers: Readers, comparer: Comparer, relay: HandOver, clock: Clock,
        settings: Settings, owner: str,
    ) -> None:  # fmt: skip
        self._database, self._readers, self._comparer, self._relay = database, readers, comparer, relay
        self._clock, self._settings, self._owner = clock, settings, owner
        self.ways = Ways()
        self._claims = 0
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def begin(self) -> None:
        """Each source is polled once at start; an account seen first gets its row."""
        await self.ask(self._readers.accounts())
        if not self._database.postgres:
            async with self._database.transaction() as tx:
                await tx.run("UPDATE polls SET owner = NULL, lease_until = 0 WHERE lease_until > 0")

    async def begin_new(self) -> None:
        """After a reload: sources that were never polled are polled now, the others when they are due."""
        async with self._database.reading() as tx:
            known = {row["account"] for row in await tx.rows("SELECT account FROM polls")}
        await self.ask([account for account in self._readers.accounts() if account not in known])

    async def ask(self, accounts: Sequence[str]) -> None:
        """Polls these accounts now."""
        async with self._database.transaction() as tx:
            for account in sorted(accounts):
                await tx.run(
                    "INSERT INTO polls (account, next_at, attempts, lease_until) VALUES (:account, :now, 0, 0) "
                    "ON CONFLICT (account) DO UPDATE SET next_at = :now",
                    account=account, now=to_micros(self._clock.now()),
                )  # fmt: skip

    async def round(self) -> bool:
        """Starts what is due; answers whether there was anything."""
        accounts = self._readers.ready(self._clock.now())
        if not accounts or self._stopping:
            return False
        claims = await self._claim(accounts)
        for claim in claims:
            task = asyncio.create_task(self._one(claim))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return bool(claims)

    @property
    def running(self) -> set[asyncio.Task[None]]:
        return self._running

    def stop(self) -> None:
        """Pages under way are finished, further ones left for later."""
        self._stopping = True

    async def due(self) -> bool:
        """An account is to be polled now, or is being polled."""
        now = self._clock.now()
        blocked = self._readers.blocked_until(now)
        accounts = [a for a in self._readers.accounts() if a not in blocked]
        async with self._database.reading() as tx:
            mine = tx.any_of("account", "accounts")
            sql = f"SELECT 1 FROM polls WHERE next_at <= :now AND {mine} LIMIT 1"
            return await tx.row(sql, now=to_micros(now), accounts=accounts) is not None

    async def _claim(self, accounts: Sequence[str]) -> list[_Claim]:
        self._claims += 1
        owner, now = f"{self._owner}:{self._claims}", to_micros(self._clock.now())
        async with self._database.transaction() as tx:
            rows = await tx.rows(
                f"UPDATE polls SET owner = :owner, lease_until = {tx.micros_now()} + {reads.LEASE_MICROS}, "
                "began_at = coalesce(began_at, :now) WHERE account IN (SELECT account FROM polls "
                f"WHERE next_at <= :now AND lease_until < {tx.micros_now()} AND {tx.any_of('account', 'accounts')} "
                f"ORDER BY next_at LIMIT {_CLAIMED}{tx.locked(skip=True)}) "
                "RETURNING account, cursor, since, began_at, attempts",
                owner=owner, now=now, accounts=list(accounts),
            )  # fmt: skip
        return [_claim(row, owner) for row in rows]

    async def _one(self, claim: _Claim) -> None:
        """Page after page until the source says it is done. Never raises."""
        reader = self._readers.get(claim.account)
        if reader is None:
            return
        reader.running += 1
        page_of: _Claim | None = claim
        try:
            while page_of is not None and not self._stopping:
                page_of = await self._page(page_of, reader)
            if page_of is not None:
                await self._end(page_of, next_at=self._clock.now(), attempts=0, why=None)
        except Exception:
            log.exception("poll_failed", account=claim.account)
        finally:
            reader.running -= 1

    async def _page(self, claim: _Claim, reader: Reader) -> _Claim | None:
        """One page, read and committed with its cursor; the claim of the next page, None when there is none."""
        began = self._clock.now()
        try:
            await reader.pace.wait()
            async with asyncio.timeout(self._settings.read_timeout):
                page = await reader.source.poll(claim.cursor, claim.since)
        except Exception as fault:
            await self._again(claim, reader, fault)
            return None
        reader.breaker.success()
        self.ways.read(claim.account, page, began, first=claim.cursor is None)
        *portions, last = reads.portions(page.records)
        for portion in portions:
            if not await self._kept(claim, reader, Page(portion), began, whole=False):
                return None
        if not await self._kept(claim, reader, replace(page, records=last), began, whole=True) or page.cursor is None:
            return None
        return _Claim(claim.account, page.cursor, claim.since, claim.began, 0, claim.owner)

    async def _kept(self, claim: _Claim, reader: Reader, page: Page, began: datetime, *, whole: bool) -> bool:
        """One portion of a page; with the last one (`whole`) the poll moves on. What is read again for that leaves no trace."""
        kept, taken = await repeating(lambda: self._keep(claim, reader, page, began, whole))
        self._comparer.tell(taken)
        self._relay.hand_over(taken.rows)
        return kept

    async def _keep(
        self, claim: _Claim, reader: Reader, page: Page, began: datetime, whole: bool
    ) -> tuple[bool, reads.Taken]:
        now = self._clock.now()
        async with self._database.transaction() as tx:
            if not await (self._move_on(tx, claim, reader, page) if whole else self._stay(tx, claim)):
                return False, reads.Taken()
            taken = await self._comparer.take(tx, reader.entry, "poll", page.records, began, now)
            await store.ask(tx, [Ask(claim.account, ref) for ref in page.refs], now)
        return True, taken

    async def _stay(self, tx: Tx, claim: _Claim) -> bool:
        """Goes on with the page; False when another has taken the poll over meanwhile."""
        touched = await tx.run(
            f"UPDATE polls SET lease_until = {tx.micros_now()} + {reads.LEASE_MICROS} "
            "WHERE account = :account AND owner = :owner",
            account=claim.account, owner=claim.owner,
        )  # fmt: skip
        return touched == 1

    async def _move_on(self, tx: Tx, claim: _Claim, reader: Reader, page: Page) -> bool:
        """Keeps the cursor, or ends the poll; False when another has taken it over meanwhile."""
        if page.cursor is not None:
            touched = await tx.run(
                f"UPDATE polls SET cursor = :cursor, attempts = 0, lease_until = {tx.micros_now()} + {reads.LEASE_MICROS} "
                "WHERE account = :account AND owner = :owner",
                cursor=encode(page.cursor).decode(), account=claim.account, owner=claim.owner,
            )  # fmt: skip
            return touched == 1
        every = parse_duration(reader.entry.account.poll_every)
        touched = await tx.run(
            "UPDATE polls SET cursor = NULL, since = began_at, began_at = NULL, owner = NULL, lease_until = 0, "
            "attempts = 0, why = NULL, next_at = :next_at WHERE account = :account AND owner = :owner",
            next_at=to_micros(max(claim.began + every, self._clock.now())),
            account=claim.account, owner=claim.owner,
        )  # fmt: skip
        return touched == 1

    async def _again(self, claim: _Claim, reader: Reader, fault: Exception) -> None:
        """The cursor stays: the same page is asked for again."""
        if isinstance(fault, NotYetThere):
            reader.breaker.success()
        else:
            reader.breaker.fault(self._clock.now())
        if not isinstance(fault, HttpFault | TimeoutError | NotYetThere):
            log.exception("source_failed", account=claim.account)
        attempts = claim.attempts + 1
        gap = min(reads.retry_gap(attempts), max(parse_duration(reader.entry.account.poll_every), timedelta(minutes=1)))
        after = timedelta(seconds=getattr(fault, "retry_after", None) or 0.0)
        why = fault.why if isinstance(fault, HttpFault) else type(fault).__name__
        log.warning("poll_put_off", account=claim.account, why=why, attempts=attempts)
        await self._end(claim, next_at=self._clock.now() + max(gap, after), attempts=attempts, why=why)

    async def _end(self, claim: _Claim, *, next_at: datetime, attempts: int, why: str | None) -> None:
        async with self._database.transaction() as tx:
            await tx.run(
                "UPDATE polls SET owner = NULL, lease_until = 0, attempts = :attempts, why = :why, next_at = :next_at "
                "WHERE account = :account AND owner = :owner",
                attempts=attempts, why=why, next_at=to_micros(next_at), account=claim.account, owner=claim.owner,
            )  # fmt: skip


def _claim(row: Mapping[Any, Any], owner: str) -> _Claim:
    cursor = msgspec.json.decode(row["cursor"]) if row["cursor"] else None
    since = from_micros(row["since"]) if row["since"] is not None else None
    return _Claim(row["account"], cursor, since, from_micros(row["began_at"]), row["attempts"], owner)
