"""F14: a notifier stands still (SIGSTOP) past its leases in the midst of sending, another one goes on, and it wakes again.

    python -m tests.crash.freezing [--freezes 100 --seed 1] [--report]

On PostgreSQL, with leases of their real length. The marketplace's own log is the oracle: keyed and readable channels have
each message once, though the other one has long looked for it and repeated it; a blind one at most once.
"""

import argparse
import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.store.session import Database
from tests.crash.picture import Violation
from tests.crash.sending import ABILITIES, Sending, reported, sending
from tests.support import services
from tests.support.forking import Forked, ForkServer
from tests.support.waiting import until

PLACES = (
    "notifier.sending:1",
    None,
    "notifier.claimed:1",
    "notifier.planned:1",
    "notifier.response:2",
    "notifier.recorded:1",
)
"""Where it stands still; None: a moment after a call has begun."""
SHARE = 8
"""Messages for one that stands still."""
_AT_ONCE = 4
"""Shops side by side: most of the time they wait for leases. Each has two notifiers with up to ten connections each."""
_AFTER = 0.02
_AWAKE = 1.0
_WAIT = 120.0


async def frozen(one: Sending, places: Sequence[str | None], dice: random.Random) -> None:
    """One after another stands still, each at its place, until its leases are over and another has settled what it had."""
    for n, place in enumerate(places):
        child = one.start(range(n * SHARE + 1, (n + 1) * SHARE + 1), stops=place)
        if place is None:
            await one.under_way(child)
            await asyncio.sleep(dice.uniform(0, _AFTER))
            child.send_signal(signal.SIGSTOP)
        await _stands_still(child)
        await _leases_over(one.store)
        await one.settle(range(1, (n + 1) * SHARE + 1))
        child.send_signal(signal.SIGCONT)
        await asyncio.sleep(_AWAKE)
        assert child.poll() is None, (one.folder / "sender.log").read_text()[-2000:]
        child.send_signal(signal.SIGKILL)
        await asyncio.to_thread(child.wait, 30)


async def _stands_still(child: Forked) -> None:
    stat = Path(f"/proc/{child.pid}/stat")
    await until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", _WAIT, "it stands still")


async def _leases_over(store: str) -> None:
    """Of what is in `sending`; by the database's clock, as they were given."""
    database = Database(store, pool=1)

    async def over() -> bool:
        async with database.reading() as tx:
            sql = f"SELECT 1 FROM errands WHERE status = 'sending' AND lease_until >= {tx.micros_now()} LIMIT 1"
            return await tx.row(sql) is None

    try:
        await until(over, _WAIT, "leases are over")
    finally:
        await database.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.freezing", description="F14: frozen past the lease")
    for name, default in (("freezes", 100), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--report", action="store_true", help="write docs/guarantees/f14-<seed>.json")
    asked = parser.parse_args(argv)
    each = -(-asked.freezes // (len(ABILITIES) * _AT_ONCE))
    with ForkServer() as server, services.postgres() as postgres:

        async def shop(ability: str, folder: Path, n: int) -> tuple[list[Violation], dict[str, int]]:
            dice = random.Random(f"{asked.seed}/{ability}/{n}")
            places = [PLACES[(n + i) % len(PLACES)] for i in range(each)]
            url = services.new_database(postgres)
            try:
                async with sending(server, folder / str(n), ability, SHARE * each, asked.seed, postgres=url) as one:
                    await frozen(one, places, dice)
                    violations, counts = await one.verdict()
                    return violations, {**counts, "freezes": each}
            finally:
                services.drop_database(postgres, url)

        async def work(ability: str, folder: Path) -> tuple[list[Violation], Any]:
            done = await asyncio.gather(*(shop(ability, folder, n) for n in range(_AT_ONCE)))
            summed: Counter[str] = Counter()
            for _, counts in done:
                summed.update(counts)
            return [violation for found, _ in done for violation in found], dict(summed)

        return asyncio.run(reported("F14", work, asked))


if __name__ == "__main__":
    sys.exit(main())
