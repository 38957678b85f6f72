"""Places on the lines: taken before `sending` is committed, left once the outcome is recorded. In memory only.

Their number bounds what is under way, whatever the backlog; what finds no place waits in the table.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from services.notifier.claims import Work
from services.notifier.ledger import Row
from services.notifier.lines import Line, Lines
from shared import crashpoints, ids
from shared.clock import Clock, monotonic, pause
from shared.domain.errands import Errand
from shared.store.partitions import Ownership

LEASE = 20.0
MOST_UNDER_WAY = 256
_BEGIN_WITHIN = 5.0
_ROOMY = MOST_UNDER_WAY // 2
_FOR_ROOM = 0.1


class Desk:
    """`start(work)` begins one call. `closing`: nothing more is claimed."""

    def __init__(
        self,
        lines: Lines,
        clock: Clock,
        ownership: Ownership,
        partitions: int,
        owner: str,
        start: Callable[[Work], None],
    ) -> None:
        self.lines, self.owner, self.start = lines, owner, start
        self.ownership = ownership
        self.clock = clock
        self._partitions = partitions
        self.under_way = 0
        self.closing = False
        self._left = asyncio.Event()

    def mine(self, *, shut: bool) -> list[str]:
        """Accounts this replica sends for; without `shut` only those whose breaker lets something through."""
        now = self.clock.now()
        return [account for account, line in self.lines.all().items() if self._is_mine(line, now, shut=shut)]

    def _is_mine(self, line: Line, now: datetime, *, shut: bool) -> bool:
        if line.closed or not (shut or not line.breaker.is_open(now)):
            return False
        return self.ownership.owns(ids.partition_of(line.account.id, "", self._partitions))

    @property
    def room(self) -> int:
        return 0 if self.closing else max(0, MOST_UNDER_WAY - self.under_way)

    def take_place(self, account: str) -> Line | None:
        """The account's line, with a place on it; None where there is none now."""
        line = self.lines.get(account)
        if line is None or not self.room or not self._is_mine(line, self.clock.now(), shut=False):
            return None
        if line.room(monotonic()) <= 0:
            return None
        line.take_place()
        self.under_way += 1
        return line

    def leave_place(self, line: Line, calls: int = 0) -> None:
        """`calls`: how many were reckoned with and not made."""
        line.leave_place(calls)
        self.under_way -= 1
        if self.under_way <= _ROOMY:
            self._left.set()

    async def roomy(self) -> None:
        """Returns once half of all places are free, or after a moment: what is claimed as it comes in costs half of what
        waits in the table."""
        if self.under_way > _ROOMY and not self.closing:
            self._left.clear()
            await pause(_FOR_ROOM, self._left)

    @contextmanager
    def claiming(self) -> Iterator["Claims"]:
        """What one transaction claims; where it does not come to its commit, all places are given back."""
        claims = Claims(self)
        try:
            yield claims
        finally:
            for work in claims.works:
                self.leave_place(work.line, 1)


class Claims:
    """Rows that one transaction brings to `sending`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._begin_before = monotonic() + _BEGIN_WITHIN
        self._behind: set[str] = set()
        self.works: list[Work] = []

    def add(self, row: Row, errand: Errand, now: datetime, database_now: int) -> None:
        """A new errand, claimed where nothing stands before it and its line is free; else left for later."""
        account = errand.account
        late = errand.not_after is not None and now > errand.not_after
        line = self._desk.lines.get(account)
        if line is None or line.behind or late or errand.capability == "assisted" or not self._desk.take_place(account):
            self._behind.add(account)
        else:
            self.keep(Work(row, errand, "send", line), now, database_now)

    def keep(self, work: Work, now: datetime, database_now: int) -> None:
        """A place is taken for it. Its lease is as long as the database's own clock says."""
        if work.do == "prepare":
            work.line.pace.take(-1)
        work.begin_before = self._begin_before
        work.lease(self._desk.owner, database_now + int(LEASE * 1e6), now)
        self.works.append(work)

    def left(self, account: str) -> None:
        """Something due of this account found no place."""
        self._behind.add(account)

    def begin(self) -> None:
        """It is committed: the calls begin."""
        for line in map(self._desk.lines.get, self._behind):
            if line is not None:
                line.behind = True
        works, self.works = self.works, []
        if works:
            crashpoints.hit("notifier.sending")
        for work in works:
            self._desk.start(work)
