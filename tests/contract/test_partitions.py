"""Leases over partitions, on both ends of the store (SQLite stands in for one machine with two processes)."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import MetaData

from shared.store.partitions import Partitions, SoleOwner, partition_tables
from shared.store.session import Database
from tests.support.waiting import until

METADATA = MetaData()
partition_tables(METADATA)


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[Database]:
    await database.run_sync(METADATA.create_all)
    yield database


class Replica:
    """Remembers what it was told, and can take its time over letting go."""

    def __init__(self, database: Database, n: int, name: str, lease: float = 1.0) -> None:
        self.partitions = Partitions(database, n, name, lease=lease)
        self.working: frozenset[int] = frozenset()
        self.may_let_go = asyncio.Event()
        self.may_let_go.set()

    async def told(self, owned: frozenset[int]) -> None:
        self.working |= owned
        if self.working - owned:
            await self.may_let_go.wait()
        self.working = owned

    async def start(self) -> "Replica":
        await self.partitions.start(self.told)
        return self


def shares(*replicas: Replica) -> list[int]:
    return sorted(len(r.partitions.owned) for r in replicas)


@pytest.mark.asyncio
async def test_one_replica_takes_all(store: Database) -> None:
    one = await Replica(store, 8, "one").start()
    assert one.working == one.partitions.owned == frozenset(range(8))
    assert one.partitions.owns(7)
    await one.partitions.stop()
    assert one.working == frozenset()


@pytest.mark.asyncio
async def test_replicas_come_to_fair_shares_and_never_share_one(store: Database) -> None:
    replicas = [await Replica(store, 8, "one").start()]
    for name in ("two", "three"):
        replicas.append(await Replica(store, 8, name).start())

    def balanced() -> bool:
        owned = [n for r in replicas for n in r.partitions.owned]
        assert len(owned) == len(set(owned)), "one partition has two owners"
        return len(owned) == 8 and shares(*replicas) == [2, 3, 3]

    await until(balanced)
    await replicas.pop().partitions.stop()
    await until(lambda: shares(*replicas) == [4, 4])
    for replica in replicas:
        await replica.partitions.stop()


@pytest.mark.asyncio
async def test_excess_is_given_only_after_it_was_let_go(store: Database) -> None:
    one = await Replica(store, 4, "one", lease=3).start()
    one.may_let_go.clear()
    two = await Replica(store, 4, "two", lease=3).start()
    await until(lambda: len(one.partitions.owned) == 2)
    await asyncio.sleep(0.3)
    assert two.partitions.owned == frozenset()
    one.may_let_go.set()
    await until(lambda: shares(one, two) == [2, 2])
    assert not one.partitions.owned & two.partitions.owned
    await one.partitions.stop()
    await two.partitions.stop()


@pytest.mark.asyncio
async def test_the_partitions_of_a_dead_replica_are_taken_after_its_lease(store: Database) -> None:
    dead = await Replica(store, 4, "dead").start()
    assert dead.partitions._loop is not None
    dead.partitions._loop.cancel()
    heir = await Replica(store, 4, "heir").start()
    assert heir.partitions.owned == frozenset()
    await until(lambda: heir.partitions.owned == frozenset(range(4)))
    await heir.partitions.stop()


@pytest.mark.asyncio
async def test_partitions_above_the_number_are_looked_after(store: Database) -> None:
    before = await Replica(store, 8, "before").start()
    await before.partitions.stop()
    after = await Replica(store, 4, "after").start()
    assert after.partitions.owned == frozenset(range(8))
    await after.partitions.stop()


@pytest.mark.asyncio
async def test_who_cannot_renew_lets_go(store: Database) -> None:
    one = await Replica(store, 2, "one", lease=0.5).start()

    async def gone() -> None:
        raise ConnectionRefusedError

    one.partitions._round = gone  # type: ignore[method-assign]
    await until(lambda: one.partitions.owned == frozenset() and one.working == frozenset())
    await one.partitions.stop()


@pytest.mark.asyncio
async def test_a_sole_owner_owns_all() -> None:
    told: list[frozenset[int]] = []

    async def listen(owned: frozenset[int]) -> None:
        told.append(owned)

    sole = SoleOwner(3)
    await sole.start(listen)
    assert told == [frozenset({0, 1, 2})] == [sole.owned]
    assert sole.owns(2)
    assert not sole.owns(3)
    await sole.stop()


@pytest.mark.asyncio
async def test_what_one_that_stands_still_has_locked_is_set_free(store: Database) -> None:
    """It stood still with a statement prepared and not yet run: PostgreSQL takes that for work and no time-out ends it."""
    if not store.postgres:
        pytest.skip("files are locked by their one process")
    one = await Replica(store, 2, "one", lease=0.6).start()
    settings = {"application_name": "amends", "idle_in_transaction_session_timeout": "100"}
    still = await asyncpg.connect(
        store.url.set(drivername="postgresql").render_as_string(False), server_settings=settings
    )
    try:
        await still.execute("BEGIN; LOCK TABLE replicas IN SHARE ROW EXCLUSIVE MODE")
        await still.prepare("SELECT n FROM partitions")
        await until(lambda: one.partitions.owned == frozenset(), 20, "it cannot renew its lease")
        await until(lambda: one.partitions.owned == {0, 1}, 20, "it can again")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await still.execute("COMMIT")
    finally:
        still.terminate()
        await one.partitions.stop()
