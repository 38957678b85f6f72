"""The whole policy service on the in-process bus: what is published to it, and what became of it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from services.policy import wiring
from services.policy.settings import Settings
from shared import ids
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import FACTS, OUTBOUND, Event, Topology, queue_of
from shared.clock import TestClock
from shared.domain.facts import Fact, encode
from shared.registry import Registry
from shared.settings import Process
from shared.store.session import Database
from tests.services.policy.policy_rig import START, config
from tests.support.waiting import until

PARTITIONS = 4


@dataclass
class Stage:
    """`service` is started and stopped by the test. What leaves is acknowledged by `notifier`, which keeps nothing."""

    service: wiring.PolicyService
    bus: EmbeddedBus
    clock: TestClock

    @property
    def database(self) -> Database:
        return self.service.database

    def publish(self, events: Sequence[Event], partition: int) -> "asyncio.Task[None]":
        """One message; the task ends when policy has acknowledged it."""
        return asyncio.create_task(self.bus.publish(FACTS, str(partition), events))

    def publish_all(self, facts: Iterable[Fact], size: int = 20) -> "list[asyncio.Task[None]]":
        """As intake does it: each order on its partition, `size` facts to a message."""
        lanes: dict[int, list[Event]] = {}
        for fact in facts:
            lanes.setdefault(ids.partition_of(fact.account, str(fact.order_id), PARTITIONS), []).append(event(fact))
        return [
            self.publish(events[start : start + size], lane)
            for lane, events in lanes.items()
            for start in range(0, len(events), size)
        ]

    async def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        async with self.database.reading() as tx:
            return [dict(row) for row in await tx.rows(sql, **params)]

    async def applied(self) -> list[str]:
        return sorted(row["fact_id"] for row in await self.rows("SELECT fact_id FROM case_log"))

    async def settled(self) -> None:
        """Nothing is in hand and everything is published."""

        async def idle() -> bool:
            return not await self.service.busy()

        await until(idle, seconds=60, what="policy to be idle")

    async def notifier(self) -> None:
        """Until cancelled."""
        queues = [await self.bus.subscribe(queue_of(OUTBOUND, partition)) for partition in range(PARTITIONS)]

        async def drain(queue: Any) -> None:
            try:
                while True:
                    await (await queue.take(500)).ack()
            finally:
                await queue.close()

        await asyncio.gather(*(drain(queue) for queue in queues))


def event(fact: Fact) -> Event:
    return Event(fact.id, "amends.fact.v1", "/amends/intake", str(fact.order_id), fact.observed_at, encode(fact))


def opening(n: int, now: datetime = START, **more: Any) -> Fact:
    """A return of an order of its own."""
    return Fact(
        id=ids.digest("opening", str(n)), kind="return.requested", account="shop", marketplace="generic",
        order_id=f"O-{n}", case_kind="return", external_id=f"R-{n}", occurred_at=now, observed_at=now, source="push",
        **more,
    )  # fmt: skip


def staged(url: str, folder: Path, bus: EmbeddedBus, **settings: Any) -> Stage:
    """The service as its wiring makes it; the shipped playbooks, accounts `shop` and `other`."""
    process = Process(data_dir=folder, database_urls={"policy": url}, partitions=PARTITIONS)
    clock = TestClock(START)
    service = wiring.build(process, config(Registry(), "shop", "other"), clock, bus, settings=Settings(**settings))
    return Stage(service, bus, clock)


def topology() -> Topology:
    return Topology(PARTITIONS)
