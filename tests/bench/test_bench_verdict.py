"""A round in which something is refused, lost or said twice does not count, and says why."""

import pytest

from bench import stage
from bench.ground import Ground
from bench.stage import staged
from tests.bench.contestants import Scripted
from tests.support.servers import Server

NOWHERE = Ground("", Server("", 0, ""))


@pytest.mark.asyncio
async def test_an_honest_round_counts() -> None:
    async with staged(Scripted("honest"), NOWHERE, 5) as up:
        closed = await up.closed(40, connections=4)
        steady = await up.steady(40, 200.0)
    assert (closed.void, steady.void) == ("", "")
    assert len(closed.answers) == len(closed.travels) == len(steady.travels) == len(steady.late) == 40
    assert closed.per_second > 0 and closed.cpu["app"] >= 0 and set(closed.cpu) == {"app", "driver"}
    assert closed.cpu_per_1000 == pytest.approx(closed.cpu["app"] * 25)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("mode", "why"),
    [("forgetful", "4 of 40 not at the sink"), ("stutterer", "'twice': 4"), ("closed", "40 not accepted: {'503': 40}")],
)
async def test_a_round_that_does_not_count(mode: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_PATIENCE", 1.5)
    async with staged(Scripted(mode), NOWHERE, 0) as up:
        load = await up.closed(40, connections=4)
    assert why in load.void
