"""What policy costs: CPU per fact and statements per batch, by size of batch, on both stores.

The real service with its consumer, relay and due loop on the in-process bus. One case is two facts, as in the whole
product: the opening one (`return.requested` of generic) and the `message.sent` that comes back. What leaves is encoded as
for a broker, kept, and confirmed at once: nobody else works in this process.

    python -m bench.stages.policy [--cases 2000] [--batch 1 10 100 500] [--store sqlite postgres] [--rounds 3]
    python -m bench.stages.policy --poison 0.01 [--cases 5000]
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from services.policy import walk, wiring
from services.policy.batch import Batch
from services.policy.settings import Settings
from shared import ids, logs
from shared.bus import envelope
from shared.bus.embedded import EmbeddedBus
from shared.bus.port import FACTS, OUTBOUND, Event, Topology
from shared.clock import SystemClock, format_time
from shared.domain.errands import Errand
from shared.domain.facts import Fact, encode, to_fact
from shared.ports import Inbound
from shared.registry import Registry
from shared.settings import Process, load_config
from shared.store import migrate
from shared.store.session import Database
from tests.support import services
from tests.support.pushes import accounts

PARTITIONS = 8
_TICKS = os.sysconf("SC_CLK_TCK")
_BUYER = {"id": "B-771", "name": "Ada Example", "locale": "en-GB"}


@dataclass(frozen=True)
class Cost:
    """CPU in µs per fact: this process, and PostgreSQL's backends serving it. `seconds`: wall time of all."""

    facts: int
    batches: int
    statements: int
    process: float
    postgres: float
    seconds: float

    def line(self, store: str, size: int, phase: str) -> dict[str, Any]:
        return {
            "store": store, "batch": size, "phase": phase, "cpu_us": round(self.process, 1),
            "postgres_us": round(self.postgres, 1), "facts_per_s": round(self.facts / self.seconds),
            "statements_per_batch": round(self.statements / max(self.batches, 1), 1),
            "facts_per_batch": round(self.facts / max(self.batches, 1), 1),
        }  # fmt: skip


class KeptBus(EmbeddedBus):
    """Takes what leaves as a broker would: encoded, confirmed. `left` keeps it for the bench."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology)
        self.left: list[tuple[str, bytes]] = []

    async def publish(self, exchange: str, key: str, events: Sequence[Event], *, mandatory: bool = True) -> None:
        if exchange == FACTS:
            await super().publish(exchange, key, events, mandatory=mandatory)
            return
        message = envelope.encode(events)
        if exchange == OUTBOUND:
            self.left.append(message)


def opening(n: int, now: datetime, registry: Registry, account: Any) -> Fact:
    """As intake makes it of one webhook of about 1 kB."""
    data = {
        "kind": "return", "external_id": f"R-{n}", "order_id": f"O-{n}", "reason": "change_of_mind",
        "amount": {"value": "24.90", "currency": "EUR"}, "paid": {"value": "49.80", "currency": "EUR"},
        "buyer": _BUYER, "comment": "It does not fit, I would like to send it back. " * 6, "item": f"SKU-{n % 97}",
    }  # fmt: skip
    body = json.dumps({"type": "return.requested", "timestamp": format_time(now), "data": data}).encode()
    (draft,) = registry.webhooks("generic").parse(Inbound(body=body, headers={}), account).drafts
    id_ = ids.fact_id(account.id, f"msg-{n}", 0, draft.kind)
    return to_fact(draft, id=id_, account=account.id, marketplace="generic", observed_at=now, source="push")


def sent(errand: Errand, now: datetime) -> Fact:
    """As notifier reports it."""
    return Fact(
        id=ids.fact_id(errand.account, errand.id, 0, "message.sent"), account=errand.account,
        marketplace=errand.marketplace, kind="message.sent", occurred_at=now, observed_at=now, source="channel",
        order_id=errand.order_id, case_id=errand.case_id,
        data={"errand_id": errand.id, "name": errand.name, "provider_id": f"p-{errand.id[-8:]}"},
    )  # fmt: skip


def errands(left: Sequence[tuple[str, bytes]]) -> list[Errand]:
    """The messages among what left."""
    events = [event for kind, body in left for event in envelope.decode(kind, body)[0]]
    planned = [event for event in events if event.type == "amends.errand.planned.v1"]
    found = [msgspec.json.decode(event.data, type=Errand) for event in planned]
    return [errand for errand in found if errand.what == "message"]


class Stage:
    """One policy on an empty database, taking batches of at most `size` facts."""

    def __init__(self, url: str, folder: Path, size: int) -> None:
        config_file = folder / "accounts.yaml"
        config_file.write_text(accounts("http://127.0.0.1:9"))
        self.config = load_config(config_file, {})
        self.bus = KeptBus(Topology(PARTITIONS))
        self.url, self.size, self.batches, self.statements = url, size, 0, 0
        process = Process(data_dir=folder, database_urls={"policy": url}, partitions=PARTITIONS)
        self.service = wiring.build(process, self.config, SystemClock(), self.bus, settings=Settings(batch=size))
        self._count()

    def _count(self) -> None:
        policy, write = self.service.policy, self.service.policy.write

        async def counted(batch: Batch) -> None:
            self.batches += 1
            await write(batch)

        policy.write = counted  # type: ignore[method-assign]
        self.service.database.watch(self._statement)

    def _statement(self, _sql: str) -> None:
        self.statements += 1

    async def prefill(self, facts: Sequence[Fact]) -> list[asyncio.Task[None]]:
        """In messages of at most `size` events, as intake's relay would have them. The tasks end with their handling."""
        told: list[asyncio.Task[None]] = []
        lanes: dict[int, list[Event]] = {}
        for fact in facts:
            at = ids.partition_of(fact.account, str(fact.order_id), PARTITIONS)
            made = Event(
                fact.id, "amends.fact.v1", "/amends/intake", str(fact.order_id), fact.observed_at, encode(fact)
            )
            lanes.setdefault(at, []).append(made)
        step = min(self.size, envelope.MAX_EVENTS)
        for at, events in lanes.items():
            for start in range(0, len(events), step):
                told.append(asyncio.create_task(self.bus.publish(FACTS, str(at), events[start : start + step])))
        await asyncio.sleep(0)
        return told

    async def measure(self, facts: Sequence[Fact]) -> Cost:
        """From a filled queue to everything handled, published and marked."""
        await self.bus.start()
        await self.service.start()
        await self._quiet()
        await self._owned(False)
        told = await self.prefill(facts)
        before = time.process_time(), self._postgres_cpu(), time.perf_counter()
        self.batches = self.statements = 0
        await self._owned(True)
        await asyncio.gather(*told)
        await self._quiet()
        after = time.process_time(), self._postgres_cpu(), time.perf_counter()
        process, postgres, seconds = (b - a for a, b in zip(before, after, strict=True))
        each = 1e6 / len(facts)
        return Cost(len(facts), self.batches, self.statements, process * each, postgres * each, seconds)

    async def _owned(self, all_: bool) -> None:
        await self.service._assign(frozenset(range(PARTITIONS)) if all_ else frozenset())

    async def _quiet(self) -> None:
        while self.service.relay.busy:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _postgres_cpu(self) -> float:
        """CPU seconds of the backends that serve this database."""
        if not self.service.database.postgres:
            return 0.0
        name = self.url.rpartition("/")[2].encode()
        return sum(_cpu(pid) for pid in _pids() if name in _command(pid))


def _pids() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _cpu(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@asynccontextmanager
async def store(kind: str) -> AsyncIterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            yield f"sqlite:///{folder}/policy.db", Path(folder)
            return
        with services.postgres() as server:
            url = services.new_database(server)
            database = Database(url)
            await migrate.upgrade(database, wiring.MIGRATIONS)
            await database.close()
            try:
                yield url, Path(folder)
            finally:
                services.drop_database(server, url)


async def poisoned(kind: str, cases: int, share: float) -> Cost:
    """Opening facts of which `share` fail: half make the core raise, half are no facts. Applied + parked = accepted."""
    every = round(2 / share) if share else 2 * cases
    real = walk.decide

    def fragile(playbook: Any, view: Any, fact: Fact, now: datetime) -> Any:
        if fact.raw_code == "poison":
            raise ZeroDivisionError("a bug of ours")
        return real(playbook, view, fact, now)

    async with store(kind) as (url, folder):
        stage, now = Stage(url, folder, 500), SystemClock().now()
        account = stage.config.accounts["shop"].account
        facts = [opening(n, now, stage.config.registry, account) for n in range(cases)]
        for n in range(0, cases if share else 0, every):
            facts[n] = msgspec.structs.replace(facts[n], raw_code="poison")
            facts[n + every // 2] = msgspec.structs.replace(facts[n + every // 2], kind=["no text"])
        walk.decide = fragile
        try:
            cost = await stage.measure(facts)
        finally:
            walk.decide = real
        async with stage.service.database.reading() as tx:
            row = await tx.row(
                "SELECT (SELECT count(*) FROM case_log) AS applied, (SELECT count(*) FROM parked) AS parked"
            )
        assert row is not None and row["applied"] + row["parked"] == cases, row
        assert row["parked"] == sum(fact.raw_code == "poison" or fact.kind == ["no text"] for fact in facts), row
        await stage.service.stop()
        return cost


def poison(kind: str, cases: int, share: float, rounds: int) -> None:
    """Good facts per CPU second and per second with poison, to the same without; rounds interleaved, medians."""
    ratios = []
    for _ in range(rounds):
        clean, spoilt = (asyncio.run(poisoned(kind, cases, part)) for part in (0.0, share))
        good = 1 - share
        ratios.append((good * clean.process / spoilt.process, good * clean.seconds / spoilt.seconds))
    cpu, wall = (statistics.median(column) for column in zip(*ratios, strict=True))
    told = {
        "store": kind,
        "poison": share,
        "good_per_cpu_ratio": round(cpu, 3),
        "good_per_second_ratio": round(wall, 3),
    }
    print(json.dumps(told), flush=True)


async def run(kind: str, size: int, cases: int) -> dict[str, Cost]:
    """Both facts of `cases` cases; checks that each was applied once."""
    async with store(kind) as (url, folder):
        stage = Stage(url, folder, size)
        now = SystemClock().now()
        account = stage.config.accounts["shop"].account
        first = [opening(n, now, stage.config.registry, account) for n in range(cases)]
        opened = await stage.measure(first)
        planned = errands(stage.bus.left)
        assert len(planned) == cases, f"{len(planned)} messages for {cases} cases"
        told = await stage.measure([sent(errand, datetime.now(UTC)) for errand in planned])
        async with stage.service.database.reading() as tx:
            row = await tx.row("SELECT count(*) AS n, count(DISTINCT fact_id) AS facts FROM case_log")
        assert row is not None and row["n"] == row["facts"] == 2 * cases, row
        await stage.service.stop()
        return {"opening": opened, "sent": told}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--cases", type=int, default=2000)
    arguments.add_argument("--batch", type=int, nargs="+", default=[1, 10, 100, 500])
    arguments.add_argument("--store", nargs="+", default=["sqlite", "postgres"], choices=["sqlite", "postgres"])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument(
        "--poison", type=float, default=0.0, help="share of facts that fail; F12 instead of the sizes"
    )
    asked = arguments.parse_args()
    logs.configure("json", "error", io.StringIO())
    for kind in asked.store:
        if asked.poison:
            poison(kind, asked.cases, asked.poison, asked.rounds)
            continue
        for size in asked.batch:
            cases = min(asked.cases, max(200, 20 * size))
            rounds = [asyncio.run(run(kind, size, cases)) for _ in range(asked.rounds)]
            for phase in ("opening", "sent"):
                costs = sorted((found[phase] for found in rounds), key=lambda cost: cost.process)
                print(json.dumps(costs[len(costs) // 2].line(kind, size, phase)), flush=True)


if __name__ == "__main__":
    main()
