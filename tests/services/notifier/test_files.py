"""An act takes its files along whole, or is not begun."""

from pathlib import Path

import pytest

from services.notifier.protocol import Life, after_attempt, after_look_up, never_begun
from shared.ids import content_hash
from shared.ports import Assisted, Done, Found
from shared.store.blobs import Blobs
from tests.services.notifier.harness import START, Opened, World, act

pytestmark = pytest.mark.asyncio
FILES = [b"one picture", b"another"]
NAMES = tuple(content_hash(content) for content in FILES)
HANDING_IN = act(1, "submit_evidence", attachments=NAMES)


async def lay_up(world: World, *contents: bytes) -> Blobs:
    blobs = Blobs(world.tmp / "blobs")
    for content in contents:
        await blobs.put(content)
    return blobs


async def test_the_files_of_an_act_reach_the_channel(open_world: Opened) -> None:
    world = await open_world()
    await lay_up(world, *FILES)
    await world.publish(HANDING_IN)
    await world.settled()
    assert world.kinds() == ["act.sent"]
    (taken,) = world.marketplace.taken
    assert taken["body"] == dict(zip(NAMES, [content.decode() for content in FILES], strict=True))


async def test_an_act_whose_file_is_missing_is_not_begun_and_a_person_is_told(open_world: Opened) -> None:
    world = await open_world()
    await lay_up(world, FILES[0])
    await world.publish(HANDING_IN)
    await world.settled()
    assert (world.kinds(), world.marketplace.asked) == (["act.failed"], 0)
    assert NAMES[1] in world.fact("act.failed").data["why"]
    assert (await world.status(HANDING_IN.id)) == "failed"


async def test_a_damaged_file_is_not_sent(open_world: Opened) -> None:
    world = await open_world()
    await lay_up(world, *FILES)
    (world.tmp / "blobs" / NAMES[0][:2] / NAMES[0]).write_bytes(b"something else")
    await world.publish(HANDING_IN)
    await world.settled()
    assert (world.kinds(), world.marketplace.asked) == (["act.failed"], 0)
    assert "damaged" in world.fact("act.failed").data["why"]


async def test_a_store_that_cannot_be_read_now_is_tried_again(open_world: Opened) -> None:
    world = await open_world()
    await lay_up(world, *FILES)
    path: Path = world.tmp / "blobs" / NAMES[0][:2] / NAMES[0]
    kept = path.read_bytes()
    path.unlink()
    path.mkdir()
    await world.publish(HANDING_IN)
    await world.settled()
    assert (world.kinds(), world.marketplace.asked, await world.status(HANDING_IN.id)) == ([], 0, "planned")
    path.rmdir()
    path.write_bytes(kept)
    due = await world.notifiers[0].next_due()
    assert due is not None
    await world.advance(due - world.clock.now())
    assert world.kinds() == ["act.sent"]


async def test_what_is_left_for_a_person_is_told_with_what_was_sent() -> None:
    life = Life(HANDING_IN, attempts=1, first_sending_at=START)
    left = Assisted("The words", None, ("Paste them",))
    prepared = {"text": "The words", "link": None, "checklist": ["Paste them"]}
    for end in (
        after_attempt(life, Done(left=left), "readable", START),
        after_look_up(life, Found(True, left=left), "readable", START),
    ):
        assert end.status == "sent" and end.reports[0].data == {"prepared": prepared}


async def test_what_was_called_back_before_it_could_be_begun_is_withdrawn() -> None:
    life = Life(HANDING_IN, withdrawn="no longer true")
    assert [report.status for report in never_begun(life, "no file").reports] == ["withdrawn"]
