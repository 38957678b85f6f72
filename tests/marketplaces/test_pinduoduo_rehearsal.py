"""Whole after-sales through the running product: relay in, the simulator's API, tasks and acts out."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from shared.marketplaces.pinduoduo import simulator
from shared.ports import Account
from tests.marketplaces.pinduoduo_walk import START
from tests.support import market
from tests.support.market import rehearsed

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(400)]
SECRETS = {
    "client_id": "demo-client", "client_secret": "s3cr3t-demo", "access_token": "demo-token", "relay_secret": "s3cr3t-demo",
}  # fmt: skip
ACCOUNTS = """
accounts:
  - id: pdd-main
    marketplace: pinduoduo
    locale: zh-Hans
    time_zone: Asia/Shanghai
    base_url: {url}
    secrets: {{client_id: demo-client, client_secret: s3cr3t-demo, access_token: demo-token, relay_secret: s3cr3t-demo}}
    settings:
      return_address_id: "4711"
      keep_item_refund_below: "15.00 CNY"
      approve_refund_above: "200.00 CNY"
      backfill: PT1H
"""


class Rehearsal(market.Rehearsal):
    async def stage(self, n: int, **given: Any) -> dict[str, Any]:
        staged = {"order_sn": f"261122-{n}", "id": 550000 + n, **given}
        body: dict[str, Any] = await self.control("after_sales", staged)
        return body

    async def ring(self, sale: dict[str, Any], operation: int = 1000) -> dict[str, Any]:
        """The relay tells it; the case after all that follows."""
        made = await self.control("relay", {"id": sale["id"], "operation": operation})
        url = self.system.url(f"/webhooks/pinduoduo/pdd-main?{made['query']}")
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=made["body"].encode(), headers=made["headers"]) as answer,
        ):
            assert (answer.status, await answer.text()) == (200, "ok")
        await self.system.drain()
        return await self.case(sale)

    async def turns(self, sale: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """The marketplace shows something else a while later, and the poll finds it."""
        await self.system.advance(timedelta(minutes=2))
        await self.control(f"after_sales/{sale['id']}", fields)
        await self.system.post("/sandbox/poll", {"account": "pdd-main"})
        return await self.case(sale)

    async def case(self, sale: dict[str, Any]) -> dict[str, Any]:
        return await self.system.case_of(str(sale["id"]))

    async def act(self, sale: dict[str, Any], action: str, **params: Any) -> None:
        await self.decide(await self.case(sale), action, **params)

    async def sent(self) -> list[str]:
        return [row["type"] for row in await self.control("sent")]


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    account = Account("pdd-main", "pinduoduo")
    async with rehearsed(Rehearsal, account, SECRETS, START, tmp_path, ACCOUNTS.format) as found:
        yield found


async def test_a_refund_from_the_relays_word_to_the_money(shop: Rehearsal) -> None:
    sale = await shop.stage(1, after_sales_reason="其他")
    case = await shop.ring(sale)
    assert (case["kind"], case["state"], case["order_id"]) == ("refund", "seller_decides", "261122-1")
    assert case["amount"] == {"value": "25.90", "currency": "CNY"}
    assert case["deadlines"][0]["origin"] == "platform"
    [message] = [m for m in await shop.system.messages(case["id"]) if m["status"] != "suppressed"]
    assert (message["status"], message["locale"]) == ("assisted", "zh-Hans") and "261122-1" in message["body"]
    [task] = await shop.system.tasks()
    assert task["kind"] == "assisted_message" and task["prepared"]["text"] == message["body"]
    await shop.act(sale, "refund", keep_item=True)
    assert await shop.sent() == ["pdd.refund.agree"]
    await shop.system.advance(timedelta(hours=2))
    case = await shop.case(sale)
    assert (case["phase"], case["outcome"], case["money"]) == ("resolved", "refunded", "refunded")
    assert await shop.sent() == ["pdd.refund.agree"]
    await shop.system.rehearse()


async def test_a_return_from_agreement_to_receipt(shop: Rehearsal) -> None:
    sale = await shop.stage(2, after_sales_type=2, after_sales_reason="商家发错货")
    case = await shop.ring(sale)
    assert (case["kind"], case["state"]) == ("return", "seller_decides")
    await shop.act(sale, "authorise")
    case = await shop.turns(sale)
    assert (case["state"], case["goods"]) == ("buyer_ships", "advised")
    case = await shop.turns(sale, after_sales_status=3, express_no="YT1")
    assert (case["state"], case["goods"]) == ("return_on_its_way", "in_transit")
    await shop.act(sale, "confirm_receipt", condition="ok", reverse_logistics_id="44")
    await shop.act(sale, "inspect", result="ok")
    assert await shop.sent() == [
        "pdd.refund.returngoods.agree", "pdd.nextone.logistics.warehouse.update", "pdd.refund.agree",
    ]  # fmt: skip
    await shop.system.advance(timedelta(hours=2))
    case = await shop.case(sale)
    assert (case["outcome"], case["goods"], case["money"]) == ("refunded", "inspected", "refunded")


async def test_messages_alone_decide_an_after_sale_that_cannot_be_read(shop: Rehearsal) -> None:
    """Nobody staged it: status 0. The closing code is the outcome, and a repeat leaves no trace."""
    told = {"mall_id": 700100200, "refund_fee": 2590, "bill_type": 1, "refund_id": 99, "tid": "261120-9"}
    for operation, modified in ((1000, 1795280400123), (1000, 1795280400123), (1302, 1795280400999)):
        content = json.dumps({**told, "operation": operation, "modified": modified})
        made = simulator.form(content, "s3cr3t-demo", "1795280401")
        url = shop.system.url(f"/webhooks/pinduoduo/pdd-main?{made['query']}")
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=made["body"].encode(), headers=made["headers"]) as answer,
        ):
            assert answer.status == 200
        await shop.system.drain()
    case = await shop.system.case_of("99")
    assert (case["phase"], case["outcome"], case["order_id"]) == ("resolved", "rejected", "261120-9")
    kinds = [row["fact"]["kind"] for row in await shop.system.timeline(case["id"])]
    assert kinds.count("refund.requested") == 1 and kinds.count("case.closed") == 1


async def test_a_refund_whose_answer_was_lost_is_read_back_and_never_sent_twice(shop: Rehearsal) -> None:
    sale = await shop.stage(4, after_sales_reason="其他")
    await shop.ring(sale)
    await shop.system.post("/sandbox/faults", {"channel": "pinduoduo", "next": ["timeout"]})
    await shop.act(sale, "refund", keep_item=True)
    [tried] = [call for call in await shop.system.calls() if call["kind"] == "act"]
    assert (tried["name"], tried["outcome"]) == ("refund", "in_doubt")
    await shop.system.advance(timedelta(hours=2))
    assert (await shop.sent()).count("pdd.refund.agree") == 1
    assert (await shop.case(sale))["outcome"] == "refunded"


async def test_what_has_no_api_waits_for_a_person_with_its_steps(shop: Rehearsal) -> None:
    sale = await shop.stage(5, after_sales_reason="不想要了", user_shipping_status=1)
    case = await shop.ring(sale)
    assert case["state"] == "seller_decides"
    await shop.act(sale, "authorise")
    [task] = [t for t in await shop.system.tasks() if t["kind"] == "assisted_act"]
    assert "拒收后退款" in " ".join(task["prepared"]["checklist"])
    await shop.system.post(
        f"/v1/tasks/{task['id']}/done",
        {"answer": "sent", "reason": "done in the console"},
        headers={"Idempotency-Key": "t"},
    )
    case = await shop.turns(sale, after_sales_status=31)
    assert (case["state"], case["phase"]) == ("awaiting_refusal", "goods_in_transit")
    case = await shop.turns(sale, after_sales_status=10, refund_operator_role=3)
    assert case["outcome"] == "refunded"
