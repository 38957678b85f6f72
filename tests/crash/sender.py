"""A notifier as a process of its own for F2: takes in what it is given, sends, until it is killed or all is settled."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.clock import TestClock
from tests.services.notifier.harness import START, Marketplace, World, message


def main(args: list[str]) -> int:
    """One argument, JSON: `store, url, tmp, ability, numbers, settle`. Run by the fork server."""
    asyncio.run(_live(json.loads(args[0])))
    return 0


async def _live(said: dict[str, Any]) -> None:
    world = World(said["store"], Marketplace(url=said["url"]), {"ability": said["ability"]}, Path(said["tmp"]))
    clock = Path(said["tmp"]) / "clock"
    world.clock = TestClock(None if clock.exists() else START, clock)
    await world.start()
    await world.publish(*(message(n) for n in said["numbers"]))
    if said["settle"]:
        await world.advance(timedelta(minutes=30))
        await world.stop()
    else:
        await asyncio.Event().wait()
