"""The one writer of pushed deliveries: what arrives while a commit runs goes together into the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from services.intake import store
from services.intake.deliveries import Delivery
from services.intake.telling import log
from shared import crashpoints
from shared.errors import Unavailable
from shared.store.session import Database, repeating

_GROUP = 500


class HandOver(Protocol):
    """The relay's door for rows that were just committed."""

    def hand_over(self, rows: Sequence[dict[str, Any]]) -> None: ...


@dataclass(slots=True)
class _Waiting:
    delivery: Delivery
    answer: asyncio.Future[str]


class Writer:
    """`submit` answers after the commit that holds the delivery. No linger: a group is what came meanwhile."""

    def __init__(
        self, database: Database, relay: HandOver, partitions: int, waiting_limit: int, asked: Callable[[], None]
    ) -> None:
        """`asked` is called when a commit held a doorbell: somebody has to read."""
        self._database = database
        self._relay = relay
        self._partitions = partitions
        self._limit = waiting_limit
        self._asked = asked
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._in_hand = 0
        self._stopping = False

    @property
    def waiting(self) -> int:
        return len(self._queue) + self._in_hand

    async def submit(self, delivery: Delivery) -> str:
        """The outcome as stored, `duplicate` or `conflict`. Unavailable: not stored, or not known whether it is."""
        if self._stopping or self.waiting >= self._limit:
            raise Unavailable("too many deliveries are waiting")
        waiting = _Waiting(delivery, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def run(self) -> None:
        """Until `stop`; then what is waiting is still committed."""
        while self._queue or not self._stopping:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            group = [self._queue.popleft() for _ in range(min(len(self._queue), _GROUP))]
            self._in_hand = len(group)
            try:
                await self._commit(group)
            except Exception:  # a bug of ours must not end the one writer
                log.exception("commit_failed", count=len(group))
            finally:
                self._in_hand = 0
                _give_up_on(group, Unavailable("not stored"))

    def stop(self) -> None:
        self._stopping = True
        self._arrived.set()

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            stored = await repeating(lambda: self._store([w.delivery for w in group]))
        except Exception as fault:
            await self._not_stored(group, fault)
            return
        self._publish(stored.rows)
        if any(waiting.delivery.outcome == "needs_fetch" for waiting in group):
            self._asked()
        for waiting, outcome in zip(group, stored.outcomes, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)

    async def _store(self, deliveries: list[Delivery]) -> store.Stored:
        async with self._database.transaction(urgent=True) as tx:
            stored = await store.put(tx, deliveries, self._partitions)
            crashpoints.hit("intake.stored")
        crashpoints.hit("intake.committed")
        return stored

    async def _not_stored(self, group: list[_Waiting], fault: Exception) -> None:
        """A row that is refused is found by halving and kept as `failed`; anything else: come again."""
        if store.refuses_rows(fault) and len(group) > 1:
            half = len(group) // 2
            await self._commit(group[:half])
            await self._commit(group[half:])
        elif store.refuses_rows(fault) and group[0].delivery.code != "refused_row":
            group[0].delivery = as_refused(group[0].delivery)
            await self._commit(group)
        else:
            log.error("deliveries_not_stored", count=len(group), fault=type(fault).__name__)
            _give_up_on(group, Unavailable("the database cannot store now"))

    def _publish(self, rows: list[dict[str, Any]]) -> None:
        try:
            self._relay.hand_over(rows)
        except Exception:  # committed is committed: the sweeper publishes it
            log.exception("hand_over_failed")


def as_refused(delivery: Delivery) -> Delivery:
    """Without what the database may have choked on: only the bytes, under the same key."""
    raw = replace(delivery.raw, headers={}, query="")
    return replace(
        delivery, raw=raw, facts=(), ref=None, outcome="failed", code="refused_row", why="the database refused the row"
    )


def _give_up_on(group: list[_Waiting], fault: Unavailable) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(fault)
