"""The simulator's orders: a plausible one per number, and how each moves when somebody acts or time passes.

It rehearses, it proves nothing about the real marketplace. Times are written in Beijing time.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

from shared.marketplaces.dhgate.reading import CAUTIOUS_ZONE, moment, stamp

ZONE = ZoneInfo(CAUTIOUS_ZONE)
SELLER = "402880f100f59ccd0100f59cd37d0005"
ANSWER = timedelta(days=5)
Body = dict[str, Any]
_DATES = ("payDate", "deliveryDate", "buyerConfirmDate", "cancelDate", "inAccountDate")
ROW = (
    "orderNo", "orderStatus", "buyerId", "buyerNickName", "country", "orderTotalPrice", "startedDate", "updateDate",
    "deliveryDeadline", "isWarn", "warnReason", *_DATES,
)  # fmt: skip
DETAIL = (
    "orderNo", "orderStatus", "orderTotalPrice", "refundMoney", "startedDate", "payDate", "deliveryDate",
    "deliveryDeadline", "shippingType", "orderDeliveryList", "orderContact",
)  # fmt: skip
_DISPUTE = ("disputeStatus", "disputeOpenDate", "disputeCloseDate")


def made_up(number: str, now: datetime, given: Mapping[str, Any]) -> Body:
    """An order of a teapot, 64.50, paid and waiting for shipment; `given` is laid over."""
    buyer = f"ff80{crc32(number.encode()):028x}"
    body: Body = {
        "orderNo": number,
        "orderStatus": "103001",
        "buyerId": buyer,
        "buyerNickName": f"ann{number[-3:]}",
        "country": "United States",
        "orderTotalPrice": 64.5,
        "refundMoney": 0,
        "startedDate": _text(now),
        "payDate": _text(now),
        "deliveryDeadline": _text(now + timedelta(days=5)),
        "shippingType": "EMS",
        "orderDeliveryList": [],
        "isWarn": False,
        "warnReason": "",
        "orderContact": {"buyerId": buyer, "buyerNickName": f"ann{number[-3:]}", "country": "United States"},
    }
    body |= {name: "" for name in _DATES if name not in body}
    return {**body, "updateDate": _text(now), **given}


def row(body: Body) -> Body:
    return {name: body[name] for name in ROW}


def detail(body: Body) -> Body:
    return {name: body[name] for name in DETAIL}


def dispute(body: Body) -> Body:
    return {**row(body), **{name: body[name] for name in _DISPUTE if name in body}}


def in_dispute(body: Body) -> bool:
    return bool(body.get("disputeStatus")) and "disputeCloseDate" not in body


def lapse(body: Body, now: datetime) -> None:
    """Five days without an answer: the buyer's proposal, here all of it, is carried out."""
    opened = moment(body.get("disputeOpenDate"), ZONE)
    waits = in_dispute(body) and body["disputeStatus"] == "106001"
    if waits and opened is not None and now >= opened + ANSWER:
        closes(body, opened + ANSWER, {"refund": body["orderTotalPrice"]})


def _text(moment: datetime) -> str:
    return stamp(moment, ZONE)


def _turn(body: Body, status: str, now: datetime, **changes: Any) -> None:
    body |= {"orderStatus": status, "updateDate": _text(now), **changes}


def pays(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    _turn(body, "102001", now, payDate=_text(now))


def verified(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    _turn(body, "103001", now, deliveryDeadline=_text(now + timedelta(days=5)))


def ships(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    sent = {"deliveryNo": given.get("tracking", "EE123456785CN"), "newDeliveryNo": "", "newShippingType": ""}
    sent |= {"shippingType": given.get("carrier", "EMS"), "deliveryDate": _text(now)}
    body["orderDeliveryList"] = [*body["orderDeliveryList"], sent]
    _turn(body, "101009", now, deliveryDate=_text(now))


def asks_back(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    _turn(body, "105001", now)


def agrees_back(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    _turn(body, "105002", now)


def takes_back(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    _turn(body, "105004", now)


def cancels(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    back = body["orderTotalPrice"] if body["payDate"] else 0
    _turn(body, "111000", now, cancelDate=_text(now), refundMoney=back)


def opens_dispute(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    body.pop("disputeCloseDate", None)
    status = str(given.get("status", "106001"))
    after_sale = status.startswith("109")
    body |= {"disputeStatus": status, "disputeOpenDate": _text(now)}
    _turn(body, body["orderStatus"] if after_sale else "106001", now)


def dispute_turns(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    """`status`: 106003, 107001, 107002, 107003, 109002."""
    status = str(given["status"])
    body["disputeStatus"] = status
    order = {"106003": "106003", "107001": "106002", "107002": "106002", "107003": "106002"}
    _turn(body, order.get(status, str(body["orderStatus"])), now)


def closes(body: Body, now: datetime, given: Mapping[str, Any]) -> None:
    """The dispute ends; `refund`: what went back in all, `order_status`: what the order becomes."""
    back = given.get("refund", 0)
    whole = float(back) >= float(body["orderTotalPrice"])
    status = str(given.get("order_status", "111111" if whole else "102111"))
    body |= {"disputeCloseDate": _text(now), "refundMoney": back}
    _turn(body, status, now)


def confirms(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    _turn(body, "102006", now, buyerConfirmDate=_text(now))


def completes(body: Body, now: datetime, _: Mapping[str, Any]) -> None:
    _turn(body, "102111", now, inAccountDate=_text(now))


MOVES: dict[str, Callable[[Body, datetime, Mapping[str, Any]], None]] = {
    one.__name__: one
    for one in (
        pays, verified, ships, asks_back, agrees_back, takes_back, cancels, opens_dispute, dispute_turns, closes,
        confirms, completes,
    )
}  # fmt: skip


def letter(thread: Body, sender: str, name: str, content: str, now: datetime, detail_id: int) -> None:
    """One more word in a mail thread."""
    thread["msgDetailList"].append(
        {
            "detailId": detail_id,
            "content": content,
            "createTime": _text(now),
            "senderId": sender,
            "senderNickName": name,
        }
    )
    thread |= {"lastReplyTime": _text(now), "msgReplyCount": len(thread["msgDetailList"])}
