"""Many open cases on PostgreSQL: what is read of them, several replicas at one backlog, a snapshot that stays open.

No times are asserted: what a query costs is counted in the rows and pages that it touches.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from bench.clocks.filled import Spread
from bench.clocks.ground import Ground, ground
from bench.stages.policy import KeptBus
from services.policy import agenda as agendas
from services.policy import deadlines, due, store, wiring
from services.policy.agenda import BEGINNING, Agenda
from services.policy.metrics import counters, recount
from services.policy.rows import case_row
from services.policy.rows import text as as_json
from shared.bus.port import Topology
from shared.clock import SystemClock, to_micros
from shared.registry import Registry
from shared.settings import Process
from tests.services.policy.policy_rig import config
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio, pytest.mark.pg, pytest.mark.timeout(400)]
CASES = 200_000
SECOND = timedelta(seconds=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@asynccontextmanager
async def filled(url: str, count: int, first: timedelta, every: timedelta) -> AsyncIterator[Ground]:
    """`first`: when the first is due, from now."""
    async with ground(url) as found:
        await found.add(count, Spread(SystemClock().now() + first, every))
        yield found


async def plan(connection: Any, sql: str, params: list[int]) -> dict[str, Any]:
    """Of a prepared statement: for these values when it is run for the first time, for any values later on."""
    (told,) = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *params)
    found: dict[str, Any] = json.loads(told[0])[0]["Plan"]
    return found


def nodes(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [found, *(node for child in found.get("Plans", ()) for node in nodes(child))]


@pytest.mark.slow
async def test_looks_stay_index_scans_with_and_without_statistics(new_database: Callable[[], str]) -> None:
    """200,000 open cases, half of them overdue: no sort, no bitmap, no whole table, whatever the planner knows."""
    url = new_database()
    async with filled(url, CASES, -DAY, timedelta(microseconds=864_001)):
        now = to_micros(SystemClock().now())
        connection = await asyncpg.connect(url)
        try:
            for known in (True, False):
                if not known:
                    await connection.execute("DELETE FROM pg_statistic; UPDATE pg_class SET reltuples = -1")
                for mode in ("force_custom_plan", "force_generic_plan"):
                    async with connection.transaction():
                        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
                        await agendas.by_index_only(_Plain(connection))
                        await _looked_at(connection, now)
            await _metrics_are_cheap(connection, now)
        finally:
            await connection.close()


class _Plain:
    """As much of a transaction as `by_index_only` asks for."""

    postgres = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def row(self, sql: str) -> Any:
        return await self._connection.fetchrow(sql)


async def _looked_at(connection: Any, now: int) -> None:
    most = agendas.MOST
    asked = {
        agendas.BY_DUE: ("cases_due", {"after": BEGINNING, "until": now, "most": most}, most),
        agendas.BY_DEADLINE: ("cases_deadline", {"now": now, "most": most}, most),
        agendas.WITHOUT_DEADLINE: ("cases_due", {"now": now, "most": most}, 0),
    }
    for sql, (index, params, rows) in asked.items():
        names = [name for name in ("after", "until", "now", "most") if f":{name}" in sql]
        for n, name in enumerate(names, 1):
            sql = sql.replace(f":{name}", f"${n}")  # noqa: PLW2901
        found = nodes(await plan(connection, sql, [params[name] for name in names]))
        assert {node["Node Type"] for node in found} == {"Limit", "Index Scan"}, found
        (scan,) = (node for node in found if node["Node Type"] == "Index Scan")
        assert scan["Index Name"] == index and scan["Actual Rows"] == rows
        assert scan.get("Rows Removed by Filter", 0) == 0
        touched = scan["Shared Hit Blocks"] + scan["Shared Read Blocks"]
        assert touched <= (rows + 100 if rows else CASES // 100), touched


async def _metrics_are_cheap(connection: Any, now: int) -> None:
    """Of the cases only those are read whose deadline lies in the hour of a bound."""
    sql, told = deadlines.question([now + int(bound * 1e6) for bound in (0, 3600, 14400, 86400)])
    for name, value in sorted(told.items(), reverse=True):
        sql = sql.replace(f":{name}", str(value))
    await connection.execute("ANALYZE cases")
    read = [node for node in nodes(await plan(connection, sql, [])) if node.get("Relation Name") == "cases"]
    assert read and all("Index" in node["Node Type"] or "Bitmap" in node["Node Type"] for node in read), read
    assert sum(node["Actual Rows"] for node in read) < CASES // 5


async def test_copies_are_what_the_product_writes(postgres_url: str) -> None:
    made = filled(postgres_url, 300, 37 * SECOND, timedelta(microseconds=7_001))
    async with made as found, found.service.database.reading() as tx:
        rows = await tx.rows("SELECT * FROM cases ORDER BY id")
        for row in rows:
            case = store.read_case(row["document"])
            assert dict(row) == case_row(case, as_json(case), stuck=False)
            order = await store.order_document(tx, case.account, case.order_id)
            assert order is not None and order.open_cases == (case.id,)
        assert len({row["id"] for row in rows}) == len({row["next_due_at"] for row in rows}) == 301
        assert await counters(tx) == await recount(tx)
        assert await deadlines.counted(tx) == await deadlines.recount(tx)


async def test_a_snapshot_that_stays_open_is_not_read_past_again_and_again(postgres_url: str) -> None:
    """Fired clocks leave entries that a vacuum may not take away meanwhile; looks pass over where they lie."""
    async with filled(postgres_url, 1500, -HOUR, timedelta(microseconds=1_001)) as found:
        database, policy = found.service.database, found.service.policy
        holding = await asyncpg.connect(postgres_url)
        try:
            await holding.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await holding.fetch("SELECT count(*) FROM cases")
            agenda = Agenda(database, policy.clock)
            while await due.fire(policy, agenda):
                pass
            agenda.forget()
            await agenda.take(1)
            now = to_micros(policy.clock.now())
            whole, ours = [await _pages(holding, after, now) for after in (BEGINNING, agenda._after)]
            assert whole > 300, whole
            assert ours < 30, ours
        finally:
            await holding.close()


async def _pages(connection: Any, after: int, until: int) -> int:
    sql = agendas.BY_DUE.replace(":after", "$1").replace(":until", "$2").replace(":most", "$3")
    await agendas.by_index_only(_Plain(connection))
    found = await plan(connection, sql, [after, until, agendas.MOST])
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


@pytest_asyncio.fixture
async def start(postgres_url: str, tmp_path: Path) -> AsyncIterator[Callable[[], Any]]:
    """Starts one more replica on the database; all are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def started() -> wiring.PolicyService:
            bus = KeptBus(Topology(8))
            await bus.start()
            stack.push_async_callback(bus.stop)
            process = Process(tmp_path, broker_url="amqp://elsewhere", database_urls={"policy": postgres_url})
            made = wiring.build(process, config(Registry(), "shop"), SystemClock(), bus)
            stack.push_async_callback(made.stop)
            await made.start()
            return made

        yield started


async def test_four_replicas_fire_each_clock_of_a_backlog_once(postgres_url: str, start: Callable[[], Any]) -> None:
    """All are told to do all there is, at the same moment: what keeps them apart are locks alone."""
    count = 1200
    async with filled(postgres_url, 1, DAY, SECOND) as found:
        replicas = [await start() for _ in range(4)]
        await found.add(count, Spread(SystemClock().now() - HOUR, timedelta(microseconds=10_001)))
        for replica in replicas:
            replica.kick()
        await until(lambda: sum(map(_fired, replicas)) >= count, 120)
        rows = "SELECT fact_id, case_id FROM case_log WHERE fact LIKE '%\"timer.elapsed\"%'"
        async with found.service.database.reading() as tx:
            fired = Counter(row["case_id"] for row in await tx.rows(rows))
            planned = await tx.rows("SELECT subject FROM outbound WHERE body LIKE '%\"authorise\"%'")
            assert not await due.due_now(tx, SystemClock().now())
        shares = [_fired(replica) for replica in replicas]
        assert (len(fired), len(planned), sum(shares), set(fired.values())) == (count, count, count, {1})
        assert sum(share > 0 for share in shares) >= 2, shares


def _fired(replica: wiring.PolicyService) -> int:
    (family,) = replica.policy.metrics.clock_lag_seconds.collect()
    return int(next(sample.value for sample in family.samples if sample.name.endswith("_count")))
