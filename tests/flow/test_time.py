"""The clock moved by days: planned acts before the marketplace's time, in order, each once, whatever restarts between."""

from datetime import timedelta

import pytest

from tests.flow.conftest import WorldMaker

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(400)]


async def _five_days(world: WorldMaker, *, restarting: bool) -> list[tuple[str, str, str]]:
    """What reached the marketplace while nobody lifted a finger: (order, name, what)."""
    async with world() as w:
        for n in range(3):
            staged = {"order_id": f"82000001{n}0", "amount": "9.00", "currency": "USD"}
            await w.control("issues", staged)
            await w.ring(staged["order_id"])
            await w.system.drain()
            await w.system.advance(timedelta(hours=6))
        due = {c["order_id"]: c["deadlines"][0] for c in await w.system.cases("?sort=deadline")}
        assert len(due) == 3
        for day in range(5):
            await w.system.advance(timedelta(days=1))
            if restarting and day in (1, 3):
                await w.system.restart()
        acts = [c for c in await w.system.calls() if c["kind"] == "act"]
        assert {a["order_id"] for a in acts} == set(due), "each dispute got its planned act"
        for act in acts:
            assert act["at"] < due[act["order_id"]]["due_at"]
        assert [a["order_id"] for a in acts] == sorted(due, key=lambda o: due[o]["due_at"])
        assert len({a["idempotency_key"] for a in acts}) == len(acts)
        for case in await w.system.cases():
            fired = [
                r["fact"]["data"] for r in await w.system.timeline(case["id"]) if r["fact"]["kind"] == "timer.elapsed"
            ]
            keys = [(d["clock"], d["generation"], d["moment"]) for d in fired]
            assert len(keys) == len(set(keys)), "no clock fires twice"
        assert (await w.system.rehearse()).startswith("3 cases, ")
        return [(a["order_id"], a["name"], a["outcome"]) for a in acts]


async def test_planned_acts_come_before_the_marketplaces_time_in_order(world: WorldMaker) -> None:
    assert await _five_days(world, restarting=False)


async def test_a_restart_in_between_changes_nothing(world: WorldMaker) -> None:
    assert await _five_days(world, restarting=True)
