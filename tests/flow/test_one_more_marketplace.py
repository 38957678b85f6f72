"""One more marketplace is one new folder: a made-up one from outside the tree runs from its push to its refund."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from amends.serve import HttpServer
from shared.ports import Account
from shared.registry import Registry
from tests.flow.conftest import START
from tests.support.system import System

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(400)]
FOLDER = Path(__file__).parents[1] / "data" / "marketplaces"
SECRETS = {"push_secret": "toy-push-secret-0123456789", "api_token": "toy-token"}
RETURN = {"order": "TO1", "amount": "12.50", "currency": "EUR", "answer_by": "2026-11-05T08:00:00Z"}
ACCOUNTS = """
marketplaces: {folder}
accounts:
  - id: toy-1
    marketplace: toy
    base_url: {url}
    secrets: {{push_secret: toy-push-secret-0123456789, api_token: toy-token}}
"""


@asynccontextmanager
async def _toy(stack: dict[str, str] | None, tmp_path: Path) -> AsyncIterator[tuple[System, Callable[..., Any]]]:
    registry = Registry(FOLDER)
    system = System(tmp_path, "", START, stack, replicas=1)
    market = HttpServer(registry.simulators("toy").create(Account("toy-1", "toy"), SECRETS, system.clock))
    await market.start()
    system.config.write_text(ACCOUNTS.format(folder=FOLDER, url=market.url))

    async def stage(state: str) -> None:
        """The marketplace changes the return and rings."""
        async with aiohttp.ClientSession() as session:
            await session.put(f"{market.url}/_control/returns/T1", json=RETURN | {"state": state})
        pushed = {
            "id": f"p-{state}",
            "topic": "return_changed",
            "at": "2026-11-02T08:00:00Z",
            "data": {"order": "TO1", "return_id": "T1"},
        }
        body = json.dumps(pushed).encode()
        sign = registry.webhooks("toy").signature  # type: ignore[union-attr]
        status, _ = await system.push("toy", "toy-1", body, {"x-toy-signature": sign(SECRETS["push_secret"], body)})
        assert status == 200
        await system.drain()

    try:
        async with system:
            yield system, stage
    finally:
        await market.stop()


async def test_a_folder_from_outside_the_tree_is_enough(stack: dict[str, str] | None, tmp_path: Path) -> None:
    async with _toy(stack, tmp_path) as (system, stage):
        await stage("requested")
        case = await system.case_of("T1")
        assert (case["marketplace"], case["phase"]) == ("toy", "awaiting_seller")
        await system.advance(timedelta(days=3))
        assert [c["name"] for c in await system.calls() if c["kind"] == "act"] == ["authorise"]
        await stage("shipped")
        await stage("received")
        await system.advance(timedelta(minutes=30))
        case = await system.case_of("T1")
        assert (case["phase"], case["outcome"]) == ("resolved", "refunded")
        acts = [c for c in await system.calls() if c["kind"] == "act"]
        assert [a["name"] for a in acts] == ["authorise", "refund"]
        assert len({a["idempotency_key"] for a in acts}) == 2
        sent = [m["purpose"] for m in await system.messages(case["id"]) if m["status"] == "sent"]
        assert sorted(set(sent)) == sorted(sent), "no purpose twice"
