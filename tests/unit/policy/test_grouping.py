"""Batches of several partitions go together; each answers for itself."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.bus.grouping import Grouped
from shared.domain.facts import Fact
from shared.store.session import DatabaseAway
from tests.services.policy.policy_stage import opening
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio


class Throat:
    """Takes what is not poison; the first waits until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.go = asyncio.Event()
        self.away = False

    async def __call__(self, facts: Sequence[Fact]) -> None:
        self.groups.append([str(fact.order_id) for fact in facts])
        await self.go.wait()
        if self.away:
            raise DatabaseAway("gone")
        if any(fact.raw_code == "poison" for fact in facts):
            raise ValueError("a bug of ours")


def batch(*numbers: int, poison: int | None = None) -> list[Fact]:
    return [opening(n, raw_code="poison" if n == poison else None) for n in numbers]


async def outcomes(throat: Throat, most: int, *batches: Sequence[Fact]) -> list[type | None]:
    grouped = Grouped(throat, most)
    told = [asyncio.create_task(grouped.take(batches[0]))]
    await until(lambda: bool(throat.groups), what="the first to be under way")
    told += [asyncio.create_task(grouped.take(facts)) for facts in batches[1:]]
    await asyncio.sleep(0)
    throat.go.set()
    answers = await asyncio.gather(*told, return_exceptions=True)
    return [None if answer is None else type(answer) for answer in answers]


async def test_what_waits_meanwhile_goes_together_and_never_more_than_the_bound() -> None:
    throat = Throat()
    assert await outcomes(throat, 3, batch(1), batch(2, 3), batch(4), batch(5, 6, 7, 8)) == [None] * 4
    assert throat.groups == [["O-1"], ["O-2", "O-3", "O-4"], ["O-5", "O-6", "O-7", "O-8"]]


async def test_a_faulty_batch_does_not_take_the_others_with_it() -> None:
    throat = Throat()
    found = await outcomes(throat, 10, batch(1), batch(2), batch(3, 4, poison=4), batch(5))
    assert found == [None, None, ValueError, None]
    assert throat.groups[1:] == [["O-2", "O-3", "O-4", "O-5"], ["O-2"], ["O-3", "O-4"], ["O-5"]]


async def test_while_the_database_is_away_all_wait_alike_and_it_is_asked_once() -> None:
    throat = Throat()
    throat.away = True
    assert await outcomes(throat, 10, batch(1), batch(2), batch(3)) == [DatabaseAway] * 3
    assert throat.groups == [["O-1"], ["O-2", "O-3"]]


async def test_a_taker_who_gives_up_does_not_stop_the_others() -> None:
    throat = Throat()
    grouped = Grouped(throat, 10)
    first, second, third = (asyncio.create_task(grouped.take(batch(n))) for n in (1, 2, 3))
    await asyncio.sleep(0)
    second.cancel()
    throat.go.set()
    await asyncio.gather(first, third)
    assert second.cancelled()
    await grouped.take(batch(4))
    assert throat.groups[-1] == ["O-4"]
