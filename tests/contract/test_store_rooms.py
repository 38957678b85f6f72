"""Migrations, the parked table and blobs, on both ends of the store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import MetaData

from shared.bus.port import Event, Unread, Unreadable
from shared.clock import to_micros
from shared.errors import ConfigurationError
from shared.store import migrate, parked
from shared.store.blobs import Blobs
from shared.store.session import Database

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
METADATA = MetaData()
PARKED = parked.parked_table(METADATA)
FIRST = """
revision, down_revision = "0001", None
import sqlalchemy as sa
from alembic import op
def upgrade():
    op.create_table("things", sa.Column("id", sa.Text, primary_key=True))
"""
SECOND = """
revision, down_revision = "0002", "0001"
import sqlalchemy as sa
from alembic import op
def upgrade():
    op.add_column("things", sa.Column("n", sa.Integer))
    op.execute("UPDATE things SET n = 1")
"""
BROKEN = """
revision, down_revision = "0003", "0002"
from alembic import op
def upgrade():
    op.execute("UPDATE things SET n = 7")
    op.execute("UPDATE nothing SET n = 1")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    versions = tmp_path / "policy" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "first.py").write_text(FIRST)
    return versions.parent


async def values(database: Database) -> list[dict[str, object]]:
    async with database.reading() as tx:
        return [dict(row) for row in await tx.rows("SELECT * FROM things ORDER BY id")]


@pytest.mark.asyncio
async def test_a_database_is_brought_to_head_and_keeps_its_data(database: Database, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="policy: the database is empty, needed is 0001: amends db upgrade"):
        await migrate.check(database, folder)
    await migrate.upgrade(database, folder)
    await migrate.check(database, folder)
    async with database.transaction() as tx:
        await tx.run("INSERT INTO things (id) VALUES ('one')")
    (folder / "versions" / "second.py").write_text(SECOND)
    with pytest.raises(ConfigurationError, match="is at 0001, needed is 0002"):
        await migrate.check(database, folder)
    await migrate.upgrade(database, folder)
    await migrate.upgrade(database, folder)
    assert await values(database) == [{"id": "one", "n": 1}]


@pytest.mark.asyncio
async def test_a_sqlite_file_is_copied_before_it_is_changed(tmp_path: Path, folder: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'policy.db'}")
    await migrate.upgrade(database, folder)
    assert not list(tmp_path.glob("*.bak")), "an empty file needs no copy"
    async with database.transaction() as tx:
        await tx.run("INSERT INTO things (id) VALUES ('one')")
    (folder / "versions" / "second.py").write_text(SECOND)
    await migrate.upgrade(database, folder)
    copy = Database(f"sqlite:///{tmp_path / 'policy.db.0001.bak'}")
    assert await values(copy) == [{"id": "one"}]
    await copy.close()
    await database.close()


@pytest.mark.asyncio
async def test_a_migration_that_fails_changes_nothing(database: Database, folder: Path) -> None:
    (folder / "versions" / "second.py").write_text(SECOND)
    await migrate.upgrade(database, folder)
    async with database.transaction() as tx:
        await tx.run("INSERT INTO things (id, n) VALUES ('one', 1)")
    (folder / "versions" / "third.py").write_text(BROKEN)
    with pytest.raises(Exception, match="nothing"):
        await migrate.upgrade(database, folder)
    assert await values(database) == [{"id": "one", "n": 1}]
    with pytest.raises(ConfigurationError, match="is at 0002, needed is 0003"):
        await migrate.check(database, folder)


@pytest.mark.asyncio
async def test_a_database_of_a_later_release_is_refused(database: Database, folder: Path) -> None:
    (folder / "versions" / "second.py").write_text(SECOND)
    await migrate.upgrade(database, folder)
    (folder / "versions" / "second.py").unlink()
    for attempt in (migrate.check, migrate.upgrade):
        with pytest.raises(ConfigurationError, match="at 0002, which this release does not know"):
            await attempt(database, folder)


@pytest.mark.pg
@pytest.mark.asyncio
async def test_of_several_replicas_one_migrates(postgres_url: str, folder: Path) -> None:
    replicas = [Database(postgres_url, schema="policy") for _ in range(4)]
    await asyncio.gather(*(migrate.upgrade(replica, folder) for replica in replicas))
    for replica in replicas:
        await migrate.check(replica, folder)
        await replica.close()
    other = Database(postgres_url, schema="intake")
    with pytest.raises(ConfigurationError, match="empty"):
        await migrate.check(other, folder)
    await other.close()


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[Database]:
    await database.run_sync(METADATA.create_all)
    yield database


def event(name: str, data: bytes = b'{"account":"ae-main","x":1}') -> Event:
    return Event(name, "amends.fact.v1", "/amends/intake", "order-1", NOON, data)


@pytest.mark.asyncio
async def test_what_is_parked_can_be_listed_and_retried_once(store: Database) -> None:
    async with store.transaction() as tx:
        for n in range(3):
            await parked.park(tx, PARKED, event(f"e{n}"), ValueError("broken\x00"), NOON + timedelta(seconds=n))
        unread = await parked.park(tx, PARKED, Unread(b"\xff\x00", "not UTF-8"), Unreadable("not UTF-8"), NOON)
    async with store.reading() as tx:
        first = await parked.waiting(tx, limit=2)
        rest = await parked.waiting(tx, after=(first[-1]["parked_at"], first[-1]["id"]))
        mine = await parked.waiting(tx, account="ae-main")
        body = await parked.body_of(tx, "e0")
    assert len(first) == 2
    assert {row["id"] for row in (*first, *rest)} == {"e0", "e1", "e2", unread}
    assert [row["id"] for row in mine] == ["e0", "e1", "e2"]
    assert (mine[0]["why"], mine[0]["attempts"], mine[0]["subject"]) == ("ValueError: broken", 5, "order-1")
    assert body is not None
    assert b'"x":1' in bytes(body["body"])
    async with store.transaction() as tx:
        assert await parked.retry(tx, "e1", NOON) == event("e1")
        assert await parked.retry(tx, "e1", NOON) is None
        assert await parked.retry(tx, "none", NOON) is None
        back = await parked.retry(tx, unread, NOON)
    assert isinstance(back, Unread)
    assert back.body == b"\xff\x00"
    async with store.reading() as tx:
        assert [row["id"] for row in await parked.waiting(tx)] == ["e0", "e2"]


@pytest.mark.asyncio
async def test_what_fails_again_waits_again(store: Database) -> None:
    later = NOON + timedelta(hours=1)
    async with store.transaction() as tx:
        await parked.park(tx, PARKED, event("e"), ValueError("first"), NOON)
        await parked.retry(tx, "e", NOON)
        await parked.park(tx, PARKED, event("e"), KeyError("second"), later)
    async with store.reading() as tx:
        (row,) = await parked.waiting(tx)
    assert (row["attempts"], row["parked_at"], row["why"]) == (10, to_micros(later), "KeyError: 'second'")


@pytest.mark.asyncio
async def test_a_body_without_an_account_is_parked_all_the_same(store: Database) -> None:
    async with store.transaction() as tx:
        await parked.park(tx, PARKED, event("e", b"[1]"), ValueError(), NOON)
        assert await parked.retry(tx, "e", NOON) == event("e", b"[1]")


@pytest.mark.asyncio
async def test_nothing_is_too_odd_to_be_parked(store: Database) -> None:
    odd = Event("e\x001", "amends.fact.v1", "/x", "order\x00", NOON, b'{"account":"a\\u0000b"}')
    async with store.transaction() as tx:
        id_ = await parked.park(tx, PARKED, odd, ValueError("lone \ud800 and \x00"), NOON)
        assert await parked.retry(tx, id_, NOON) == odd
        row = await parked.body_of(tx, id_)
    assert row is not None
    assert (row["id"], row["account"], row["subject"], row["why"]) == ("e1", "ab", "order", "ValueError: lone ? and ")


@pytest.mark.asyncio
async def test_blobs_come_back_by_their_hash(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    name = await blobs.put(b"photo")
    assert name == hashlib.sha256(b"photo").hexdigest()
    assert await blobs.put(b"photo") == name
    assert await blobs.get(name) == b"photo"
    assert len([p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]) == 1
    await blobs.drop(name)
    await blobs.drop(name)
    assert await blobs.get(name) is None


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, f"{'a' * 64}\n", "a" * 62 + "/x"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    blobs = Blobs(tmp_path)
    assert await blobs.get(name) is None
    with pytest.raises(ValueError, match="SHA-256"):
        await blobs.drop(name)


@pytest.mark.asyncio
async def test_the_same_blob_put_at_once_is_whole(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    content = b"x" * 1_000_000
    names = await asyncio.gather(*(blobs.put(content) for _ in range(8)))
    assert await blobs.get(names[0]) == content
    assert not list(tmp_path.rglob(".*"))
