"""What falls due next: read from the index once for the second ahead, kept in memory, nearest marketplace deadline first.

Nothing here is a claim: a case fires only once its order is locked and its clock was looked at again (due.py). Replicas
leave each other their partitions' cases, for a while: what is overdue longer than that anybody takes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from services.policy.store import Key
from shared.clock import MICROSECOND, Clock, monotonic, to_micros
from shared.store.session import Database, Row, Tx

AHEAD = timedelta(seconds=1)
"""How far a look reaches, and how long it holds on the injected clock and on the real one."""
MOST = 2000
"""Cases in memory; more than that overdue is a backlog, read in the order of deadlines."""
OTHERS = timedelta(seconds=2)
"""How long a case of another replica's partition is left to that one."""
LOCKED = timedelta(milliseconds=20)
"""When a case whose order somebody held is tried again."""
WHOLE = 30.0
"""Real seconds after which the index is read from its beginning again: between, what lies before the earliest case seen is
passed over, for as long as somebody's open snapshot keeps the entries of fired clocks they would be read again and again."""

_COLUMNS = "id, account, order_id, next_due_at, deadline_at"
BY_DUE = (
    f"SELECT {_COLUMNS} FROM cases WHERE next_due_at > :after AND next_due_at <= :until "
    "ORDER BY next_due_at LIMIT :most"
)
BY_DEADLINE = (
    f"SELECT {_COLUMNS} FROM cases WHERE deadline_at IS NOT NULL AND next_due_at <= :now "
    "ORDER BY deadline_at, next_due_at LIMIT :most"
)
WITHOUT_DEADLINE = (
    f"SELECT {_COLUMNS} FROM cases WHERE deadline_at IS NULL AND next_due_at <= :now ORDER BY next_due_at LIMIT :most"
)
BEGINNING = -1
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Entry:
    """A case with a clock. `at`: when we try it; `due_at`, `deadline_at`: microseconds."""

    id: str
    key: Key
    due_at: int
    deadline_at: int
    mine: bool
    at: int

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        return (not self.mine, self.deadline_at, self.due_at, self.id)


class Agenda:
    """`mine`: whether an order is of a partition that this replica looks after."""

    def __init__(self, database: Database, clock: Clock, mine: Callable[[Key], bool] = lambda _: True) -> None:
        self._database, self._clock, self._mine = database, clock, mine
        self._after, self._whole_at, self._rested_at = BEGINNING, -WHOLE, _NEVER
        self._told = _NEVER
        self.forget()

    def forget(self, *, everything: bool = False) -> None:
        """What is known is no longer to be relied on: the next `take` looks; at `everything`, wherever it lies."""
        self._everything = everything
        self._entries: list[Entry] = []
        self._looked_at, self._until, self._holds = _NEVER, -_NEVER, 0.0
        self._cut = False

    def expect(self, at: int) -> bool:
        """A case was written that falls due then (microseconds). Whether that is before the next look."""
        self._told, self._after = min(self._told, at), min(self._after, at - 1)
        if at > self._until:
            return False
        self.forget()
        return True

    async def take(self, most: int) -> list[Entry]:
        """What is due now, nearest deadline first; taken off the agenda."""
        now = to_micros(self._clock.now())
        if self._is_old(now):
            await self._look(now)
        ready = sorted((entry for entry in self._entries if entry.at <= now), key=lambda entry: entry.rank)[:most]
        taken = {entry.id for entry in ready}
        self._entries = [entry for entry in self._entries if entry.id not in taken]
        return ready

    def _is_old(self, now: int) -> bool:
        if not self._looked_at <= now < self._until or monotonic() > self._holds:
            return True
        return self._cut and not any(entry.at <= now for entry in self._entries)

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Somebody held their orders."""
        at = to_micros(self._clock.now() + LOCKED)
        self._entries += [replace(entry, at=at) for entry in entries]

    def rest(self) -> float:
        """Seconds to the next entry or the next look, whichever comes first; on a clock that stands still, to the look."""
        now, before = to_micros(self._clock.now()), self._rested_at
        self._rested_at = now
        if now == before:
            return AHEAD.total_seconds()
        next_at = min((entry.at for entry in self._entries), default=self._until)
        return max(0.0, (min(next_at, self._until) - now) / 1e6)

    async def _look(self, now: int) -> None:
        began, self._told = monotonic(), _NEVER
        whole = self._everything or began >= self._whole_at + WHOLE or now < self._looked_at < _NEVER
        async with self._database.transaction() if self._database.postgres else self._database.reading() as tx:
            found = await look(tx, now, BEGINNING if whole else self._after)
        self._whole_at = began if whole else self._whole_at
        self._after = min(found.earliest, self._told) - 1
        until = found.until if self._told > found.until else now  # told meanwhile: perhaps not seen
        self._looked_at, self._until, self._holds = now, until, began + AHEAD.total_seconds()
        self._entries, self._cut = [self._entry(row) for row in found.rows], found.cut
        self._everything = False

    def _entry(self, row: Row) -> Entry:
        key, due_at = (row["account"], row["order_id"]), row["next_due_at"]
        mine = self._everything or self._mine(key)
        deadline = _NEVER if row["deadline_at"] is None else row["deadline_at"]
        return Entry(row["id"], key, due_at, deadline, mine, due_at if mine else due_at + _micros(OTHERS))


@dataclass(frozen=True, slots=True)
class Seen:
    """`rows` is all that falls due up to `until`, unless it is `cut` from a backlog. `earliest`: before it nothing is due."""

    rows: Sequence[Row]
    until: int
    earliest: int
    cut: bool = False


async def look(tx: Tx, now: int, after: int = BEGINNING) -> Seen:
    """What falls due after `after` and within the second; of a backlog, what has the nearest deadlines."""
    until = now + _micros(AHEAD)
    await by_index_only(tx)
    rows = await tx.rows(BY_DUE, after=after, until=until, most=MOST)
    earliest = rows[0]["next_due_at"] if rows else until
    if len(rows) < MOST:
        return Seen(rows, until, earliest)
    if rows[-1]["next_due_at"] > now:
        return Seen(rows, rows[-1]["next_due_at"] - 1, earliest)
    rows = await tx.rows(BY_DEADLINE, now=now, most=MOST)
    if len(rows) < MOST:
        rows = [*rows, *await tx.rows(WITHOUT_DEADLINE, now=now, most=MOST)]
    return Seen(rows, until, earliest, cut=True)


async def by_index_only(tx: Tx) -> None:
    """For this transaction: the planner must not read and sort a whole backlog, whatever its statistics say."""
    if tx.postgres:
        off = ", ".join(f"set_config('enable_{name}', 'off', true)" for name in ("seqscan", "bitmapscan", "sort"))
        await tx.row(f"SELECT {off}")


def _micros(span: timedelta) -> int:
    return span // MICROSECOND
