"""The store fails under load: no 2xx without a row, every refused push is told to come again, and comes through once."""

import asyncio
import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.asyncio


async def push_until_taken(rig: Any, body: bytes) -> list[int]:
    """As a marketplace does it: the same bytes again until they are taken. All the answers."""
    answers = []
    while not answers or answers[-1] != 200:
        status, _ = await rig.push(body)
        answers.append(status)
        if status != 200:
            await asyncio.sleep(0.01)
    return answers


@pytest.mark.pg
class TestPostgres:
    @pytest.fixture
    def store_url(self, postgres_url: str) -> str:
        return f"{postgres_url}?schema=t_{secrets.token_hex(4)}"

    async def test_connections_cut_again_and_again_lose_nothing(self, rig: Any, postgres_url: str) -> None:
        killer = await asyncpg.connect(postgres_url)
        pushes = asyncio.gather(*(push_until_taken(rig, rig.body(f"p{n}")) for n in range(200)))
        cut = rounds = 0
        while not pushes.done() and (rounds := rounds + 1) < 20:
            cut += await killer.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.03)
        await killer.close()
        answers = await pushes
        await rig.drain()
        assert cut > 0
        assert {status for one in answers for status in one} <= {200, 503}
        assert Counter(await rig.outcomes()) == {"accepted": 200}
        assert len(rig.facts()) == 200


class TestSqlite:
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'intake.db'}"

    async def test_a_full_disk_is_503_until_there_is_room(self, rig: Any) -> None:
        body = rig.body("p1", text="x" * 300_000)
        await self.allow_pages(rig, 1)
        assert (await rig.push(body))[0] == 503
        assert await rig.outcomes() == []
        async with rig.http.get("/healthz") as response:
            assert response.status == 200
        await self.allow_pages(rig, 1 << 30)
        assert (await rig.push(body))[0] == 200
        await rig.drain()
        assert await rig.outcomes() == ["accepted"]
        assert rig.counted("unavailable") == 1

    async def allow_pages(self, rig: Any, pages: int) -> None:
        """For the one writing connection; below what is in use means: no further one."""
        async with rig.intake.database.transaction() as tx:
            await tx.rows(f"PRAGMA max_page_count={pages}")
