"""The simulator's disputes: a plausible one per order, and how each moves when somebody acts or time passes.

It rehearses, it proves nothing about the real marketplace: lengths of time that are not established (an address, a
receipt) are the simulator's own, see `DAYS`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from shared.marketplaces.aliexpress.issue import PACIFIC, RETURN, pacific

DAYS = {
    "wait_for_seller_response": 5, "wait_for_buyer_response": 5, "wait_for_your_response": 3,
    "wait_for_your_evidence": 3, "wait_for_AE_feedback": 7, "wait_for_seller_set_return_address": 3,
    "wait_for_buyer_return": 10, "wait_for_seller_confirmation": 15,
}  # fmt: skip
_TIMEOUT_TYPE = {
    "wait_for_seller_response": "WAIT_SOLUTION_TIMEOUT",
    "wait_for_buyer_response": "WAIT_SOLUTION_TIMEOUT",
    "wait_for_seller_set_return_address": "WAIT_SELLER_FILL_ADDRESS_TIMEOUT",
    "wait_for_seller_confirmation": "WAIT_RECEIVE_ITEM_TIMEOUT",
}
_OVER = ("refund_success", "return_success", "refund_reject")
Body = dict[str, Any]


def stamp(moment: datetime) -> str:
    return moment.astimezone(PACIFIC).strftime("%Y-%m-%d %H:%M:%S")


def made_up(order: str, now: datetime, given: Mapping[str, Any]) -> Body:
    """A dispute of a damaged article, refund only, 12.50 USD, waiting for the seller; `given` is laid over."""
    number = crc32(order.encode())
    issue_id = str(given.get("issue_id") or 600_000_000_000_000 + number)
    body: Body = {
        "issue_id": issue_id,
        "parent_order_id": order,
        "order_id": f"{order[:-1]}9",
        "buyer_login_id": f"cn{1_000_000_000 + number}",
        "issue_status": "processing",
        "reverse_detail_status": "wait_for_seller_response",
        "issue_reason": "Product damaged",
        "issue_reason_id": "3010208",
        "product_name": "Ceramic teapot, 0.8 l",
        "gmt_create": stamp(now),
        "buyer_solution_list": [],
        "seller_solution_list": [],
        "platform_solution_list": [],
        "process_dto_list": [],
    }
    amount = {"value": given.get("amount", "12.50"), "currency": given.get("currency", "USD")}
    body |= {"refund_money_max_local": given.get("max_refund", amount["value"])}
    body |= {"refund_money_max_local_currency": amount["currency"]}
    add_plan(body, "buyer", given.get("solution_type", "refund"), amount, "wait_seller_accept", now)
    log(body, "initiate", "buyer", now, str(given.get("content", "The teapot arrived in pieces.")))
    body |= {
        k: v for k, v in given.items() if k not in ("amount", "currency", "max_refund", "solution_type", "content")
    }
    enter(body, str(body["reverse_detail_status"]), now)
    return body | {k: given[k] for k in ("timeout_trigger_time", "timeout_type") if k in given}


def add_plan(body: Body, owner: str, kind: str, money: Mapping[str, str], status: str, now: datetime) -> Body:
    plans: list[Body] = body[f"{owner}_solution_list"]
    plan = {
        "id": f"{int(body['issue_id']) + 1000 * ('buyer', 'seller', 'platform').index(owner) + len(plans) + 1}",
        "solution_owner": owner,
        "solution_type": kind,
        "refund_money": money["value"],
        "refund_money_currency": money["currency"],
        "status": status,
        "version": 1,
        "gmt_create": stamp(now),
        "gmt_modified": stamp(now),
    }
    plans.append(plan)
    return plan


def log(body: Body, action: str, by: str, now: datetime, content: str = "", images: str = "") -> None:
    """`images`: owner of one attached picture."""
    attached = [{"owner": images, "file_path": f"https://example.invalid/{body['issue_id']}.jpg"}] if images else []
    step = {"action_type": action, "submit_member_type": by, "gmt_create": stamp(now), "content": content}
    body["process_dto_list"].insert(0, {**step, "attachments": attached})
    body["gmt_modified"] = stamp(now)


def enter(body: Body, status: str, now: datetime) -> None:
    body["reverse_detail_status"] = status
    body["gmt_modified"] = stamp(now)
    body.pop("timeout_trigger_time", None)
    body.pop("timeout_type", None)
    if status in DAYS:
        body["timeout_trigger_time"] = stamp(now + timedelta(days=DAYS[status]))
        body["timeout_type"] = _TIMEOUT_TYPE.get(status, "")
    if status in _OVER:
        body["issue_status"] = "finish"


def plan_of(body: Body, owner: str, plan_id: str = "") -> Body | None:
    plans: list[Body] = body[f"{owner}_solution_list"]
    return next((p for p in reversed(plans) if not plan_id or str(p["id"]) == plan_id), None)


def reach(body: Body, plan: Body, how: str, now: datetime, address: str = "") -> None:
    """A plan is agreed: money at once, or the goods first."""
    plan |= {"status": "reached", "reached_type": how, "reached_time": stamp(now), "gmt_modified": stamp(now)}
    if plan["solution_type"] == RETURN:
        enter(body, "wait_for_buyer_return" if address else "wait_for_seller_set_return_address", now)
    else:
        enter(body, "refund_success", now)


def counter(body: Body, kind: str, money: Mapping[str, str], now: datetime) -> None:
    """The seller refuses the buyer's plan and offers his own."""
    add_plan(body, "seller", kind, money, "wait_buyer_accept", now)
    log(body, "seller_create_solution", "seller", now)
    enter(body, "wait_for_buyer_response", now)


def lapse(body: Body, now: datetime) -> None:
    """What the marketplace does when a time-out has passed and nobody acted."""
    due = pacific(body.get("timeout_trigger_time"))
    if due is None or now < due or body["issue_status"] != "processing":
        return
    match body["reverse_detail_status"]:
        case "wait_for_seller_response":
            plan = plan_of(body, "buyer")
            log(body, "system_timeout", "system", due)
            if plan is not None:
                reach(body, plan, "seller_reponse_timeout", due)
        case "wait_for_buyer_response":
            buyer_escalates(body, due, {})
        case "wait_for_buyer_return":
            log(body, "cancel", "system", due)
            enter(body, "refund_reject", due)
        case "wait_for_seller_confirmation" | "wait_for_seller_set_return_address":
            log(body, "perform_solution", "platform", due)
            enter(body, "return_success", due)
        case _:
            return
    lapse(body, now)


def buyer_accepts(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    plan = plan_of(body, "seller")
    if plan is not None:
        log(body, "buyer_accept", "buyer", now)
        reach(body, plan, "negotiation_consensus", now, "known")


def buyer_refuses(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    plan = plan_of(body, "seller")
    if plan is not None:
        plan |= {"status": "buyer_refused", "gmt_modified": stamp(now)}
    log(body, "buyer_refuse", "buyer", now)
    enter(body, "wait_for_seller_response", now)


def buyer_modifies(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    plan = plan_of(body, "buyer") or {}
    plan |= {"version": int(plan.get("version", 1)) + 1, "gmt_modified": stamp(now)}
    plan |= {"refund_money": given.get("amount", plan.get("refund_money"))}
    plan |= {"solution_type": given.get("solution_type", plan.get("solution_type"))}
    log(body, "buyer_modify_solution", "buyer", now)
    enter(body, "wait_for_seller_response", now)


def buyer_cancels(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    log(body, "cancel", "buyer", now)
    enter(body, str(body["reverse_detail_status"]), now)
    body["issue_status"] = "canceled_issue"


def buyer_escalates(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    log(body, "buyer_initiate_arbitration", "buyer", now)
    enter(body, "wait_for_AE_feedback", now)


def seller_escalates(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    """What a person does in the seller centre; also out of the return phase (R004-03)."""
    for plan in (*body["buyer_solution_list"], *body["seller_solution_list"]):
        plan["status"] = "reach_cancle" if plan["status"] == "reached" else plan["status"]
    log(body, "seller_initiate_arbitration", "seller", now)
    enter(body, "wait_for_AE_feedback", now)


def buyer_adds_image(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    log(body, "buyer_modify_solution", "buyer", now, str(given.get("content", "")), images="buyer")


def buyer_ships(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    body["buyer_return_no"] = given.get("tracking_number", "RR000000001CN")
    body["buyer_return_logistics_company"] = given.get("carrier", "China Post")
    enter(body, str(given.get("to", "wait_for_seller_confirmation")), now)


def seller_receives(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    log(body, "perform_solution", "platform", now)
    enter(body, "return_success", now)


def seller_sets_address(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    enter(body, "wait_for_buyer_return", now)


def platform_rules(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    """`amount` "0" rejects; `solution_type` return_and_refund sends the goods back first."""
    asked = body["buyer_solution_list"][-1]
    money = {"value": given.get("amount", asked["refund_money"]), "currency": asked["refund_money_currency"]}
    kind = str(given.get("solution_type", asked["solution_type"]))
    plan = add_plan(body, "platform", kind, money, "reached", now)
    log(body, "platform_force_reach", "platform", now)
    if float(money["value"]) == 0:
        enter(body, "refund_reject", now)
    else:
        reach(body, plan, "platform_arbitrate", now, str(given.get("address", "")))


MOVES: dict[str, Callable[[Body, datetime, Mapping[str, Any]], None]] = {
    move.__name__: move
    for move in (
        buyer_accepts,
        buyer_refuses,
        buyer_modifies,
        buyer_cancels,
        buyer_escalates,
        buyer_adds_image,
        buyer_ships,
        seller_escalates,
        seller_receives,
        seller_sets_address,
        platform_rules,
    )
}
