"""The way from a committed row to a consumer: relay, envelope, bus, taken and acknowledged. CPU per event, both ends.

    python -m bench.stages.bus [--count 8000] [--rounds 3]

Rows are really there (SQLite), handed over in groups as intake's commits are, published, marked; the consumer takes and
acknowledges. CPU is this process's, all threads; RabbitMQ's own is not in it.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import MetaData

from shared.bus import open_bus
from shared.bus.port import FACTS, Bus, BusUnavailable, Topology, queue_of
from shared.clock import SystemClock, to_micros
from shared.store.relay import Feed, Relay, feed_table
from shared.store.session import Database
from tests.support import services

_PARTITIONS, _GROUP = 8, 64
METADATA = MetaData()
TABLE = feed_table("facts", METADATA)


class Taker:
    """Counts what arrives, by id."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.ids: set[str] = set()
        self.messages = 0

    async def run(self, queue: str) -> None:
        subscription = await self._bus.subscribe(queue)
        with contextlib.suppress(BusUnavailable):
            while True:
                batch = await subscription.take(500)
                self.messages += 1
                self.ids.update(event.id for event in batch.events)
                await batch.ack()


def rows(count: int) -> list[dict[str, Any]]:
    now = to_micros(SystemClock().now())
    body = '{"kind":"return.requested","comment":"' + "The zip broke. " * 30 + '"}'
    return [
        {
            "account": "shop", "id": f"{n:032x}", "partition": n % _PARTITIONS, "type": "amends.fact.v1",
            "subject": f"shop/O{n}", "body": body, "created_at": now, "published_at": None,
        }
        for n in range(count)
    ]  # fmt: skip


@contextlib.asynccontextmanager
async def ready(url: str) -> AsyncIterator[tuple[Database, Relay, Taker]]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'bus.db'}")
        await database.run_sync(METADATA.create_all)
        bus = open_bus(url, Topology(_PARTITIONS))
        await bus.start()
        taker = Taker(bus)
        taking = [asyncio.create_task(taker.run(queue_of(FACTS, n))) for n in range(_PARTITIONS)]
        relay = Relay(database, bus, [Feed(TABLE, FACTS, "/bench")], SystemClock())
        await relay.start()
        while relay.busy:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        yield database, relay, taker
        await relay.stop()
        await bus.stop()
        await asyncio.gather(*taking)
        await database.close()


async def measured(url: str, count: int) -> tuple[float, float, float]:
    """Events per second, CPU microseconds per event, events per message."""
    async with ready(url) as (database, relay, taker):
        wanted = rows(count)
        async with database.transaction() as tx:
            await tx.insert(TABLE, wanted)
        cpu, began = time.process_time(), time.perf_counter()
        for start in range(0, count, _GROUP):
            relay.hand_over(wanted[start : start + _GROUP])
            await asyncio.sleep(0)
        while len(taker.ids) < count or relay.busy:
            relay.kick()
            await asyncio.sleep(0.002)
        took, spent = time.perf_counter() - began, time.process_time() - cpu
        return count / took, spent / count * 1e6, count / taker.messages


async def run(count: int, rounds: int) -> None:
    with services.rabbit() as server:
        vhost = services.new_vhost(server) or server.url
        try:
            for name, url in (("embedded", "embedded://"), ("rabbit", vhost)):
                found = [await measured(url, count) for _ in range(rounds)]
                rate, cpu, size = (statistics.median(column) for column in zip(*found, strict=True))
                print(f"{name:9s} {rate:8.0f} events/s  {cpu:6.1f} us CPU per event  {size:5.1f} events per message")
        finally:
            services.drop_vhost(server, vhost)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    uvloop.run(run(asked.count, asked.rounds))


if __name__ == "__main__":
    main()
