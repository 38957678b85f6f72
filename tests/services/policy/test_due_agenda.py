"""What falls due next, in memory: the order of a backlog, whose turn it is, and that nothing is asked for nothing."""

import asyncio
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.policy import agenda as agendas
from services.policy import deadlines, due, shipped
from services.policy.agenda import AHEAD, BY_DEADLINE, BY_DUE, OTHERS, WITHOUT_DEADLINE, Agenda
from services.policy.settings import Settings
from services.policy.worker import Worker
from shared.clock import SystemClock, monotonic, to_micros
from shared.registry import Registry
from shared.store import migrate
from shared.store.session import Database
from tests.services.policy.conftest import MIGRATIONS
from tests.services.policy.policy_rig import START, Rig
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio
HOURS = timedelta(hours=1)
BACKLOG = 1000


async def open_many(rig: Rig, count: int, first: int = 0, **data: str) -> None:
    for start in range(first, first + count, 200):
        facts = [
            rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n}", data=data)
            for n in range(start, min(start + 200, first + count))
        ]
        await rig.take(*facts)


async def backlog(rig: Rig) -> None:
    """Half are overdue for long with a far deadline, the others, younger ones, have nearer deadlines in no order."""
    playbooks = shipped.read_all(Registry(), None)
    await rig.policy.world.playbooks.adopt(rig.database, playbooks, rig.clock.now())
    await open_many(rig, BACKLOG // 2)
    rig.clock.advance(46 * HOURS)
    chosen = random.Random(7)
    told = [rig.clock.now() + timedelta(minutes=chosen.randrange(10, 110)) for _ in range(BACKLOG // 2)]
    facts = [
        rig.fact("return.requested", external_id=f"N-{n}", order_id=f"P-{n}", data={"due_at": at.isoformat()})
        for n, at in enumerate(told)
    ]
    for start in range(0, len(facts), 250):
        await rig.take(*facts[start : start + 250])
    rig.clock.advance(4 * HOURS)


async def test_a_backlog_is_worked_off_nearest_deadline_first(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agendas, "MOST", 300)
    await backlog(rig)
    before = {row["id"]: row["at"] for row in await rig.rows("SELECT id, deadline_at AS at FROM cases")}
    agenda, order = Agenda(rig.database, rig.clock), []
    take = agenda.take

    async def noted(most: int) -> list[agendas.Entry]:
        found = await take(most)
        order.extend(before[entry.id] for entry in found)
        return found

    agenda.take = noted  # type: ignore[method-assign]
    while await due.fire(rig.policy, agenda):
        pass
    assert len(order) == BACKLOG and order == sorted(order)
    assert len(set(order)) > 50
    facts = await rig.rows("SELECT fact_id FROM case_log WHERE fact LIKE '%\"timer.elapsed\"%'")
    assert len({row["fact_id"] for row in facts}) == len(facts) == 2 * BACKLOG, "margin and due time of each, once"
    assert not await rig.rows("SELECT id FROM cases WHERE next_due_at <= :now", now=to_micros(rig.clock.now()))


async def test_reminders_without_a_deadline_come_after_all_that_have_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agendas, "MOST", 6)
    await rig.policy.world.playbooks.adopt(rig.database, shipped.read_all(Registry(), None), rig.clock.now())
    for n in range(4):
        await rig.take(rig.fact("return.authorised", external_id=f"S-{n}", order_id=f"Q-{n}"))
    await open_many(rig, 4)
    rig.clock.advance(timedelta(days=20))
    found = await Agenda(rig.database, rig.clock).take(10)
    dated = {row["id"]: row["deadline_at"] is not None for row in await rig.rows("SELECT id, deadline_at FROM cases")}
    assert [dated[entry.id] for entry in found] == [True] * 4 + [False] * 4


async def test_each_replica_takes_its_own_and_others_only_when_they_are_overdue(rig: Rig) -> None:
    await open_many(rig, 20)
    rig.clock.advance(24 * HOURS)
    one = Agenda(rig.database, rig.clock, lambda key: int(key[1][2:]) % 2 == 0)
    two = Agenda(rig.database, rig.clock, lambda key: int(key[1][2:]) % 2 == 1)
    mine, its = await one.take(50), await two.take(50)
    assert (len(mine), len(its)) == (10, 10)
    assert not {entry.id for entry in mine} & {entry.id for entry in its}
    assert await one.take(50) == []
    rig.clock.advance(OTHERS)
    assert {entry.id for entry in await one.take(50)} >= {entry.id for entry in its}
    asked = Agenda(rig.database, rig.clock, lambda _: False)
    asked.forget(everything=True)
    assert len(await asked.take(50)) == 20, "who is asked does all"


async def test_between_two_looks_nothing_is_asked_of_the_database(rig: Rig) -> None:
    await open_many(rig, 3)
    agenda, asked = Agenda(rig.database, rig.clock), []
    rig.clock.advance(24 * HOURS - AHEAD / 2)
    assert await agenda.take(10) == []
    rig.database.watch(asked.append)
    assert agenda.rest() == pytest.approx(AHEAD.total_seconds() / 2)
    assert await agenda.take(10) == []
    rig.clock.advance(AHEAD / 2)
    found = await agenda.take(10)
    rig.database.watch(None)
    assert len(found) == 3 and asked == []


async def test_sqlite_too_reads_by_index_only(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    database = Database(f"sqlite:///{path}")
    await migrate.upgrade(database, MIGRATIONS)
    await database.close()
    told = {"after": -1, "until": 1, "now": 1, "most": 1}
    with closing(sqlite3.connect(path)) as connection:
        for sql, index in ((BY_DUE, "cases_due"), (BY_DEADLINE, "cases_deadline"), (WITHOUT_DEADLINE, "cases_due")):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", told)]
            assert len(plan) == 1 and f"USING INDEX {index} " in plan[0], plan


async def test_what_is_committed_during_a_look_is_not_overlooked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await open_many(rig, 1)
    rig.clock.advance(24 * HOURS)
    agenda, look = Agenda(rig.database, rig.clock), agendas.look

    async def slow(*args: Any) -> agendas.Seen:
        seen = await look(*args)
        agenda.expect(to_micros(rig.clock.now() - HOURS))
        return replace(seen, rows=[])

    monkeypatch.setattr(agendas, "look", slow)
    assert await agenda.take(10) == []
    monkeypatch.setattr(agendas, "look", look)
    assert len(await agenda.take(10)) == 1


async def test_a_commit_that_sets_an_earlier_clock_wakes_the_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks hold for a day here: without being told, the worker would sleep."""
    monkeypatch.setattr(agendas, "AHEAD", timedelta(days=1))
    rig.policy.clock = clock = SystemClock()
    rig.clock.set(clock.now())
    await rig.policy.world.playbooks.adopt(rig.database, shipped.read_all(Registry(), None), clock.now())
    worker = Worker(rig.policy, Settings(idle=3600), _never)
    await worker.start()
    try:
        await until(lambda: worker._agenda._until > to_micros(clock.now()))
        at = clock.now() + timedelta(seconds=2)
        await rig.take(rig.fact("return.requested", data={"due_at": at.isoformat()}))

        async def fired() -> bool:
            return bool(await rig.rows("SELECT 1 AS x FROM case_log WHERE fact LIKE '%timer.elapsed%'"))

        end = monotonic() + 60
        while not await fired():
            assert monotonic() < end, "it slept on"
            await asyncio.sleep(0.02)
    finally:
        await worker.stop()
    (row,) = await rig.rows("SELECT decided_at FROM case_log WHERE fact LIKE '%\"margin\"%'")
    assert row["decided_at"] < to_micros(at), "and not before the hour is over"


async def _never() -> str | None:
    return None


async def test_an_idle_worker_looks_once_a_second_at_most(rig: Rig) -> None:
    rig.policy.clock = clock = SystemClock()
    rig.clock.set(clock.now())  # nothing of these cases is due while this runs, whatever the date
    await open_many(rig, 5)
    asked: list[str] = []
    worker = Worker(rig.policy, Settings(), _never)
    rig.database.watch(asked.append)
    began = monotonic()
    await worker.start()
    await until(lambda: sum("FROM cases" in sql for sql in asked) >= 3)
    await worker.stop()
    rig.database.watch(None)
    spent = monotonic() - began
    looks, others = sum("FROM cases" in sql for sql in asked), sum("FROM orders" in sql for sql in asked)
    assert looks <= spent / AHEAD.total_seconds() + 2
    assert others <= spent / 5 + 1
    assert len(asked) <= 2 * looks + others, asked


async def test_a_case_whose_order_is_held_is_tried_again(rig: Rig) -> None:
    await open_many(rig, 2)
    rig.clock.advance(25 * HOURS)
    agenda = Agenda(rig.database, rig.clock)
    found = await agenda.take(10)
    agenda.put_back(found[:1])
    assert await agenda.take(10) == []
    rig.clock.advance(agendas.LOCKED)
    assert [entry.id for entry in await agenda.take(10)] == [found[0].id]


async def test_time_left_agrees_with_the_cases_whatever_the_moment(rig: Rig) -> None:
    chosen = random.Random(11)
    playbooks = shipped.read_all(Registry(), None)
    await rig.policy.world.playbooks.adopt(rig.database, playbooks, rig.clock.now())
    for n in range(40):
        at = START + timedelta(seconds=chosen.uniform(3600, 4 * 86400))
        await rig.take(
            rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n}", data={"due_at": at.isoformat()})
        )
    for n in range(0, 40, 3):
        await rig.take(rig.fact("return.cancelled", external_id=f"R-{n}", order_id=f"O-{n}"))
    there = [row["at"] for row in await rig.rows("SELECT deadline_at AS at FROM cases WHERE deadline_at IS NOT NULL")]
    bounds = (0.0, 3600.0, 4 * 3600.0, 86400.0)
    for _ in range(10):
        now = START + timedelta(seconds=chosen.uniform(-3600, 5 * 86400))
        left = [(at - to_micros(now)) / 1e6 for at in there]
        wanted = [sum(seconds <= bound for seconds in left) for bound in bounds]
        async with rig.database.transaction() as tx:
            reached, total = await deadlines.seconds_left(tx, now, bounds)
            await deadlines.fold(tx, START + timedelta(days=chosen.randrange(6)))
            assert await deadlines.counted(tx) == await deadlines.recount(tx)
        assert reached == [*wanted, len(left)] and total == pytest.approx(sum(left), abs=1e-3)
