"""Whole Amazon cases through the running product (embedded), with the simulator as the marketplace."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from shared.ports import Account
from tests.support import market
from tests.support.market import rehearsed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(400)]
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SECRETS = {
    "notification_key": "a-long-forwarder-key",
    "lwa_client_id": "client",
    "lwa_client_secret": "secret",
    "refresh_token": "token",
}
ACCOUNTS = """
accounts:
  - id: amz
    marketplace: amazon
    locale: en
    time_zone: America/New_York
    base_url: {url}
    secrets: {{notification_key: a-long-forwarder-key, lwa_client_id: client, lwa_client_secret: secret, refresh_token: token}}
    settings: {{keep_item_refund_below: "15.00 USD", approve_refund_above: "50.00 USD", calendar: US}}
"""
FACTS = (
    "The parcel left our warehouse on 3 November with a tracked service and was delivered on 9 November, signed for at the door. "
    "We wrote to the buyer on 12 and 14 November, offered a replacement and asked for pictures; none has come so far."
)


class Rehearsal(market.Rehearsal):
    turns = 0

    async def poll(self) -> None:
        await self.system.advance(timedelta(minutes=2))
        await self.system.post("/sandbox/poll", {"account": "amz"})
        await self.system.drain()

    async def returned(self, order: str, **columns: str) -> dict[str, str]:
        line: dict[str, str] = await self.control("returns", {"order_id": order, **columns})
        await self.poll()
        return line

    async def does(self, order: str, move: str, **given: Any) -> None:
        await self.control(f"returns/{order}", {"do": move, **given})
        await self.poll()

    async def pays(self, order: str, amount: str, of: str = "RefundEventList") -> None:
        await self.control("finances", {"order_id": order, "amount": amount, "list": of})
        await self.poll()

    async def push(self, order: str, **given: Any) -> None:
        made = await self.control("push", {"order_id": order, **given})
        status, _ = await self.system.push("amazon", "amz", made["body"].encode(), made["headers"])
        assert 200 <= status < 300
        await self.system.drain()

    async def case(self, order: str, kind: str) -> dict[str, Any]:
        found = (await self.system.get(f"/v1/cases?order_id={order}&kind={kind}"))["items"]
        assert len(found) == 1, found
        whole: dict[str, Any] = await self.system.get(f"/v1/cases/{found[0]['id']}")
        return whole

    async def act(self, case: dict[str, Any], action: str, **params: Any) -> tuple[int, Any]:
        body = {"action": action, "params": params, "reason": "rehearsal"}
        self.turns += 1
        key = {"Idempotency-Key": f"{action}-{self.turns}"}
        answer = await self.system.request("POST", f"/v1/cases/{case['id']}/actions", json=body, headers=key)
        await self.system.drain()
        return answer

    async def tasks(self, order: str) -> list[dict[str, Any]]:
        return [task for task in await self.system.tasks() if task["order_id"] == order]

    async def done(self, order: str, act: str) -> dict[str, Any]:
        """A person does what was prepared, and says so."""
        (task,) = [t for t in await self.tasks(order) if t["kind"] == "assisted_act" and act in t["reason"]]
        await self.system.post(f"/v1/tasks/{task['id']}/done", {"answer": "sent", "reason": "done in Seller Central"})
        await self.system.drain()
        prepared: dict[str, Any] = task["prepared"]
        return prepared

    async def sent(self, order: str) -> list[str]:
        return [row["action"] for row in await self.control("sent") if row.get("order_id") == order]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rehearsal]:
    """One running product for all: each test has an order of its own."""
    folder, account = tmp_path_factory.mktemp("amazon"), Account("amz", "amazon")
    async with rehearsed(Rehearsal, account, SECRETS, START, folder, ACCOUNTS.format) as found:
        yield found


async def test_a_return_from_the_report_to_the_refund(shop: Rehearsal) -> None:
    order = "902-1234567-7654321"
    line = await shop.returned(order)
    case = await shop.case(order, "return")
    assert (case["state"], case["external_id"]) == ("authorise_required", line["amazon_rma_id"])
    assert {d["name"] for d in case["deadlines"]} == {"answer", "late_response"}
    assert await shop.sent(order) == ["unexpectedProblem"]
    assert (await shop.act(case, "authorise"))[0] == 200
    prepared = await shop.done(order, "authorise")
    assert order in prepared["link"] and any("way back only" in step for step in prepared["checklist"])
    await shop.does(order, "authorised")
    case = await shop.case(order, "return")
    assert (case["state"], case["goods"], case["money"]) == ("authorised", "advised", "none")
    status, problem = await shop.act(case, "refund", amount={"value": "39.90", "currency": "USD"})
    assert (status, problem["code"]) == (409, "goods_not_back")
    await shop.does(order, "ships")
    await shop.does(order, "arrives")
    case = await shop.case(order, "return")
    assert (case["state"], case["goods"]) == ("received", "received")
    assert (await shop.act(case, "inspect", result="ok"))[0] == 200
    assert any("39.90 USD" in step for step in (await shop.done(order, "refund"))["checklist"])
    await shop.does(order, "refunded")
    case = await shop.case(order, "return")
    assert (case["phase"], case["outcome"], case["money"]) == ("resolved", "refunded", "refunded")
    assert await shop.tasks(order) == []


async def test_a_return_becomes_a_claim_and_the_claim_an_appeal(shop: Rehearsal) -> None:
    order = "902-1234567-7654322"
    await shop.returned(order)
    await shop.does(order, "claimed")
    back, claim = await shop.case(order, "return"), await shop.case(order, "claim")
    assert (back["state"], claim["state"], claim["external_id"]) == ("with_claim", "under_review", order)
    assert claim["id"] in back["links"] and back["id"] in claim["links"]
    assert (await shop.act(back, "refund", keep_item=True))[0] == 409, "the claim decides over the money now"
    await shop.system.advance(timedelta(days=1, hours=1))
    purposes = [m["purpose"] for m in await shop.system.messages(claim["id"])]
    assert purposes == ["claim_first_word"]
    await shop.pays(order, "-39.90", "GuaranteeClaimEventList")
    claim = await shop.case(order, "claim")
    assert (claim["state"], claim["money"]) == ("granted_seller_funded", "refunded")
    (deadline,) = claim["deadlines"]
    assert deadline["name"] == "appeal" and deadline["origin"] == "rule"
    plans = {
        "cause": FACTS,
        "handling_plan": "We refunded and apologised.",
        "prevention_plan": "Signature on delivery.",
    }
    assert (await shop.act(claim, "appeal", **plans))[0] == 200
    assert FACTS in (await shop.done(order, "appeal"))["text"]
    assert (await shop.case(order, "claim"))["state"] == "appealed"
    await shop.pays(order, "39.90", "GuaranteeClaimEventList")
    claim = await shop.case(order, "claim")
    assert (claim["outcome"], claim["liability"]) == ("refunded", "marketplace")
    assert {back["id"]} <= set(claim["links"]), "linked also when it is over"


async def test_a_refund_on_one_case_is_no_longer_there_for_the_other(shop: Rehearsal) -> None:
    order = "902-1234567-7654323"
    await shop.returned(order)
    body = {"account": "amz", "kind": "claim", "external_id": order, "order_id": order, "reason": "damaged"}
    await shop.system.post("/v1/cases", {**body, "amount": {"value": "39.90", "currency": "USD"}})
    await shop.system.drain()
    back, claim = await shop.case(order, "return"), await shop.case(order, "claim")
    status, _ = await shop.act(back, "refund", keep_item=True)
    assert status == 409, "not beside an open claim"
    assert (await shop.act(claim, "refund", amount={"value": "30.00", "currency": "USD"}, keep_item=True))[0] == 200
    shown = await shop.done(order, "refund")
    assert any("A-to-z" in step for step in shown["checklist"])
    await shop.pays(order, "-30.00")
    order_money = (await shop.case(order, "claim"))["money"]
    assert order_money == "part_refunded"
    status, problem = await shop.act(claim, "refund", amount={"value": "10.00", "currency": "USD"}, keep_item=True)
    assert (status, problem["code"]) == (409, "above_ceiling")


async def test_a_buyers_wish_to_cancel(shop: Rehearsal) -> None:
    order = "902-1234567-7654324"
    ship_by = (shop.system.clock.now() + timedelta(days=1)).replace(microsecond=0)
    await shop.push(order, ship_by=f"{ship_by:%Y-%m-%dT%H:%M:%SZ}")
    case = await shop.case(order, "cancellation")
    assert (case["state"], datetime.fromisoformat(case["deadlines"][0]["due_at"])) == ("requested", ship_by)
    assert case["deadlines"][0]["origin"] == "platform"
    assert (await shop.act(case, "cancel"))[0] == 200
    assert order in (await shop.done(order, "cancel"))["link"]
    await shop.push(order, status="Canceled", wants_cancel=False, change="OrderStatusChange")
    case = await shop.case(order, "cancellation")
    assert (case["phase"], case["outcome"]) == ("resolved", "cancelled")
    assert await shop.tasks(order) == []
