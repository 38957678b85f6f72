"""F17: the files of the embedded product. Killed or copied in the midst of writing they are whole; one process owns them."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crash.evidence import intact
from tests.crash.stories import Telling
from tests.crash.world import World
from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import ROOT, System

pytestmark = [pytest.mark.crash, pytest.mark.asyncio, pytest.mark.timeout(400)]
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
KILLS, AT_ONCE = 6, 30


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    oracle = Oracle(log=folder / "marketplace.jsonl")
    async with oracle, System(folder, pushes.accounts(oracle.url), START) as system:
        yield World(system, oracle)


def _tell(world: World, wave: int) -> None:
    for n in range(AT_ONCE):
        named = {"kind": "return", "external_id": f"R{wave}-{n}", "order_id": f"O{wave}-{n}", "reason": "other"}
        world.deliver(Telling(f"msg_{wave}_{n}", "return.requested", 0.0, named))


def _keys(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "intake.db")) as connection:
        return {key for (key,) in connection.execute("SELECT dedupe_key FROM deliveries")}


async def test_killed_and_copied_in_the_midst_of_writing_the_files_are_whole(tmp_path: Path) -> None:
    """The copy is what lies on the disk at one moment, the process standing still: as after a power cut, less the fsync."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    async with running(tmp_path) as world:
        [process] = world.system.processes
        for wave in range(KILLS):
            _tell(world, wave)
            await world.all_accepted(at_most_left=AT_ONCE // 2)
            assert process.handle is not None
            process.handle.send_signal(signal.SIGSTOP)
            accepted = {key for key, n in world.accepted.items() if n}
            shutil.copytree(data, copy / str(wave), ignore=shutil.ignore_patterns("*-shm", "lock"))
            process.handle.send_signal(signal.SIGCONT)
            assert set(intact(copy / str(wave)).values()) == {"ok"}
            assert accepted <= _keys(copy / str(wave)), "what was answered is on the disk"
            process.end(signal.SIGKILL)
            await world.system.start()
        await world.all_accepted()
        await world.system.stop()
    assert set(intact(data).values()) == {"ok"}
    assert _keys(data) == set(world.bodies)


async def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        second = [sys.executable, "-m", "amends", "up", "--port", "0", "--data", str(tmp_path / "data"), "--sandbox"]
        done = await asyncio.to_thread(
            subprocess.run, second, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert "another amends is running on this data directory" in done.stderr
        _tell(world, 0)
        await world.all_accepted()
        await world.system.stop()
    assert set(intact(tmp_path / "data").values()) == {"ok"}
