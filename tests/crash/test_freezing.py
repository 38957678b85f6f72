"""F14, small: frozen past the lease. In full: `python -m tests.crash.freezing`."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.crash.freezing import SHARE, frozen
from tests.crash.picture import Violation
from tests.crash.sending import ABILITIES, sending
from tests.support import forking, services

pytestmark = [pytest.mark.crash, pytest.mark.pg, pytest.mark.asyncio, pytest.mark.timeout(400)]


async def test_frozen_in_the_midst_of_sending_past_its_lease_and_awake_again(
    tmp_path: Path, postgres_server: str
) -> None:
    """Of real processes, one is frozen for as long as leases last and another goes on: nothing twice, nothing lost."""

    async def shop(ability: str) -> tuple[list[Violation], dict[str, int]]:
        url = services.new_database(postgres_server)
        try:
            async with sending(forking.running(), tmp_path / ability, ability, SHARE, 14, postgres=url) as one:
                await frozen(one, ["notifier.sending:1"], random.Random(14))
                return await one.verdict()
        finally:
            services.drop_database(postgres_server, url)

    for violations, counts in await asyncio.gather(*map(shop, ABILITIES)):
        assert violations == []
        assert counts.get("errands_sent", 0) + counts.get("errands_in_doubt", 0) == SHARE
