"""Due clocks and what they lead to: once each, in order, nearest deadline first, over restarts and replicas."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from services.policy import due, store
from services.policy.agenda import Agenda
from services.policy.deadlines import seconds_left
from shared.clock import to_micros
from shared.domain.case import Case
from tests.services.policy.policy_rig import Rig

pytestmark = pytest.mark.asyncio


async def timers(rig: Rig, case: Case) -> list[tuple[str, str]]:
    found = await rig.rows("SELECT fact FROM case_log WHERE case_id = :id ORDER BY seq", id=case.id)
    facts = [msgspec.json.decode(row["fact"]) for row in found]
    return [(f["data"]["clock"], f["data"]["moment"]) for f in facts if f["kind"] == "timer.elapsed"]


async def test_nothing_fires_early_and_the_planned_act_comes_at_the_margin(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    rig.clock.advance(timedelta(hours=23, minutes=59))
    assert await due.fire(rig.policy) == 0
    rig.clock.advance(timedelta(hours=12, minutes=2))
    await rig.settle()
    case = await rig.case()
    assert await timers(rig, case) == [("nudge", "due"), ("answer", "margin")]
    acts = [e for e in case.errands.values() if e.what == "act"]
    assert [(e.name, e.status) for e in acts] == [("authorise", "planned")]
    (planned,) = await rig.rows(
        "SELECT body FROM outbound WHERE type = 'amends.errand.planned.v1' AND id = :id", id=acts[0].id
    )
    assert msgspec.json.decode(planned["body"])["name"] == "authorise"


async def test_several_clocks_of_a_case_fire_in_due_order_and_never_twice(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    rig.clock.advance(timedelta(days=5))
    await rig.settle()
    await rig.settle()
    assert await timers(rig, await rig.case()) == [("nudge", "due"), ("answer", "margin"), ("answer", "due")]
    async with rig.database.reading() as tx:
        assert not await due.due_now(tx, rig.clock.now())


async def test_the_nearest_marketplace_deadline_is_worked_off_first(rig: Rig) -> None:
    for n in (3, 1, 2):
        rig.clock.advance(timedelta(hours=1))
        await rig.take(rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n}"))
    rig.clock.advance(timedelta(days=1))
    async with rig.database.reading() as tx:
        found = await Agenda(rig.database, rig.clock).take(10)
        order = [(await store.case_document(tx, entry.id)) for entry in found]
    assert [case.external_id for case in order if case] == ["R-3", "R-1", "R-2"]


async def test_two_replicas_fire_a_backlog_once(rig: Rig) -> None:
    facts = [rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n % 20}") for n in range(60)]
    await rig.take(*facts)
    rig.clock.advance(timedelta(days=5))
    await asyncio.gather(rig.settle(), rig.settle(), rig.settle())
    await rig.settle()
    for case in await rig.cases():
        assert await timers(rig, case) == [("nudge", "due"), ("answer", "margin"), ("answer", "due")]
    ids = [row["id"] for row in await rig.rows("SELECT id FROM outbound WHERE type = 'amends.errand.planned.v1'")]
    assert len(ids) == len(set(ids))


async def test_next_due_is_the_earliest_of_clocks_and_waiting_facts(rig: Rig) -> None:
    async def ahead() -> timedelta | None:
        async with rig.database.reading() as tx:
            moment = await due.next_due(tx)
        return None if moment is None else moment - rig.clock.now()

    assert await ahead() is None
    await rig.take(rig.fact("return.requested", external_id="R-9", order_id="O-9"))
    assert await ahead() == timedelta(hours=24)
    rig.clock.advance(timedelta(hours=1))
    await rig.take(rig.fact("return.received"))
    assert await ahead() == timedelta(hours=23)


async def test_a_closed_case_has_no_clocks_left(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"), rig.fact("return.cancelled"))
    (row,) = await rig.rows("SELECT next_due_at, deadline_at, closed_at FROM cases")
    assert (row["next_due_at"], row["deadline_at"]) == (None, None)
    assert row["closed_at"] == to_micros(rig.clock.now())
    assert (await rig.order()).open_cases == ()


async def test_time_left_is_counted_by_the_database(rig: Rig) -> None:
    hour = 3600.0
    async with rig.database.reading() as tx:
        assert await seconds_left(tx, rig.clock.now(), (0, hour)) == ([0, 0, 0], 0.0)
    for n in range(3):
        await rig.take(rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n}"))
        rig.clock.advance(timedelta(hours=1))
    async with rig.database.reading() as tx:
        found = await seconds_left(tx, rig.clock.now() + timedelta(hours=44), (0, hour, 2 * hour, 24 * hour))
    assert found == ([0, 1, 2, 3, 3], (1 + 2 + 3) * hour)
