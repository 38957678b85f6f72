"""Due errands to their channels: claim (commit `sending`), call, record. Many at a time, each account at its own pace.

`sending` and the fence are committed before the first byte leaves, and a call is only begun while the lease is sure to
outlive it; so a crash leaves `sending`, never a silent second send. A new errand whose line is free is claimed by the
transaction that takes it in; what finds no place waits in the table, and is claimed from there as places become free.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from services.notifier import files, store
from services.notifier import lines as channels
from services.notifier.breaker import Breaker
from services.notifier.calls import look_up, send
from services.notifier.claims import Claim, Work
from services.notifier.desk import Claims, Desk
from services.notifier.ledger import Ledger, Row, buyer_key, errand_of
from services.notifier.lines import Line, Lines
from services.notifier.outcomes import Outcomes
from services.notifier.planner import Planner
from shared import crashpoints
from shared.clock import Clock, from_micros, monotonic, to_micros
from shared.domain.errands import Errand
from shared.ports import NotSent
from shared.store.blobs import Blobs
from shared.store.partitions import Ownership
from shared.store.session import Database, Tx, repeating

_LOOK_EVERY = 0.25

NewPlanner = Callable[[datetime], Planner]


class Dispatcher:
    def __init__(
        self,
        database: Database,
        lines: Lines,
        new_planner: NewPlanner,
        clock: Clock,
        ownership: Ownership,
        partitions: int,
        owner: str,
        done: Callable[[Ledger], None],
        blobs: Blobs,
    ) -> None:
        self._database, self._clock, self._blobs = database, clock, blobs
        self.lines = lines
        self.desk = Desk(lines, clock, ownership, partitions, owner, self._start)
        self._new_planner, self._partitions, self._done = new_planner, partitions, done
        self._calls: dict[asyncio.Task[None], Work] = {}
        self._looked_at = 0.0
        self.wake = asyncio.Event()
        self._outcomes = Outcomes(database, lines, clock, partitions, done, self._recorded)

    # life

    async def start(self, *, sole: bool) -> None:
        """`sole`: nobody else can be sending, so whatever was left in `sending` is resolved at once."""
        self.desk.closing = False
        async with self._database.reading() as tx:
            for kept in await store.breakers(tx):
                if kept["account"] in self.lines:
                    until = from_micros(kept["open_until"]) if kept["open_until"] is not None else None
                    self.lines[kept["account"]].breaker = Breaker(kept["failures"], kept["opened"], until, kept["why"])
        if sole:
            while await self.recover(all_of_them=True):
                pass
        self._outcomes.start()

    def close(self) -> None:
        """No new claims from now on."""
        self.desk.closing = True
        self.wake.set()

    async def stop(self, patience: float) -> None:
        """Calls under way are waited for and recorded; what takes longer is resolved by whoever comes next."""
        self.close()
        if self._calls:
            await asyncio.wait(self._calls, timeout=patience)
        late = list(self._calls)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await self._outcomes.stop()

    def look(self) -> None:
        """The clock may have moved: what is due is looked for at once."""
        self._looked_at = 0.0
        self.wake.set()

    @property
    def under_way(self) -> int:
        return self.desk.under_way

    async def busy(self) -> bool:
        """Something is under way, or due and free to go."""
        if self.under_way:
            return True
        now = to_micros(self._clock.now())
        async with self._database.reading() as tx:
            return any(at <= now for _, at in await store.next_moments(tx, self.desk.mine(shut=False)))

    async def next_due(self) -> datetime | None:
        async with self._database.reading() as tx:
            moments = await store.next_moments(tx, self.desk.mine(shut=True))
        return min((self._not_before(account, from_micros(at)) for account, at in moments), default=None)

    def _not_before(self, account: str, at: datetime) -> datetime:
        until = self.lines[account].breaker.open_until
        return max(at, until) if until is not None and until > self._clock.now() else at

    def seconds_to_room(self) -> float:
        """Real seconds until the pace of some account that has errands waiting allows one more."""
        waiting = (line.pace.seconds_to_next for line in self.lines.all().values() if line.behind)
        return min(waiting, default=_LOOK_EVERY)

    # claim

    async def claim(self) -> int:
        """Takes what is due and free to go, commits, and starts the calls. Answers how many rows were dealt with."""
        now = monotonic()
        free = {account: self.lines[account].room(now) for account in self.desk.mine(shut=False)}
        due = await self._due([account for account, left in free.items() if left > 0])
        if not due or not self.desk.room:
            return 0
        return await repeating(lambda: self._claimed({account: free[account] for account in due}))

    async def _due(self, accounts: Sequence[str]) -> list[str]:
        """Those with something due: known to be behind, or found by a look at the table now and then."""
        if monotonic() - self._looked_at >= _LOOK_EVERY:
            self._looked_at = monotonic()
            now = to_micros(self._clock.now())
            async with self._database.reading() as tx:
                for account, at in await store.next_moments(tx, accounts):
                    self.lines[account].behind |= at <= now
        return [account for account in accounts if self.lines[account].behind]

    async def _claimed(self, free: dict[str, int]) -> int:
        with self.desk.claiming() as claims:
            async with self._database.transaction() as tx:
                ledger = Ledger(self._partitions, self._clock.now())
                rows = await self._rows(tx, free, to_micros(ledger.now))
                touched = await self._take(tx, rows, ledger, claims) if rows else []
                await store.begin_attempts(tx, [w.begun_at(ledger.now) for w in claims.works if w.do == "send"])
                await store.save(tx, touched)
                await store.release_held(tx, ledger.freed, to_micros(ledger.now), ledger.freed_buyers)
                await store.put_results(tx, ledger.results)
                if rows:
                    await tx.send()
                    crashpoints.hit("notifier.claimed")
            self._done(ledger)
            claims.begin()
        return len(touched)

    async def _rows(self, tx: Tx, free: dict[str, int], now: int) -> list[Row]:
        """Of each account as many as its line has room for: a long backlog of one does not stand before the others."""
        rows: list[Row] = []
        for account, left in free.items():
            most = min(left, self.desk.room - len(rows))
            found = await store.due(tx, account, now, most) if most > 0 else []
            self.lines[account].behind = len(found) >= most
            rows += found
        return rows

    async def _take(self, tx: Tx, rows: Sequence[Row], ledger: Ledger, claims: Claims) -> list[Row]:
        """Answers the rows that were dealt with."""
        pairs = [(row, errand_of(row)) for row in rows]
        planner = self._new_planner(ledger.now)
        known = await self._known(tx, pairs, to_micros(planner.since))
        planner.know(known)
        claim, touched = Claim(ledger, planner, self.lines), []
        for row, errand in pairs:
            line = self.desk.take_place(errand.account)
            if line is None:
                claims.left(errand.account)
                continue
            touched.append(row)
            work = claim.take(row, errand, known.dead)
            if work is None:
                self.desk.leave_place(line, 1)
            else:
                claims.keep(work, ledger.now, known.now)
        return touched

    async def _known(self, tx: Tx, pairs: Sequence[tuple[Row, Errand]], since: int) -> store.Known:
        messages = [e for row, e in pairs if e.what == "message" and row["status"] in ("planned", "held", "in_doubt")]
        return await store.known(
            tx,
            [(e.account, e.id) for _, e in pairs],
            [(e.account, e.order_id) for e in messages],
            [buyer_key(e) for e in messages],
            since,
        )

    # call

    def _start(self, work: Work) -> None:
        task = asyncio.create_task(self._call(work.line, work))
        self._calls[task] = work
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        work = self._calls.pop(task)
        if task.cancelled() and work.called:
            self.desk.leave_place(work.line)  # its row stays in `sending`: whoever comes next resolves it
            return
        if task.cancelled():
            work.result = NotSent("stopped before it was begun", 0.0) if work.do == "send" else "stopped"
        self._outcomes.add(work)

    def _recorded(self, works: Sequence[Work]) -> None:
        for work in works:
            self.desk.leave_place(work.line)
        self.wake.set()

    async def _call(self, line: Line, work: Work) -> None:
        if files.wanted(line.channel, work):
            work.result = await self._files_into(work)
        if work.result is not None:
            return
        if work.do == "prepare" or line.channel is None:
            work.result = await channels.prepared(line, work.errand, work.row["subject"], work.row["body"] or "")
        elif monotonic() > work.begin_before:
            why = "the lease was nearly over"
            work.result = NotSent(why, 0.0) if work.do == "send" else why
        elif work.do == "send":
            work.called = True
            work.result = await send(line.channel, work)
        else:
            work.result = await look_up(line.channel, work)
        if work.do == "send":
            crashpoints.hit("notifier.response")

    async def _files_into(self, work: Work) -> NotSent | str | None:
        """Why the act cannot go without its files; None once they are at hand."""
        try:
            work.files = await files.read(self._blobs, work)
        except files.FilesMissing as fault:
            return str(fault)
        except OSError as fault:
            return NotSent(f"the store of evidence cannot be read: {type(fault).__name__}")
        return None

    async def recover(self, *, all_of_them: bool = False) -> int:
        """Rows in `sending` whose sender is gone enter the protocol of doubt. Answers how many."""
        accounts = self.desk.mine(shut=True)
        return await self._outcomes.recover(accounts, all_of_them=all_of_them) if accounts else 0
