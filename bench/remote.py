"""The driver process, told what to do over its stdin (bench/load/driver.py)."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.contestant import ROOT
from bench.processes import clean_environ

_LINE = 64 * 1024 * 1024


class Driver:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def do(self, what: str, **told: Any) -> dict[str, Any]:
        """Raises RuntimeError when the driver is gone."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **told}).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the driver ended while it was told: {what}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def driver() -> AsyncIterator[Driver]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load.driver",
        cwd=ROOT, env=clean_environ(), limit=_LINE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Driver(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
