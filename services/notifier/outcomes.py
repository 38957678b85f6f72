"""What became of the calls: all that have ended since the last time, recorded in one transaction.

Nothing that was called is forgotten: what cannot be recorded together is recorded one by one, what cannot be recorded as
it is goes on as a doubt, and while the database is away all of it waits, and keeps its places on the lines.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

from services.notifier import protocol, store
from services.notifier.breaker import Breaker
from services.notifier.claims import Work
from services.notifier.ledger import Ledger, Row, errand_of, life_of
from services.notifier.lines import Lines
from services.notifier.protocol import Ability, Next
from shared import crashpoints
from shared.clock import Clock, pause, to_micros
from shared.logs import get_logger
from shared.ports import Assisted, Attempt, Done, Found, InDoubt, NotSent, Refused
from shared.store.session import Database, Tx, is_transient, repeating

_PAUSE = 0.5
_log = get_logger("outcomes")


class Outcomes:
    """`done(ledger)` is called after each commit, `freed(works)` once their places can be left."""

    def __init__(
        self,
        database: Database,
        lines: Lines,
        clock: Clock,
        partitions: int,
        done: Callable[[Ledger], None],
        freed: Callable[[Sequence[Work]], None],
    ) -> None:
        self._database, self._lines, self._clock, self._partitions = database, lines, clock, partitions
        self._done, self._freed = done, freed
        self._ended: list[Work] = []
        self._more, self._stop = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._stop.clear()
        self._loop = asyncio.create_task(self._run(), name="notifier outcomes")

    async def stop(self) -> None:
        """No call is under way any more: what has ended is recorded, or tried once where the database is away."""
        self._stop.set()
        self._more.set()
        if self._loop is not None:
            await self._loop
            self._loop = None

    def add(self, work: Work) -> None:
        self._ended.append(work)
        self._more.set()

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            works, self._ended = self._ended, []
            try:
                while works and not await self._recorded(works) and not await pause(_PAUSE, self._stop):
                    pass
            finally:
                self._freed(works)
            if self._stop.is_set() and not self._ended:
                return

    async def _recorded(self, works: Sequence[Work]) -> bool:
        """False: the database is away, none of them may have been recorded."""
        fault = await self._tried(works)
        if fault is None or len(works) == 1:
            return fault is None or await self._put_in_doubt(works[0], fault)
        if is_transient(fault):
            return False
        return all([await self._recorded([work]) for work in works])

    async def _put_in_doubt(self, work: Work, fault: Exception) -> bool:
        """The outcome itself cannot be stored: it is taken for unknown, and goes the way of all that is unknown."""
        if is_transient(fault):
            return False
        why = f"what came of it cannot be recorded: {type(fault).__name__}"
        _log.error("outcome_not_recorded", account=work.key[0], errand_id=work.key[1], fault=type(fault).__name__)
        work.result = why if work.do == "look" else InDoubt(why) if work.called else NotSent(why)
        return await self._tried([work]) is None

    async def _tried(self, works: Sequence[Work]) -> Exception | None:
        try:
            ledger = await repeating(lambda: self._record(works))
        except Exception as fault:
            _log.error("outcomes_not_recorded", count=len(works), fault=type(fault).__name__)
            return fault
        crashpoints.hit("notifier.recorded")
        self._done(ledger)
        return None

    async def _record(self, works: Sequence[Work]) -> Ledger:
        ledger = Ledger(self._partitions, self._clock.now())
        async with self._database.transaction() as tx:
            standing = await store.standing(tx, [work.key for work in works])
            ours, rows, attempts = [], [], []
            for work in works:
                fence, withdrawn = standing.get(work.key, (None, None))
                if fence != work.row["fence"]:
                    continue
                row = {**work.row, "withdrawn": withdrawn}
                next_ = self._follows(row, work, ledger.now)
                ledger.apply(row, next_)
                ours.append(work)
                rows.append(row)
                if work.do == "send":
                    attempts.append(_ended_row(row, next_, ledger.now))
            await store.end_attempts(tx, attempts)
            await store.save_outcomes(tx, rows)
            await store.release_held(tx, ledger.freed, to_micros(ledger.now), ledger.freed_buyers)
            await store.put_results(tx, ledger.results)
            judged = await self._judge_lines(tx, ours, ledger.now)
        for account, breaker, calls in judged:
            self._lines[account].judged(breaker, calls)
        return ledger

    def _follows(self, row: Row, work: Work, now: datetime) -> Next:
        life = replace(life_of(row, work.errand), doubted=work.doubted)
        ability = cast(Ability, work.line.ability(work.errand))
        if work.do == "look":
            return protocol.after_look_up(life, cast("Found | str", work.result), ability, now)
        if isinstance(work.result, str):
            return protocol.never_begun(life, work.result)
        return protocol.after_attempt(life, cast(Attempt, work.result), ability, now)

    async def _judge_lines(self, tx: Tx, works: Sequence[Work], now: datetime) -> list[tuple[str, Breaker, int]]:
        """What the calls say about each line: account, its breaker now, how many calls."""
        after: dict[str, tuple[Breaker, int]] = {}
        for work in works:
            if work.called:
                breaker, calls = after.get(work.key[0]) or (self._lines[work.key[0]].breaker, 0)
                after[work.key[0]] = (_judged(breaker, cast(Attempt, work.result), now), calls + 1)
        moved = {a: breaker for a, (breaker, _) in after.items() if breaker != self._lines[a].breaker}
        await store.save_breakers(tx, [_breaker_row(account, breaker) for account, breaker in sorted(moved.items())])
        for account, breaker in moved.items():
            if breaker.probing and not self._lines[account].breaker.probing:
                _log.warning("breaker_opened", account=account, why=breaker.why)
        return [(account, breaker, calls) for account, (breaker, calls) in after.items()]

    # what a crash left

    async def recover(self, accounts: Sequence[str], *, all_of_them: bool) -> int:
        """Rows in `sending` whose sender is gone enter the protocol of doubt. Answers how many."""
        ledger = await repeating(lambda: self._recovered(accounts, all_of_them))
        self._done(ledger)
        return len(ledger.changes)

    async def _recovered(self, accounts: Sequence[str], all_of_them: bool) -> Ledger:
        ledger = Ledger(self._partitions, self._clock.now())
        async with self._database.transaction() as tx:
            rows = await store.abandoned(tx, accounts, all_of_them=all_of_them)
            ended = []
            for row in rows:
                errand = errand_of(row)
                ability = cast(Ability, self._lines[row["account"]].ability(errand))
                ended_before_leaving = errand.capability == "assisted"
                attempt: Attempt = InDoubt("the process ended while it was being sent")
                if ended_before_leaving:
                    attempt = NotSent("the process ended while it was being prepared", 0.0)
                next_ = protocol.after_attempt(life_of(row, errand), attempt, ability, ledger.now)
                row["fence"] += 1
                ledger.apply(row, next_)
                if not ended_before_leaving:
                    ended.append(_ended_row(row, next_, ledger.now))
            await store.end_attempts(tx, ended)
            await store.save(tx, rows)
            await store.release_held(tx, ledger.freed, to_micros(ledger.now), ledger.freed_buyers)
            await store.put_results(tx, ledger.results)
            if rows:
                await tx.send()
                crashpoints.hit("notifier.recovering")
        return ledger


def _judged(breaker: Breaker, attempt: Attempt, now: datetime) -> Breaker:
    match attempt:
        case Refused(why=why, account_wide=True):
            return breaker.tripped(why, now)
        case Done() | Refused():
            return breaker.succeeded()
        case NotSent(why=why) | InDoubt(why=why):
            return breaker.failed(why, now)
        case Assisted():
            return breaker


def _breaker_row(account: str, breaker: Breaker) -> dict[str, object]:
    until = to_micros(breaker.open_until) if breaker.open_until is not None else None
    return {
        "account": account, "failures": breaker.failures, "opened": breaker.opened, "open_until": until,
        "why": breaker.why,
    }  # fmt: skip


def _ended_row(row: Row, next_: Next, now: datetime) -> dict[str, object]:
    return {
        "account": row["account"], "errand_id": row["id"], "attempt": row["attempts"], "ended_at": to_micros(now),
        "outcome": next_.outcome, "why": next_.why,
    }  # fmt: skip
