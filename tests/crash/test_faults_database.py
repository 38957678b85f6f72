"""F6 and F7, small: the database restarted, its backends terminated, its disk full. In full: `python -m tests.crash.faults`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import faults
from tests.crash.chaos import Result
from tests.crash.fault_database import open_folder, small_disk
from tests.crash.fault_trial import Load

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]


def nothing_amiss(result: Result, effects: int = 20) -> None:
    """`effects`: how many messages and acts reached the marketplace at least."""
    counts = result.counts
    assert result.violations == []
    assert counts["accepted"] == counts["deliveries_made"] > 50
    assert (counts["lost"], counts["duplicate_messages"], counts["unexplained"]) == (0, 0, 0)
    assert counts["effects"] >= effects, "there was something that could have been said twice"


@pytest.mark.pg
@pytest.mark.rabbit
@pytest.mark.asyncio
async def test_postgres_restarted_in_every_way_its_backends_terminated_its_disk_full(
    new_amqp_url: Callable[[], str],
) -> None:
    numbers = faults.Numbers(restarts=3, terminations=10, full=1)
    with open_folder() as folder, small_disk(folder / "disk", 96) as refused:
        disk = None if refused else folder / "disk"
        result = await faults.database(folder, Load(320, 20), new_amqp_url(), numbers, disk=disk)
    nothing_amiss(result)
    assert result.told["restarts"] == {"fast": 1, "immediate": 1, "kill -9": 1}
    assert result.told["terminated_backends"] >= 10
    assert refused or result.told["times_full"] == 1


@pytest.mark.asyncio
async def test_a_full_disk_under_the_embedded_product(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", 24) as refused:
        if refused:
            pytest.skip(refused)
        nothing_amiss(await faults.embedded(tmp_path, Load(300, 12), faults.Numbers(full=1)))
