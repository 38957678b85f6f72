"""What comes in waits a moment while most places are taken, and never longer."""

import asyncio

import pytest

from services.notifier import desk as desks
from services.notifier.desk import MOST_UNDER_WAY, Desk
from services.notifier.faults import Faults
from services.notifier.lines import Line, Lines
from shared.accounts import Config
from shared.clock import SystemClock, monotonic
from shared.pace import Pace
from shared.ports import Account
from shared.registry import Registry
from shared.store.partitions import SoleOwner

pytestmark = pytest.mark.asyncio
LINE = Line(Account("shop", "toy"), None, None, Pace(1_000_000.0, monotonic()), under_way=MOST_UNDER_WAY)


def desk_with(under_way: int) -> Desk:
    clock = SystemClock()
    lines = Lines(Config({}, Registry(None)), clock, Faults(), lambda account: 1.0)
    desk = Desk(lines, clock, SoleOwner(8), 8, "here", lambda work: None)
    desk.under_way = under_way
    return desk


async def test_half_of_the_places_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "_FOR_ROOM", 3600.0)
    desk = desk_with(MOST_UNDER_WAY // 2 + 2)
    waiting = asyncio.create_task(desk.roomy())
    await asyncio.sleep(0.01)
    desk.leave_place(LINE)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    desk.leave_place(LINE)
    await asyncio.wait_for(waiting, 30)


@pytest.mark.parametrize("closing", [True, False])
async def test_nothing_waits_at_a_stop_or_with_room(monkeypatch: pytest.MonkeyPatch, closing: bool) -> None:
    monkeypatch.setattr(desks, "_FOR_ROOM", 3600.0)
    desk = desk_with(MOST_UNDER_WAY if closing else MOST_UNDER_WAY // 2)
    desk.closing = closing
    await asyncio.wait_for(desk.roomy(), 30)


async def test_where_no_place_is_left_it_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "_FOR_ROOM", 0.01)
    await asyncio.wait_for(desk_with(MOST_UNDER_WAY).roomy(), 30)
