"""Every process dies at each named place and starts again: nothing lost, nothing twice."""

from pathlib import Path

import pytest

from shared.crashpoints import NAMES
from tests.crash.rounds import rounds
from tests.crash.verdict import account_for, judge
from tests.support import forking
from tests.support.forking import ForkServer

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
