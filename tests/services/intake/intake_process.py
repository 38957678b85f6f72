"""intake as a process of its own for the crash tests: SQLite, the embedded bus, facts written line by line to a file."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from amends.serve import HttpServer, until_told_to_stop
from services.intake.wiring import build
from shared import crashpoints
from shared.accounts import load_config
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import FACTS, BusUnavailable, Topology, queue_of
from shared.clock import SystemClock
from shared.settings import Process
from tests.support import forking
from tests.support.forking import Forked


async def listen(bus: EmbeddedBus, partition: int, out: Path) -> None:
    subscription = await bus.subscribe(queue_of(FACTS, partition))
    with contextlib.suppress(BusUnavailable):
        while True:
            batch = await subscription.take(100)
            with out.open("ab") as file:
                file.writelines(event.data + b"\n" for event in batch.events)
            await batch.ack()


async def main(folder: Path, port: int, crashpoint: str | None) -> None:
    bus = EmbeddedBus(Topology(partitions=2))
    await bus.start()
    listening = [asyncio.create_task(listen(bus, n, folder / "facts")) for n in range(2)]
    config = load_config(folder / "accounts.yaml", {}, service="intake", sandbox=True)
    crashpoints.arm(crashpoint)
    process = Process(data_dir=folder, sandbox=True, partitions=2)
    service = build(process, config, SystemClock(), bus)
    await service.start()
    server = HttpServer(service.app, port=port)
    await server.start()
    await until_told_to_stop([])
    await server.stop()
    await service.stop()
    await bus.stop()
    await asyncio.gather(*listening)


def start(folder: Path, port: int, crashpoint: str | None, log: Path) -> Forked:
    return forking.running().start([str(folder), str(port), crashpoint or ""], os.environ, log, run=f"{__name__}:run")


def run(args: Sequence[str]) -> int:
    folder, port, crashpoint = args
    asyncio.run(main(Path(folder), int(port), crashpoint or None))
    return 0
