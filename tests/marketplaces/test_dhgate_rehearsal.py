"""Whole DHgate orders through the running product (embedded), polled from the simulator: nothing is pushed here."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.ports import Account
from tests.marketplaces.dhgate_walk import ADDRESS, ORDER, START
from tests.support import market
from tests.support.market import rehearsed

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(400)]
SECRETS = {"access_token": "demo-token"}
ACCOUNTS = """
accounts:
  - id: dh-main
    marketplace: dhgate
    locale: en
    time_zone: Asia/Shanghai
    base_url: {url}
    secrets: {{client_id: "1", client_secret: demo-secret, access_token: demo-token}}
    settings:
      keep_item_refund_below: "15.00 USD"
      approve_refund_above: "50.00 USD"
      daily_messages_per_buyer: 9
      return_address: "{address}"
"""


class Rehearsal(market.Rehearsal):
    async def does(self, move: str, **given: Any) -> None:
        """The order moves, ten minutes pass, and the account is polled."""
        await self.control(f"orders/{ORDER}", {"do": move, **given})
        await self.look()

    async def look(self) -> None:
        await self.system.advance(timedelta(minutes=1))
        await self.system.post("/sandbox/poll", {"account": "dh-main"})
        await self.system.drain()

    async def case(self, kind: str) -> dict[str, Any]:
        (found,) = [case for case in await self.system.cases(f"?external_id={ORDER}") if case["kind"] == kind]
        return found

    async def act(self, kind: str, action: str, **params: Any) -> None:
        await self.decide(await self.case(kind), action, **params)

    async def assisted(self, kind: str, act: str) -> dict[str, Any]:
        """The prepared task of an act; a person has done it and says so."""
        case = await self.case(kind)
        tasks = await self.system.tasks(f"?status=open&case_id={case['id']}")
        (task,) = [t for t in tasks if t["kind"] == "assisted_act" and act in t["reason"]]
        await self.system.post(f"/v1/tasks/{task['id']}/done", {"answer": "sent", "reason": "done in the console"})
        await self.system.drain()
        return task

    async def said(self) -> list[tuple[str, str, str]]:
        """Mails as DHgate took them: title, method, and the first words."""
        return [
            (
                row["params"].get("msgTitle", row["params"].get("msgId", "")),
                row["method"],
                row["params"]["content"][:40],
            )
            for row in await self.control("sent")
        ]

    async def messages(self, kind: str) -> list[tuple[str, str]]:
        return await self.told(await self.case(kind))


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    account = Account("dh-main", "dhgate")
    async with rehearsed(
        Rehearsal, account, SECRETS, START, tmp_path, lambda url: ACCOUNTS.format(url=url, address=ADDRESS)
    ) as found:
        yield found


async def test_from_payment_over_an_agreed_return_to_the_money_back(shop: Rehearsal) -> None:
    unpaid = {"orderStatus": "101003", "payDate": "", "deliveryDeadline": ""}
    await shop.control("orders", {"order_id": ORDER, **unpaid})
    await shop.look()
    assert (await shop.case("order_care"))["state"] == "awaiting_payment"
    await shop.does("pays")
    await shop.does("verified")
    deadline = (await shop.case("order_care"))["deadlines"][0]
    assert (deadline["name"], deadline["origin"]) == ("ship", "platform")
    await shop.does("ships", tracking="EE123456785CN")
    assert await shop.messages("order_care") == [("payment_under_review", "sent"), ("order_shipped", "sent")]

    await shop.does("opens_dispute")
    case = await shop.case("dispute")
    assert (case["state"], case["order_id"], case["external_id"]) == ("negotiation", ORDER, ORDER)
    await shop.control("mail", {"order_id": ORDER, "text": "It is the wrong colour, I send it back."})
    await shop.look()
    assert "The buyer wrote" in [task["reason"] for task in await shop.system.tasks()]
    await shop.act("dispute", "authorise")
    task = await shop.assisted("dispute", "authorise")
    assert ADDRESS in " ".join(task["prepared"]["checklist"])
    await shop.does("dispute_turns", status="106003")
    assert (await shop.case("dispute"))["state"] == "buyer_return"
    await shop.act("dispute", "confirm_receipt", condition="ok")
    await shop.assisted("dispute", "confirm_receipt")
    await shop.does("closes", refund=64.5)
    case = await shop.case("dispute")
    assert (case["outcome"], case["money"], case["goods"]) == ("refunded", "refunded", "received")
    assert (await shop.case("order_care"))["phase"] == "resolved"

    said = await shop.said()
    assert said[0][:2] == (f"PO#{ORDER}", "dh.message.send"), "CR-DH-05"
    assert {(title, method) for title, method, _ in said[1:]} == {(said[1][0], "dh.message.info.reply")}
    told = [purpose for purpose, status in await shop.messages("dispute") if status == "sent"]
    assert sorted(told) == ["ask_exact_problem", "goods_received", "return_instructions"]
    await shop.system.rehearse()


async def test_polling_again_leaves_no_trace_and_nothing_is_read_twice(shop: Rehearsal) -> None:
    await shop.control("orders", {"order_id": ORDER})
    await shop.control(f"orders/{ORDER}", {"do": "opens_dispute"})
    await shop.look()
    before = [await shop.system.timeline(case["id"]) for case in await shop.system.cases()]
    assert len(before) == 2
    for _ in range(3):
        await shop.look()
    assert [await shop.system.timeline(case["id"]) for case in await shop.system.cases()] == before


async def test_nobody_answers_and_every_deadline_was_put_before_a_person(shop: Rehearsal) -> None:
    await shop.control("orders", {"order_id": ORDER, "orderStatus": "101009"})
    await shop.control(f"orders/{ORDER}", {"do": "opens_dispute"})
    await shop.look()
    await shop.system.advance(timedelta(days=4, hours=1))
    kinds = {task["kind"] for task in await shop.system.tasks()}
    assert {"answer_needed", "deadline_at_risk"} <= kinds
    await shop.system.advance(timedelta(days=1))
    await shop.look()
    case = await shop.case("dispute")
    assert (case["outcome"], case["money"]) == ("refunded", "refunded"), "five days of silence refund the buyer"


async def test_opened_by_hand_what_no_list_reports(shop: Rehearsal) -> None:
    await shop.control("orders", {"order_id": ORDER, "orderStatus": "102111"})
    await shop.look()
    body = {"account": "dh-main", "kind": "order_care", "external_id": ORDER, "order_id": ORDER}
    body |= {"facts": {"obstacle": "customs"}, "buyer": {"id": (await shop.control("orders"))[0]["buyerId"]}}
    await shop.system.post("/v1/cases", body)
    await shop.system.drain()
    assert (await shop.case("order_care"))["state"] == "customs"
    assert await shop.messages("order_care") == [("held_at_customs", "sent")]
