"""Every way a text can take to a channel or to a person's hands: none goes past the verdict."""

from datetime import timedelta
from typing import Any

import pytest

from services.notifier import composer
from shared.domain.errands import Conversation
from tests.services.notifier.harness import ACCOUNT, BUYER, START, Opened, World, message, resolution, withdrawal

pytestmark = pytest.mark.asyncio
BAD = "Please write to joe(at)gmail(dot)com about your parcel"
DAY = timedelta(days=1)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Each text that got a verdict: whether it may go."""
    found: dict[str, bool] = {}
    judge = composer.judge

    def noting(text: str, *args: Any, **more: Any) -> Any:
        verdict = judge(text, *args, **more)
        found[text] = verdict.ok
        return verdict

    monkeypatch.setattr(composer, "judge", noting)
    return found


async def planned(world: World, text: str) -> None:
    await world.publish(message(1, text))


async def urgent(world: World, text: str) -> None:
    await world.publish(message(1, text, urgent=True))


async def told_twice(world: World, text: str) -> None:
    await world.publish(message(1, text), message(1, text))


async def asked_for_again_by_a_person(world: World, text: str) -> None:
    await world.publish(message(1, text), resolution(message(1, text), "send_again"))


async def said_to_be_sent_by_a_person(world: World, text: str) -> None:
    await world.publish(message(1, text), resolution(message(1, text), "sent"))


async def prepared_for_a_person(world: World, text: str) -> None:
    await world.publish(message(1, text, capability="assisted"))


async def over_the_cap_and_released(world: World, text: str) -> None:
    """The first takes the day's one place; the text waits for the next day."""
    await world.publish(message(2, order_id="8000000001"), message(1, text))


async def after_a_failing_marketplace(world: World, text: str) -> None:
    world.marketplace.script.extend(["503", "429", "503"])
    await world.publish(message(1, text))


async def after_a_doubt(world: World, text: str) -> None:
    world.marketplace.script.extend(["500"])
    await world.publish(message(1, text))


async def after_a_restart(world: World, text: str) -> None:
    world.marketplace.script.extend(["503"])
    await world.publish(message(1, text))
    await world.settled()
    for notifier in world.notifiers:
        await notifier.stop()
    world.notifiers.clear()
    await world.start()


async def withdrawn_before_it_was_planned(world: World, text: str) -> None:
    await world.publish(withdrawal(message(1, text)), message(1, text))


async def once_the_buyer_wrote(world: World, text: str) -> None:
    order = message(1).order_id
    talk = Conversation(account=ACCOUNT, order_id=order, buyer=BUYER, seq=1, last_buyer_message_at=START)
    await world.publish(message(1, text), talk)


PATHS = (
    planned, urgent, told_twice, asked_for_again_by_a_person, said_to_be_sent_by_a_person, prepared_for_a_person,
    over_the_cap_and_released, after_a_failing_marketplace, after_a_doubt, after_a_restart,
    withdrawn_before_it_was_planned, once_the_buyer_wrote,
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_nothing_reaches_a_channel_or_a_person_past_the_verdict(
    open_world: Opened, judged: dict[str, bool], path: Any
) -> None:
    cap = {"daily_messages_per_buyer": 1} if path is over_the_cap_and_released else {}
    world = await open_world(ability="keyed", **cap)
    await path(world, BAD)
    await world.settled()
    await world.advance(2 * DAY)
    left = [call["body"] for call in world.marketplace.taken]
    handed = [fact.data["prepared"]["text"] for fact in world.facts if fact.data.get("prepared")]
    assert BAD not in [*left, *handed]
    assert all(judged.get(text) for text in left), "each text that left had a verdict that lets it"
    assert await world.status("msg_toy_0001") in ("blocked", "suppressed")


async def test_the_same_ways_are_open_to_a_text_that_breaks_no_rule(
    open_world: Opened, judged: dict[str, bool]
) -> None:
    """Else the paths above would prove nothing."""
    world = await open_world(ability="keyed")
    world.marketplace.script.extend(["503"])
    await planned(world, "Your parcel is on its way.")
    await world.settled()
    await world.advance(DAY)
    assert [call["body"] for call in world.marketplace.taken] == ["Your parcel is on its way."]
    assert judged == {"Your parcel is on its way.": True}
