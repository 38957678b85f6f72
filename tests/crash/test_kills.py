"""F1, small: kill -9 at random while deliveries arrive; the whole of it is `make chaos`."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.crash import chaos
from tests.crash.stories import tellings
from tests.support.system import SERVICES

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]
WEBHOOKS, KILLS = 400, 12


async def _run(folder: Path, stack: str, seed: int, urls: Mapping[str, str] | None) -> None:
    result = await chaos.once(folder, urls, seed, WEBHOOKS, chaos.planned(stack, seed, KILLS))
    assert result.violations == [], f"seed {seed}"
    assert sum(result.told["kills"].values()) == KILLS
    counts = result.counts
    assert counts["accepted"] == counts["deliveries_made"] >= WEBHOOKS * 0.8
    assert (counts["lost"], counts["duplicate_messages"], counts["unexplained"]) == (0, 0, 0)
    assert counts["effects"] > 100, "there was something that could have been said twice"


@pytest.mark.asyncio
async def test_kills_embedded(tmp_path: Path) -> None:
    await _run(tmp_path, "embedded", 1, None)


@pytest.mark.pg
@pytest.mark.rabbit
@pytest.mark.asyncio
async def test_kills_apart(tmp_path: Path, postgres_url: str, amqp_url: str) -> None:
    await _run(tmp_path, "apart", 2, {s: f"{postgres_url}?schema={s}" for s in SERVICES} | {"broker": amqp_url})


def test_the_stories_are_what_the_plan_says() -> None:
    """A fifth repeated, a tenth out of order, a twentieth late; the same seed tells the same."""
    told = tellings(7, 2000)
    assert len(told) == 2000
    assert told == tellings(7, 2000) != tellings(8, 2000)
    keys = {one.key for one in told}
    assert len(told) - len(keys) == 400
    first: dict[str, float] = {}
    for one in told:
        first.setdefault(one.key, one.place)
    later = [key for key in keys if (after := f"{key[:-1]}{int(key[-1]) + 1}") in first and first[key] > first[after]]
    assert len(later) > 2000 * 0.07, "revisions that come after their successors"
    assert {one.type for one in told} >= {"return.requested", "return.received", "dispute.opened", "refund.requested"}
