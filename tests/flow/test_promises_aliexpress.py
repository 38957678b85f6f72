"""AliExpress as the interfaces promise it, against a marketplace written from the reference alone (B2 to B5)."""

import hmac
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from aiohttp import web

from tests.flow.conftest import START
from tests.support import pushes
from tests.support.system import System

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
ACCOUNTS = """
accounts:
  - id: {id}
    marketplace: aliexpress
    locale: en
    time_zone: Asia/Shanghai
    base_url: {url}
    secrets: {{app_key: "500001", app_secret: demo-secret-0001, access_token: demo-token}}
    settings: {{keep_item_refund_below: "15.00 USD", approve_refund_above: "50.00 USD", seller_id: "2000012345"}}
"""


def pacific(moment: datetime) -> str:
    return moment.astimezone(ZoneInfo("America/Los_Angeles")).strftime("%Y-%m-%d %H:%M:%S")


@dataclass
class Market:
    """Answers in one of the three forms; remembers what it was asked to do."""

    form: str
    issues: dict[str, dict[str, Any]] = field(default_factory=dict)
    taken: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def sync(self, request: web.Request) -> web.Response:
        given = {**request.query, **{k: str(v) for k, v in (await request.post()).items()}}
        assert given["sign"] == signed({k: v for k, v in given.items() if k != "sign"})
        assert given["session"] == "demo-token"
        method = given["method"]
        match method:
            case "aliexpress.issue.partner.order.issues.get":
                mine = [i for i in self.issues.values() if i["parent_order_id"] == given["parent_order_id"]]
                rows = [{"issue_id": i["id"], "buyer_login_id": i["buyer_login_id"]} for i in mine]
                return self._answer(method, {"issues": rows})
            case "aliexpress.issue.detail.get":
                return self._answer(method, {"result_object": self.issues[given["issue_id"]]})
            case "aliexpress.issue.issuelist.get":
                return self._answer(method, {"current_page": 1, "page_size": 50, "total_item": 0, "data_list": []})
        self.taken.append((method, given))
        return self._answer(method, {"result_object": True})

    async def rest(self, request: web.Request) -> web.Response:
        given = {**request.query, **{k: str(v) for k, v in (await request.post()).items()}}
        name = request.path.removeprefix("/rest")
        assert given["sign"] == signed({k: v for k, v in given.items() if k != "sign"}, name)
        if name.endswith("session/open"):
            return self._answer(name, {"success": True, "data": {"openResult": "SUCCESS", "buyer_id": "777"}})
        self.taken.append((name, given))
        return self._answer(name, {"success": True, "data": {"message_id": f"m{len(self.taken)}"}})

    def _answer(self, name: str, inner: dict[str, Any]) -> web.Response:
        wrapped = {
            "bare": inner,
            "result": {"result": inner},
            "response": {name.strip("/").replace(".", "_").replace("/", "_") + "_response": inner},
        }[self.form]
        return web.json_response(wrapped)

    def stage(self, order: str, now: datetime, **more: Any) -> dict[str, Any]:
        plan = {
            "id": f"5{order}", "solution_owner": "buyer", "solution_type": "refund", "refund_money": 12.5,
            "refund_money_currency": "USD", "status": "wait_seller_accept", "gmt_create": pacific(now),
        }  # fmt: skip
        issue = {
            "id": int(f"6{order}"), "order_id": int(f"{order}1"), "parent_order_id": order, "issue_status": "processing",
            "buyer_login_id": f"cn{order}", "reverse_detail_status": "wait_for_seller_response",
            "issue_reason": "Product damaged", "gmt_create": pacific(now), "gmt_modified": pacific(now),
            "refund_money_max_local": "12.50", "refund_money_max_local_currency": "USD",
            "timeout_type": "WAIT_SOLUTION_TIMEOUT", "timeout_trigger_time": pacific(now + timedelta(days=5)),
            "buyer_solution_list": [plan], "seller_solution_list": [], "platform_solution_list": [], "process_dto_list": [],
        }  # fmt: skip
        return self.issues.setdefault(f"6{order}", issue) | more


def signed(params: dict[str, str], path: str = "") -> str:
    text = path + "".join(f"{name}{params[name]}" for name in sorted(params) if params[name] != "")
    return hmac.new(b"demo-secret-0001", text.encode(), sha256).hexdigest().upper()


@dataclass
class Shop:
    system: System
    market: Market

    async def dispute(self, order: str) -> dict[str, Any]:
        self.market.stage(order, self.system.clock.now())
        return await self.rings(order)

    async def rings(self, order: str) -> dict[str, Any]:
        body, headers = pushes.aliexpress(self.system.clock.now(), order, f"9{order}")
        assert await self.system.push("aliexpress", "ae-main", body, headers) == (200, "ok")
        await self.system.drain()
        return await self.system.case_of(f"6{order}")

    async def becomes(self, order: str, **news: Any) -> dict[str, Any]:
        """A minute later the marketplace's record is another, and it rings."""
        await self.system.advance(timedelta(minutes=1))
        self.market.issues[f"6{order}"] |= {"gmt_modified": pacific(self.system.clock.now())} | news
        return await self.rings(order)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["bare", "result", "response"])
async def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    market = Market(request.param)
    app = web.Application()
    app.router.add_post("/sync", market.sync)
    app.router.add_post("/rest/{path:.*}", market.rest)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    system = System(tmp_path_factory.mktemp(request.param), ACCOUNTS.format(id="ae-main", url=url), START)
    async with system:
        yield Shop(system, market)
    await runner.cleanup()


async def test_a_push_is_read_back_into_a_case_with_the_marketplaces_deadline(shop: Shop) -> None:
    case = await shop.dispute("8200000101")
    assert (case["kind"], case["phase"], case["order_id"]) == ("dispute", "awaiting_seller", "8200000101")
    assert (case["external_id"], case["reason"]) == ("68200000101", "damaged")
    assert case["amount"] == {"value": "12.50", "currency": "USD"}
    [deadline] = case["deadlines"]
    due = shop.market.issues["68200000101"]["timeout_trigger_time"]
    assert deadline["origin"] == "platform"
    assert pacific(datetime.fromisoformat(deadline["due_at"])) == due
    [message] = await shop.system.messages(case["id"])
    assert message["status"] == "sent"
    sent = [json.loads(given["im_send_message_dto"]) for name, given in shop.market.taken if name.endswith("/send")]
    [letter] = [dto for dto in sent if "8200000101" in dto["message_content_dto"]["txt"]]
    assert letter["message_content_dto"]["txt"] == message["body"]
    assert letter["buyer_id"] == "777", "the id the session told, not the login"


async def test_an_operators_refund_agrees_to_the_buyers_plan_once(shop: Shop) -> None:
    case = await shop.dispute("8200000102")
    body = {"action": "refund", "params": {"amount": {"value": "12.50", "currency": "USD"}}}
    url = f"/v1/cases/{case['id']}/actions"
    status, answer = await shop.system.request("POST", url, json=body, headers={"Idempotency-Key": "r-102"})
    assert status == 200, answer
    await shop.system.drain()
    mine = [given for name, given in shop.market.taken if given.get("issue_id") == "68200000102"]
    assert [(g["method"], g["solution_id"]) for g in mine] == [("aliexpress.issue.solution.agree", "58200000102")]
    [call] = [c for c in await shop.system.calls() if c["case_id"] == case["id"] and c["kind"] == "act"]
    assert (call["name"], call["outcome"], call["attempt"]) == ("refund", "sent", 1)
    case = await shop.system.case_of("68200000102")
    assert case["phase"] != "resolved", "only the marketplace's own word ends it"
    case = await shop.becomes("8200000102", reverse_detail_status="refund_success", issue_status="finish")
    assert (case["phase"], case["outcome"], case["money"]) == ("resolved", "refunded", "refunded")
    assert (case["deadlines"], case["money_at_risk"]) == ([], None)


@pytest.mark.parametrize(
    ("n", "news", "phase", "outcome"),
    [
        (1, {"issue_status": "canceled_issue"}, "resolved", "withdrawn"),
        (2, {"reverse_detail_status": "refund_reject", "issue_status": "finish"}, "resolved", "rejected"),
        (3, {"reverse_detail_status": "return_success", "issue_status": "finish"}, "resolved", "refunded"),
        (4, {"reverse_detail_status": "wait_for_AE_feedback"}, "platform_review", None),
        (5, {"reverse_detail_status": "wait_for_buyer_response"}, "awaiting_buyer", None),
        (6, {"reverse_detail_status": "wait_for_your_response"}, "awaiting_seller", None),
        (7, {"reverse_detail_status": "wait_for_your_evidence"}, "awaiting_seller", None),
        (8, {"reverse_detail_status": "wait_for_seller_set_return_address"}, "awaiting_seller", None),
        (9, {"reverse_detail_status": "wait_for_buyer_return"}, "awaiting_buyer", None),
        (10, {"reverse_detail_status": "wait_for_seller_confirmation"}, "goods_in_transit", None),
        (11, {"reverse_detail_status": "wait_for_warehouse_confirmation"}, "goods_in_transit", None),
        (12, {"reverse_detail_status": "wait_for_warehouse_quality_check"}, "inspection", None),
        (13, {"reverse_detail_status": "wait_for_final_solution"}, "platform_review", None),
        (14, {"reverse_detail_status": "wait_ae_final_feedback"}, "platform_review", None),
    ],
)
async def test_each_status_leads_to_its_phase(
    shop: Shop, n: int, news: dict[str, Any], phase: str, outcome: str
) -> None:
    order = f"82000002{n:02}"
    await shop.dispute(order)
    case = await shop.becomes(order, **news)
    assert (case["phase"], case["outcome"]) == (phase, outcome)
    last = (await shop.system.timeline(case["id"]))[-1]
    if news.get("reverse_detail_status") == "wait_for_AE_feedback":
        kinds = [r["fact"]["kind"] for r in await shop.system.timeline(case["id"])]
        assert "dispute.escalated" in kinds
    assert last["why"]["version"] == case["playbook_version"]


async def test_a_status_nobody_knows_is_a_task_and_the_case_stays(shop: Shop) -> None:
    before = await shop.dispute("8200000301")
    case = await shop.becomes("8200000301", reverse_detail_status="wait_for_the_moon")
    assert case["state"] == before["state"]
    assert "unmapped" in {t["kind"] for t in await shop.system.tasks(f"?status=open&case_id={case['id']}")}


async def test_the_same_record_read_again_leaves_no_trace(shop: Shop) -> None:
    before = await shop.dispute("8200000302")
    await shop.system.advance(timedelta(minutes=1))
    assert (await shop.rings("8200000302"))["seq"] == before["seq"]
    assert await shop.system.post("/sandbox/poll", {"account": "ae-main"}) == {"account": "ae-main"}
    assert (await shop.system.case_of("68200000302"))["seq"] == before["seq"]


@pytest.mark.parametrize(
    ("late", "status"),
    [
        (timedelta(hours=6, minutes=59), 200), (timedelta(hours=7, minutes=1), 401),
        (-timedelta(minutes=9), 200), (-timedelta(minutes=11), 401),
    ],
)  # fmt: skip
async def test_stale_and_early_pushes(shop: Shop, late: timedelta, status: int) -> None:
    body, headers = pushes.aliexpress(shop.system.clock.now() - late, "8200000303", status="PLACE_ORDER_SUCCESS")
    assert (await shop.system.push("aliexpress", "ae-main", body, headers))[0] == status


async def test_refusals_in_the_marketplaces_shape(shop: Shop) -> None:
    body, headers = pushes.aliexpress(shop.system.clock.now(), "8200000304", "98200000304")
    other = body.replace(b'"2000012345"', b'"2000099999"')
    resigned = {"Authorization": hmac.new(b"demo-secret-0001", b"500001" + other, sha256).hexdigest()}
    unknown = await shop.system.push("aliexpress", "nobody", body, headers)
    forged = await shop.system.push("aliexpress", "nobody", body, {"Authorization": "00"})
    assert unknown == forged
    assert unknown[0] == 404
    assert (await shop.system.push("aliexpress", "ae-main", body + b" ", headers))[0] == 401
    assert (await shop.system.push("aliexpress", "ae-main", other, resigned))[0] == 403
    large = {"data": io.BytesIO(b"x" * 1_100_000), "headers": {"Content-Type": "application/json"}}
    assert (await shop.system.request("POST", "/webhooks/aliexpress/ae-main", **large))[0] == 413
    assert (await shop.system.request("GET", "/webhooks/aliexpress/ae-main"))[0] == 405
    text = headers | {"Content-Type": "text/plain"}
    assert (await shop.system.push("aliexpress", "ae-main", body, text))[0] == 415
    await shop.system.drain()
    assert await shop.system.cases("?order_id=8200000304") == []
