"""The simulator's Ozon: requests, returns, cancellations and chats, and how each moves when somebody acts or time passes.

It rehearses, it proves nothing about the real marketplace: ids of actions beside -1, -10 and 1020 are the simulator's own.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from shared.clock import format_time
from shared.marketplaces.ozon.codes import moment

Body = dict[str, Any]
APPROVE, RECEIVED, PAY_ALL, PAY_PART, REFUSE, REFUSE_LATER = 1001, 1002, 1003, 1020, -1, -10
_NAMES = {
    APPROVE: "Одобрить", RECEIVED: "Получено", PAY_ALL: "Вернуть деньги", PAY_PART: "Компенсировать часть",
    REFUSE: "Отклонить", REFUSE_LATER: "Отклонить после проверки",
}  # fmt: skip
_OFFERED = {
    "New": (APPROVE, PAY_ALL, PAY_PART, REFUSE), "Delivering": (RECEIVED,), "Checkout": (PAY_ALL, PAY_PART, REFUSE_LATER),
}  # fmt: skip
_LEADS_TO = {
    APPROVE: "Delivering", RECEIVED: "Checkout", PAY_ALL: "Approved", PAY_PART: "Approved", REFUSE: "Rejected",
    REFUSE_LATER: "Rejected",
}  # fmt: skip
REASONS = [
    {"id": 12, "name": "Товар использовался", "is_comment_required": True, "hint": ""},
    {"id": 14, "name": "Другая причина", "is_comment_required": True, "hint": ""},
]
DAYS = 3
"""After so many days without an answer a request is approved."""


def request(posting: str, now: datetime, given: Mapping[str, Any]) -> Body:
    """A new request over a damaged lamp of 89.00 CNY; `given` is laid over (short forms: `price`, `currency`, `group_state`)."""
    body: Body = {
        "return_id": 800_000 + crc32(posting.encode()) % 100_000,
        "return_number": f"R-{posting}",
        "posting_number": posting,
        "order_number": order_number(posting),
        "client_name": "Анна",
        "created_at": format_time(now),
        "product": {
            "name": "Lamp", "offer_id": "LAMP-02", "currency_code": given.get("currency", "CNY"),
            "price": given.get("price", "89.00"), "sku": 910020030,
        },
        "return_reason": {"id": 3, "name": "Товар повреждён", "is_defect": True},
        "client_photo": [],
        "comment": "Лампа треснула",
        "client_return_method_type": {"id": 1, "name": "Почта России"},
        "return_method_description": "",
        "ru_post_tracking_number": "",
        "rejection_comment": "",
        "rejection_reason": REASONS,
        "warehouse_id": 22850001000000,
    }  # fmt: skip
    body |= {name: value for name, value in given.items() if name not in ("price", "currency", "group_state")}
    enter(body, str(given.get("group_state", "New")))
    return body


def order_number(posting: str) -> str:
    return posting.rpartition("-")[0] or posting


def enter(body: Body, group: str, money: str = "Не возвращены") -> None:
    body["state"] = {
        "group_state": group, "state": f"Simulated{group}", "state_name": group, "money_return_state_name": money,
    }  # fmt: skip
    body["available_actions"] = [{"id": id_, "name": _NAMES[id_]} for id_ in _OFFERED.get(group, ())]


def act(body: Body, wanted: Mapping[str, Any]) -> str | None:
    """Why it is not taken; None when it is."""
    action = wanted.get("id")
    if action not in [row["id"] for row in body["available_actions"]]:
        return "action is not available"
    if action in (REFUSE, REFUSE_LATER):
        if not wanted.get("comment") or wanted.get("rejection_reason_id") not in [row["id"] for row in REASONS]:
            return "comment and rejection_reason_id are required"
        body["rejection_comment"] = wanted["comment"]
    if action == PAY_PART and not wanted.get("compensation_amount"):
        return "compensation_amount is required"
    enter(body, _LEADS_TO[int(str(action))], "Возвращены" if action in (PAY_ALL, PAY_PART) else "Не возвращены")
    return None


def lapse(body: Body, now: datetime) -> None:
    """Silence approves: a request after its days, a cancellation after its own date."""
    if "cancellation_id" in body:
        due = moment(body["auto_approve_date"])
        if body["state"]["state"] == "ON_APPROVAL" and due is not None and now >= due:
            decide(body, "APPROVED", due, "")
        return
    opened = moment(body["created_at"])
    if body["state"]["group_state"] == "New" and opened is not None and now >= opened + timedelta(days=DAYS):
        enter(body, "Delivering")


def cancellation(posting: str, now: datetime, given: Mapping[str, Any]) -> Body:
    return {
        "cancellation_id": 60_000 + crc32(posting.encode()) % 10_000,
        "posting_number": posting,
        "state": {"id": 1, "name": "ON_APPROVAL", "state": "ON_APPROVAL"},
        "cancellation_initiator": "CLIENT",
        "cancellation_reason": {"id": 508, "name": "Покупатель передумал"},
        "cancellation_reason_message": "",
        "cancelled_at": format_time(now),
        "auto_approve_date": format_time(now + timedelta(days=2)),
        "approve_comment": "",
        "approve_date": None,
        "order_date": format_time(now),
        "tpl_integration_type": "3pl_tracking",
        **given,
    }


def decide(body: Body, state: str, at: datetime, comment: str) -> None:
    body["state"] = {"id": 2, "name": state, "state": state}
    body |= {"approve_date": format_time(at), "approve_comment": comment}


def ordinary(posting: str, now: datetime, given: Mapping[str, Any]) -> Body:
    """An FBS return; `status` is its `sys_name`."""
    return {
        "id": 500_000 + crc32(posting.encode()) % 100_000,
        "company_id": 40404,
        "type": "ClientReturn",
        "schema": "FBS",
        "return_reason_name": "Не подошёл размер",
        "order_id": 990,
        "order_number": order_number(posting),
        "posting_number": posting,
        "source_id": 0,
        "product": {
            "sku": 910020030, "offer_id": "LAMP-02", "name": "Lamp", "quantity": 1,
            "price": {"currency_code": "RUB", "price": 1231},
        },
        "logistic": {"return_date": format_time(now)},
        **{name: value for name, value in given.items() if name != "status"},
        "visual": seen(str(given.get("status", "OnSellerApproval")), now),
    }  # fmt: skip


def seen(status: str, now: datetime) -> Body:
    return {"status": {"id": 5, "display_name": status, "sys_name": status}, "change_moment": format_time(now)}


def message(number: int, who: str, words: str, now: datetime, posting: str) -> Body:
    return {
        "message_id": str(3_000_000_000_900_000_000 + number),
        "created_at": format_time(now),
        "data": [words],
        "is_image": False,
        "is_read": False,
        "moderate_image_status": "SUCCESS",
        "user": {"id": "40404" if who == "seller" else "77001", "type": who},
        "context": {"order_number": order_number(posting), "sku": "910020030"},
    }
