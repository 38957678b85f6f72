"""The outside of a chaos run: the marketplace that delivers until it is answered and logs what reaches it."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.crash.picture import Call, Offered
from tests.crash.stories import Telling, answer
from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import System

ACCOUNT = "shop"
_LINES = 64
_GIVE_UP = 300.0


@dataclass
class World:
    """`deliver` what is told; every webhook is made again, the same bytes, until it is answered 2xx."""

    system: System
    oracle: Oracle
    bodies: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.oracle.then = self._answer
        self._lines = asyncio.Semaphore(_LINES)

    def deliver(self, one: Telling) -> None:
        self._begin(one.key, one.type, one.data)

    def _answer(self, key: str, body: dict[str, Any]) -> None:
        told = answer(body)
        if told is not None:
            self._begin(f"ans_{key}", *told)

    def _begin(self, key: str, type_: str, data: dict[str, Any]) -> None:
        if key not in self.bodies:
            now = self.system.clock.now()
            self.bodies[key] = (type_, pushes.generic(now, type_, key, **data)[0])
        task = asyncio.create_task(self._until_accepted(key))
        self.under_way.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failed = task.exception()

    failed: BaseException | None = None

    async def _until_accepted(self, key: str) -> None:
        body = self.bodies[key][1]
        give_up = asyncio.get_running_loop().time() + _GIVE_UP
        async with self._lines:
            while True:
                signed_at = self.system.clock.now()
                self.sent[key] += 1
                status = await self._once(key, body)
                self.statuses[status] += 1
                if status == 202:
                    self.accepted[key] += 1
                    return
                moved = status == 401 and signed_at != self.system.clock.now()
                assert status in (0, 503) or moved, f"{key}: {status}"
                assert asyncio.get_running_loop().time() < give_up, f"{key} was never accepted"
                await asyncio.sleep(0.1)

    async def _once(self, key: str, body: bytes) -> int:
        """The status; 0 when there was no answer."""
        headers = pushes.signed(self.system.clock.now(), key, body)
        try:
            return (await self.system.push("generic", ACCOUNT, body, headers))[0]
        except (aiohttp.ClientError, TimeoutError, ZeroDivisionError, ConnectionError):
            return 0

    async def all_accepted(self, at_most_left: int = 0, longest: float = _GIVE_UP) -> None:
        end = asyncio.get_running_loop().time() + longest
        while len(self.under_way) > at_most_left:
            if self.failed is not None:
                raise self.failed
            assert asyncio.get_running_loop().time() < end, f"{len(self.under_way)} deliveries are not accepted"
            await asyncio.sleep(0.02)

    def offered(self) -> list[Offered]:
        return [
            Offered(ACCOUNT, key, body, self.sent[key], self.accepted[key]) for key, (_, body) in self.bodies.items()
        ]


def calls_of(log: Path) -> list[Call]:
    """The marketplace's log as the verdict reads it."""
    lines = log.read_bytes().splitlines() if log.exists() else []
    return [_call(n, json.loads(line)) for n, line in enumerate(lines)]


def _call(n: int, line: dict[str, Any]) -> Call:
    body, data = line["body"], line["body"]["data"]
    message = body["type"] == "message.send"
    return Call(
        n=n,
        errand_id=line["key"],
        what="message" if message else "act",
        name=data["purpose"] if message else data["act"],
        case_id=data["case_id"],
        says=data["text"] if message else json.dumps([data["params"], data.get("money")], sort_keys=True),
        effect=line["effect"],
        money=data.get("money") is not None,
    )
