"""What `bench.stages.intake` measures, in a process of its own: intake on a store and a bus, or the bare route.

The bare route is FastAPI that proves the same signature, reads the same JSON and stores nothing.
"""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response

from amends.collector import release_collector
from amends.loop import run
from amends.serve import HttpServer, until_told_to_stop
from services.intake.wiring import build
from shared import standard_webhooks
from shared.accounts import load_config
from shared.bus import open_bus
from shared.bus.port import FACTS, Bus, BusUnavailable, Topology, queue_of
from shared.clock import SystemClock
from shared.json_reader import read
from shared.logs import configure
from shared.settings import Process
from shared.store import migrate
from shared.store.session import Database
from tests.support.pushes import GENERIC_SECRET

_PARTITIONS = 8


async def _listen(bus: Bus, queue: str) -> None:
    """Takes and acknowledges, as a consumer that has nothing to do."""
    subscription = await bus.subscribe(queue)
    with contextlib.suppress(BusUnavailable):
        while True:
            await (await subscription.take(500)).ack()


async def _intake(folder: Path, store: str, broker: str) -> None:
    bus = open_bus(broker, Topology(_PARTITIONS))
    await bus.start()
    process = Process(data_dir=folder, database_urls={"intake": store}, partitions=_PARTITIONS, broker_url=broker)
    if not process.embedded:
        database = Database(store)
        await migrate.upgrade(database, Path("services/intake/migrations"))
        await database.close()
    config = load_config(folder / "accounts.yaml", {}, service="intake")
    intake = build(process, config, SystemClock(), bus)
    await intake.start()
    queues = [queue_of(FACTS, n) for n in range(_PARTITIONS)] if process.embedded else []
    listeners = [asyncio.create_task(_listen(bus, queue)) for queue in queues]
    await _serve(intake.app, [intake])
    await intake.stop()
    await bus.stop()
    await asyncio.gather(*listeners)


async def _bare() -> None:
    app = FastAPI()
    clock = SystemClock()

    @app.post("/webhooks/generic/shop")
    async def take(request: Request) -> Response:
        body = await request.body()
        standard_webhooks.verify(
            GENERIC_SECRET, message_id=request.headers["webhook-id"], timestamp=request.headers["webhook-timestamp"],
            signature=request.headers["webhook-signature"], body=body, now=clock.now(),
        )  # fmt: skip
        read(body)
        return Response(status_code=202)

    await _serve(app, [])


async def _serve(app: Any, services: list[Any]) -> None:
    server = HttpServer(app)
    await server.start()
    release_collector()
    print(server.port, flush=True)
    await until_told_to_stop(services)
    await server.stop()


if __name__ == "__main__":
    configure("json", "warning")
    run(_bare() if sys.argv[1] == "bare" else _intake(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
