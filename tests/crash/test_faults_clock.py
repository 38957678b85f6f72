"""F8, small: clocks that jump, and one that is apart from the database's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.store.session import Database
from tests.crash import faults
from tests.crash.fault_clock import OnWallClocks, green, red
from tests.crash.fault_trial import LONGEST, Load
from tests.crash.test_faults_database import nothing_amiss
from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import SERVICES
from tests.support.waiting import until

pytestmark = [pytest.mark.crash, pytest.mark.asyncio, pytest.mark.timeout(600)]


async def test_the_clock_of_all_jumps_to_and_fro(tmp_path: Path) -> None:
    """No clock of a case early, none twice, over a leap day and a change to summer time. Many messages come too late."""
    result = await faults.clocks(tmp_path, Load(120, 8), None, faults.Numbers(jumps=8))
    nothing_amiss(result, effects=1)
    assert any("timer.elapsed" in row["fact"] for row in result.picture.of("policy.case_log"))


@pytest.mark.pg
@pytest.mark.rabbit
async def test_one_service_apart_from_the_database_is_red_and_fires_nothing(
    tmp_path: Path, postgres_url: str, new_amqp_url: Callable[[], str]
) -> None:
    urls = {s: f"{postgres_url}?schema={s}" for s in SERVICES} | {"broker": new_amqp_url()}
    async with Oracle() as oracle:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        async with OnWallClocks(tmp_path, pushes.accounts(oracle.url), at, urls, replicas=1) as system:
            now = SystemClock().now()
            body, headers = pushes.generic(
                now, "return.requested", "msg_1", kind="return", external_id="R1", order_id="O1", reason="other",
                buyer={"id": "B1", "locale": "en"},
            )  # fmt: skip
            assert (await system.push("generic", "shop", body, headers))[0] == 202
            database = Database(urls["policy"], pool=1)
            try:
                await until(lambda: _count(database, "cases"), LONGEST, "the case")
                for by in (timedelta(days=400), timedelta(hours=-2), timedelta(seconds=5)):
                    for n, process in enumerate(system.processes):
                        system.skew(n, by)
                        await red(process)
                        system.skew(n, timedelta(0))
                        await green(process)
                assert await _count(database, "case_log WHERE fact LIKE '%timer.elapsed%'") == 0, "fired early"
            finally:
                await database.close()
            await system.stop()


async def _count(database: Database, of: str) -> int:
    async with database.reading() as tx:
        row = await tx.row(f"SELECT count(*) AS n FROM {of}")
    assert row is not None
    return int(row["n"])
