"""Run as a process by tests: plans the messages, sends what it can, until all is settled or it is told to stop."""

import asyncio
import json
import signal
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from shared import crashpoints
from tests.services.notifier.harness import Marketplace, World, message


async def main(said: dict) -> None:
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


asyncio.run(main(json.loads(sys.argv[1])))
