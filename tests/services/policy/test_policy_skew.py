"""One clock: while ours and the database's are apart nothing fires and readiness says so; once they agree all goes on."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from services.policy import wiring
from services.policy.settings import Settings
from shared.bus import open_bus
from shared.bus.port import Topology
from shared.clock import SystemClock
from shared.registry import Registry
from shared.settings import Process
from shared.store import relay
from tests.services.policy.policy_rig import Rig, config
from tests.support.asgi import _ask
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio, pytest.mark.pg]


class Wrong(SystemClock):
    """A machine's clock that somebody has moved."""

    by = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.by


async def test_a_clock_apart_from_the_databases_fires_nothing(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_DRAIN", 0.1)
    clock, bus = Wrong(), open_bus("embedded://", Topology(1))
    process = Process(data_dir=tmp_path, database_urls={"": postgres_url}, partitions=1)
    settings = Settings(idle=0.01, after_fault=0.01, check_skew_every=0.0)

    def build() -> wiring.PolicyService:
        return wiring.build(process, config(Registry(), "shop"), clock, bus, settings=settings)

    await bus.start()
    right = build()
    await right.start()
    rig = Rig(right.policy, right.database, clock)  # type: ignore[arg-type]
    await rig.take(rig.fact("return.requested"))
    case = await rig.case()
    await right.stop()
    clock.by = timedelta(days=30)
    service = build()
    await service.start()
    try:
        await until(lambda: service._worker.held_up)
        answer = await _ask(service.app, "GET", "/readyz", (), b"")
        assert answer.status == 503 and "apart from the database" in answer.text
        rig = Rig(service.policy, service.database, clock)  # type: ignore[arg-type]
        assert [kind for _, kind in await rig.timeline(case.id)] == ["return.requested"]
        clock.by = timedelta(0)
        await until(lambda: not service._worker.held_up)
        assert (await _ask(service.app, "GET", "/readyz", (), b"")).status == 200
    finally:
        await service.stop()
        await bus.stop()


async def test_a_clock_that_is_set_while_running_is_looked_at_before_anything_fires(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_DRAIN", 0.1)
    clock, bus = Wrong(), open_bus("embedded://", Topology(1))
    process = Process(data_dir=tmp_path, database_urls={"": postgres_url}, partitions=1)
    settings = Settings(idle=0.01, after_fault=0.01, check_skew_every=3600.0)
    service = wiring.build(process, config(Registry(), "shop"), clock, bus, settings=settings)
    await bus.start()
    await service.start()
    rig = Rig(service.policy, service.database, clock)  # type: ignore[arg-type]
    try:
        await rig.take(rig.fact("return.requested"))
        for by in (timedelta(days=30), timedelta(0), timedelta(days=-30), timedelta(0)):
            clock.by = by
            await until(lambda by=by: service._worker.held_up == bool(by), what=f"the clock set by {by} to be noticed")
        case = await rig.case()
        assert [kind for _, kind in await rig.timeline(case.id)] == ["return.requested"]
    finally:
        await service.stop()
        await bus.stop()
