"""What is shown of open cases costs little however many there are, and is there even while something slow is read."""

import asyncio
import importlib
from datetime import timedelta
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from prometheus_client.parser import text_string_to_metric_families

from services.policy import deadlines, metrics
from services.policy.metrics import Gauges
from shared.clock import to_micros
from shared.store.partitions import SoleOwner
from tests.services.policy.policy_rig import Rig

pytestmark = pytest.mark.asyncio
HOUR = timedelta(hours=1)


def gauges(rig: Rig) -> Gauges:
    policy = rig.policy
    made = Gauges(rig.database, policy.metrics, rig.clock, policy.relay, policy.world, SoleOwner(1))
    policy.metrics.before_scrape.append(made.refresh)
    return made


async def shown(rig: Rig, name: str) -> dict[str, float]:
    """Sample values by their last label."""
    text = (await rig.policy.metrics.exposition()).decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return {next(reversed(sample.labels.values()), ""): sample.value for sample in samples}


async def test_time_left_follows_the_cases_from_scrape_to_scrape(rig: Rig) -> None:
    made = gauges(rig)
    await rig.take(*(rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n}") for n in range(3)))
    assert (await shown(rig, "amends_deadline_seconds_left_bucket"))["172800.0"] == 3
    rig.clock.advance(timedelta(hours=45))
    await rig.take(rig.fact("return.cancelled", external_id="R-1", order_id="O-1"))
    left = await shown(rig, "amends_deadline_seconds_left_bucket")
    assert (left["3600.0"], left["14400.0"], left["+Inf"]) == (0, 2, 2)
    assert await shown(rig, "amends_deadline_seconds_left_sum") == {"": 2 * 3 * 3600.0}
    await made.stop()


async def test_what_waits_for_somebody_is_at_risk_before_its_deadline(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two days to answer: at risk while a task is open or its clocks do not fire, no more once the deadline has passed."""
    monkeypatch.setattr(metrics, "_SHARE", 0)
    made = gauges(rig)
    await rig.take(*(rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n}") for n in range(3)))
    async with rig.database.transaction() as tx:
        await tx.run("UPDATE cases SET next_due_at = deadline_at")
        await tx.run(
            "INSERT INTO tasks (account, id, case_id, order_id, marketplace, kind, reason, status, due_at, opened_at, document) "
            "SELECT account, 'task-' || id, id, order_id, marketplace, 'approve_act', 'x', 'open', deadline_at, opened_at, '{}' "
            "FROM cases WHERE order_id <> 'O-0'"
        )
    seen = []
    for hours in (0, 37, 8, 2.5, 1):
        rig.clock.advance(timedelta(hours=hours))
        seen.append(await shown(rig, "amends_deadlines_at_risk"))
    assert [(one["12h"], one["4h"], one["1h"]) for one in seen] == [
        (0, 0, 0), (2, 0, 0), (2, 2, 0), (2, 2, 2), (0, 0, 0),
    ]  # fmt: skip
    assert await shown(rig, "amends_tasks_overdue") == {"approve_act": 2}
    async with rig.database.transaction() as tx:
        await tx.run(
            "UPDATE cases SET deadline_at = :later WHERE order_id = 'O-0'", later=to_micros(rig.clock.now() + 2 * HOUR)
        )
    assert (await shown(rig, "amends_deadlines_at_risk"))["4h"] == 1
    await made.stop()


async def test_a_scrape_does_not_wait_for_what_takes_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_PATIENCE", 0.01)
    going, read = asyncio.Event(), metrics.dispute_rate

    async def slow(*args: Any) -> float:
        await going.wait()
        return await read(*args)

    monkeypatch.setattr(metrics, "dispute_rate", slow)
    made = gauges(rig)
    await rig.take(rig.fact("return.requested"))
    assert await shown(rig, "amends_cases") == {"awaiting_seller": 1}
    assert await shown(rig, "amends_dispute_rate") == {}
    going.set()
    assert made._reading is not None
    await made._reading
    assert await shown(rig, "amends_dispute_rate") == {"shop": 0, "other": 0}
    await made.stop()


async def test_what_cannot_be_read_does_not_hide_the_rest(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: Any) -> float:
        raise RuntimeError("out of time")

    monkeypatch.setattr(metrics, "dispute_rate", failing)
    made = gauges(rig)
    await rig.take(rig.fact("return.requested"))
    assert await shown(rig, "amends_cases") == {"awaiting_seller": 1}
    await made.stop()


async def test_a_database_that_has_cases_gets_its_deadlines_counted(rig: Rig) -> None:
    for n in range(5):
        await rig.take(rig.fact("return.requested", external_id=f"R-{n}", order_id=f"O-{n}"))
        rig.clock.advance(timedelta(minutes=25))
    migration = importlib.import_module("services.policy.migrations.versions.0002_clocks")

    def back_and_forth(connection: Any) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            migration.downgrade()
            migration.upgrade()

    await rig.database.run_sync(back_and_forth)
    async with rig.database.reading() as tx:
        counted = await deadlines.counted(tx)
        assert len(counted) == 2 and counted == await deadlines.recount(tx)
    await rig.take(rig.fact("return.cancelled", external_id="R-2", order_id="O-2"))
    async with rig.database.reading() as tx:
        assert await deadlines.counted(tx) == await deadlines.recount(tx)
