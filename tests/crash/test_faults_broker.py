"""F3, F4, F5 and the broker's part of F7, small: a node of our own that fails. In full: `python -m tests.crash.faults`."""

from pathlib import Path

import pytest

from tests.crash import faults
from tests.crash.fault_trial import Load
from tests.crash.test_faults_database import nothing_amiss

pytestmark = [
    pytest.mark.crash, pytest.mark.pg, pytest.mark.rabbit, pytest.mark.asyncio, pytest.mark.timeout(600),
]  # fmt: skip


async def test_a_broker_stopped_killed_full_cutting_everybody_off_and_forgetting(
    tmp_path: Path, postgres_url: str
) -> None:
    """Deliveries are accepted all the time; what was lost with queues and vhost comes back by `resync`."""
    numbers = faults.Numbers(restarts=2, closes=1, alarms=1, forgotten=3)
    result = await faults.broker(tmp_path, Load(160, 16), postgres_url, numbers)
    nothing_amiss(result)
    assert result.told["answers"].keys() == {"202"}
    assert all(result.told["lost_in_the_broker"]), "there was something to be brought back each time"
