"""AliExpress push ("Notification service"): proof, identity and meaning of a delivery. Reference B1.2, B2."""

import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from shared.domain.facts import Draft
from shared.errors import Refusal
from shared.json_reader import Unreadable, read
from shared.marketplaces.aliexpress.issue import moment, text
from shared.ports import (
    Account,
    Answer,
    Facts,
    Ignored,
    Inbound,
    NeedsFetch,
    NotGenuine,
    Parsed,
    Reply,
    Secrets,
    Unmapped,
    each_secret,
)

STALE = timedelta(hours=7)
"""12 retries 30 minutes apart plus slack (reference B2)."""
AHEAD = timedelta(minutes=10)

ORDER_STATUS = {
    "PLACE_ORDER_SUCCESS": "order.placed",
    "WAIT_SELLER_SEND_GOODS": "order.placed",
    "SELLER_PART_SEND_GOODS": "delivery.updated",
    "WAIT_BUYER_ACCEPT_GOODS": "order.shipped",
    "IN_CANCEL": "order.cancel_requested",
}
OF_NO_CONCERN = frozenset({"FUND_PROCESSING", "IN_FROZEN", "WAIT_SELLER_EXAMINE_MONEY", "RISK_CONTROL", "FINISH"})
IN_DISPUTE = "IN_ISSUE"
_STATUS = {"unreadable": 200, "refused": 401, "too_large": 413, "unavailable": 503, "unknown_account": 404}


def signature(app_key: str, app_secret: str, body: bytes) -> str:
    """Lower-case hex HMAC-SHA256 over app key and raw body."""
    return hmac.new(app_secret.encode(), app_key.encode() + body, sha256).hexdigest()


def verify(inbound: Inbound, account: Account, secrets: Secrets, now: datetime) -> None:
    given = (inbound.header("authorization") or "").encode(errors="replace")
    expected = [
        signature(k, s, inbound.body)
        for k in each_secret(secrets, "app_key")
        for s in each_secret(secrets, "app_secret")
    ]
    if not any(hmac.compare_digest(given, one.encode()) for one in expected):
        raise NotGenuine("the signature does not match")
    try:
        body = read(inbound.body)
    except Unreadable:
        return
    if isinstance(body, dict):
        _check_time(body.get("timestamp"), now)
        _check_seller(body.get("seller_id"), account)


def _check_time(value: Any, now: datetime) -> None:
    sent = moment(value)
    if sent is not None and (now - sent > STALE or sent - now > AHEAD):
        raise NotGenuine("the timestamp is too old or ahead", code="stale")


def _check_seller(value: Any, account: Account) -> None:
    wanted = account.settings.get("seller_id")
    if wanted and value is not None and str(value) != str(wanted):
        raise NotGenuine("the push is for another seller", code="wrong_seller", status=403)


def dedupe_key(inbound: Inbound) -> str:
    return sha256(inbound.body).hexdigest()


def parse(inbound: Inbound, account: Account) -> Parsed:
    body = read(inbound.body)
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise Unreadable("data", "not an object")
    data: Mapping[str, Any] = body["data"]
    match str(body.get("message_type")):
        case "0":
            return _order_message(data, moment(body.get("timestamp")))
        case "8":
            return Ignored("the access token is about to expire")
        case other:
            return Unmapped(f"message_type:{other[:40]}")


def _order_message(data: Mapping[str, Any], sent: datetime | None) -> Parsed:
    """What the push says is a hint only: anything about a dispute is read back from the marketplace."""
    order = text(data.get("trade_order_id"))
    status = text(data.get("order_status")) or ""
    if order is None:
        raise Unreadable("data.trade_order_id", "missing")
    if data.get("reverse_order_id") is not None or status.upper() == IN_DISPUTE:
        return NeedsFetch(f"order:{order}")
    if status.upper() in OF_NO_CONCERN:
        return Ignored(f"order status {status}")
    kind = ORDER_STATUS.get(status.upper())
    if kind is None:
        return Unmapped(f"order_status:{status[:60]}")
    return Facts((_order_fact(kind, order, status, data, sent),))


def _order_fact(kind: str, order: str, status: str, data: Mapping[str, Any], sent: datetime | None) -> Draft:
    changed = moment(data.get("status_update_time")) or sent
    if changed is None:
        raise Unreadable("data.status_update_time", "missing")
    line = text(data.get("trade_order_line_id"))
    return Draft(
        kind=kind,
        occurred_at=changed,
        order_id=order,
        external_id=order if kind == "order.cancel_requested" else None,
        case_kind="cancellation" if kind == "order.cancel_requested" else None,
        refs={"trade_order_line_id": line} if line else {},
        raw_code=status,
    )


def reply(answer: Answer, refusal: Refusal | None = None) -> Reply:
    """A fast 200 is all the marketplace waits for; anything else is asked again 12 times in 6 hours."""
    if answer in ("accepted", "unreadable"):
        return Reply(200, b"ok")
    status = refusal.status if refusal else _STATUS[answer]
    code = refusal.code if refusal else answer
    body = b'{"code":"%s","status":%d}' % (code.encode(), status)
    return Reply(status, body, "application/problem+json")
