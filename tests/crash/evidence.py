"""A running system brought to rest and looked at from outside: its databases, its metrics, the marketplace's log."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from services.policy.rehearse import rehearse
from shared.clock import to_micros
from shared.store.session import Database
from tests.crash.picture import Call, Offered, Picture, Row
from tests.crash.verdict import tables_of
from tests.support.system import SERVICES, System

_KEY = {"Authorization": "Bearer sandbox"}
_UNDER_WAY = {
    "intake": (
        "SELECT count(*) AS n FROM facts WHERE published_at IS NULL",
        "SELECT count(*) AS n FROM fetches WHERE done < wanted AND next_at <= :now",
    ),
    "policy": (
        "SELECT count(*) AS n FROM outbound WHERE published_at IS NULL",
        "SELECT count(*) AS n FROM case_events WHERE published_at IS NULL",
        "SELECT count(*) AS n FROM cases WHERE next_due_at <= :now",
    ),
    "notifier": (
        "SELECT count(*) AS n FROM results WHERE published_at IS NULL",
        "SELECT count(*) AS n FROM errands WHERE status = 'sending' OR next_at <= :now",
    ),
}
_GAUGES = {"amends_cases": "cases", "amends_tasks_open": "tasks_open"}
_LABELS = {"cases": ("marketplace", "kind", "phase"), "tasks_open": ("kind",)}


def urls_of(system: System) -> dict[str, str]:
    if system.urls is not None:
        return {name: system.urls[name] for name in SERVICES}
    return {name: f"sqlite:///{system.folder / 'data' / f'{name}.db'}" for name in SERVICES}


@asynccontextmanager
async def databases(system: System) -> AsyncIterator[dict[str, Database]]:
    """Of all three services, to be read."""
    found = {name: Database(url, pool=2) for name, url in urls_of(system).items()}
    try:
        yield found
    finally:
        for database in found.values():
            await database.close()


async def settle(system: System, found: Mapping[str, Database], longest: float = 240, looks: int = 3) -> None:
    """Until nothing is in flight and nothing due, `looks` running; leases of the dead end meanwhile (20 s)."""
    end, quiet, before = asyncio.get_running_loop().time() + longest, 0, ""
    while quiet < looks:
        drained = await _drained(system)
        under_way = await _under_way(system, found)
        picture = await _marks(found)
        quiet = quiet + 1 if drained and not any(under_way.values()) and picture == before else 0
        before = picture
        assert asyncio.get_running_loop().time() < end, f"not at rest after {longest:.0f} s: {under_way}"
        await asyncio.sleep(0.1)


async def _drained(system: System) -> bool:
    """Whether each process says that it has nothing in flight."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90), headers=_KEY) as session:
        for process in system.processes:
            try:
                async with session.post(f"{process.url}/sandbox/drain") as answer:
                    await answer.read()
                    if answer.status != 200:
                        return False
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                return False
    return True


async def _under_way(system: System, found: Mapping[str, Database]) -> dict[str, int]:
    now, counts = to_micros(system.clock.now()), {}
    for service, questions in _UNDER_WAY.items():
        async with found[service].reading() as tx:
            for sql in questions:
                row = await tx.row(sql, **({"now": now} if ":now" in sql else {}))
                counts[f"{service}: {sql[25:]}"] = int(row["n"]) if row else 0
    return counts


async def _marks(found: Mapping[str, Database]) -> str:
    """Changes whenever something was applied or sent."""
    marks = []
    for service, sql in (
        ("policy", "SELECT count(*) AS n, sum(seq) AS s FROM case_log"),
        ("notifier", "SELECT count(*) AS n, sum(fence) AS s FROM errands"),
    ):
        async with found[service].reading() as tx:
            row = await tx.row(sql)
            marks.append(f"{row['n']} {row['s']}" if row else "")
    return " ".join(marks)


async def pass_time(system: System, found: Mapping[str, Database], steps: Sequence[timedelta]) -> None:
    """Each step is brought to rest before the next."""
    for step in steps:
        system.clock.set(system.clock.now() + step)
        await settle(system, found)


async def gauges(system: System) -> dict[tuple[str, ...], float]:
    """What the processes export of policy's tables, by name and labels."""
    seen: dict[tuple[str, ...], float] = {}
    async with aiohttp.ClientSession() as session:
        for process in system.processes:
            if process.name not in ("embedded", "policy"):
                continue
            async with session.get(f"{process.url}/metrics") as answer:
                text = await answer.text()
            for family in text_string_to_metric_families(text):
                name = _GAUGES.get(family.name)
                for sample in family.samples if name else ():
                    key = (str(name), *(sample.labels[label] for label in _LABELS[str(name)]))
                    seen[key] = seen.get(key, 0) + sample.value
    return seen


async def picture_of(
    system: System, calls: Sequence[Call], offered: Sequence[Offered], seen: Mapping[tuple[str, ...], float] | None
) -> Picture:
    """Of a system that was stopped at rest. `seen`: its gauges before."""
    tables: dict[str, Sequence[Row]] = {}
    async with databases(system) as found:
        for service, database in found.items():
            tables |= await tables_of(service, database)
        report = await rehearse(found["policy"])
    now = to_micros(system.clock.now())
    return Picture(tables, now, offered=offered, calls=calls, differing=report.differing, gauges=seen)


def intact(folder: Path) -> dict[str, Any]:
    """`integrity_check` of each SQLite file of a folder."""
    told = {}
    for path in sorted(folder.glob("*.db")):
        with sqlite3.connect(path) as connection:
            told[path.name] = connection.execute("PRAGMA integrity_check").fetchone()[0]
        connection.close()
    return told
