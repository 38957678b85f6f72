"""Each row of the ambiguity table, for each ability, over real HTTP."""

from datetime import timedelta

import pytest

from tests.services.notifier.harness import Opened, World, act, message, resolution

pytestmark = pytest.mark.asyncio
MINUTE = timedelta(minutes=1)
AMBIGUOUS = ["reset", "502", "504", "500", "html"]
TAKEN = ["reset", "502", "504", "html"]


async def test_a_plain_send_is_recorded_and_reported_once(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(message(), message())
    await world.settled()
    assert world.marketplace.keys() == ["msg_toy_0001"]
    row = await world.row("msg_toy_0001")
    assert (row["status"], row["attempts"], row["provider_id"]) == ("sent", 1, "toy-msg_toy_0001")
    assert world.kinds() == ["message.sent"]
    assert world.fact("message.sent").data["provider_id"] == "toy-msg_toy_0001"
    assert world.fact("message.sent").case_id == "case_1"


@pytest.mark.parametrize("how", TAKEN)
async def test_readable_finds_what_was_taken_and_never_sends_again(open_world: Opened, how: str) -> None:
    world = await open_world(ability="readable")
    world.marketplace.script.extend([how])
    await world.publish(message())
    await world.settled()
    assert (await world.status("msg_toy_0001")) == "sent"
    assert (world.marketplace.asked, world.marketplace.reads) == (1, 1)
    assert world.kinds() == ["message.sent"]


@pytest.mark.parametrize("what", [message(), act()], ids=["message", "refund"])
async def test_readable_sends_again_only_after_two_empty_readings_a_minute_apart(open_world: Opened, what) -> None:
    world = await open_world(ability="readable")
    world.marketplace.script.extend(["500"])
    await world.publish(what)
    await world.settled()
    assert (await world.status(what.id), world.marketplace.asked, world.marketplace.reads) == ("in_doubt", 1, 1)
    await world.advance(MINUTE - timedelta(seconds=1))
    assert (world.marketplace.asked, world.marketplace.reads) == (1, 1)
    await world.advance(timedelta(seconds=1))
    assert (world.marketplace.asked, world.marketplace.reads) == (2, 2)
    assert (await world.status(what.id)) == "sent"
    assert world.marketplace.keys() == [what.id]


async def test_a_listing_that_lags_does_not_cause_a_second_message(open_world: Opened) -> None:
    world = await open_world(ability="readable")
    world.marketplace.script.extend(["reset"])
    world.marketplace.hide = 1
    await world.publish(message())
    await world.advance(2 * MINUTE)
    assert (await world.status("msg_toy_0001")) == "sent"
    assert world.marketplace.asked == 1


async def test_a_reading_that_fails_is_tried_again_then_a_person_decides(open_world: Opened) -> None:
    world = await open_world(ability="readable")
    world.marketplace.script.extend(["reset"])
    world.marketplace.read_faults = 2
    await world.publish(message())
    await world.advance(10 * MINUTE)
    assert (await world.status("msg_toy_0001")) == "sent"
    world.marketplace.script.extend(["reset"])
    world.marketplace.read_faults = 99
    await world.publish(message(2))
    await world.advance(60 * MINUTE)
    assert (await world.status("msg_toy_0002")) == "in_doubt"
    assert world.kinds("msg_toy_0002") == ["message.in_doubt"]
    assert world.marketplace.asked == 2


@pytest.mark.parametrize("how", AMBIGUOUS)
async def test_keyed_repeats_with_the_same_key(open_world: Opened, how: str) -> None:
    world = await open_world(ability="keyed")
    world.marketplace.script.extend([how])
    await world.publish(message())
    await world.settled()
    assert (await world.status("msg_toy_0001")) == "in_doubt"
    await world.advance(MINUTE)
    assert (await world.status("msg_toy_0001")) == "sent"
    assert set(world.marketplace.keys()) == {"msg_toy_0001"}
    assert world.marketplace.asked == 2


async def test_keyed_money_is_never_repeated_without_a_reading(open_world: Opened) -> None:
    world = await open_world(ability="keyed")
    world.marketplace.script.extend(["reset"])
    await world.publish(act())
    await world.advance(timedelta(days=2))
    assert (await world.status("act_toy_0001"), world.marketplace.asked) == ("in_doubt", 1)
    assert world.kinds() == ["act.in_doubt"]


@pytest.mark.parametrize("how", AMBIGUOUS)
async def test_blind_is_held_for_a_person_and_never_repeated(open_world: Opened, how: str) -> None:
    world = await open_world(ability="blind")
    world.marketplace.script.extend([how])
    await world.publish(message())
    await world.advance(timedelta(days=3))
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("in_doubt", 1)
    assert world.kinds() == ["message.in_doubt"]


@pytest.mark.parametrize(
    ("answer", "status", "kind", "asked"),
    [
        ("sent", "sent", "message.sent", 1),
        ("not_sent", "failed", "message.withdrawn", 1),
        ("drop", "suppressed", "message.withdrawn", 1),
        ("send_again", "sent", "message.sent", 2),
    ],
)
async def test_a_person_resolves_a_doubt(open_world: Opened, answer: str, status: str, kind: str, asked: int) -> None:
    world = await open_world(ability="blind")
    world.marketplace.script.extend(["500"])
    await world.publish(message())
    await world.settled()
    await world.publish(resolution(message(), answer))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == (status, asked)
    assert world.kinds() == ["message.in_doubt", kind]


@pytest.mark.parametrize("how", ["400", "404"])
async def test_a_clear_no_is_final(open_world: Opened, how: str) -> None:
    world = await open_world()
    world.marketplace.script.extend([how, how])
    await world.publish(message(), act(2))
    await world.advance(timedelta(days=1))
    assert await world.status("msg_toy_0001") == await world.status("act_toy_0002") == "failed"
    assert sorted(world.kinds()) == ["act.refused", "message.failed"]
    assert world.marketplace.asked == 2


async def test_already_exists_counts_as_sent(open_world: Opened) -> None:
    world = await open_world()
    world.marketplace.script.extend(["409"])
    await world.publish(message())
    await world.settled()
    assert await world.status("msg_toy_0001") == "sent"


@pytest.mark.parametrize("how", ["429", "503"])
async def test_retry_after_is_kept(open_world: Opened, how: str) -> None:
    world = await open_world(ability="blind")
    world.marketplace.script.extend([how])
    await world.publish(message())
    await world.advance(timedelta(seconds=29))
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("planned", 1)
    await world.advance(timedelta(seconds=1))
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("sent", 2)


async def test_a_refused_connection_is_tried_again(open_world: Opened) -> None:
    world = await open_world(ability="blind")
    world.notifiers[0].faults.add("toy", ["refused", "refused", "ok"])
    await world.publish(message())
    await world.advance(MINUTE)
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("sent", 1)
    assert (await world.row("msg_toy_0001"))["attempts"] == 3


async def test_refused_credentials_stop_the_account_for_a_while(open_world: Opened) -> None:
    world = await open_world()
    world.marketplace.script.extend(["401"])
    await world.publish(message())
    await world.settled()
    await world.publish(message(2))
    await world.settled()
    assert (await world.status("msg_toy_0002"), world.marketplace.asked) == ("planned", 1)
    await world.advance(10 * MINUTE)
    assert (await world.status("msg_toy_0002")) == "sent"


async def scraped(world: World) -> str:
    return (await world.notifiers[0]._metrics.exposition()).decode()


async def test_the_breaker_opens_within_twenty_calls_and_closes_again(open_world: Opened) -> None:
    world = await open_world(ability="blind")
    world.notifiers[0].faults.add("toy", ["refused"] * 40)
    for n in range(1, 60):
        await world.publish(message(n))
    await world.settled()
    async with world.notifiers[0].database.reading() as tx:
        tried = await tx.row("SELECT count(*) AS n FROM attempts")
    assert tried is not None
    assert tried["n"] == 20
    assert world.marketplace.asked == 0
    assert 'amends_breakers_open{marketplace="toy"} 1.0' in await scraped(world)
    await world.advance(timedelta(hours=2))
    assert "amends_breakers_open{" not in await scraped(world)
    assert world.marketplace.asked == 59
    assert len(set(world.marketplace.keys())) == 59
