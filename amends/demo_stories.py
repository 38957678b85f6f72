"""The stories of the demo, one per thing a seller would want to see."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared import standard_webhooks
from shared.clock import format_time, to_micros

if TYPE_CHECKING:
    from amends.demo import Stage

# As in sandbox_accounts.yaml: made up, and worth nothing outside the sandbox.
_APP_KEY, _APP_SECRET = "500001", "demo-secret-0001"
_SIGNING = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
Signed = tuple[bytes, Mapping[str, str]]


def _aliexpress(now: datetime, order: str, reverse_order: str) -> Signed:
    seconds = to_micros(now) // 1_000_000
    data = {
        "order_status": "return_requested",
        "reverse_order_id": reverse_order,
        "status_update_time": seconds,
        "trade_order_id": order,
    }
    push = {
        "seller_id": "2000012345",
        "message_type": 0,
        "data": data,
        "timestamp": seconds * 1000,
        "site": "demo_site",
    }
    body = json.dumps(push, separators=(",", ":")).encode()
    return body, {"Authorization": hmac.new(_APP_SECRET.encode(), _APP_KEY.encode() + body, hashlib.sha256).hexdigest()}


def _generic(now: datetime, type_: str, id_: str, **data: Any) -> Signed:
    body = json.dumps({"type": type_, "timestamp": format_time(now), "data": data}).encode()
    return body, standard_webhooks.headers(_SIGNING, id_, now, body)


def _euros(value: str) -> dict[str, str]:
    return {"value": value, "currency": "EUR"}


def _return_news(stage: "Stage", fact: str, id_: str, **data: Any) -> Signed:
    return _generic(stage.clock.now(), fact, id_, kind="return", external_id="R-1001", order_id="O-1001", **data)


async def forged_and_repeated(stage: "Stage") -> None:
    stage.chapter("1  What is not genuine stays outside; what comes twice counts once")
    asked = {"kind": "return", "external_id": "R-1001", "order_id": "O-1001", "reason": "defective", "amount": _euros("39.90"),
             "paid": _euros("39.90"), "item": "Desk lamp", "buyer": {"id": "b-1", "name": "Ada", "locale": "en"}}  # fmt: skip
    body, headers = signed = _generic(stage.clock.now(), "return.requested", "msg_demo_1", **asked)
    stage.say("A buyer asks the shop for a return. First somebody tampers with the amount on the way:")
    await stage.push("generic", "shop-demo", (body.replace(b"39.90", b"99.90"), headers), "O-1001")
    stage.say("Then the genuine delivery, three times over:")
    for _ in range(3):
        await stage.push("generic", "shop-demo", signed, "O-1001", "return.requested")
    await stage.settle()


async def return_to_the_end(stage: "Stage") -> None:
    stage.chapter("2  A return: goods first, then the money, each once")
    case = await stage.case("O-1001")
    stage.say("The seller authorises the return; the buyer ships; the parcel arrives.")
    await stage.act(case, "authorise", {})
    await stage.settle()
    agreed = _return_news(stage, "return.authorised", "msg_demo_20")
    await stage.push("generic", "shop-demo", agreed, "O-1001", "return.authorised")
    await stage.settle()
    await stage.advance("P2D")
    shipped = _return_news(stage, "return.shipped", "msg_demo_21", tracking_number="TRK1001", carrier="DHL")
    await stage.push("generic", "shop-demo", shipped, "O-1001", "return.shipped")
    await stage.settle()
    await stage.advance("P2D")
    await stage.push(
        "generic", "shop-demo", _return_news(stage, "return.received", "msg_demo_22"), "O-1001", "return.received"
    )
    await stage.settle()
    stage.say("Only after the check the refund is planned, posted to the shop with its key.")
    await stage.act(case, "inspect", {"result": "ok", "note": "complete, undamaged"})
    await stage.settle()
    stage.say("The shop's books show the refund; only that observed fact closes the case.")
    paid = _return_news(stage, "refund.issued", "msg_demo_29", refunded=_euros("39.90"))
    await stage.push("generic", "shop-demo", paid, "O-1001", "refund.issued")
    await stage.settle()


async def deadline_kept(stage: "Stage") -> None:
    stage.chapter("3  AliExpress: nobody answers a dispute, the deadline is kept all the same")
    order = "8200000000000001"
    await stage.control("ae-demo", "issues", {"order_id": order, "amount": "9.00", "currency": "USD"})
    stage.say("The push is only a doorbell: the dispute and its own deadline are read from the marketplace.")
    await stage.push("aliexpress", "ae-demo", _aliexpress(stage.clock.now(), order, "6370000000000001"), order)
    await stage.settle()
    stage.say("The weekend comes, nobody looks. A day before AliExpress would decide, the planned act runs:")
    await stage.advance("P3D")
    await stage.advance("P2D")


async def doubtful_send(stage: "Stage") -> None:
    stage.chapter("4  A message that may or may not have been sent is looked up, not sent again")
    order = "8200000000000002"
    await stage.control("ae-demo", "issues", {"order_id": order, "amount": "42.00", "currency": "USD"})
    await stage.api("POST", "/sandbox/faults", {"channel": "aliexpress", "next": ["timeout"]})
    stage.say("The line breaks right after AliExpress took the message:")
    await stage.push("aliexpress", "ae-demo", _aliexpress(stage.clock.now(), order, "6370000000000002"), order)
    await stage.settle()
    stage.say("A minute later the thread is read: it is there. Nothing is said twice.")
    await stage.advance("PT5M")


async def person_decides(stage: "Stage") -> None:
    stage.chapter("5  Money above the limit waits for a person")
    order = "O-1002"
    asked = {"kind": "refund", "external_id": "R-1002", "order_id": order, "reason": "not_received", "amount": _euros("120.00"),
             "paid": _euros("120.00"), "item": "Headphones", "buyer": {"id": "b-2", "name": "Lin", "locale": "zh"}}  # fmt: skip
    await stage.push(
        "generic",
        "shop-demo",
        _generic(stage.clock.now(), "refund.requested", "msg_demo_5", **asked),
        order,
        "refund.requested",
    )
    await stage.settle()
    case = await stage.case(order)
    stage.say("One who may act but not approve refunds 120.00; the account's limit is 50.00:")
    await stage.act(case, "refund", {"amount": _euros("120.00"), "keep_item": True}, key="sandbox-act")
    await stage.settle()
    stage.say("The open work list, nearest due time first:")
    tasks = await stage.whole("/v1/tasks?status=open&sort=due")
    for task in tasks[:6]:
        stage.console.print(f"    {task['due_at']}  {task['kind']:<18} {task['reason']}")
    stage.say("A second person agrees; only then does the money leave.")
    await stage.api("POST", f"/v1/tasks/{tasks[0]['id']}/done", {"answer": "approve", "reason": "parcel is lost"})
    await stage.settle()


ALL = (forged_and_repeated, return_to_the_end, deadline_kept, doubtful_send, person_decides)
