"""F6: PostgreSQL is stopped in every way and its backends are terminated. F7: the disk under a database is full."""

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT, Signals
from typing import Any

import asyncpg

from tests.crash.fault_trial import LONGEST, Own, Trial
from tests.support.waiting import until

STOPS: dict[str, Signals] = {"fast": SIGINT, "immediate": SIGQUIT, "kill -9": SIGKILL}
_POOL = 10
"""Connections of one process at most (`Database`)."""
_BLOCK = b"\0" * 65_536
_OURS = "FROM pg_stat_activity WHERE application_name = 'amends' AND datname = current_database()"


async def restarts(trial: Trial, server: Own, times: int, away: float) -> None:
    """Deliveries arrive before, while it goes, while it is away, and when it comes back."""
    trial.told["restarts"] = {}
    for n in range(times):
        name = list(STOPS)[n % len(STOPS)]
        trial.wave()
        await asyncio.sleep(trial.dice.uniform(0, 0.3))
        await server.end(STOPS[name])
        await trial.refused()
        await asyncio.sleep(trial.dice.uniform(0, away))
        await server.again()
        await trial.ready()
        await trial.accepted()
        trial.told["restarts"][name] = trial.told["restarts"].get(name, 0) + 1
        trial.progress(f"{n + 1}/{times} restarts ({name})")


async def terminations(trial: Trial, database: str, at_least: int) -> None:
    """Every backend of ours is terminated, wave after wave, until there were enough."""
    ended = rounds = 0
    while ended < at_least:
        trial.wave()
        await asyncio.sleep(trial.dice.uniform(0, 0.2))
        rounds += 1
        ended += int((await asked(database, f"SELECT count(pg_terminate_backend(pid)) {_OURS}"))[0]["count"])
        await trial.accepted()
        if rounds % 20 == 0:
            trial.progress(f"{ended}/{at_least} backends terminated")
    await trial.ready()
    trial.told["terminated_backends"] = ended


async def no_leak(trial: Trial, database: str) -> None:
    """At rest none is in a transaction, and there are no more than the pools hold."""
    await trial.accepted()
    await trial.settled()
    most = _POOL * len(trial.system.processes)

    async def fine() -> bool:
        states = {
            row["state"]: row["n"] for row in await asked(database, f"SELECT state, count(*) AS n {_OURS} GROUP BY 1")
        }
        trial.told["connections_at_rest"] = {str(state): n for state, n in states.items()}
        within = not any("in transaction" in str(state) for state in states)
        return within and sum(states.values()) <= most

    await until(fine, LONGEST, f"connections back to at most {most}, none in a transaction")


async def asked(database: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(database, timeout=LONGEST)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


async def full_disk(trial: Trial, disk: Path, times: int, held: float) -> None:
    """Filled to the last byte while deliveries arrive; freed; goes on without a restart."""
    lives = [process.handle for process in trial.system.processes]
    for n in range(times):
        trial.wave()
        await trial.accepted()
        with filled(disk):
            await trial.refused()
            await asyncio.sleep(held)
            assert all(process.running for process in trial.system.processes), "a process ended on a full disk"
        await trial.ready()
        await trial.accepted()
        trial.progress(f"{n + 1}/{times} times full")
    assert lives == [process.handle for process in trial.system.processes]
    trial.told["times_full"] = times


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No byte is free on this disk until the end of the block."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            for block in (_BLOCK, _BLOCK[:4096]):
                with contextlib.suppress(OSError):
                    while file.write(block):
                        pass
        yield
    finally:
        ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the database's own user may enter as well."""
    with tempfile.TemporaryDirectory(prefix="amends-faults-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[str | None]:
    """A disk of that size mounted there; why not, where that is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"no disk can be mounted here: {done.stderr.strip()[-200:]}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
