"""The surroundings fail under webhooks: broker (F3, F4), its queues (F5), database (F6), disk (F7), clock (F8), network (F11).

    python -m tests.crash.faults --scenario F3 [--webhooks 2000 --times 20 --seed 1] [--report]

Three services on PostgreSQL and RabbitMQ (F7: the embedded product, too); what is stopped is started by the run itself.
Prints counts and verdict, ends with 1 on any violation; `--report` writes docs/guarantees/<scenario>-<seed>.json.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash import fault_broker, fault_clock, fault_database, fault_net, reports
from tests.crash.chaos import Result
from tests.crash.fault_trial import Load, Own, Trial, tried
from tests.support import servers, services
from tests.support.proxy import Proxy
from tests.support.system import SERVICES

Progress = Callable[[str], None]
FULL = {"F3": 20, "F4": 100, "F5": 9, "F6": 30, "F7": 3, "F8": 40, "F11": 60}
"""How often, where `--times` does not say."""


def stack(database: str, broker: str) -> dict[str, str]:
    return {s: f"{database}?schema={s}" for s in SERVICES} | {"broker": broker}


def silent(_: str) -> None:
    """Nobody watches."""


@asynccontextmanager
async def own_node() -> AsyncIterator[tuple[Own, str]]:
    """A broker of this run's own, and the URL of a vhost in it."""
    node = Own(await asyncio.to_thread(servers.start_rabbit))
    try:
        url = await asyncio.to_thread(services.new_vhost, node.server)
        assert url is not None
        yield node, url
    finally:
        await asyncio.to_thread(servers.stop, node.server)


@asynccontextmanager
async def own_cluster(data: Path | None = None) -> AsyncIterator[tuple[Own, str]]:
    """A PostgreSQL of this run's own, and the URL of an empty database in it."""
    settings = {"max_replication_slots": "0", "max_wal_senders": "0"} if data is not None else {}
    cluster = Own(await asyncio.to_thread(servers.start_postgres, None, settings, data))
    try:
        yield cluster, await asyncio.to_thread(services.new_database, cluster.server.url)
    finally:
        await asyncio.to_thread(servers.stop, cluster.server)


@dataclass(frozen=True)
class Numbers:
    """How often each is done; `away`, `held`: longest outage and how long a disk stays full, in seconds."""

    restarts: int = 0
    closes: int = 0
    alarms: int = 0
    forgotten: int = 0
    terminations: int = 0
    full: int = 0
    jumps: int = 0
    away: float = 0.5
    held: float = 0.5


async def broker(
    folder: Path, load: Load, database: str, numbers: Numbers, *, progress: Progress = silent, replicas: int = 1
) -> Result:
    """F3, F4, F5 and the broker's own full disk: 202 is the only answer."""
    async with own_node() as (node, url):

        async def scenario(trial: Trial) -> None:
            await fault_broker.restarts(trial, node, numbers.restarts, numbers.away)
            await fault_broker.connections_closed(trial, node.server, url, numbers.closes)
            await fault_broker.alarm(trial, node.server, numbers.alarms, numbers.held)
            await fault_broker.forgotten(trial, node.server, url, numbers.forgotten)

        urls = stack(database, url)
        return await tried(folder, urls, load, scenario, answers=(202,), progress=progress, replicas=replicas)


async def database(
    folder: Path, load: Load, broker: str, numbers: Numbers, *, disk: Path | None = None,
    progress: Progress = silent, replicas: int = 1,
) -> Result:  # fmt: skip
    """F6, and F7 where `disk` is a small one: the data lies there, its log of changes elsewhere."""
    async with own_cluster(disk) as (cluster, url):

        async def scenario(trial: Trial) -> None:
            await fault_database.restarts(trial, cluster, numbers.restarts, numbers.away)
            await fault_database.terminations(trial, url, numbers.terminations)
            if disk is not None:
                await fault_database.full_disk(trial, disk, numbers.full, numbers.held)
            await fault_database.no_leak(trial, url)

        return await tried(folder, stack(url, broker), load, scenario, progress=progress, replicas=replicas)


async def embedded(folder: Path, load: Load, numbers: Numbers, *, progress: Progress = silent) -> Result:
    """F7: `folder/data` is a small disk."""

    async def scenario(trial: Trial) -> None:
        await fault_database.full_disk(trial, folder / "data", numbers.full, numbers.held)

    return await tried(folder, None, load, scenario, progress=progress)


async def clocks(
    folder: Path, load: Load, urls: Mapping[str, str] | None, numbers: Numbers, *, progress: Progress = silent,
    replicas: int = 1,
) -> Result:  # fmt: skip
    """F8: the clock that all of them share jumps; `urls` None: the embedded product.

    A log keeps the time as the clock told it: where that was set back, a step may be older than the one before.
    """

    async def scenario(trial: Trial) -> None:
        await fault_clock.jumps(trial, numbers.jumps)

    at = fault_clock.BEFORE_A_LEAP_DAY
    result = await tried(folder, urls, load, scenario, at=at, progress=progress, replicas=replicas)
    result.told["steps_with_a_time_before_the_last"] = sum(map(fault_clock.is_of_a_clock_set_back, result.violations))
    result.violations = [v for v in result.violations if not fault_clock.is_of_a_clock_set_back(v)]
    return result


async def network(
    folder: Path, load: Load, database: str, broker: str, *, longest: float,
    times: dict[str, int], progress: Progress = silent, replicas: int = 1,
) -> Result:  # fmt: skip
    """F11. `times`: cuts of each line, by `database` and `broker`."""
    async with Proxy(database, 5432) as to_database, Proxy(broker, 5672) as to_broker:

        async def scenario(trial: Trial) -> None:
            await fault_net.broken(trial, to_database, times.get("database", 0), longest, answered=False)
            await fault_net.broken(trial, to_broker, times.get("broker", 0), longest, answered=True)

        urls = stack(to_database.url, to_broker.url)
        return await tried(folder, urls, load, scenario, progress=progress, replicas=replicas)


def main(argv: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(argv)
    began = time.monotonic()

    def progress(line: str) -> None:
        reports.say(f"[{time.monotonic() - began:6.0f} s] {line}")

    code = 0
    with _surroundings() as (folder, url, vhost):
        surroundings = reports.surroundings({"policy": url})
        for part, run in _runs(asked, folder, url, vhost, progress).items():
            result = asyncio.run(run)
            code |= _told(asked, part, result, surroundings)
    return code


def _runs(asked: argparse.Namespace, folder: Path, url: str, vhost: str, progress: Progress) -> dict[str, Any]:
    """Coroutines by the name of their part."""
    n = asked.times or FULL[asked.scenario]
    more: dict[str, Any] = {"progress": progress, "replicas": 2}
    load = Load(asked.webhooks, max(2 * n, 8), asked.seed)
    away = 60.0 if asked.long else 5.0
    match asked.scenario:
        case "F3":
            return {"F3": broker(folder, load, url, Numbers(restarts=n, away=away, alarms=3, held=10.0), **more)}
        case "F4":
            return {"F4": broker(folder, load, url, Numbers(closes=n), **more)}
        case "F5":
            return {"F5": broker(folder, load, url, Numbers(forgotten=n), **more)}
        case "F6":
            return {"F6": database(folder, load, vhost, Numbers(restarts=n, terminations=500, away=3.0), **more)}
        case "F7":
            numbers = Numbers(full=n, held=60.0 if asked.long else 10.0)
            return {
                "F7-embedded": _on_small_disk(folder / "embedded", load, numbers, progress),
                "F7-postgres": _postgres_on_small_disk(folder / "postgres", load, vhost, numbers, more),
            }
        case "F8":
            return {"F8": clocks(folder, load, stack(url, vhost), Numbers(jumps=n), **more)}
        case _:
            cuts = {"database": n // 2, "broker": n - n // 2}
            return {"F11": network(folder, load, url, vhost, longest=away, times=cuts, **more)}


async def _on_small_disk(folder: Path, load: Load, numbers: Numbers, progress: Progress) -> Result:
    with fault_database.small_disk(folder / "data", 128) as refused:
        assert not refused, refused
        return await embedded(folder, load, numbers, progress=progress)


async def _postgres_on_small_disk(folder: Path, load: Load, vhost: str, numbers: Numbers, more: Any) -> Result:
    folder.mkdir(mode=0o711)
    with fault_database.small_disk(folder / "disk", 256) as refused:
        assert not refused, refused
        return await database(folder, load, vhost, numbers, disk=folder / "disk", **more)


@contextmanager
def _surroundings() -> Iterator[tuple[Path, str, str]]:
    """A folder, a database on a server of this run's own (others' connections do not count), a vhost."""
    with fault_database.open_folder() as folder, services.rabbit() as node, ExitStack() as stack:
        server = servers.start_postgres(settings={"max_connections": "200"})
        stack.callback(servers.stop, server)
        vhost = services.new_vhost(node)
        if vhost is not None:
            stack.callback(services.drop_vhost, node, vhost)
        yield folder, services.new_database(server.url), vhost or node.url


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.faults", description="the surroundings fail")
    parser.add_argument("--scenario", choices=tuple(FULL), required=True)
    parser.add_argument("--webhooks", type=int, default=2000)
    parser.add_argument("--times", type=int, help="default: the scenario's own full number")
    parser.add_argument("--long", action="store_true", help="outages of up to a minute and more")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="write docs/guarantees/<scenario>-<seed>.json")
    return parser


def _told(asked: argparse.Namespace, part: str, result: Result, surroundings: dict[str, Any]) -> int:
    report = {
        "scenario": part, "seed": asked.seed, "webhooks": asked.webhooks, **surroundings, "counts": result.counts,
        **result.told, "violations": [str(violation) for violation in result.violations],
        "verdict": "violated" if result.violations else "ok",
    }  # fmt: skip
    reports.say(json.dumps(report, indent=1))
    if asked.report:
        reports.write(f"{part.lower()}-{asked.seed}", report)
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
