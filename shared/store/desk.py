"""What the relay holds of one feed in memory: rows that wait by routing key, under way, and confirmed but not yet marked."""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from shared.bus.envelope import MAX_BYTES, MAX_EVENTS, OVERHEAD

Row = Mapping[str, Any]
F = TypeVar("F")


@dataclass(eq=False)
class Lane:
    """Rows of one routing key, in order."""

    rows: deque[Row] = field(default_factory=deque)
    under_way: int = 0
    sent_at: float = float("-inf")
    timer: asyncio.TimerHandle | None = None
    """Its rows wait for company until then."""


class Desk(Generic[F]):
    """One feed's state."""

    def __init__(self, feed: F) -> None:
        self.feed = feed
        self.lanes: dict[str, Lane] = {}
        self.held: set[str] = set()
        """Ids in memory: waiting, under way, or confirmed and not yet marked."""
        self.confirmed: list[Row] = []
        self.behind = True
        """The table has rows memory does not: nothing is taken straight from memory until the sweeper has caught up."""
        self.missed = False

    def forget(self, rows: Iterable[Row]) -> None:
        self.held.difference_update(row["id"] for row in rows)

    def fresh(self, rows: Sequence[Row]) -> list[Row]:
        """Those not in memory, and those that are wanted once more: confirmed, and now not to be marked for that."""
        known = {row["id"] for row in rows} & self.held
        again = known & {row["id"] for row in self.confirmed} if known else known
        if again:
            self.confirmed = [row for row in self.confirmed if row["id"] not in again]
            self.held -= again
        return [row for row in rows if row["id"] not in self.held]

    def leave_unmarked(self, since: int) -> int:
        """What is confirmed and not yet marked stays unpublished in the table. Answers how many of them count as asked for."""
        rows, self.confirmed = self.confirmed, []
        self.forget(rows)
        return sum(row["created_at"] >= since for row in rows)


def cut(rows: deque[Row]) -> list[Row]:
    """The longest prefix that fits one message; at least one row."""
    group: list[Row] = []
    size = 0
    while rows and len(group) < MAX_EVENTS:
        body = rows[0]["body"]
        size += len(body) * (1 if body.isascii() else 3) + len(rows[0]["subject"]) + OVERHEAD
        if group and size > MAX_BYTES:
            break
        group.append(rows.popleft())
    return group
