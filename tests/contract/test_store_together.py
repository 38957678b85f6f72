"""Writes that need no answer go together: fewer statements, the same rows, in an order that is known."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text
from sqlalchemy.exc import IntegrityError

from shared.store.session import Database
from shared.store.tx import Led

pytestmark = pytest.mark.asyncio
METADATA = MetaData()
ONE, TWO, THREE, FOUR = (
    Table(name, METADATA, Column("account", Text), Column("id", Text, primary_key=True), Column("n", Integer))
    for name in ("one", "two", "three", "four")
)
LATER = "INSERT INTO four (account, id, n) VALUES ('a', :id, :n) ON CONFLICT (id) DO UPDATE SET n = four.n + excluded.n"


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[Database]:
    await database.run_sync(METADATA.create_all)
    yield database


def row(id_: str, n: int = 1, **more: Any) -> dict[str, Any]:
    return {"account": "a", "id": id_, "n": n, **more}


async def ids(store: Database, table: Table) -> dict[str, int]:
    async with store.reading() as tx:
        return {found["id"]: found["n"] for found in await tx.rows(f"SELECT id, n FROM {table.name}")}


async def test_writes_of_several_tables_are_one_statement_with_the_last_that_answers(store: Database) -> None:
    heard: list[str] = []
    async with store.transaction() as tx:
        await tx.insert(TWO, [row("x"), row("y")])
    store.watch(heard.append)
    async with store.transaction() as tx:
        await tx.update(TWO, ("id",), [{"id": "x", "n": 7}])
        await tx.insert(THREE, [row("p", 3)], on_conflict="nothing")
        await tx.later(FOUR, LATER, id="q", n=4)
        put = await tx.insert(ONE, [row("a"), row("b")], on_conflict="nothing", returning=("id",))
    store.watch(None)
    assert {found["id"] for found in put} == {"a", "b"}
    assert [await ids(store, table) for table in (ONE, TWO, THREE, FOUR)] == [
        {"a": 1, "b": 1}, {"x": 7, "y": 1}, {"p": 3}, {"q": 4},
    ]  # fmt: skip
    assert not tx.postgres or len(heard) == 1, heard


async def test_what_is_read_ahead_does_not_begin_the_transaction(store: Database) -> None:
    heard: list[str] = []
    store.watch(heard.append)
    async with store.transaction() as tx:
        if tx.postgres:
            (mine,) = await tx.peek("SELECT pg_backend_pid() AS pid")
            async with store.reading() as other:
                seen = await other.row("SELECT state FROM pg_stat_activity WHERE pid = :pid", pid=mine["pid"])
            assert seen is not None and seen["state"] == "idle"
            heard.clear()
        await tx.insert(ONE, [row("a")])
        await tx.insert(TWO, [row("b")])
    store.watch(None)
    assert len(heard) == (1 if tx.postgres else 2), heard
    assert (await ids(store, ONE), await ids(store, TWO)) == ({"a": 1}, {"b": 1})


async def test_what_is_read_ahead_finds_what_was_written_before_it(store: Database) -> None:
    async with store.transaction() as tx:
        await tx.insert(ONE, [row("a")])
        assert [found["id"] for found in await tx.peek("SELECT id FROM one")] == ["a"]


async def test_what_asks_afterwards_finds_what_was_written(store: Database) -> None:
    async with store.transaction() as tx:
        await tx.insert(ONE, [row("a")])
        await tx.later(FOUR, LATER, id="q", n=4)
        assert len(await tx.rows("SELECT id FROM one")) == 1
        assert await tx.run("UPDATE four SET n = 5") == 1
        await tx.insert(TWO, [row("b")])
        await tx.send()
        assert await tx.row("SELECT id FROM two") is not None


async def test_writes_to_one_table_see_each_other(store: Database) -> None:
    async with store.transaction() as tx:
        await tx.insert(ONE, [row("a", 1)])
        await tx.update(ONE, ("id",), [{"id": "a", "n": 2}])
        await tx.later(FOUR, LATER, id="q", n=1)
        await tx.later(FOUR, LATER, id="q", n=2)
        assert await tx.insert(FOUR, [row("q")], on_conflict="nothing", returning=("id",)) == []
    assert (await ids(store, ONE), await ids(store, FOUR)) == ({"a": 2}, {"q": 3})


async def test_what_they_raise_undoes_all_of_it(store: Database) -> None:
    async with store.transaction() as tx:
        await tx.insert(TWO, [row("b")])
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.insert(ONE, [row("a")])
            await tx.insert(TWO, [row("b")])
    assert await ids(store, ONE) == {}
    with pytest.raises(RuntimeError):
        async with store.transaction() as tx:
            await tx.insert(ONE, [row("a")])
            await tx.send()
            raise RuntimeError
    assert await ids(store, ONE) == {}


async def test_what_may_stay_alone_stays_where_nothing_went_before(store: Database) -> None:
    async def put(id_: str, *, before: bool) -> None:
        async with store.transaction() as tx:
            if before:
                await tx.rows("SELECT 1")
            led = [Led(TWO, "id", [row(id_)])]
            assert await tx.insert_led(ONE, [row(id_)], led, alone=True) == {id_}
            raise RuntimeError

    for id_, before in (("a", False), ("b", True)):
        with pytest.raises(RuntimeError):
            await put(id_, before=before)
    stays = {"a": 1} if store.postgres else {}
    assert (await ids(store, ONE), await ids(store, TWO)) == (stays, stays)


@pytest.mark.pg
async def test_postgresql_runs_the_one_that_answers_first_and_the_others_as_they_were_asked(
    postgres_url: str,
) -> None:
    """What holds rows that others want is asked for last, and new orders first: see `statements.together`."""
    counted, database = MetaData(), Database(postgres_url)
    tables = [
        Table(f"t{n}", counted, Column("id", Integer), Column("at", BigInteger, server_default="0")) for n in range(5)
    ]
    await database.run_sync(counted.create_all)
    async with database.transaction() as tx:
        await tx.run("CREATE SEQUENCE turns")
        for table in tables:
            await tx.run(f"ALTER TABLE {table.name} ALTER at SET DEFAULT nextval('turns')")
    async with database.transaction() as tx:
        for table in tables[1:]:
            await tx.insert(table, [{"id": 1}, {"id": 2}])
        await tx.insert(tables[0], [{"id": 1}, {"id": 2}], returning=("id",))
    async with database.transaction() as tx:
        for table in tables:
            await tx.insert(table, [{"id": 3}])
    union = " UNION ALL ".join(f"SELECT at, {n} AS n FROM t{n}" for n in range(5))
    async with database.reading() as tx:
        turns = [found["n"] for found in await tx.rows(f"{union} ORDER BY at")]
    await database.close()
    assert turns == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 2, 3, 4]
