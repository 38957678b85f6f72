"""`python -m bench.load.driver`: generator and sink in a process of their own, told what to do in JSON lines on stdin.

{"do": "sink"}                                                  → {"url": …}
{"do": "closed", "urls": […], "first", "count", "connections"}  → an outcome
{"do": "steady", "urls": […], "first", "count", "rate"}         → an outcome
{"do": "seen", "first", "count"}                                → {"seen", "twice", "strays"}
{"do": "travel", "first", "count"}                              → {"seconds": began → at the sink, "last": monotonic}
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

import uvloop

from bench.load import generator, pushes
from bench.load.generator import Outcome
from bench.load.sink import Sink

_LINE = 64 * 1024 * 1024


class Driver:
    def __init__(self) -> None:
        self._sink = Sink()
        self._began: dict[int, float] = {}

    async def do(self, told: dict[str, Any]) -> dict[str, Any]:
        match told["do"]:
            case "sink":
                return {"url": await self._sink.start()}
            case "closed" | "steady":
                return await self._load(told)
            case "seen":
                return self._seen(told["first"], told["count"])
            case "travel":
                return self._travel(told["first"], told["count"])
        raise ValueError(f"unknown: {told['do']}")

    async def _load(self, told: dict[str, Any]) -> dict[str, Any]:
        urls, first, count = told["urls"], told["first"], told["count"]
        requests = pushes.requests(urls, first, count, datetime.now(UTC))
        if told["do"] == "closed":
            outcome = await generator.closed(urls[0], requests, told["connections"])
        else:
            outcome = await generator.steady(urls[0], requests, told["rate"])
        self._began |= dict(enumerate(outcome.began, first))
        return _told(outcome)

    def _seen(self, first: int, count: int) -> dict[str, Any]:
        return {"seen": self._sink.seen(first, count), "twice": self._sink.twice, "strays": self._sink.strays}

    def _travel(self, first: int, count: int) -> dict[str, Any]:
        came = self._sink.came
        numbers = [number for number in range(first, first + count) if number in came]
        seconds = [came[number] - self._began[number] for number in numbers]
        return {"seconds": seconds, "last": max((came[number] for number in numbers), default=0.0)}


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "accepted": outcome.accepted,
        "refused": outcome.refused,
        "began": min(outcome.began),
        "ended": max(outcome.ended),
        "seconds": outcome.seconds,
        "late": outcome.late,
    }


async def _main() -> None:
    loop, driver = asyncio.get_running_loop(), Driver()
    reader = asyncio.StreamReader(limit=_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(json.dumps(await driver.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
