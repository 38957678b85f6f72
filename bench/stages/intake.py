"""intake alone, over a real socket: CPU per delivery from the first byte to the marked row, and the answer's latency.

    python -m bench.stages.intake [--ends sqlite+embedded postgres+rabbit] [--count 6000] [--rounds 3] [--rate 200]

Prints one line per round and the medians. `server` is intake's own process, all threads; `database` the PostgreSQL
backends it uses. The bare route (FastAPI, verifies, stores nothing) is measured in the same rounds.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bench.stages.driver import at_rate, closed_loop, percentile, request
from shared.clock import SystemClock
from tests.support import pushes, services

_ROOT = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Subject:
    """A running server and where its rows lie (None: it stores nothing)."""

    name: str
    pid: int
    port: int
    store: str | None


@contextlib.contextmanager
def started(name: str) -> Iterator[Subject]:
    """`bare`, or `<store>+<bus>`; its database and virtual host are its own."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "accounts.yaml").write_text(pushes.accounts("http://127.0.0.1:9/hooks"))
        args, store = ["bare"], None
        if name != "bare":
            end, _, bus = name.partition("+")
            store = stack.enter_context(_database(end, folder))
            args = [str(folder), store, stack.enter_context(_broker(bus))]
        command = [sys.executable, "-m", "bench.stages.intake_server", *args]
        child = stack.enter_context(subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True))
        stack.callback(child.terminate)
        assert child.stdout is not None
        yield Subject(name, child.pid, int(child.stdout.readline()), store)


@contextlib.contextmanager
def _database(end: str, folder: Path) -> Iterator[str]:
    if end == "sqlite":
        yield f"sqlite:///{folder / 'intake.db'}"
        return
    with services.postgres() as server:
        url = services.new_database(server)
        yield url
        services.drop_database(server, url)


@contextlib.contextmanager
def _broker(bus: str) -> Iterator[str]:
    if bus == "embedded":
        yield "embedded://"
        return
    with services.rabbit() as server:
        url = services.new_vhost(server) or server.url
        yield url
        services.drop_vhost(server, url)


def deliveries(port: int, count: int) -> list[bytes]:
    """Real signed webhooks of the generic marketplace, each of its own order, about 1 kB on the wire."""
    now, run = SystemClock().now(), secrets.token_hex(4)
    money = {"value": "20.00", "currency": "EUR"}
    made = []
    for n in range(count):
        body, headers = pushes.generic(
            now, "return.requested", f"msg_{run}{n}", kind="return", external_id=f"R{run}{n}", order_id=f"O{run}{n}",
            reason="defective", amount=money, paid=money, buyer={"id": f"B{n}", "name": "Ada", "locale": "en"},
            comment="The zip broke on the second day. " * 12,
        )  # fmt: skip
        made.append(request(f"127.0.0.1:{port}", "/webhooks/generic/shop", headers, body))
    return made


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def backends_cpu(store: str | None) -> float:
    """Of the PostgreSQL backends on this database. A pool keeps them for the whole run."""
    if store is None or not store.startswith("postgresql"):
        return 0.0
    connection = await asyncpg.connect(store)
    rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
                                  urlsplit(store).path[1:])  # fmt: skip
    await connection.close()
    return sum(cpu_seconds(row["pid"]) for row in rows)


async def marked(store: str, wanted: int) -> None:
    """Waits until that many facts are stored, published and marked."""
    sql = "SELECT count(*) FROM facts WHERE published_at IS NOT NULL"
    while await _counted(store, sql) < wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _counted(store: str, sql: str) -> int:
    if store.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
            return int(connection.execute(sql).fetchone()[0])
    connection = await asyncpg.connect(store)
    value = await connection.fetchval(sql)
    await connection.close()
    return int(value)


@dataclass
class Round:
    """Milliseconds; `server` and `database` are CPU per delivery."""

    per_second: float
    server: float
    database: float
    p50: float
    p99: float


async def measured(subject: Subject, count: int, rate: float, connections: int, before: int) -> Round:
    """`before`: deliveries it has taken already. Every one must be answered 202, and stored and published once."""
    batch = deliveries(subject.port, count)
    cpu, pg = cpu_seconds(subject.pid), await backends_cpu(subject.store)
    began = time.perf_counter()
    answers = await closed_loop(subject.port, batch, connections)
    took = time.perf_counter() - began
    if subject.store:
        await marked(subject.store, before + count)
    server = (cpu_seconds(subject.pid) - cpu) / count * 1000
    database = (await backends_cpu(subject.store) - pg) / count * 1000
    paced = await at_rate(subject.port, deliveries(subject.port, int(rate * 5)), rate)
    assert set(answers.statuses + paced.statuses) == {202}, "a delivery was refused: the round is void"
    p50, p99 = (percentile(paced.seconds, share) * 1000 for share in (0.5, 0.99))
    return Round(count / took, server, database, p50, p99)


def _line(name: str, values: Sequence[Round]) -> str:
    middle = [statistics.median(getattr(v, field) for v in values) for field in Round.__dataclass_fields__]
    return "{:18s} {:8.0f}/s  server {:.3f}  database {:.3f}  answer p50 {:.2f}  p99 {:.2f} ms".format(name, *middle)


async def run(names: Sequence[str], count: int, rounds: int, rate: float, connections: int) -> None:
    results: dict[str, list[Round]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        subjects = [stack.enter_context(started(name)) for name in names]
        for subject in subjects:
            await measured(subject, 500, rate, connections, 0)
        taken = dict.fromkeys(names, 500 + int(rate * 5))
        for _ in range(rounds):
            for subject in subjects:
                results[subject.name].append(await measured(subject, count, rate, connections, taken[subject.name]))
                taken[subject.name] += count + int(rate * 5)
                print(_line(subject.name, results[subject.name][-1:]), flush=True)
    print("medians")
    for name, values in results.items():
        print(_line(name, values))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ends", nargs="+", default=["bare", "sqlite+embedded", "postgres+rabbit"])
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--connections", type=int, default=64)
    asked = parser.parse_args()
    asyncio.run(run(asked.ends, asked.count, asked.rounds, asked.rate, asked.connections))


if __name__ == "__main__":
    main()
