"""F11, small: lines cut, half open and slow. In full: `python -m tests.crash.faults --scenario F11`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store import postgres
from shared.store.session import Database, DatabaseAway
from tests.crash import faults
from tests.crash.fault_net import KINDS
from tests.crash.fault_trial import Load
from tests.crash.test_faults_database import nothing_amiss
from tests.support.proxy import Proxy

pytestmark = [
    pytest.mark.crash, pytest.mark.pg, pytest.mark.rabbit, pytest.mark.asyncio, pytest.mark.timeout(600),
]  # fmt: skip


async def test_a_connection_that_says_nothing_is_given_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_ANSWER", 0.5)
    async with Proxy(postgres_url, 5432) as line:
        database = Database(line.url, pool=1, patience=1.0)
        async with database.reading() as tx:
            assert await tx.row("SELECT 1 AS n") == {"n": 1}
        line.freeze()
        with pytest.raises(DatabaseAway, match="no answer from the database in time"):
            async with database.transaction() as tx:
                await tx.row("SELECT 1 AS n")
        line.thaw()
        async with database.transaction() as tx:
            assert await tx.row("SELECT 2 AS n") == {"n": 2}
        await database.close()


async def test_lines_cut_half_open_and_slow(tmp_path: Path, postgres_url: str, new_amqp_url: Callable[[], str]) -> None:
    """A line that stands still holds up no delivery for good: each is answered, and all is well afterwards."""
    times = {"database": 2, "broker": len(KINDS)}
    load = Load(140, 14)
    result = await faults.network(tmp_path, load, postgres_url, new_amqp_url(), times=times, longest=0.5)
    nothing_amiss(result)
    assert sum(result.told["cuts"].values()) == len(KINDS) + 2
