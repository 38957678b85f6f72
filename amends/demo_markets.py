"""One story for each marketplace that is polled as well as pushed: what it tells, what leaves, what a person is handed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amends.demo import Stage


async def _told(stage: "Stage", marketplace: str, account: str, order: str, control: str, body: Any) -> None:
    """The marketplace's simulator signs a push of its own; we deliver it."""
    made = await stage.control(account, control, body)
    signed = made["body"].encode(), made["headers"]
    await stage.push(marketplace, account, signed, order, query=made.get("query", ""))
    await stage.settle()


async def amazon_claim(stage: "Stage") -> None:
    stage.chapter("6  Amazon: the returns report brings a return, its A-to-Z mark a claim of its own")
    order, other = "902-1234567-7654321", "902-1234567-7654322"
    stage.say(
        "That a buyer wants to cancel is pushed through the forwarder; a return stands only in the report, which is read."
    )
    await _told(stage, "amazon", "amz-demo", other, "push", {"order_id": other, "cancel": True})
    await stage.control("amz-demo", "returns", {"order_id": order})
    await stage.poll("amz-demo")
    stage.say("The buyer turns to Amazon: the claim is linked to the return, which may not refund by itself any more.")
    await stage.control("amz-demo", f"returns/{order}", {"do": "claimed"})
    await stage.poll("amz-demo")
    await stage.advance("P1DT1H")


async def ozon_return(stage: "Stage") -> None:
    stage.chapter("7  Ozon: delivered, then a return request; the chat is answered inside its window")
    posting = "70811234-0008-1"
    told = {"message_type": "TYPE_STATE_CHANGED", "posting_number": posting, "new_state": "posting_delivered"}
    stage.say("An order that is fine is no case; the request that follows is.")
    await _told(stage, "ozon", "oz-demo", posting, "push", told)
    await stage.control("oz-demo", "requests", {"posting_number": posting})
    await stage.poll("oz-demo")


async def pinduoduo_refund(stage: "Stage") -> None:
    stage.chapter("8  Pinduoduo: the relay tells, its own deadline counts, texts are prepared for a person")
    sale = await stage.control("pdd-demo", "after_sales", {"order_sn": "261102-1", "after_sales_reason": "其他"})
    told = {"id": sale["id"], "operation": 1000}
    await _told(stage, "pinduoduo", "pdd-demo", "261102-1", "relay", told)
    case = await stage.case("261102-1")
    await stage.act(case, "refund", {"keep_item": True})
    await stage.settle()
    await stage.advance("PT2H")


async def dhgate_order(stage: "Stage") -> None:
    stage.chapter("9  DHgate: nothing is pushed, so orders and mail are read; a dispute opens on a shipped order")
    order = "2611020001"
    await stage.control("dh-demo", "orders", {"order_id": order})
    await stage.poll("dh-demo")
    for move in ("ships", "opens_dispute"):
        await stage.control("dh-demo", f"orders/{order}", {"do": move})
        await stage.poll("dh-demo")


ALL = (amazon_claim, ozon_return, pinduoduo_refund, dhgate_order)
