"""Killed before and after the commit: what was decided is decided once, what was committed is published."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from shared import crashpoints
from shared.clock import TestClock
from shared.store.session import Database
from tests.services.policy.policy_rig import START, build

pytestmark = pytest.mark.crash
DYING = """
import asyncio, sys
from pathlib import Path
import services.policy
from shared import crashpoints
from shared.clock import TestClock
from shared.store import migrate
from shared.store.session import Database
from tests.services.policy.policy_rig import START, build, charts

async def main():
    database = Database(sys.argv[1])
    await migrate.upgrade(database, Path(services.policy.__path__[0]) / "migrations")
    rig = build(database, TestClock(START))
    await rig.policy.world.playbooks.adopt(database, charts(), START)
    crashpoints.arm(sys.argv[2])
    await rig.take(rig.fact("return.requested", key="one"))
    await rig.take(rig.fact("return.authorised", key="two"))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("point", "left"),
    [("policy.decided:1", 0), ("policy.committed:1", 1), ("policy.decided:2", 1), ("policy.committed:2", 2)],
)
def test_killed_there_and_delivered_again_it_is_the_same(tmp_path: Path, point: str, left: int) -> None:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    died = subprocess.run([sys.executable, "-c", DYING, url, point], capture_output=True, text=True, check=False)
    assert died.returncode == crashpoints.EXIT_CODE, died.stderr

    async def after() -> tuple[int, int, list[str], int]:
        database = Database(url)
        rig = build(database, TestClock(START))
        before = len(await rig.rows("SELECT seq FROM case_log"))
        for kind, key in (("return.requested", "one"), ("return.authorised", "two")) * 2:
            await rig.take(rig.fact(kind, key=key))
        case = await rig.case()
        kinds = [kind for _, kind in await rig.timeline(case.id)]
        unpublished = await rig.policy.relay.pending()
        rows = len(await rig.rows("SELECT id FROM outbound")) + len(await rig.rows("SELECT id FROM case_events"))
        await database.close()
        assert case.state == "returning"
        return before, unpublished, kinds, rows

    before, unpublished, kinds, rows = asyncio.run(after())
    assert before == left
    assert kinds == ["return.requested", "return.authorised"]
    assert unpublished == rows > 0
