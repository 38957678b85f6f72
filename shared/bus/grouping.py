"""Batches of several partitions in one transaction: what arrives while one is under way goes together with the next.

No linger: alone, a batch goes at once. A group that fails is tried batch by batch, so that each answers for itself.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.store.session import is_transient

T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class _Waiting(Generic[T]):
    news: Sequence[T]
    done: "asyncio.Future[None]"


class Grouped(Generic[T]):
    """`most` items go together, or one batch that is larger; `at_once` groups are under way at a time.

    `advance` is the transaction, all or nothing.
    """

    def __init__(self, advance: Callable[[Sequence[T]], Awaitable[None]], most: int, at_once: int = 1) -> None:
        self._advance, self._most, self._free = advance, most, at_once
        self._waiting: deque[_Waiting[T]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, news: Sequence[T]) -> None:
        """Returns after the commit; raises what its own batch is at fault for, or what kept all from being stored."""
        mine = _Waiting(news, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await mine.done

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._settle(self._cut())
        finally:
            self._free += 1

    def _cut(self) -> list[_Waiting[T]]:
        """The longest prefix that may go together; at least one."""
        group, size = [self._waiting.popleft()], 0
        size += len(group[0].news)
        while self._waiting and size + len(self._waiting[0].news) <= self._most:
            group.append(self._waiting.popleft())
            size += len(group[-1].news)
        return group

    async def _settle(self, group: Sequence[_Waiting[T]]) -> None:
        fault = await self._attempt([one for batch in group for one in batch.news])
        for batch in group:
            own = fault
            if fault is not None and len(group) > 1 and not is_transient(fault):
                own = await self._attempt(batch.news)
            _answer(batch.done, own)

    async def _attempt(self, news: Sequence[T]) -> Exception | None:
        try:
            await self._advance(news)
        except Exception as fault:
            return fault
        return None


def _answer(done: "asyncio.Future[None]", fault: Exception | None) -> None:
    if done.done():
        return
    if fault is None:
        done.set_result(None)
    else:
        done.set_exception(fault)
