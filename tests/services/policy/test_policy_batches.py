"""Batches: few statements whatever their size, one transaction for several partitions, bounded, stopped without loss."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from services.policy import walk
from services.policy.batch import Batch
from services.policy.metrics import counters, recount
from shared.bus import envelope
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import FACTS, Event
from shared.domain.facts import Fact
from shared.health import failing
from tests.services.policy.policy_rig import Rig
from tests.services.policy.policy_stage import Stage, event, opening, staged, topology
from tests.support.plans import poor_plans
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio
STATEMENTS = {"postgresql": (2, 4), "sqlite": (8, 9)}
"""Of one batch: of new orders and cases, and of known ones, these besides BEGIN and COMMIT."""


async def statements(rig: Rig, facts: Sequence[Fact]) -> int:
    heard: list[str] = []
    rig.database.watch(heard.append)
    await rig.take(*facts)
    rig.database.watch(None)
    return len(heard)


async def test_a_batch_takes_the_same_few_statements_whatever_its_size(rig: Rig) -> None:
    def openings(start: int, count: int) -> list[Fact]:
        return [opening(n, data={"reason": "damaged"}) for n in range(start, start + count)]

    def followings(start: int, count: int) -> list[Fact]:
        return [
            rig.fact("return.received", order_id=f"O-{n}", external_id=f"R-{n}") for n in range(start, start + count)
        ]

    await rig.take(*openings(0, 5))  # the terms are stored with the first
    opened, followed = STATEMENTS[rig.database.url.get_backend_name()]
    counts = {size: await statements(rig, openings(size, size)) for size in (10, 150)}
    assert len(set(counts.values())) == 1 and counts[150] <= opened, counts
    counts = {size: await statements(rig, followings(size, size)) for size in (10, 150)}
    assert len(set(counts.values())) == 1 and counts[150] <= followed, counts
    assert len(await rig.cases()) == 165


async def test_rows_are_found_by_their_whole_key_whatever_postgresql_knows_of_its_tables(rig: Rig) -> None:
    """It plans a statement once, before there is much to know."""
    if not rig.database.postgres:
        pytest.skip("SQLite plans each time")
    heard: list[str] = []
    rig.database.watch(heard.append)
    await rig.take(opening(1, data={"reason": "damaged"}), opening(2))
    await rig.take(rig.fact("return.received", order_id="O-1", external_id="R-1"))
    rig.database.watch(None)
    assert any("UPDATE cases" in sql for sql in heard)
    assert await poor_plans(rig.database, heard) == []


def running(url: str, folder: Path, bus: EmbeddedBus, **settings: Any) -> AbstractAsyncContextManager[Stage]:
    return started(staged(url, folder, bus, **settings))


@asynccontextmanager
async def started(stage: Stage) -> AsyncIterator[Stage]:
    notifier = asyncio.create_task(stage.notifier())
    await stage.service.start()
    try:
        yield stage
    finally:
        await stage.service.stop()
        notifier.cancel()
        with suppress(asyncio.CancelledError):
            await notifier


@asynccontextmanager
async def bus() -> AsyncIterator[EmbeddedBus]:
    made = EmbeddedBus(topology())
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def agrees(stage: Stage) -> None:
    async with stage.database.reading() as tx:
        assert await counters(tx) == await recount(tx)


def broken(n: int) -> Event:
    """An event of the right type whose data is no fact."""
    fit = event(opening(n))
    data = {"id": fit.id, "account": "shop", "kind": ["return.requested"], "n": n}
    return Event(fit.id, fit.type, fit.source, fit.subject, fit.time, msgspec.json.encode(data))


async def come_twice(stage: Stage, wire: EmbeddedBus, facts: list[Fact], bad: list[Event], bugs: set[str]) -> None:
    """All of it, and one message that is no event: applied and parked are together what was accepted, each time."""
    for _ in range(2):
        told = [stage.publish([one, event(facts[0])], n % 4) for n, one in enumerate(bad)]
        body = envelope.encode([event(facts[1])])[1].replace(b'"1.0"', b'"9.9"')
        wire._enqueue(wire._bound(FACTS, "0")[0], envelope.SINGLE, body)
        await asyncio.gather(*told, *stage.publish_all(facts))
        await stage.settled()
        assert await stage.applied() == sorted({fact.id for fact in facts} - bugs)
        parked = await stage.rows("SELECT id, type FROM parked WHERE retried_at IS NULL")
        assert {row["id"] for row in parked if row["type"] != "unread"} == bugs | {one.id for one in bad}
        assert len(parked) == len(bugs) + len(bad) + 1


async def test_poison_is_parked_and_all_else_is_applied_exactly(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = walk.decide

    def fragile(playbook: Any, view: Any, fact: Any, now: Any) -> Any:
        if fact.raw_code == "poison":
            raise ZeroDivisionError("a bug of ours")
        return real(playbook, view, fact, now)

    monkeypatch.setattr(walk, "decide", fragile)
    facts = [opening(n, raw_code="poison" if n % 100 == 7 else None) for n in range(600)]
    bugs = {fact.id for fact in facts if fact.raw_code}
    bad = [broken(n) for n in range(10_000, 10_006)]
    quiet = capture_logs()  # a trace drawn on the terminal for each poisonous fact takes seconds
    async with bus() as wire, running(database_url, tmp_path, wire) as stage:
        with quiet:
            await come_twice(stage, wire, facts, bad, bugs)
        tasks = await stage.rows("SELECT id FROM tasks WHERE status = 'open' AND kind = 'conflict'")
        assert len(tasks) == len(bugs) + len(bad) + 1, "each is put before a person, once"
        assert len(await stage.rows("SELECT id FROM cases")) == 600 - len(bugs)
        await agrees(stage)


async def test_a_deep_backlog_is_taken_in_bounded_batches(database_url: str, tmp_path: Path) -> None:
    sizes: list[int] = []
    async with bus() as wire:
        stage = staged(database_url, tmp_path, wire, batch=50)
        told = stage.publish_all([opening(n) for n in range(1500)], size=25)
        write = stage.service.policy.write

        async def noted(batch: Batch) -> None:
            sizes.append(len(batch.out.log))
            await write(batch)

        stage.service.policy.write = noted  # type: ignore[method-assign]
        async with started(stage):
            await asyncio.gather(*told)
            await stage.settled()
    assert sum(sizes) == 1500
    assert max(sizes) == 50, "partitions that wait go together, no more than the bound"


async def test_stopped_under_load_nothing_is_lost_and_the_next_goes_on(database_url: str, tmp_path: Path) -> None:
    facts = [opening(n) for n in range(1200)]
    async with bus() as wire:
        async with running(database_url, tmp_path, wire, batch=40) as first:
            told = first.publish_all(facts)
            await until(lambda: any(task.done() for task in told), 60, "a first batch to be acknowledged")
        acknowledged = sum(task.done() for task in told)
        assert not first.service._started
        assert acknowledged < len(told), "there was more to do when it stopped"
        async with running(database_url, tmp_path, wire) as second:
            await asyncio.gather(*told)
            await second.settled()
            assert await second.applied() == sorted(fact.id for fact in facts)
            (left,) = await second.rows("SELECT count(*) AS n FROM outbound WHERE published_at IS NULL")
            assert left["n"] == 0
            await agrees(second)


async def test_readiness_names_what_is_missing_and_is_red_once_stopped(database_url: str, tmp_path: Path) -> None:
    async with bus() as wire:
        async with running(database_url, tmp_path, wire) as stage:
            checks = stage.service._checks()

            async def ready() -> bool:
                return not await failing(checks)

            await until(ready, 60, "ready")
        assert "database" in await failing(checks)
    assert {"database", "broker"} <= (await failing(checks)).keys()
