"""Every process dies at each named place and starts again: nothing lost, nothing twice."""

from pathlib import Path

import pytest

from shared.crashpoints import NAMES
from tests.crash.rounds import rounds
from tests.crash.verdict import account_for, judge
from tests.support import forking
from tests.support.forking import ForkServer
from tests.support.system import SERVICES

pytestmark = [pytest.mark.crash, pytest.mark.asyncio, pytest.mark.timeout(400)]
_BEFORE = {"notifier.recovering": "notifier.sending:1"}
"""What must have been left behind for a place to be passed at all."""


@pytest.fixture(scope="module")
def server() -> ForkServer:
    return forking.running()


def _first(name: str) -> list[str]:
    return [*([_BEFORE[name]] if name in _BEFORE else []), f"{name}:1"]


EMBEDDED = [
    *(_first(name) for name in sorted(NAMES)),
    ["intake.committed:2"],
    ["relay.confirmed:3"],
    ["consume.handled:4"],
]


@pytest.mark.parametrize("places", EMBEDDED, ids=lambda places: places[-1])
async def test_dies_there_and_nothing_is_lost_or_twice(tmp_path: Path, server: ForkServer, places: list[str]) -> None:
    async with rounds(tmp_path, server, None, {"embedded": places}) as work:
        await work.until_passed(most=2)
        assert work.dying.passed == [f"embedded {place}" for place in places], "it died there, and nowhere else"
        picture = await work.picture()
    assert judge(picture) == []
    assert account_for(picture)["cases"] >= work.pushes


_RELAYED = ("relay.taken", "relay.confirmed")
APART = {
    "intake": (
        "store.opened", "intake.verified", "intake.stored", "intake.committed", *_RELAYED,
        "intake.fetch_claimed", "intake.read", "intake.fetched",
    ),
    "policy": (
        "store.opened", "policy.playbooks_stored", "consume.taken", "policy.decided", "policy.committed", *_RELAYED,
        "consume.handled", "policy.parking", "policy.action_decided", "policy.action_committed",
        "policy.clocks_held", "policy.clocks_decided", "policy.clocks_committed",
    ),
    "notifier": (
        "store.opened", "consume.taken", "notifier.planned", "notifier.claimed", "notifier.sending", "notifier.recovering",
        "notifier.request", "notifier.response", "notifier.recorded", *_RELAYED, "consume.handled", "consume.parked",
    ),
}  # fmt: skip
"""The places that each service passes, in the order in which its work comes by them."""


@pytest.mark.pg
@pytest.mark.rabbit
@pytest.mark.timeout(600)
async def test_each_service_dies_at_each_of_its_places_apart(
    tmp_path: Path, server: ForkServer, postgres_url: str, amqp_url: str
) -> None:
    assert {name for names in APART.values() for name in names} == NAMES
    places = {service: [f"{name}:1" for name in names] for service, names in APART.items()}
    urls = {s: f"{postgres_url}?schema={s}" for s in SERVICES} | {"broker": amqp_url}
    async with rounds(tmp_path, server, urls, places) as work:
        await work.until_passed(most=40)
        assert sorted(work.dying.passed) == sorted(f"{s} {place}" for s, each in places.items() for place in each)
        picture = await work.picture()
    assert judge(picture) == []
    assert account_for(picture)["cases"] >= work.pushes
