"""Ozon played through the whole product: pushes, polls, decisions and chats, against the simulator over real HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.marketplaces.ozon.simulated import APPROVE, PAY_ALL, RECEIVED
from shared.ports import Account
from tests.marketplaces.ozon_walk import POSTING, START
from tests.support import market
from tests.support.market import rehearsed

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(400)]
SECRETS = {"client_id": "40404", "api_key": "demo-key"}


def accounts(url: str, *, premium: bool) -> str:
    return f"""
accounts:
  - id: oz-main
    marketplace: ozon
    locale: en
    time_zone: Europe/Moscow
    base_url: {url}
    secrets: {{client_id: "40404", api_key: demo-key}}
    settings:
      seller_id: "40404"
      premium_plus: {str(premium).lower()}
      action_authorise: {APPROVE}
      action_confirm_receipt: {RECEIVED}
      action_refund: {PAY_ALL}
      keep_item_refund_below: "20.00 CNY"
      approve_refund_above: "500.00 CNY"
"""


class Rehearsal(market.Rehearsal):
    async def push(self, type_: str, **fields: Any) -> tuple[int, Any]:
        made = await self.control("push", {"message_type": type_, **fields})
        status, answer = await self.system.push("ozon", "oz-main", made["body"].encode(), made["headers"])
        await self.system.drain()
        return status, json.loads(answer) if isinstance(answer, bytes | str) else answer

    async def poll(self) -> None:
        """A little later the account is read."""
        await self.system.advance(timedelta(minutes=2))
        await self.system.post("/sandbox/poll", {"account": "oz-main"})

    async def case(self, query: str = "?kind=return") -> dict[str, Any]:
        (case,) = await self.system.cases(query)
        return dict(case)

    async def act(self, case: dict[str, Any], action: str, **params: Any) -> None:
        await self.decide(case, action, **params)

    async def messages(self, case: dict[str, Any]) -> list[tuple[str, str]]:
        return await self.told(case)

    async def sent(self) -> list[str]:
        return [row["method"] for row in await self.control("sent")]


def playing(folder: Path, *, premium: bool) -> AbstractAsyncContextManager[Rehearsal]:
    account = Account("oz-main", "ozon")
    return rehearsed(Rehearsal, account, SECRETS, START, folder, partial(accounts, premium=premium))


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with playing(tmp_path, premium=True) as found:
        yield found


@pytest_asyncio.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with playing(tmp_path, premium=False) as found:
        yield found


async def test_a_return_from_the_delivery_to_the_refund(shop: Rehearsal) -> None:
    assert (await shop.push("TYPE_PING"))[1].keys() == {"version", "name", "time"}
    assert await shop.push("TYPE_NEW_POSTING", posting_number=POSTING) == (200, {"result": True})
    await shop.push("TYPE_STATE_CHANGED", posting_number=POSTING, new_state="posting_on_way_to_city")
    await shop.push("TYPE_STATE_CHANGED", posting_number=POSTING, new_state="posting_delivered")
    request = await shop.control("requests", {"posting_number": POSTING})
    await shop.poll()
    case = await shop.case()
    assert (case["state"], case["order_id"], case["external_id"]) == ("new", POSTING, str(request["return_id"]))
    assert (case["deadlines"][0]["name"], case["reason"]) == ("decide", "damaged")
    assert await shop.messages(case) == [("ask_for_evidence", "sent")]
    await shop.act(case, "authorise")
    await shop.poll()
    case = await shop.case()
    assert (case["state"], case["goods"]) == ("on_its_way", "advised")
    await shop.control(f"requests/{request['return_id']}", {"group_state": "Checkout"})
    await shop.poll()
    await shop.act(await shop.case(), "inspect", result="ok")
    await shop.poll()
    case = await shop.case()
    assert (case["phase"], case["outcome"]) == ("resolved", "refunded")
    assert [m for m in await shop.sent() if "chat" not in m] == ["/v1/returns/rfbs/action/set"] * 2
    told = ["ask_for_evidence", "return_instructions", "goods_received", "refund_started"]
    assert await shop.messages(case) == [*((name, "sent") for name in told[:3]), (told[3], "held")], "three a day"
    await shop.system.advance(timedelta(days=1))
    assert await shop.messages(case) == [(name, "sent") for name in told]
    assert await shop.system.tasks() == []
    await shop.system.rehearse()


async def test_a_message_after_the_windows_waits_for_the_buyers_words(shop: Rehearsal) -> None:
    await shop.push("TYPE_STATE_CHANGED", posting_number=POSTING, new_state="posting_delivered")
    await shop.system.advance(timedelta(hours=73))
    await shop.control("requests", {"posting_number": POSTING})
    await shop.poll()
    case = await shop.case()
    assert await shop.messages(case) == [("ask_for_evidence", "held")]
    said = await shop.control("chats", {"posting_number": POSTING, "text": "The lamp arrived cracked"})
    chat = {"chat_id": said["chat_id"], "user": {"id": "77001", "type": "Customer"}, "chat_type": "Buyer_Seller"}
    await shop.push("TYPE_NEW_MESSAGE", **chat, message_id=said["message_id"], data=said["data"])
    assert await shop.messages(case) == [("ask_for_evidence", "sent")]
    told = [row["fact"] for row in await shop.system.timeline(case["id"]) if row["fact"]["kind"] == "message.received"]
    assert [fact["data"]["text"] for fact in told] == ["The lamp arrived cracked"], "read from the chat's history"
    assert [t["case_id"] for t in await shop.system.tasks() if "within four hours" in t["reason"]] == [case["id"]]
    await shop.push("TYPE_CHAT_CLOSED", **chat)
    await shop.act(await shop.case(), "contact", text="One more thing.")
    assert ("free_text", "blocked") in await shop.messages(case), "Ozon has closed this chat"


async def test_without_premium_plus_texts_are_prepared_for_a_person(plain: Rehearsal) -> None:
    await plain.control("requests", {"posting_number": POSTING})
    await plain.poll()
    case = await plain.case()
    assert await plain.messages(case) == [("ask_for_evidence", "assisted")]
    (task,) = await plain.system.tasks()
    assert task["kind"] == "assisted_message" and POSTING in task["prepared"]["text"]
    assert await plain.sent() == []
    headers = {"Idempotency-Key": "done"}
    await plain.system.post(f"/v1/tasks/{task['id']}/done", {"answer": "sent", "reason": "wrote it"}, headers=headers)
    await plain.system.drain()
    assert await plain.messages(case) == [("ask_for_evidence", "sent")]


async def test_cancellation_arbitration_and_an_fbs_return_side_by_side(shop: Rehearsal) -> None:
    await cancelled_before_ozon_does(shop, "70811234-0009-1")
    await arbitration_and_what_cannot_be_read(shop, "70811234-0010-1")
    await decided_by_a_person(shop, "70811234-0011-1")


async def cancelled_before_ozon_does(shop: Rehearsal, posting: str) -> None:
    await shop.push("TYPE_NEW_POSTING", posting_number=posting)
    request = await shop.control("cancellations", {"posting_number": posting})
    await shop.poll()
    case = await shop.case("?kind=cancellation")
    assert (case["state"], case["deadlines"][0]["origin"], case["deadlines"][0]["planned"]["do"]) == (
        "requested", "platform", "cancel",
    )  # fmt: skip
    await shop.system.advance(timedelta(days=1, hours=21))
    await shop.poll()
    case = await shop.case("?kind=cancellation")
    assert (case["outcome"], case["external_id"]) == ("cancelled", str(request["cancellation_id"]))
    assert "/v2/conditional-cancellation/approve" in await shop.sent()


async def arbitration_and_what_cannot_be_read(shop: Rehearsal, posting: str) -> None:
    await shop.push("TYPE_STATE_CHANGED", posting_number=posting, new_state="posting_in_client_arbitration")
    case = await shop.case("?kind=dispute")
    assert (case["external_id"], case["phase"]) == (posting, "platform_review")
    status, answer = await shop.push("TYPE_STATE_CHANGED", posting_number="", new_state="posting_delivered")
    assert (status, answer["error"]["code"]) == (400, "ERROR_PARAMETER_VALUE_MISSED")
    status, answer = await shop.push("TYPE_STATE_CHANGED", posting_number=posting, new_state="posting_on_the_moon")
    assert (status, answer) == (200, {"result": True})
    kinds = {t["kind"] for t in await shop.system.tasks() if t["case_id"] == case["id"]}
    assert kinds == {"unmapped", "evidence_missing"}


async def decided_by_a_person(shop: Rehearsal, posting: str) -> None:
    back = await shop.control("returns", {"posting_number": posting})
    await shop.poll()
    case = await shop.case()
    assert case["external_id"] == f"fbs-{back['id']}"
    await shop.act(case, "authorise")
    assert [t["kind"] for t in await shop.system.tasks() if t["case_id"] == case["id"]] == ["assisted_act"]
    await shop.control(f"returns/{back['id']}", {"status": "ApprovedByOzon"})
    await shop.poll()
    assert [t for t in await shop.system.tasks() if t["case_id"] == case["id"]] == [], "seen done"
    await shop.control(f"returns/{back['id']}", {"status": "MoneyReturned"})
    await shop.poll()
    case = await shop.case()
    assert (case["outcome"], case["money"], case["amount"]) == (
        "refunded",
        "refunded",
        {"value": "1231.00", "currency": "RUB"},
    )
