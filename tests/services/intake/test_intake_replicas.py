"""Two replicas of intake on one PostgreSQL database: one fact per cause, one read per reference at a time."""

import asyncio
import random
import secrets
from collections import Counter
from typing import Any

import pytest

pytestmark = [pytest.mark.asyncio, pytest.mark.pg]
SHOWN = {"order": "T-100", "amount": "12.50", "currency": "EUR", "answer_by": "2026-01-08T09:30:00Z"}


@pytest.fixture
def store_url(postgres_url: str) -> str:
    return f"{postgres_url}?schema=t_{secrets.token_hex(4)}"


async def test_the_same_pushes_to_both_are_taken_once(start: Any) -> None:
    one, two = await start(), await start()
    bodies = [one.body(f"p{n}") for n in range(60)]
    shuffled = sorted(bodies, key=hash)
    answers = await asyncio.gather(*(one.push(body) for body in bodies), *(two.push(body) for body in shuffled))
    await asyncio.gather(one.drain(), two.drain())
    assert {status for status, _ in answers} == {200}
    assert Counter(await one.outcomes()) == {"accepted": 60}
    facts = Counter(fact.id for fact in one.facts() + two.facts())
    assert len(facts) == 60
    assert one.counted("accepted") + two.counted("accepted") == 60
    assert one.counted("duplicate") + two.counted("duplicate") == 60


async def test_each_push_five_times_over_in_parallel_and_out_of_order(start: Any) -> None:
    """F9: a storm of repeats leaves one delivery, one fact and four counted repeats of each."""
    rigs = [await start(), await start()]
    dice = random.Random(9)
    storm = [(dice.choice(rigs), rigs[0].body(f"p{n}")) for n in range(80) for _ in range(5)]
    dice.shuffle(storm)
    answers = await asyncio.gather(*(rig.push(body) for rig, body in storm))
    await asyncio.gather(*(rig.drain() for rig in rigs))
    assert {status for status, _ in answers} == {200}
    assert Counter(await rigs[0].outcomes()) == {"accepted": 80}
    assert len({fact.id for rig in rigs for fact in rig.facts()}) == 80
    assert sum(rig.counted("accepted") for rig in rigs) == 80
    assert sum(rig.counted("duplicate") for rig in rigs) == 320
    [kept] = await rigs[0].rows("SELECT value FROM counters WHERE name = 'duplicate'")
    assert kept["value"] == 320


async def test_doorbells_at_both_are_read_one_at_a_time(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = await start(), await start()
    await asyncio.gather(one.drain(), two.drain())
    one.market.put("R1", state="requested", **SHOWN)
    under_way, most = 0, 0
    for rig in (one, two):
        source = rig.intake._readers.get("toy-a").source

        async def counted(ref: str, fetch: Any = source.fetch) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            found = await fetch(ref)
            under_way -= 1
            return found

        monkeypatch.setattr(source, "fetch", counted)
    pushes = [(one, two)[n % 2].push(one.body(f"p{n}", "return_changed", return_id="R1")) for n in range(40)]
    assert {status for status, _ in await asyncio.gather(*pushes)} == {200}
    await asyncio.gather(one.drain(), two.drain())
    assert most == 1
    found = {fact.id for fact in one.facts("return.requested") + two.facts("return.requested")}
    assert len(found) == 1
