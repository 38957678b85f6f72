"""What is no longer true never leaves, in whatever order the news arrive."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from tests.services.notifier.harness import START, Opened, act, message, resolution, withdrawal

pytestmark = pytest.mark.asyncio
DAY = timedelta(days=1)


@pytest.mark.parametrize("what", [message(), act()], ids=["message", "act"])
async def test_before_the_plan_it_suppresses_the_plan(open_world: Opened, what) -> None:
    world = await open_world()
    await world.publish(withdrawal(what))
    await world.settled()
    assert world.kinds() == [f"{what.what}.withdrawn"]
    await world.publish(what, what, withdrawal(what))
    await world.advance(DAY)
    assert (await world.status(what.id), world.marketplace.asked) == ("suppressed", 0)
    assert world.kinds() == [f"{what.what}.withdrawn"]


async def test_after_the_plan_in_the_same_batch(open_world: Opened) -> None:
    world = await open_world(start=False)
    await world.bus.start()
    published = asyncio.gather(world.publish(message()), world.publish(withdrawal(message())))
    await asyncio.sleep(0)
    await world.start()
    await published
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.kinds()) in [
        ("suppressed", ["message.withdrawn"]),
        ("sent", ["message.sent", "message.too_late"]),  # taken as two batches
    ]
    assert world.marketplace.asked == len([k for k in world.kinds() if k == "message.sent"])


async def test_while_held_it_never_goes(open_world: Opened) -> None:
    world = await open_world(daily_messages_per_buyer=1)
    await world.publish(message(1), message(2))
    await world.settled()
    assert await world.status("msg_toy_0002") == "held"
    await world.publish(withdrawal(message(2)))
    await world.advance(2 * DAY)
    assert (await world.status("msg_toy_0002"), world.marketplace.keys()) == ("suppressed", ["msg_toy_0001"])
    assert world.kinds("msg_toy_0002") == ["message.held", "message.withdrawn"]


async def test_while_it_waits_for_another_try(open_world: Opened) -> None:
    world = await open_world()
    world.marketplace.script.append("429")
    await world.publish(message())
    await world.settled()
    await world.publish(withdrawal(message()))
    await world.advance(DAY)
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("suppressed", 1)
    assert world.kinds() == ["message.withdrawn"]


async def test_while_under_way_and_taken_it_is_too_late(open_world: Opened) -> None:
    world = await open_world()
    world.marketplace.script.append("hang")
    await world.publish(message())
    await asyncio.wait_for(world.marketplace.waiting.wait(), 5)
    await world.publish(withdrawal(message()))
    assert world.kinds() == []
    world.marketplace.released.set()
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.kinds()) == ("sent", ["message.sent", "message.too_late"])


async def test_while_in_doubt_and_not_taken_it_is_withdrawn_once_that_is_sure(open_world: Opened) -> None:
    world = await open_world(ability="readable")
    world.marketplace.script.append("500")
    await world.publish(message())
    await world.settled()
    await world.publish(withdrawal(message()))
    await world.settled()
    assert world.kinds() == []
    await world.advance(timedelta(minutes=2))
    assert (await world.status("msg_toy_0001"), world.kinds()) == ("suppressed", ["message.withdrawn"])
    assert world.marketplace.asked == 1


async def test_while_in_doubt_and_blind_the_person_answers_for_it(open_world: Opened) -> None:
    world = await open_world(ability="blind")
    world.marketplace.script.append("500")
    await world.publish(message())
    await world.settled()
    await world.publish(withdrawal(message()))
    await world.publish(resolution(message(), "send_again"))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("suppressed", 1)
    assert world.kinds() == ["message.in_doubt", "message.withdrawn"]


async def test_after_it_was_sent_it_is_too_late(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(message())
    await world.settled()
    await world.publish(withdrawal(message()), withdrawal(message()))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.kinds()) == ("sent", ["message.sent", "message.too_late"])


async def test_it_is_never_started_after_its_time(open_world: Opened) -> None:
    world = await open_world()
    world.clock.set(START + timedelta(hours=2))
    late = [message(1, not_after=START + timedelta(hours=1)), act(2, not_after=START + timedelta(hours=1))]
    await world.publish(*late)
    await world.settled()
    assert await world.status("msg_toy_0001") == await world.status("act_toy_0002") == "suppressed"
    assert sorted(world.kinds()) == ["act.expired", "message.expired"]
    assert world.marketplace.asked == 0


async def test_a_retry_ends_at_its_time(open_world: Opened) -> None:
    world = await open_world(ability="blind")
    world.notifiers[0].faults.add("toy", ["refused"] * 10)
    await world.publish(message(1, not_after=START + timedelta(minutes=10)))
    await world.advance(DAY)
    assert (await world.status("msg_toy_0001"), world.kinds()) == ("suppressed", ["message.expired"])
    assert world.marketplace.asked == 0
    async with world.notifiers[0].database.reading() as tx:
        last = await tx.row("SELECT max(at) AS at, max(attempt) AS n FROM attempts")
    assert last is not None
    assert last["n"] == 5  # after 0, 5, 20, 80 and 380 s; the next would be after 1280 s


async def test_a_keyed_doubt_is_not_repeated_after_its_time(open_world: Opened) -> None:
    world = await open_world(ability="keyed")
    world.marketplace.script.append("reset")
    await world.publish(message(1, not_after=START + timedelta(seconds=2)))
    await world.advance(DAY)
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("in_doubt", 1)
    assert world.kinds() == ["message.in_doubt"]


async def test_what_is_held_until_after_its_time_expires(open_world: Opened) -> None:
    world = await open_world(daily_messages_per_buyer=1)
    await world.publish(message(1), msgspec.structs.replace(message(2), not_after=START + timedelta(hours=1)))
    await world.advance(2 * DAY)
    assert world.kinds("msg_toy_0002") == ["message.held", "message.expired"]
    assert world.marketplace.keys() == ["msg_toy_0001"]
