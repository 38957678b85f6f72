# allow: size (one behaviour suite, read as a whole)
"""What both ends of the store promise: SQLite and PostgreSQL run the same tests."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.exc import DBAPIError, IntegrityError

from shared.store.session import Database, is_away, is_transient, is_unstorable, repeating
from tests.support.proxy import Proxy
from tests.support.waiting import until

METADATA = MetaData()
THINGS = Table(
    "things",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("n", Integer),
    Column("at", BigInteger),
    Column("flag", Boolean),
    Column("raw", LargeBinary),
    Column("doc", Text),
)


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[Database]:
    await database.run_sync(METADATA.create_all)
    yield database


def thing(id_: str, **values: Any) -> dict[str, Any]:
    return {
        "account": "a",
        "id": id_,
        "n": 1,
        "at": 1 << 50,
        "flag": True,
        "raw": b"\x00\xff",
        "doc": "Größe",
        **values,
    }


async def ids(store: Database) -> list[str]:
    async with store.reading() as tx:
        return [row["id"] for row in await tx.rows("SELECT id FROM things ORDER BY id")]


@pytest.mark.asyncio
async def test_rows_come_back_as_they_went_in(store: Database) -> None:
    rows = [thing("one"), thing("two", n=None, at=None, flag=None, raw=None, doc=None), thing("3", doc="尺码 '\"\\ 😀")]
    async with store.transaction() as tx:
        await tx.insert(THINGS, rows)
    async with store.reading() as tx:
        found = {row["id"]: dict(row) for row in await tx.rows("SELECT * FROM things")}
    assert {**found["one"], "raw": bytes(found["one"]["raw"])} == rows[0]
    assert found["two"] == rows[1]
    assert found["3"]["doc"] == rows[2]["doc"]


ODD = (None, "", "\x1e", "\x1f", "a\x1fb", "\x1e\x1f", "NULL", "null", "{}", '"', ",", "\\", "\n", " ", "é😀", "a")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_odd_texts_beside_each_other_come_back_as_they_went_in(store: Database, size: int) -> None:
    chance, put = random.Random(size), {}
    async with store.transaction() as tx:
        for batch in range(40):
            rows = [thing(f"{batch}.{n}", doc=chance.choice(ODD)) for n in range(size)]
            await tx.insert(THINGS, rows)
            changed = [{"account": "a", "id": row["id"], "doc": chance.choice(ODD)} for row in rows[: size // 2]]
            await tx.update(THINGS, ("account", "id"), changed)
            put |= {row["id"]: row["doc"] for row in (*rows, *changed)}
    async with store.reading() as tx:
        assert {row["id"]: row["doc"] for row in await tx.rows("SELECT id, doc FROM things")} == put


@pytest.mark.asyncio
async def test_many_rows_go_in_one_call(store: Database) -> None:
    async with store.transaction() as tx:
        put = await tx.insert(THINGS, [thing(f"t{n:05}", n=n) for n in range(5000)], returning=["id", "n"])
    assert [row["n"] for row in put] == list(range(5000))
    async with store.transaction() as tx:
        assert await tx.insert(THINGS, []) == []


@pytest.mark.asyncio
async def test_conflicts_raise_or_are_left_out(store: Database) -> None:
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("one", n=1)])
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.insert(THINGS, [thing("new"), thing("one", n=2)])
    assert await ids(store) == ["one"]
    async with store.transaction() as tx:
        put = await tx.insert(
            THINGS, [thing("one", n=3), thing("two"), thing("two")], on_conflict="nothing", returning=["id"]
        )
        one = await tx.row("SELECT n FROM things WHERE id = :id", id="one")
    assert [row["id"] for row in put] == ["two"]
    assert one is not None
    assert one["n"] == 1


@pytest.mark.asyncio
async def test_update_sets_each_row_by_its_keys(store: Database) -> None:
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing(f"t{n}", n=0, doc="old") for n in range(300)])
        changes = [{"account": "a", "id": f"t{n}", "n": n, "doc": None, "raw": b"x"} for n in range(299)]
        await tx.update(THINGS, ("account", "id"), changes)
        await tx.update(THINGS, ("account", "id"), [])
    async with store.reading() as tx:
        found = {row["id"]: row for row in await tx.rows("SELECT * FROM things")}
    assert all(found[f"t{n}"]["n"] == n and found[f"t{n}"]["doc"] is None for n in range(299))
    assert (found["t299"]["n"], found["t299"]["doc"]) == (0, "old")
    assert bytes(found["t0"]["raw"]) == b"x"


@pytest.mark.asyncio
async def test_any_of_takes_lists_also_empty_and_odd_ones(store: Database) -> None:
    odd = "quote ' double \" back \\ 尺 {}"
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("one", n=1), thing("two", n=2), thing(odd, n=3)])
    async with store.reading() as tx:
        by_id = f"SELECT n FROM things WHERE {tx.any_of('id', 'wanted')} ORDER BY n"
        by_n = f"SELECT n FROM things WHERE {tx.any_of('n', 'wanted', 'integer')} ORDER BY n"
        assert [row["n"] for row in await tx.rows(by_id, wanted=["one", odd, "none"])] == [1, 3]
        assert await tx.rows(by_id, wanted=[]) == []
        assert [row["n"] for row in await tx.rows(by_n, wanted=[2, 3, 99])] == [2, 3]


@pytest.mark.asyncio
async def test_what_raises_leaves_nothing(store: Database) -> None:
    with pytest.raises(RuntimeError):
        async with store.transaction() as tx:
            await tx.insert(THINGS, [thing("one")])
            raise RuntimeError
    assert await ids(store) == []
    async with store.transaction() as tx:
        assert await tx.run("UPDATE things SET n = 5") == 0


@pytest.mark.asyncio
async def test_a_cancelled_transaction_leaves_nothing_and_holds_nothing(store: Database) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with store.transaction() as tx:
            await tx.insert(THINGS, [thing("one")])
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.wait_for(entered.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30), store.transaction() as tx:
        await tx.insert(THINGS, [thing("one")])
    assert await ids(store) == ["one"]


@pytest.mark.asyncio
async def test_cancelling_at_any_moment_never_jams_the_store(store: Database) -> None:
    async def work(n: int) -> None:
        async with store.transaction(urgent=bool(n % 2)) as tx:
            await tx.insert(THINGS, [thing(f"t{n}")])
            await tx.rows("SELECT * FROM things")

    for n in range(60):
        tasks = [asyncio.create_task(work(n * 10 + k)) for k in range(5)]
        for _ in range(n % 30):
            await asyncio.sleep(0)
        for task in tasks[:4]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not tasks[4].cancelled()
        assert tasks[4].exception() is None
    async with asyncio.timeout(30), store.transaction() as tx:
        await tx.insert(THINGS, [thing("last")])


@pytest.mark.asyncio
async def test_readers_see_committed_rows_only_and_are_not_held_up(store: Database) -> None:
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("one")])
        async with asyncio.timeout(30):
            assert await ids(store) == []
    assert await ids(store) == ["one"]


@pytest.mark.asyncio
async def test_urgent_transactions_go_before_the_others(tmp_path: Path) -> None:
    """Where there is one writer, a webhook does not wait behind the queue."""
    store = Database(f"sqlite:///{tmp_path / 'one.db'}")
    order: list[str] = []

    async def work(name: str, urgent: bool) -> None:
        async with store.transaction(urgent=urgent):
            order.append(name)

    async with store.transaction():
        tasks = [asyncio.create_task(work(f"slow{n}", False)) for n in range(3)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(work(f"urgent{n}", True)) for n in range(2)]
        await asyncio.sleep(0)
        assert order == []
    await asyncio.gather(*tasks)
    assert order == ["urgent0", "urgent1", "slow0", "slow1", "slow2"]
    await store.close()


@pytest.mark.asyncio
async def test_row_locks_hold_others_off(store: Database) -> None:
    """Two increments at once: none is lost on either end."""
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("one", n=0)])

    async def add() -> None:
        async with store.transaction() as tx:
            row = await tx.row(f"SELECT n FROM things WHERE id = 'one'{tx.locked()}")
            assert row is not None
            await asyncio.sleep(0)
            await tx.run("UPDATE things SET n = :n WHERE id = 'one'", n=row["n"] + 1)

    await asyncio.gather(*(add() for _ in range(30)))
    async with store.reading() as tx:
        row = await tx.row("SELECT n FROM things")
    assert row is not None
    assert row["n"] == 30


@pytest.mark.pg
@pytest.mark.asyncio
async def test_skip_locked_passes_over_what_another_holds(postgres_url: str) -> None:
    store = Database(postgres_url)
    await store.run_sync(METADATA.create_all)
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("one"), thing("two")])
    async with store.transaction() as first:
        await first.rows(f"SELECT id FROM things WHERE id = 'one'{first.locked()}")
        async with store.transaction() as second:
            left = await second.rows(f"SELECT id FROM things{second.locked(skip=True)}")
    assert [row["id"] for row in left] == ["two"]
    await store.close()


@pytest.mark.pg
@pytest.mark.asyncio
async def test_a_deadlock_is_repeated_until_both_are_done(postgres_url: str) -> None:
    store = Database(postgres_url)
    await store.run_sync(METADATA.create_all)
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("a", n=0), thing("b", n=0)])
    barrier = asyncio.Barrier(2)
    attempts: list[str] = []

    async def work(first: str, second: str) -> None:
        attempts.append(first)
        async with store.transaction() as tx:
            await tx.run("UPDATE things SET n = n + 1 WHERE id = :id", id=first)
            if len(attempts) <= 2:
                await barrier.wait()
            await tx.run("UPDATE things SET n = n + 1 WHERE id = :id", id=second)

    await asyncio.gather(repeating(lambda: work("a", "b")), repeating(lambda: work("b", "a")))
    assert len(attempts) >= 3, "one of the two was the victim; it may be so again before the other has woken up"
    async with store.reading() as tx:
        assert [row["n"] for row in await tx.rows("SELECT n FROM things")] == [2, 2]
    await store.close()


@pytest.mark.asyncio
async def test_other_faults_are_not_repeated(store: Database) -> None:
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        async with store.transaction() as tx:
            await tx.insert(THINGS, [thing("one"), thing("one")])

    with pytest.raises(IntegrityError):
        await repeating(work)
    assert calls == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("bad", ["nul \x00 inside", "lone \ud800 surrogate"])
async def test_text_that_cannot_be_stored_is_refused_the_same_on_both_ends(store: Database, bad: str) -> None:
    async def insert() -> None:
        async with store.transaction() as tx:
            await tx.insert(THINGS, [thing("fine"), thing("bad", doc=bad)])

    async def update() -> None:
        async with store.transaction() as tx:
            await tx.update(THINGS, ("account", "id"), [{"account": "a", "id": "good", "doc": bad}])

    async def run() -> None:
        async with store.transaction() as tx:
            await tx.run("UPDATE things SET doc = :doc", doc=bad)

    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("good")])

    async def read() -> None:
        async with store.reading() as tx:
            await tx.rows("SELECT id FROM things WHERE id = :id", id=bad)

    for attempt in (insert, update, run, read):
        with pytest.raises((DBAPIError, ValueError)) as caught:
            await attempt()
        assert is_unstorable(caught.value)
        assert not is_away(caught.value)
        assert not is_transient(caught.value)
    async with store.reading() as tx:
        assert [dict(row) for row in await tx.rows("SELECT id, doc FROM things")] == [{"id": "good", "doc": "Größe"}]


@pytest.mark.asyncio
async def test_a_wrong_statement_is_a_bug_not_an_absent_database(store: Database) -> None:
    for sql in ("SELECT nothing FROM things", "SELECT 1 FROM no_such_table", "SELEKT"):
        with pytest.raises(DBAPIError) as caught:
            async with store.transaction() as tx:
                await tx.rows(sql)
        assert not is_transient(caught.value)
    for fault in (ValueError(), KeyError(), FileNotFoundError(), PermissionError(), RuntimeError()):
        assert not is_transient(fault)


@pytest.mark.asyncio
async def test_what_is_raised_never_shows_the_values(store: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with store.transaction() as tx:
            await tx.rows("SELECT nothing FROM things WHERE doc = :doc", doc="the buyer's address")
    assert "address" not in str(caught.value)


@pytest.mark.asyncio
async def test_the_database_tells_the_time_in_microseconds(store: Database) -> None:
    async with store.reading() as tx:
        row = await tx.row(f"SELECT {tx.micros_now()} AS now")
    assert row is not None
    assert isinstance(row["now"], int)
    assert 1.7e15 < row["now"] < 4e15


@pytest.mark.pg
@pytest.mark.asyncio
async def test_a_server_that_goes_and_comes_is_away_meanwhile_and_then_serves_again(postgres_url: str) -> None:
    async with Proxy(postgres_url, 5432) as proxy:
        store = Database(proxy.url, pool=2)
        await store.run_sync(METADATA.create_all)
        for _ in range(3):
            with pytest.raises(Exception) as caught:
                async with store.transaction() as tx:
                    await tx.insert(THINGS, [thing("lost")])
                    await proxy.cut()
                    await tx.rows("SELECT 1")
            assert is_away(caught.value), repr(caught.value)
            with pytest.raises(Exception) as caught:
                async with store.transaction() as tx:
                    await tx.rows("SELECT 1")
            assert is_away(caught.value), repr(caught.value)
            await proxy.mend()
            assert await ids(store) == []
        await store.close()


@pytest.mark.pg
@pytest.mark.asyncio
async def test_terminated_backends_and_read_only_are_away(postgres_url: str) -> None:
    store = Database(postgres_url)
    for sql in ("SELECT pg_terminate_backend(pg_backend_pid())", "CREATE TABLE x (n integer)"):
        with pytest.raises(DBAPIError) as caught:
            async with store.transaction() as tx:
                if "CREATE" in sql:
                    await tx.run("SET TRANSACTION READ ONLY")
                await tx.run(sql)
        assert is_away(caught.value)
    async with store.reading() as tx:
        assert await tx.rows("SELECT 1") != []
    await store.close()


@pytest.mark.pg
@pytest.mark.asyncio
async def test_a_full_pool_is_transient(postgres_url: str) -> None:
    store = Database(postgres_url, pool=1, patience=0.1)
    async with store.reading() as tx:
        await tx.rows("SELECT 1")
        with pytest.raises(Exception) as caught:
            async with store.reading():
                pass
    assert is_transient(caught.value)
    await store.close()


@pytest.mark.asyncio
async def test_another_process_writing_to_the_file_is_waited_for_then_away(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "busy.db"
    store = Database(f"sqlite:///{path}")
    await store.run_sync(METADATA.create_all)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DBAPIError) as caught:
        async with store.transaction() as tx:
            await tx.insert(THINGS, [thing("one")])
    assert is_away(caught.value)
    other.execute("ROLLBACK")
    other.close()
    async with store.transaction() as tx:
        await tx.insert(THINGS, [thing("one")])
    await store.close()


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_opened_is_away(tmp_path: Path) -> None:
    store = Database(f"sqlite:///{tmp_path}")
    threads = threading.active_count()
    for _ in range(2):
        with pytest.raises(DBAPIError) as caught:
            async with store.transaction():
                pass
        assert is_away(caught.value)
    await store.close()
    await until(lambda: threading.active_count() == threads, what="the driver's threads have ended")


@pytest.mark.asyncio
async def test_a_full_disk_is_away_and_heals(tmp_path: Path) -> None:
    store = Database(f"sqlite:///{tmp_path / 'full.db'}")
    await store.run_sync(METADATA.create_all)
    async with store.transaction() as tx:
        row = await tx.row("PRAGMA page_count")
        assert row is not None
        await tx.rows(f"PRAGMA max_page_count = {row['page_count'] + 3}")
    with pytest.raises(DBAPIError) as caught:
        async with store.transaction() as tx:
            await tx.insert(THINGS, [thing(f"t{n}", doc="x" * 1000) for n in range(100)])
    assert is_away(caught.value)
    async with store.transaction() as tx:
        await tx.rows("PRAGMA max_page_count = 1000000")
        await tx.insert(THINGS, [thing(f"t{n}", doc="x" * 1000) for n in range(100)])
    assert len(await ids(store)) == 100
    await store.close()


@pytest.mark.asyncio
async def test_sqlite_keeps_what_it_committed_and_readers_cannot_write(tmp_path: Path) -> None:
    store = Database(f"sqlite:///{tmp_path / 'safe.db'}")
    async with store.transaction() as tx:
        pragmas = {name: await tx.row(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert {name: tuple(row.values()) for name, row in pragmas.items() if row} == {
        "journal_mode": ("wal",), "synchronous": (2,), "foreign_keys": (1,),
    }  # fmt: skip
    with pytest.raises(DBAPIError):
        async with store.reading() as tx:
            await tx.run("CREATE TABLE x (n integer)")
    await store.close()


@pytest.mark.pg
@pytest.mark.asyncio
async def test_services_may_share_a_database_each_in_its_schema(postgres_url: str) -> None:
    plain, one = Database(postgres_url), Database(postgres_url, schema="policy")
    async with plain.transaction() as tx:
        await tx.run("CREATE SCHEMA policy")
    await one.run_sync(METADATA.create_all)
    async with one.transaction() as tx:
        await tx.insert(THINGS, [thing("one")])
    async with plain.reading() as tx:
        found = await tx.rows("SELECT table_schema FROM information_schema.tables WHERE table_name = 'things'")
    assert [row["table_schema"] for row in found] == ["policy"]
    await plain.close()
    await one.close()
