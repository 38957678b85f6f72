"""A process of its own in tests: plans the messages, sends what it can, until all is settled or it is told to stop."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared import crashpoints
from tests.services.notifier.harness import Marketplace, World, message
from tests.support import forking
from tests.support.forking import Forked


def start(said: Mapping[str, Any], log: Path) -> Forked:
    """`said`: store, url, tmp, ability, crash (a crash point, None or "until told"), count."""
    return forking.running().start([json.dumps(said)], os.environ, log, run=f"{__name__}:run")


def run(args: Sequence[str]) -> int:
    asyncio.run(main(json.loads(args[0])))
    return 0


async def main(said: Mapping[str, Any]) -> None:
    world = World(said["store"], Marketplace(url=said["url"]), {"ability": said["ability"]}, Path(said["tmp"]))
    if said["crash"] != "until told":
        crashpoints.arm(said["crash"])
    await world.start()
    errands = [message(n) for n in range(1, said["count"] + 1)]
    if said["crash"] == "until told":
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        pouring = asyncio.create_task(world.pour(*errands))
        await told.wait()
        pouring.cancel()
    else:
        await world.publish(*errands)
        await world.advance(timedelta(minutes=10))
    await world.stop()
