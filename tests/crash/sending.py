"""F2: the notifier is killed while it sends, on channels of each ability.

    python -m tests.crash.sending [--sends 1000 --kills 200 --seed 1] [--report]

The marketplace's own log is the oracle: keyed and readable channels have each message once, a blind one at most once
and the rest are told to be in doubt.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from shared.store.session import Database
from tests.crash import reports
from tests.crash.picture import Call, Picture, Violation
from tests.crash.verdict import tables_of
from tests.crash.verdict_errands import at_most_once, attempts_are_kept, what_is_said_to_have_left_left
from tests.services.notifier.harness import Marketplace
from tests.support.forking import Forked, ForkServer

ABILITIES = ("keyed", "readable", "blind")
_WAIT = 90.0
_AFTER = 0.02


@dataclass
class Shop(Marketplace):
    """Takes a moment for each call, and tells when one is under way."""

    dice: random.Random = field(default_factory=random.Random)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.called.set()
        try:
            await request.read()
        except ConnectionResetError:  # it died before its request had left: nothing was asked
            return web.Response()
        await asyncio.sleep(self.dice.uniform(0, _AFTER))
        return await super()._post(request)


@dataclass
class Sending:
    """`sends` messages through one notifier database."""

    server: ForkServer
    shop: Shop
    folder: Path
    ability: str
    sends: int
    store: str
    apart: bool = False
    kills: int = 0

    def start(self, numbers: Sequence[int], *, settle: bool = False, stops: str | None = None) -> Forked:
        said = {
            "store": self.store, "url": self.shop.url, "tmp": str(self.folder), "ability": self.ability,
            "numbers": list(numbers), "settle": settle, "apart": self.apart, "stops": stops,
        }  # fmt: skip
        log = self.folder / "sender.log"
        return self.server.start([json.dumps(said)], dict(os.environ), log, run="tests.crash.sender:main")

    async def killed(self, kills: int, dice: random.Random) -> None:
        """Each life takes in its share and what the one before was given, and dies in the midst of sending."""
        share = -(-self.sends // kills)
        for n in range(kills):
            begin, end = max(0, (n - 1) * share), min(self.sends, (n + 1) * share)
            child = self.start(range(begin + 1, end + 1))
            await self.under_way(child)
            await asyncio.sleep(dice.uniform(0, _AFTER))
            child.send_signal(signal.SIGKILL)
            await asyncio.to_thread(child.wait, 30)
            self.kills += 1

    async def under_way(self, child: Forked) -> None:
        """Until it has begun a call."""
        self.shop.called.clear()
        waiting = asyncio.create_task(self.shop.called.wait())
        end = asyncio.get_running_loop().time() + _WAIT
        while not waiting.done():
            assert child.poll() is None, (self.folder / "sender.log").read_text()[-2000:]
            assert asyncio.get_running_loop().time() < end, "nothing was sent"
            await asyncio.sleep(0.002)

    async def settle(self, numbers: Sequence[int]) -> None:
        """A life that takes these in, if nobody has, and goes on for half an hour by its clock."""
        child = self.start(numbers, settle=True)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(child.wait, 300)
        if child.poll() is None:
            child.send_signal(signal.SIGUSR1)  # it says where it is
            await asyncio.sleep(2)
        assert child.poll() == 0, (self.folder / "sender.log").read_text()[-6000:]

    async def verdict(self) -> tuple[list[Violation], dict[str, int]]:
        """A last life settles everything; then the log is held against the rows."""
        await self.settle(range(1, self.sends + 1))
        database = Database(self.store, pool=1)
        try:
            tables = await tables_of("notifier", database)
        finally:
            await database.close()
        picture = Picture(tables, 0, calls=list(self._calls()))
        checks = (at_most_once, attempts_are_kept, what_is_said_to_have_left_left)
        violations = [violation for check in checks for violation in check(picture)]
        violations += self._unsent(picture)
        statuses = Counter(row["status"] for row in picture.errands.values())
        counts = {"sends": self.sends, "kills": self.kills, "calls": len(picture.calls)}
        return violations, {**counts, **{f"errands_{name}": n for name, n in sorted(statuses.items())}}

    def _calls(self) -> list[Call]:
        """A keyed marketplace does a repeat under one key once."""
        seen: set[str] = set()
        calls = []
        for n, taken in enumerate(self.shop.taken):
            effect = self.ability != "keyed" or taken["key"] not in seen
            seen.add(taken["key"])
            calls.append(
                Call(n, taken["key"], "message", taken["name"], taken["key"], str(taken["body"]), effect=effect)
            )
        return calls

    def _unsent(self, p: Picture) -> list[Violation]:
        """All sent; on a blind channel what is not is in doubt, and policy was told."""
        found = [Violation("I11", "a message was never taken in", {"n": n}) for n in range(self.sends - len(p.errands))]
        for row in p.errands.values():
            told = {fact["kind"] for fact in p.results.get(row["id"], ())}
            doubted = self.ability == "blind" and row["status"] == "in_doubt" and "message.in_doubt" in told
            if not doubted and not (row["status"] == "sent" and "message.sent" in told):
                found.append(Violation("I11", "a message was not sent", {"errand": row["id"], "status": row["status"]}))
        return found


@asynccontextmanager
async def sending(
    server: ForkServer, folder: Path, ability: str, sends: int, seed: int, *, postgres: str | None = None
) -> AsyncIterator[Sending]:
    """On SQLite in the folder, one process at a time; or on an empty PostgreSQL database, where there may be several."""
    folder.mkdir(parents=True, exist_ok=True)
    store = postgres or f"sqlite:///{folder / 'notifier.db'}"
    async with Shop(dice=random.Random(seed)).running() as shop:
        assert isinstance(shop, Shop)
        yield Sending(server, shop, folder, ability, sends, store, apart=postgres is not None)


async def reported(name: str, work: Callable[[str, Path], Awaitable[tuple[list[Violation], Any]]], asked: Any) -> int:
    """`work` for each ability, in a folder of its own; 1 where anything was violated."""
    told: dict[str, Any] = {}
    violations: list[Violation] = []
    for ability in ABILITIES:
        with tempfile.TemporaryDirectory(prefix="amends-sending-") as folder:
            found, told[ability] = await work(ability, Path(folder))
        reports.say(f"{ability}: {told[ability]}, {len(found)} violations")
        violations += found
    report = {
        "scenario": name, "seed": asked.seed, **reports.surroundings(None), "counts": told,
        "violations": [str(violation) for violation in violations], "verdict": "violated" if violations else "ok",
    }  # fmt: skip
    reports.say(json.dumps(report, indent=1))
    if asked.report:
        reports.write(f"{name.lower()}-{asked.seed}", report)
    return 1 if violations else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.sending", description="F2: killed while sending")
    for name, default in (("sends", 1000), ("kills", 200), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--report", action="store_true", help="write docs/guarantees/f2-<seed>.json")
    asked = parser.parse_args(argv)
    with ForkServer() as server:

        async def work(ability: str, folder: Path) -> tuple[list[Violation], Any]:
            async with sending(server, folder, ability, asked.sends, asked.seed) as one:
                await one.killed(asked.kills, random.Random(asked.seed))
                return await one.verdict()

        return asyncio.run(reported("F2", work, asked))


if __name__ == "__main__":
    sys.exit(main())
