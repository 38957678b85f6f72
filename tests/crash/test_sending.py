"""F2, small: killed while sending. In full: `python -m tests.crash.sending`."""

import random
from pathlib import Path

import pytest

from tests.crash.sending import ABILITIES, sending
from tests.support import forking
from tests.support.forking import ForkServer

pytestmark = [pytest.mark.crash, pytest.mark.asyncio, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server() -> ForkServer:
    return forking.running()


@pytest.mark.parametrize("ability", ABILITIES)
async def test_killed_while_sending(tmp_path: Path, server: ForkServer, ability: str) -> None:
    """Keyed and readable: each message once. Blind: at most once, and what may have left is told to be in doubt."""
    async with sending(server, tmp_path, ability, 40, seed=3) as one:
        await one.killed(8, random.Random(3))
        violations, counts = await one.verdict()
    assert violations == []
    assert counts["kills"] == 8
    assert counts.get("errands_sent", 0) + counts.get("errands_in_doubt", 0) == 40
    assert ability == "blind" or counts["errands_sent"] == 40
