"""Held messages explain themselves and release by themselves; what no text may say never leaves; what a person must do."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errands import Conversation
from shared.domain.order import Buyer
from tests.services.notifier.harness import ACCOUNT, BUYER, START, Opened, act, message, resolution
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio
DAY = timedelta(days=1)


async def test_the_daily_cap_counts_all_messages_to_a_buyer_in_his_own_calendar_day(open_world: Opened) -> None:
    world = await open_world(daily_messages_per_buyer=2)
    await world.publish(*[message(n) for n in range(1, 6)], message(6, buyer=Buyer(id="b2")))
    await world.settled()
    assert sorted(world.marketplace.keys()) == ["msg_toy_0001", "msg_toy_0002", "msg_toy_0006"]
    held = world.fact("message.held")
    assert "verdict" not in held.data
    assert held.data["until"] == "2026-11-21T23:00:00Z"  # midnight in Berlin
    assert "2 messages a day" in held.data["why"]
    await world.advance(timedelta(hours=13, minutes=59))
    assert len(world.marketplace.taken) == 3
    await world.advance(timedelta(minutes=1))
    assert len(world.marketplace.taken) == 5
    await world.advance(DAY)
    assert len(world.marketplace.taken) == 6
    assert len(set(world.marketplace.keys())) == 6


async def test_two_transactions_that_ask_about_one_buyer_go_one_after_the_other(open_world: Opened) -> None:
    """Orders of one buyer may lie with two replicas: what the first lets go counts for the second."""
    world = await open_world(daily_messages_per_buyer=1)
    handlers, database = world.notifiers[0].handlers, world.notifiers[0].database

    async def taken_in(n: int) -> list[str]:
        """Whether it was held."""
        async with database.transaction() as tx:
            ledger = await handlers.take_in(tx, [message(n, order_id=f"800000000{n}")])
            begun.set()
            await asyncio.sleep(0.1)
        return [change.status for change in ledger.changes]

    begun = asyncio.Event()
    first = asyncio.create_task(taken_in(1))
    await begun.wait()
    assert [await taken_in(2), await first] == [["held"], []]


async def test_quiet_hours_hold_all_but_what_is_urgent(open_world: Opened) -> None:
    world = await open_world(quiet_hours="22:00-08:00")
    world.clock.set(datetime(2026, 11, 21, 23, 30, tzinfo=UTC))  # half past midnight in Berlin
    await world.publish(message(1), message(2, urgent=True))
    await world.settled()
    assert world.marketplace.keys() == ["msg_toy_0002"]
    assert world.fact("message.held").data["until"] == "2026-11-22T07:00:00Z"
    await world.advance(timedelta(hours=8))
    assert world.marketplace.keys() == ["msg_toy_0002", "msg_toy_0001"]


async def test_what_may_have_left_is_not_repeated_in_quiet_hours(open_world: Opened) -> None:
    """Under its key it could be repeated at any hour; it might arrive for the first time."""
    world = await open_world(ability="keyed", quiet_hours="22:00-08:00")
    world.clock.set(datetime(2026, 11, 21, 20, 59, 58, tzinfo=UTC))  # two seconds to ten in Berlin
    world.marketplace.script.append("504")
    await world.publish(message(1))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("in_doubt", 1)
    await world.advance(timedelta(hours=10))
    assert world.marketplace.asked == 1
    await world.advance(timedelta(minutes=1))
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("sent", 2)


async def test_a_message_waits_no_longer_than_the_place_it_waits_for(open_world: Opened) -> None:
    """Of two on one order the second is held; the first is refused, and the second leaves without anybody's doing."""
    world = await open_world(daily_messages_per_buyer=1)
    world.marketplace.script.append("400")
    order = "8000000098"
    await world.publish(message(1, order_id=order), message(2, order_id=order))
    await world.settled()
    assert [await world.status(f"msg_toy_000{n}") for n in (1, 2)] == ["failed", "sent"]


async def test_what_a_person_agreed_to_at_night_leaves_in_the_morning(open_world: Opened) -> None:
    world = await open_world(quiet_hours="22:00-08:00")
    world.clock.set(datetime(2026, 11, 21, 23, 30, tzinfo=UTC))
    held = message(1, "See https://elsewhere.example/track for your parcel")
    await world.publish(held)
    await world.settled()
    await world.publish(resolution(held, "send_again"))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("held", 0)
    await world.advance(timedelta(hours=8))
    assert await world.status("msg_toy_0001") == "sent"


async def test_an_opted_out_buyer_gets_nothing(open_world: Opened) -> None:
    world = await open_world()
    talk = Conversation(account=ACCOUNT, order_id=message().order_id, buyer=BUYER, seq=1, opted_out=True)
    await world.publish(talk, message())
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.kinds()) == ("blocked", ["message.blocked"])
    assert world.marketplace.asked == 0


async def test_an_older_word_on_a_conversation_changes_nothing(open_world: Opened) -> None:
    world = await open_world()
    for seq, out in ((2, True), (1, False)):
        await world.publish(
            Conversation(account=ACCOUNT, order_id=message().order_id, buyer=BUYER, seq=seq, opted_out=out)
        )
    await world.publish(message())
    await world.settled()
    assert await world.status("msg_toy_0001") == "blocked"


@pytest.mark.parametrize("together", [True, False])
async def test_of_two_words_on_a_conversation_with_one_number_the_first_stands(
    open_world: Opened, together: bool
) -> None:
    world = await open_world()
    talks = [
        Conversation(account=ACCOUNT, order_id=message().order_id, buyer=BUYER, seq=1, opted_out=out)
        for out in (True, False)
    ]
    for news in [talks] if together else [[talk] for talk in talks]:
        await world.pour(*news)
    await world.publish(message())
    await world.settled()
    assert await world.status("msg_toy_0001") == "blocked"


async def test_a_closed_chat_gets_nothing(open_world: Opened) -> None:
    world = await open_world()
    talk = Conversation(account=ACCOUNT, order_id=message().order_id, buyer=BUYER, seq=1, closed_chats=("chat-7",))
    await world.publish(talk, message(1, refs={"chat_id": "chat-7"}))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("blocked", 0)


async def test_forbidden_text_is_blocked_and_told_with_its_place(open_world: Opened) -> None:
    world = await open_world()
    text = "Please write to joe(at)gmail(dot)com about your parcel"
    await world.publish(message(1, text))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("blocked", 0)
    verdict = world.fact("message.blocked").data["verdict"]
    assert (verdict["ok"], verdict["action"]) == (False, "block")
    start, end = verdict["violations"][0]["span"]
    assert text[start:end] == "joe(at)gmail(dot)com"
    assert world.fact("message.blocked").data["text"] == text
    await world.publish(resolution(message(1, text), "send_again"))
    await world.advance(DAY)
    assert world.marketplace.asked == 0


async def test_a_holding_rule_waits_for_a_person_however_long(open_world: Opened) -> None:
    world = await open_world()
    held = message(1, "See https://elsewhere.example/track for your parcel")
    await world.publish(held)
    talk = Conversation(account=ACCOUNT, order_id=held.order_id, buyer=BUYER, seq=1, last_buyer_message_at=START)
    await world.publish(talk)
    await world.advance(3 * DAY)
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("held", 0)
    await world.publish(resolution(held, "send_again"))
    await world.settled()
    assert await world.status("msg_toy_0001") == "sent"


async def test_a_missing_variable_fails_closed(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(message(1, None, name="offer_refund", params={"order_id": "8000000001"}))
    await world.settled()
    assert (await world.status("msg_toy_0001"), world.marketplace.asked) == ("blocked", 0)
    assert world.fact("message.blocked").data["why"] == "not known: amount"


async def test_a_purpose_is_rendered_once_in_the_buyers_language(open_world: Opened) -> None:
    world = await open_world()
    params = {"order_id": "8000000001", "amount": {"value": "12.50", "currency": "USD"}, "buyer_name": "安"}
    await world.publish(message(1, None, name="offer_refund", params=params, buyer=Buyer(id="b1", locale="zh-CN")))
    await world.settled()
    row = await world.row("msg_toy_0001")
    assert (row["status"], row["locale"]) == ("sent", "zh-Hans")
    assert "US$12.50" in row["body"]
    assert world.marketplace.taken[0]["body"] == row["body"]
    assert len(row["template_hash"]) == 64


async def test_a_purpose_outside_its_phases_is_blocked(open_world: Opened) -> None:
    world = await open_world()
    params = {"order_id": "8000000001", "amount": {"value": "12.50", "currency": "USD"}}
    await world.publish(message(1, None, name="offer_refund", params=params, phase="platform_review"))
    await world.settled()
    assert await world.status("msg_toy_0001") == "blocked"


async def test_what_a_person_must_do_is_prepared_by_the_channel_and_never_called(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(act(1, "decline"), act(2, "refund", capability="assisted"), message(3, capability="assisted"))
    await world.settled()
    assert world.marketplace.asked == 0
    prepared = {f.data["errand_id"]: f.data["prepared"] for f in world.facts}
    assert prepared["act_toy_0001"] == {
        "text": "Decline it", "link": "https://toy.example/decline", "checklist": ["Open the case", "Press decline"],
    }  # fmt: skip
    assert "order 8000000002" in prepared["act_toy_0002"]["text"]
    assert prepared["msg_toy_0003"]["text"] == "Hello, we are looking into it."
    told = world.fact("message.assisted").data
    assert (told["locale"], told["verdict"]["ok"]) == ("en", True)
    await world.publish(resolution(act(1, "decline"), "sent"))
    await world.settled()
    assert world.kinds("act_toy_0001") == ["act.assisted", "act.sent"]


async def test_an_unknown_account_fails_and_says_so(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(message(1, account="gone"))
    await world.settled()
    assert world.fact("message.failed").data["why"] == "this account is not configured"


async def test_what_the_last_messages_offered_counts_with_what_this_one_asks(open_world: Opened) -> None:
    """In one batch, from the tables, and of the same order only."""
    world = await open_world()
    order = "8000000099"
    offered = message(1, "We have given you 10 USD back as an apology.", order_id=order)
    await world.publish(offered, message(2, "Please leave us a review.", order_id=order))
    await world.settled()
    assert [await world.status(f"msg_toy_000{n}") for n in (1, 2)] == ["sent", "blocked"]
    await world.publish(message(3, "Kindly write a review.", order_id=order), message(4, "Please leave us a review."))
    await world.settled()
    assert [await world.status(f"msg_toy_000{n}") for n in (3, 4)] == ["blocked", "sent"]
    assert sorted(world.marketplace.keys()) == ["msg_toy_0001", "msg_toy_0004"]


async def test_a_refused_message_frees_the_buyers_day_for_his_other_orders(open_world: Opened) -> None:
    """What waited for that leaves at once, not on the next day."""
    world = await open_world(daily_messages_per_buyer=1)
    world.marketplace.script.append("wait, then 400")
    await world.publish(message(1))
    await asyncio.wait_for(world.marketplace.waiting.wait(), 30)
    await world.publish(message(2))
    await until(lambda: "message.held" in world.kinds(message(2).id), 30, "the second is held")
    world.marketplace.released.set()
    await world.settled()
    assert (await world.status(message(1).id), await world.status(message(2).id)) == ("failed", "sent")
