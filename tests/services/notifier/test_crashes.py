"""A notifier that dies at each of its crash points, and one that stands still past its lease: never a second message."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from shared import crashpoints
from tests.services.notifier import child
from tests.services.notifier.harness import Marketplace, Opened, World, message

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def marketplace() -> AsyncIterator[Marketplace]:
    async with Marketplace().running() as running:
        yield running


async def died(store_url: str, url: str, tmp: Path, ability: str, crash: str | None, count: int) -> int:
    """A process of its own that plans `count` messages (again), sends, and ends when all is settled or at the point."""
    said = {"store": store_url, "url": url, "tmp": str(tmp), "ability": ability, "crash": crash, "count": count}
    log = tmp / "child.log"
    code = await asyncio.to_thread(child.start(said, log).wait, 120)
    assert code in (0, crashpoints.EXIT_CODE), log.read_text()[-2000:]
    return code


@pytest.mark.crash
@pytest.mark.parametrize("point", sorted(p for p in crashpoints.NAMES if p.startswith("notifier.")))
@pytest.mark.parametrize("ability", ["keyed", "readable", "blind"])
async def test_dying_at_each_point(
    store_url: str, tmp_path: Path, marketplace: Marketplace, ability: str, point: str
) -> None:
    if point == "notifier.recovering":  # somebody must have left something to recover
        assert (
            await died(store_url, marketplace.url, tmp_path, ability, "notifier.response:2", 3) == crashpoints.EXIT_CODE
        )
    crashed = await died(store_url, marketplace.url, tmp_path, ability, f"{point}:1", 3)
    assert crashed == crashpoints.EXIT_CODE
    assert await died(store_url, marketplace.url, tmp_path, ability, None, 3) == 0
    world = World(store_url, marketplace, {"ability": ability}, tmp_path)
    await world.start()
    statuses = {n: await world.status(f"msg_toy_{n:04}") for n in (1, 2, 3)}
    await world.stop()
    keys = marketplace.keys()
    if ability == "keyed":
        assert set(statuses.values()) == {"sent"}
        assert set(keys) == {"msg_toy_0001", "msg_toy_0002", "msg_toy_0003"}
    else:
        assert len(keys) == len(set(keys))
        assert set(statuses.values()) <= {"sent", "in_doubt"}
    if ability == "readable":
        assert set(statuses.values()) == {"sent"}
        assert len(keys) == 3


@pytest.mark.pg
@pytest.mark.crash
async def test_two_replicas_never_send_twice(postgres_url: str, tmp_path: Path, marketplace: Marketplace) -> None:
    accounts = tuple(f"toy-{n}" for n in range(8))
    world = World(postgres_url, marketplace, {}, tmp_path)
    first = await world.start(embedded=False, accounts=accounts)
    second = await world.start(embedded=False, accounts=accounts)
    for notifier in (first, second):  # as if each believed that it alone looked after every account
        notifier.dispatcher.desk.ownership = type("All", (), {"owns": lambda self, n: True})()
    errands = [message(n, account=accounts[n % 8], id=f"msg_toy_{n:04}") for n in range(120)]
    await asyncio.gather(
        *(world.publish(*errands[n::4]) for n in range(4)), *(world.publish(*errands) for _ in range(2))
    )
    await world.settled(30)
    await world.stop()
    assert sorted(marketplace.keys()) == sorted(e.id for e in errands)
    assert world.kinds().count("message.sent") == 120


async def test_one_that_stood_still_past_its_lease_sends_nothing(
    open_world: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between the commit of `sending` and the first byte: another resolves the doubt, the late one keeps quiet."""
    world = await open_world(ability="readable")
    dispatcher = world.notifiers[0].dispatcher
    frozen, thawed = asyncio.Event(), asyncio.Event()
    call = dispatcher._call

    async def slowly(line, work):
        frozen.set()
        await thawed.wait()
        work.begin_before = 0.0  # more real time has gone by than the lease allows
        await call(line, work)

    monkeypatch.setattr(dispatcher, "_call", slowly)
    await world.publish(message())
    await asyncio.wait_for(frozen.wait(), 5)
    assert await dispatcher.recover(all_of_them=True) == 1
    thawed.set()
    monkeypatch.setattr(dispatcher, "_call", call)
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("in_doubt", 0)
    await world.advance(timedelta(minutes=2))
    assert (await world.status("msg_toy_0001"), world.marketplace.keys()) == ("sent", ["msg_toy_0001"])


async def test_apart_what_is_being_sent_is_another_s_until_its_lease_is_over(
    store_url: str, tmp_path: Path, marketplace: Marketplace
) -> None:
    """On SQLite too: only the embedded product has a lock that keeps others off its files."""
    world = World(store_url, marketplace, {"ability": "blind"}, tmp_path)
    first = await world.start(embedded=False)
    marketplace.script.append("hang")
    await world.publish(message())
    await asyncio.wait_for(marketplace.waiting.wait(), 5)
    await world.start(embedded=False)
    assert await world.status("msg_toy_0001") == "sending"
    async with first.database.transaction() as tx:
        await tx.run("UPDATE errands SET lease_until = 0")
    for _ in range(400):  # by the look of its own that each of them takes now and then
        if await world.status("msg_toy_0001") != "sending":
            break
        await asyncio.sleep(0.05)
    assert await world.status("msg_toy_0001") == "in_doubt"
    marketplace.released.set()
    await world.settled()
    await world.stop()
    assert world.kinds() == ["message.in_doubt"]


async def test_a_late_outcome_with_an_old_fence_changes_nothing(
    open_world: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_world(ability="blind")
    world.marketplace.script.append("hang")
    await world.publish(message())
    await asyncio.wait_for(world.marketplace.waiting.wait(), 5)
    await world.notifiers[0].dispatcher.recover(all_of_them=True)
    world.marketplace.released.set()
    await world.settled()
    assert await world.status("msg_toy_0001") == "in_doubt"
    assert world.kinds() == ["message.in_doubt"]
