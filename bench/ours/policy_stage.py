"""`python -m bench.ours.policy_stage --postgres URL --amqp URL --batch N --facts N`: policy alone on a prefilled queue.

The real service in this process, on PostgreSQL and RabbitMQ: each fact opens a case, its message is planned and published
with confirms. Prints `{"facts", "seconds", "cpu"}`: from the first batch taken to the last outbound event confirmed.
With `--batch 1` facts travel and are handled one by one.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from bench.stages.policy import opening
from services.policy import wiring
from services.policy.handlers import Policy
from services.policy.settings import Settings
from shared import ids
from shared.bus import open_bus
from shared.bus.port import FACTS, Bus, Event, Topology
from shared.clock import SystemClock
from shared.domain.facts import Fact, encode
from shared.settings import Process, load_config
from shared.store import migrate
from shared.store.session import Database
from tests.support.pushes import accounts

_PARTITIONS = 8
_IN_FLIGHT = 64
_MESSAGE = 200
"""Events of one AMQP message at most."""


async def run(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    config_file = folder / "accounts.yaml"
    config_file.write_text(accounts("http://127.0.0.1:9"))
    config = load_config(config_file, {})
    database = Database(args.postgres)
    await migrate.upgrade(database, wiring.MIGRATIONS)
    await database.close()
    process = Process(data_dir=folder, database_urls={"policy": args.postgres}, broker_url=args.amqp)
    bus = open_bus(args.amqp, Topology(_PARTITIONS))
    await bus.start()
    now, (account,) = SystemClock().now(), (entry.account for entry in config.accounts.values())
    await _prefill(bus, [opening(n, now, config.registry, account) for n in range(args.facts)], args.batch)
    watch = _Watch(args.facts)
    service = wiring.build(process, config, SystemClock(), bus, settings=Settings(batch=args.batch))
    try:
        return await _measured(service, watch, args.facts)
    finally:
        await service.stop()
        await bus.stop()


async def _prefill(bus: Bus, facts: Sequence[Fact], batch: int) -> None:
    lanes: dict[int, list[Event]] = {}
    for fact in facts:
        lane = ids.partition_of(fact.account, str(fact.order_id), _PARTITIONS)
        event = Event(fact.id, "amends.fact.v1", "/amends/intake", str(fact.order_id), fact.observed_at, encode(fact))
        lanes.setdefault(lane, []).append(event)
    step, room = min(batch, _MESSAGE), asyncio.Semaphore(_IN_FLIGHT)

    async def publish(lane: int, events: list[Event]) -> None:
        async with room:
            await bus.publish(FACTS, str(lane), events)

    await asyncio.gather(
        *(publish(lane, events[at : at + step]) for lane, events in lanes.items() for at in range(0, len(events), step))
    )


class _Watch:
    """Looks at `advance` from outside: when it was first called, and when it has returned for all."""

    def __init__(self, count: int) -> None:
        self._left, self._advance = count, Policy.advance
        self.began: tuple[float, float] | None = None
        self.finished = asyncio.Event()
        Policy.advance = self._watched  # type: ignore[method-assign, assignment]

    @property
    def _watched(self) -> Callable[[Policy, Sequence[Fact]], Awaitable[None]]:
        async def advance(policy: Policy, facts: Sequence[Fact]) -> None:
            self.began = self.began or (time.perf_counter(), time.process_time())
            await self._advance(policy, facts)
            self._left -= len(facts)
            if self._left <= 0:
                self.finished.set()

        return advance


async def _measured(service: wiring.PolicyService, watch: _Watch, count: int) -> dict[str, float]:
    await service.start()
    await watch.finished.wait()
    while service.relay.busy:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    assert watch.began is not None
    wall, spent = watch.began
    return {"facts": count, "seconds": time.perf_counter() - wall, "cpu": time.process_time() - spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", required=True)
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--facts", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amends-bench-policy-") as folder:
        print(json.dumps(uvloop.run(run(args, Path(folder)))))


if __name__ == "__main__":
    main()
