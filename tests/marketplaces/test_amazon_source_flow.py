"""Amazon's inbound half through the running product: doorbells, slow reports, refusals, the queue beside the forwarder."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from amends.serve import HttpServer
from shared.clock import TestClock
from shared.marketplaces.amazon import simulator
from shared.ports import Account
from tests.marketplaces import test_amazon_sqs as sqs
from tests.marketplaces.test_amazon_source import SECRETS, START
from tests.support.system import System

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(400)]
ACCOUNT = """
  - id: {id}
    marketplace: amazon
    base_url: {url}
    secrets:
      notification_key: the-key-of-the-forwarder
      lwa_client_id: client-1
      lwa_client_secret: secret-1
      refresh_token: "Atzr|demo"
      aws_access_key_id: AKIDEXAMPLE
      aws_secret_access_key: wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
    settings: {{{settings}}}
"""


class Shop:
    def __init__(self, system: System, url: str, queue: sqs.Queue) -> None:
        self.system, self.url, self.queue = system, url, queue

    async def control(self, path: str, body: Any) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/_control/{path}", json=body) as answer,
        ):
            return await answer.json()

    async def poll(self, account: str = "amz") -> None:
        await self.system.post("/sandbox/poll", {"account": account})
        await self.system.drain()

    async def push(
        self, body: Any, key: str | None = "the-key-of-the-forwarder", account: str = "amz"
    ) -> tuple[int, str]:
        headers = {} if key is None else {"X-Api-Key": key}
        answer = await self.system.push("amazon", account, json.dumps(body).encode(), headers)
        await self.system.drain()
        return answer

    async def cases(self, order: str, account: str = "amz") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.system.get(f"/v1/cases?order_id={order}&account={account}"))["items"]
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    system = System(tmp_path_factory.mktemp("amazon"), "", START, None)
    server = HttpServer(simulator.create(Account("amz", "amazon"), SECRETS, system.clock))
    await server.start()
    queue, runner = await stand_in(system.clock)
    settings = ['seller_id: "A1EXAMPLESELLER"', f"sqs_queue_url: {queue.url}/111/q"]
    accounts = [
        ACCOUNT.format(id=id, url=server.url, settings=each)
        for id, each in zip(("amz", "amz-q"), settings, strict=True)
    ]
    system.config.write_text("accounts:" + "".join(accounts))
    try:
        async with system:
            await system.drain()
            yield Shop(system, server.url, queue)
    finally:
        await runner.cleanup()
        await server.stop()


async def stand_in(clock: TestClock) -> tuple[sqs.Queue, web.AppRunner]:
    queue = sqs.Queue(clock)
    app = web.Application()
    app.router.add_post("/", queue.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    queue.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return queue, runner


def fixture(name: str, order: str, number: int) -> dict[str, Any]:
    text = (Path(sqs.FIXTURES) / f"{name}.json").read_text("utf-8").replace("902-1234567-7654321", order)
    body: dict[str, Any] = json.loads(text)
    metadata = body.get("NotificationMetadata") or body["notificationMetadata"]
    metadata |= {name: f"flow-{number}" for name in metadata if name.lower() == "notificationid"}
    return body


async def test_who_may_come_in_and_what_nobody_knows(shop: Shop) -> None:
    wish = fixture("cancel_requested", "902-0000001-0000001", 1)
    assert (await shop.push(wish, key=None))[0] == (await shop.push(wish, key="another"))[0] == 401
    wish["Payload"]["OrderChangeNotification"]["SellerId"] = "A2STRANGER"
    assert (await shop.push(wish))[0] == 403
    assert await shop.cases("902-0000001-0000001") == []
    assert (await shop.push(fixture("type_unknown", "902-0000001-0000001", 2)))[0] == 200
    kept = (await shop.system.get("/v1/admin/deliveries?outcome=unmapped"))["items"]
    assert [one["code"] for one in kept] == ["type:A_TO_Z_CLAIM_CHANGED"]


async def test_a_wish_to_cancel_comes_once_however_often_it_is_delivered(shop: Shop) -> None:
    order = "902-0000002-0000002"
    for number in (10, 10, 11):
        assert (await shop.push(fixture("cancel_requested", order, number)))[0] == 200
    (case,) = await shop.cases(order)
    assert (case["kind"], case["phase"], case["external_id"]) == ("cancellation", "awaiting_seller", order)
    rows = await shop.system.timeline(case["id"])
    assert [row["no_op"] for row in rows] == [False, True], (
        "the same under one id leaves no trace, under another a line"
    )


async def test_a_slow_report_is_waited_for_and_a_notification_ends_the_wait(shop: Shop) -> None:
    order = "902-0000003-0000003"
    await shop.control("returns", {"order_id": order})
    await shop.control("reports", {"looks": 5})
    await shop.poll()
    assert await shop.cases(order) == []
    await shop.system.advance(timedelta(minutes=2))
    (case,) = await shop.cases(order)
    assert (case["kind"], case["amount"]) == ("return", {"value": "39.90", "currency": "USD"})
    await shop.control("reports", {"looks": 0})
    await shop.poll()
    await shop.control("reports", {"looks": 50})
    await shop.control(f"returns/{order}", {"do": "closed_by_buyer"})
    await shop.poll()
    assert (await shop.cases(order))[0]["outcome"] is None
    made = await shop.control("reports", {"looks": 0})
    ready = fixture("report_ready", order, 20)
    ready["payload"]["reportProcessingFinishedNotification"]["reportId"] = made["last"]
    assert (await shop.push(ready))[0] == 200
    assert (await shop.cases(order))[0]["outcome"] == "withdrawn"
    await shop.poll()


async def test_a_transaction_rings_and_the_refund_counts_once(shop: Shop) -> None:
    order = "902-0000004-0000004"
    await shop.control(
        "returns", {"order_id": order, "return_request_status": "Approved", "return_delivery_date": "04-Jan-2026"}
    )
    await shop.poll()
    await shop.control("finances", {"order_id": order, "amount": "-39.90"})
    assert (await shop.push(fixture("money_moved", order, 30)))[0] == 200
    (case,) = await shop.cases(order)
    assert (case["outcome"], case["money"]) == ("refunded", "refunded")
    await shop.control(f"returns/{order}", {"do": "refunded"})
    await shop.poll()
    refunds = [row for row in await shop.system.timeline(case["id"]) if row["fact"]["kind"] == "refund.issued"]
    assert {row["fact"]["data"]["refunded"]["value"] for row in refunds} == {"39.90"}
    assert [task for task in await shop.system.tasks() if task["kind"] == "orphan"] == []


async def test_the_queue_is_read_cleared_and_believed_like_the_forwarder(shop: Shop) -> None:
    order = "902-0000005-0000005"
    shop.queue.put(json.dumps(fixture("cancel_requested", order, 40)))
    shop.queue.put(json.dumps(fixture("type_unknown", order, 41)))
    await shop.poll("amz-q")
    (case,) = await shop.cases(order, "amz-q")
    assert (case["account"], case["kind"]) == ("amz-q", "cancellation")
    assert shop.queue.waiting == {}, "deleted once committed"
    parked = (await shop.system.get("/v1/admin/parked"))["items"]
    assert any("Unknown" in json.dumps(one) for one in parked), "what the queue holds and nobody knows is kept"
