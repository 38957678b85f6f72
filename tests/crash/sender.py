"""A notifier as a process of its own for F2 and F14: takes in what it is given, sends, until it is killed or all is settled."""

import asyncio
import json
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from services.notifier.wiring import Notifier
from shared import crashpoints
from shared.clock import TestClock
from tests.services.notifier.harness import START, Marketplace, World, message


def main(args: list[str]) -> int:
    """One argument, JSON: `store, url, tmp, ability, numbers, settle`. Run by the fork server.

    `apart`: one of several on the store. `stops`: a crash point at which it stands still instead of dying, or null.
    """
    asyncio.run(_live(json.loads(args[0])))
    return 0


async def _live(said: dict[str, Any]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _say_where)
    world = World(said["store"], Marketplace(url=said["url"]), {"ability": said["ability"]}, Path(said["tmp"]))
    clock = Path(said["tmp"]) / "clock"
    world.clock = TestClock(None if clock.exists() else START, clock)
    notifier = await world.start(embedded=not said["apart"])
    if said["apart"]:
        world.patience = None
        await _alone(notifier)
    _stop_at(said["stops"])
    await world.publish(*(message(n) for n in said["numbers"]))
    if said["settle"]:
        await world.advance(timedelta(minutes=30))
        await world.stop()
    else:
        await asyncio.Event().wait()


async def _alone(notifier: Notifier) -> None:
    """Until the leases of the one before are over: all partitions are ours, and nothing is being sent."""
    while True:
        async with notifier.database.reading() as tx:
            sending = await tx.row("SELECT 1 FROM errands WHERE status = 'sending' LIMIT 1")
        if sending is None and len(notifier.dispatcher.desk.ownership.owned) == 2:
            return
        await asyncio.sleep(0.05)


def _say_where() -> None:
    for task in asyncio.all_tasks():
        task.print_stack()


def _stop_at(place: str | None) -> None:
    def stand_still(_code: int) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    if place is not None:
        os._exit = stand_still  # type: ignore[assignment]
        crashpoints.arm(place)
