"""F8: clocks jump: the one on which all is decided, and by libfaketime one process's against the database's."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from tests.crash.fault_trial import LONGEST, Trial
from tests.crash.picture import Violation
from tests.support import servers
from tests.support.forking import ForkServer
from tests.support.servers import NoService
from tests.support.system import Process, System
from tests.support.waiting import until

BEFORE_A_LEAP_DAY = datetime(2028, 2, 28, 21, 30, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_JUMPS = (_HOUR, -2 * _HOUR, 26 * _HOUR, -26 * _HOUR, 600 * _HOUR, -600 * _HOUR, _HOUR, timedelta(seconds=1))
"""Over a leap day and over the spring change of the clocks in Europe and back: raw deliveries are kept for 30 days."""
_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


async def jumps(trial: Trial, times: int) -> None:
    """All processes share the clock that jumps; deliveries are signed by it."""
    for n in range(times):
        trial.wave()
        trial.system.clock.set(trial.system.clock.now() + _JUMPS[n % len(_JUMPS)])
        await trial.accepted()
        if n % 4 == 3:
            await trial.settled()
        trial.progress(f"{n + 1}/{times} jumps: {trial.system.clock.now()}")
    trial.told["jumps"] = times


def is_of_a_clock_set_back(violation: Violation) -> bool:
    return violation.invariant == "I4" and violation.what == "a step is older than the one before"


def faketime() -> Path:
    """Debian's `libfaketime`, for processes of several threads."""
    for attempt in range(2):
        for pattern in _LIBRARIES:
            found = sorted(Path("/").glob(pattern[1:]))
            if found:
                return found[0]
        if not attempt and shutil.which("apt-get"):
            servers.install("libfaketime")
    raise NoService("libfaketime is needed: install the package `libfaketime`")


@dataclass
class OnWallClocks(System):
    """The stack apart on the machine's own clock, which can be set for each process alone. Nothing of the sandbox."""

    server: ForkServer | None = None
    """A library is laid before the others only where a process begins with it."""

    def _apart(self) -> list[Process]:
        library = faketime()
        found = super()._apart()
        for n, process in enumerate(found):
            self.skew(n, timedelta(0))
            kept = {k: v for k, v in process.env.items() if k not in ("AMENDS_TEST_CLOCK", "AMENDS_SANDBOX")}
            process.env = kept | {
                "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(self._file(n)), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        return found

    def _file(self, n: int) -> Path:
        return self.folder / f"skew{n}"

    def skew(self, n: int, by: timedelta) -> None:
        """The n-th process's clock is that much ahead of the machine's from now on."""
        beside = self._file(n).with_suffix(".new")
        beside.write_text(f"{by.total_seconds():+.0f}")
        beside.replace(self._file(n))


async def readiness(process: Process) -> tuple[int, Mapping[str, Any]]:
    """Status and what is missing, by name."""
    patience = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=patience) as session, session.get(f"{process.url}/readyz") as answer:
        return answer.status, (await answer.json()).get("missing", {})


async def red(process: Process) -> None:
    """Its clock is what readiness names."""

    async def named() -> bool:
        status, missing = await readiness(process)
        return status == 503 and "apart from the database" in str(missing.get("clock"))

    await until(named, LONGEST, f"{process.name} to say that its clock is wrong")


async def green(process: Process) -> None:
    async def fine() -> bool:
        return (await readiness(process))[0] == 200

    await until(fine, LONGEST, f"{process.name} to be ready again")
