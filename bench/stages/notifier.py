"""What one message costs the notifier, in CPU microseconds: from the broker's batch to the fact that it was sent.

The real notifier on a real store, an embedded bus fed by this process (what feeding costs is counted too), and a sink in
a process of its own that answers each call over real HTTP. Each round runs in a fresh process on an empty database.

    python -m bench.stages.notifier [--messages 4000] [--held 400] [--rounds 5] [--store postgres sqlite]
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httptools
import psutil

from amends import loop
from services.notifier.wiring import MIGRATIONS, Notifier, build
from shared import ids, logs
from shared.accounts import AccountEntry, Config
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import FACTS, OUTBOUND, Event, Topology, queue_of
from shared.clock import SystemClock
from shared.domain.errands import Errand
from shared.domain.facts import encode
from shared.domain.order import Buyer
from shared.ports import Account
from shared.registry import Registry
from shared.settings import Process
from shared.store import migrate
from tests.support import services

ACCOUNT, PARTITIONS, GROUP, WARM = "shop-main", 8, 20, 400
SECRET = "whsec_" + "A" * 44
PARAMS = {"buyer_name": "Ann Example", "shop": "Example Shop", "item": "Blue kettle, 1.7 l"}


def load(count: int, first: int) -> Iterator[tuple[str, list[Event]]]:
    """Groups of events with their routing key, as policy's relay would publish them. Each message has its own buyer."""
    now = datetime.now(UTC)
    groups: dict[int, list[Event]] = {}
    for n in range(first, first + count):
        order = f"20260{n:08}"
        errand = Errand(
            id=ids.derived_id("msg", ACCOUNT, now, str(n)), what="message", name="acknowledge_request", account=ACCOUNT,
            marketplace="generic", order_id=order, case_id=ids.derived_id("case", ACCOUNT, now, str(n)), case_kind="return",
            phase="awaiting_seller", created_at=now, params={**PARAMS, "order_id": order}, locale="en",
            buyer=Buyer(id=f"b{n}", name="Ann Example", locale="en"), refs={"external_id": f"R-{n}"},
        )  # fmt: skip
        partition = ids.partition_of(ACCOUNT, order, PARTITIONS)
        group = groups.setdefault(partition, [])
        group.append(Event(f"e{n}", "amends.errand.planned.v1", "/amends/policy", order, now, encode(errand)))
        if len(group) == GROUP:
            yield str(partition), groups.pop(partition)
    yield from ((str(partition), group) for partition, group in groups.items())


class Seen:
    """Takes the facts off the bus as policy would."""

    def __init__(self, bus: EmbeddedBus) -> None:
        self._bus, self.facts, self._more = bus, 0, asyncio.Event()
        self._tasks = [asyncio.create_task(self._read(queue_of(FACTS, n))) for n in range(PARTITIONS)]

    async def _read(self, queue: str) -> None:
        subscription = await self._bus.subscribe(queue)
        while True:
            batch = await subscription.take(500)
            if not all(b'"kind":"message.sent"' in event.data for event in batch.events):
                print("a message was not sent", file=sys.stderr)
                sys.exit(1)
            self.facts += len(batch.events)
            self._more.set()
            await batch.ack()

    async def reach(self, count: int) -> None:
        while self.facts < count:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 60)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def through(bus: EmbeddedBus, seen: Seen, groups: list[tuple[str, list[Event]]], held: int) -> None:
    """All of them in and told of, never more than `held` under way (0: all at once)."""
    begun = seen.facts
    async with asyncio.TaskGroup() as publishing:
        for key, events in groups:
            begun += len(events)
            if held:
                await seen.reach(begun - held)
            publishing.create_task(bus.publish(OUTBOUND, key, events))
        await seen.reach(begun)


def notifier_on(url: str, sink: str, bus: EmbeddedBus, folder: Path) -> Notifier:
    free = {"messages_per_second": 1_000_000}
    account = Account(ACCOUNT, "generic", base_url=sink, settings=free)
    config = Config({ACCOUNT: AccountEntry(account, {"signing_secret": SECRET}, {})}, Registry(None))
    process = Process(data_dir=folder, database_urls={"notifier": url}, partitions=PARTITIONS)
    return build(process, config, SystemClock(), bus)


async def measured(url: str, sink: str, count: int, held: int, folder: Path) -> dict[str, float]:
    bus = EmbeddedBus(Topology(partitions=PARTITIONS))
    await bus.start()
    notifier, seen = notifier_on(url, sink, bus, folder), Seen(bus)
    await migrate.upgrade(notifier.database, MIGRATIONS)
    await notifier.start()
    warm, groups = list(load(WARM, 0)), list(load(count, WARM))
    await through(bus, seen, warm, held)
    began, cpu, database = time.perf_counter(), time.process_time(), database_cpu(url)
    await through(bus, seen, groups, held)
    took = time.perf_counter() - began
    while await notifier.busy():  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.005)
    cpu, database = time.process_time() - cpu, database_cpu(url) - database
    await notifier.stop()
    await seen.stop()
    await bus.stop()
    return {"cpu_us": cpu / count * 1e6, "database_us": database / count * 1e6, "per_second": count / took}


def database_cpu(url: str) -> float:
    """CPU seconds so far of the PostgreSQL backends of this database; 0 where there are none."""
    name = url.rpartition("/")[2]
    total = 0.0
    for process in psutil.process_iter(["cmdline"]) if url.startswith("postgres") else ():
        line = " ".join(process.info["cmdline"] or ())
        if line.startswith("postgres:") and f" {name} " in line:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:2])
    return total


class Sink(asyncio.Protocol):
    """Answers every request with a 200 and an id; says no more than it must."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        Sink.taken += 1
        body = b'{"id":"sink-%d"}' % Sink.taken
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )


async def serve_sink() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def sink_running() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", __spec__.name, "--sink"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/amends"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def store(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'notifier.db'}"
        return
    with services.postgres() as server:
        url = services.new_database(server)
        try:
            yield url
        finally:
            services.drop_database(server, url)


def one_round(kind: str, messages: int, held: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name, sink_running() as sink, store(kind, Path(name)) as url:
        said = json.dumps([url, sink, messages, held, name])
        done = subprocess.run([sys.executable, "-m", __spec__.name, "--one", said], stdout=subprocess.PIPE, check=True)
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def run_one(said: str) -> None:
    url, sink, messages, held, folder = json.loads(said)

    logs.configure("json", "warning")

    async def told() -> None:
        print(json.dumps(await measured(url, sink, messages, held, Path(folder))))

    loop.run(told())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--held", type=int, default=400, help="at most so many under way; 0: all at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", nargs="+", choices=("postgres", "sqlite"), default=["postgres", "sqlite"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.sink:
        asyncio.run(serve_sink())
    elif said.one:
        run_one(said.one)
    else:
        rounds = [(kind, one_round(kind, said.messages, said.held)) for _ in range(said.rounds) for kind in said.store]
        for kind in said.store:
            found = [figures for which, figures in rounds if which == kind]
            medians = {name: round(statistics.median(f[name] for f in found), 1) for name in found[0]}
            print(json.dumps({"stage": "notifier", "store": kind, "rounds": len(found), **medians}))


if __name__ == "__main__":
    main()
