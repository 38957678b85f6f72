"""Under load: what is in memory is bounded, a stop leaves nothing in doubt, outcomes that cannot be stored go on as doubts."""

import asyncio
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from services.notifier.breaker import MOST_FAILURES
from services.notifier.lines import MOST_UNDER_WAY
from shared import ids
from shared.bus.port import OUTBOUND, Event
from shared.domain.facts import encode
from tests.services.notifier import child
from tests.services.notifier.harness import TYPES, Marketplace, Opened, World, message, withdrawal
from tests.support.asgi import _ask
from tests.support.plans import poor_plans
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio
MANY = 200


async def statuses(world: World) -> Counter[str]:
    async with world.notifiers[0].database.reading() as tx:
        rows = await tx.rows("SELECT status, count(*) AS n FROM errands GROUP BY status")
    return Counter({row["status"]: row["n"] for row in rows})


async def test_a_stop_under_load_leaves_nothing_in_doubt(store_url: str, tmp_path: Path) -> None:
    async with Marketplace(delay=0.05).running() as shop:
        said = {"store": store_url, "url": shop.url, "tmp": str(tmp_path), "ability": "blind", "count": MANY}
        process = child.start({**said, "crash": "until told"}, tmp_path / "child.log")
        await until(lambda: len(shop.taken) >= 40, 60, "messages on their way")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
        world = World(store_url, shop, {"ability": "blind"}, tmp_path)
        shop.delay = 0.0
        before = len(shop.taken)
        await world.start()
        try:
            left = await statuses(world)
            assert left["in_doubt"] == left["sending"] == 0
            await world.pour(*[message(n) for n in range(1, MANY + 1)])
            await world.advance(timedelta(minutes=10))
            assert await statuses(world) == {"sent": MANY}
        finally:
            await world.stop()
    assert before < MANY, "it was stopped too late to show anything"
    assert Counter(shop.keys()) == Counter(f"msg_toy_{n:04}" for n in range(1, MANY + 1))


async def test_what_is_under_way_is_bounded_and_grows_with_success(open_world: Opened) -> None:
    world = await open_world()
    notifier = world.notifiers[0]
    world.marketplace.script.extend(["hang"] * MANY)
    await world.pour(*[message(n) for n in range(1, MANY + 1)])
    await until(lambda: world.marketplace.asked == MOST_FAILURES, 30, "the first calls")
    assert notifier.dispatcher.under_way == MOST_FAILURES
    assert await statuses(world) == {"sending": MOST_FAILURES, "planned": MANY - MOST_FAILURES}
    world.marketplace.script.clear()
    world.marketplace.delay = 0.02
    world.marketplace.released.set()
    await world.settled()
    assert await statuses(world) == {"sent": MANY}
    assert Counter(world.marketplace.keys()).most_common(1)[0][1] == 1
    line = notifier.dispatcher.lines["toy-main"]
    assert line.under_way == 0
    assert line.room(line.proven_until + 1) == MOST_FAILURES, "after a while few are tried first again"


async def test_a_line_that_works_takes_many_calls_at_once(open_world: Opened) -> None:
    """One slow answer holds up nobody: the others' places are taken again as soon as they are recorded."""
    world = await open_world()
    await world.pour(*[message(n) for n in range(1, MANY + 1)])
    await world.settled()
    line = world.notifiers[0].dispatcher.lines["toy-main"]
    world.marketplace.script.append("hang")
    slow = message(MANY + 1)
    await world.publish(slow)
    await asyncio.wait_for(world.marketplace.waiting.wait(), 30)
    await world.pour(*[message(n) for n in range(MANY + 2, 2 * MANY)])
    await until(lambda: len(world.marketplace.taken) == 2 * MANY - 1, 60, "all others")
    await until(lambda: line.under_way == 1, 30, "all others recorded")
    assert line.window == MOST_UNDER_WAY
    world.marketplace.released.set()
    await world.settled()
    assert await statuses(world) == {"sent": 2 * MANY - 1}


async def test_rows_are_found_by_their_whole_key_whatever_postgresql_knows_of_its_tables(open_world: Opened) -> None:
    """It plans a statement once, before there is much to know."""
    world = await open_world(start=False)
    notifier = await world.start()
    if not notifier.database.postgres:
        pytest.skip("SQLite plans each time")
    heard: list[str] = []
    notifier.database.watch(heard.append)
    await world.pour(*[message(n) for n in range(1, MANY)])
    await world.publish(withdrawal(message(MANY)))
    await world.settled()
    notifier.database.watch(None)
    assert any("UPDATE attempts" in sql for sql in heard) and any("SKIP LOCKED" in sql for sql in heard)
    assert await poor_plans(notifier.database, heard) == []


async def test_an_outcome_that_cannot_be_stored_is_a_doubt_and_resolved_as_one(open_world: Opened) -> None:
    world = await open_world(ability="readable")
    world.marketplace.provider_id = "toy-\0{key}"
    await world.pour(message(1), message(2))
    await world.settled()
    assert await statuses(world) == {"sent": 2}
    assert sorted(world.marketplace.keys()) == ["msg_toy_0001", "msg_toy_0002"]
    assert world.marketplace.reads == 2


async def test_an_open_breaker_is_no_reason_to_be_unready(open_world: Opened) -> None:
    world = await open_world()
    world.marketplace.script.append("401")
    await world.publish(message(1))
    await world.settled()
    notifier = world.notifiers[0]
    assert notifier.dispatcher.lines["toy-main"].breaker.is_open(world.clock.now())
    assert (await _ask(notifier.app, "GET", "/readyz", [], b"")).status == 200


async def test_a_batch_that_plans_and_withdraws_sends_nothing(open_world: Opened) -> None:
    """New errands are claimed only once all of their batch is heard."""
    world = await open_world()
    things = [message(1), withdrawal(message(1))]
    key = str(ids.partition_of(things[0].account, things[0].order_id, 2))
    events = [
        Event(f"p{n}", TYPES[type(t)], "/policy", t.order_id, world.clock.now(), encode(t))
        for n, t in enumerate(things)
    ]
    await world.bus.publish(OUTBOUND, key, events)
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("suppressed", 0)
    assert world.kinds() == ["message.withdrawn"]
