"""Backpressure: what cannot be taken now is told to come again, before memory grows and without harm to others."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.intake.limits import Limits
from services.intake.settings import Settings
from shared.errors import Unavailable
from shared.ports import Account
from shared.store import relay as relays
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """How much is let in does not depend on the store."""
    return f"sqlite:///{tmp_path / 'intake.db'}"


async def retry_after(rig: Any, body: bytes) -> tuple[int, str | None]:
    from tests.services.intake.conftest import PUSH_SECRETS, toy_signature

    headers = {"Content-Type": "application/json", "X-Toy-Signature": toy_signature(PUSH_SECRETS["toy-a"], body)}
    async with rig.http.post("/webhooks/toy/toy-a", data=body, headers=headers) as answer:
        return answer.status, answer.headers.get("Retry-After")


async def test_a_backlog_beyond_the_limit_is_503_until_it_is_published(start: Any) -> None:
    rig = await start(settings=Settings(unpublished_limit=30), listening=False)
    taken = 0
    async with asyncio.timeout(30):
        while (told := await retry_after(rig, rig.body(f"p{taken}")))[0] == 200:
            taken += 1
            await asyncio.sleep(0.02)
    assert told[0] == 503 and int(told[1] or 0) >= 1
    assert taken >= 30, "nothing is refused below the limit"
    await rig.listener.start()

    async def taken_again() -> bool:
        return bool((await rig.push(rig.body("late")))[0] == 200)

    await until(taken_again, what="the door to open again")
    await rig.drain()
    assert Counter(await rig.outcomes()) == {"accepted": taken + 1}
    assert len(rig.facts()) == taken + 1


async def test_what_is_held_is_bounded_while_nobody_listens(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "HELD", 50)
    rig = await start(listening=False)
    for n in range(10):
        answers = await asyncio.gather(*(rig.push(rig.body(f"p{n}-{k}")) for k in range(20)))
        assert {status for status, _ in answers} == {200}
        assert sum(len(desk.held) for desk in rig.intake.relay._desks.values()) <= 50
    await rig.listener.start()
    await rig.drain()
    assert len(rig.facts()) == 200


async def test_a_flood_of_one_account_is_refused_there_and_not_elsewhere(start: Any) -> None:
    """The writer is held up, so that all that come in stand in line."""
    rig = await start(settings=Settings(waiting_per_account=10))
    async with rig.intake.database.transaction():
        flood = [asyncio.create_task(rig.push(rig.body(f"p{n}"))) for n in range(40)]
        await until(lambda: sum(task.done() for task in flood) >= 30, what="the flood to be refused")
        others = [asyncio.create_task(rig.push(rig.body(f"p{n}"), "toy-b")) for n in range(5)]
        await asyncio.sleep(0)
    assert Counter([(await task)[0] for task in flood]) == {503: 30, 200: 10}
    assert {(await task)[0] for task in others} == {200}


async def test_an_account_that_delivers_too_fast_is_slowed_and_pays_only_for_what_is_proven(start: Any) -> None:
    rig = await start(settings=Settings(deliveries_per_second=5))
    for n in range(10):
        assert (await rig.push(rig.body(f"bad{n}"), secret="another"))[0] == 401
    answers = [(await retry_after(rig, rig.body(f"p{n}")))[0] for n in range(40)]
    assert answers[0] == 200 and 503 in answers
    assert (await rig.push(rig.body("p0"), "toy-b"))[0] == 200


def account(**settings: Any) -> Account:
    return Account("shop", "toy", settings=settings)


async def test_bodies_inside_are_bounded_in_bytes() -> None:
    limits = Limits(Settings(waiting_bytes=100))
    limits.take_in(60)
    with pytest.raises(Unavailable):
        limits.take_in(60)
    limits.let_go(60)
    limits.take_in(60)


async def test_the_accounts_own_rate_goes_before_ours() -> None:
    limits = Limits(Settings(deliveries_per_second=1000))
    slow = account(deliveries_per_second=1)
    limits.check_pace(slow)
    limits.enter(slow)
    with pytest.raises(Unavailable):
        limits.check_pace(slow)
    limits.check_pace(account())
