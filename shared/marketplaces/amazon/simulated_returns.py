"""The simulator's returns and finance events: a plausible row per return, how each moves, and the documents they make.

It rehearses, it proves nothing about the real marketplace.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape
from zlib import crc32

from shared.clock import format_time

Line = dict[str, str]
LABELS = {
    "order_id": "Order ID", "order_date": "Order date", "return_request_date": "Return request date",
    "return_request_status": "Return request status", "amazon_rma_id": "Amazon RMA ID",
    "merchant_rma_id": "Merchant RMA ID", "label_type": "Label type", "label_cost": "Label cost",
    "currency_code": "Currency code", "return_carrier": "Return carrier", "tracking_id": "Tracking ID",
    "label_to_be_paid_by": "Label to be paid by", "a_to_z_claim": "A-to-Z Claim", "is_prime": "Is prime",
    "asin": "ASIN", "merchant_sku": "Merchant SKU", "item_name": "Item Name", "return_quantity": "Return quantity",
    "return_reason_code": "Return Reason", "in_policy": "In policy", "return_type": "Return type",
    "resolution": "Resolution", "invoice_number": "Invoice number", "return_delivery_date": "Return delivery date",
    "order_amount": "Order Amount", "order_quantity": "Order quantity", "safet_action_reason": "SafeT Action reason",
    "safet_claim_id": "SafeT claim id", "safet_claim_state": "SafeT claim state",
    "safet_claim_creation_time": "SafeT claim creation time",
    "safet_claim_reimbursement_amount": "SafeT claim reimbursement amount", "refund_amount": "Refunded Amount",
}  # fmt: skip
_LABEL_PARTS = ("tracking_id", "return_carrier", "currency_code", "label_cost", "label_type")
_ITEM_PARTS = (
    "item_name", "asin", "return_reason_code", "merchant_sku", "in_policy", "return_quantity", "resolution", "refund_amount",
)  # fmt: skip


def day(moment: datetime) -> str:
    return f"{moment:%d-%b-%Y}"


def made_up(order: str, now: datetime, given: Mapping[str, Any]) -> Line:
    """A lamp that came damaged, 39.90 USD, waiting to be authorised; `given` is laid over."""
    number = crc32(order.encode())
    line = {
        "order_id": order,
        "order_date": day(now),
        "return_request_date": day(now),
        "return_request_status": "Pending Authorization",
        "amazon_rma_id": f"D{number % 10**8:08d}RRMA",
        "currency_code": "USD",
        "a_to_z_claim": "N",
        "is_prime": "N",
        "asin": "B000000001",
        "merchant_sku": "LAMP-01",
        "item_name": "Désk lamp, 40 cm",
        "return_quantity": "1",
        "return_reason_code": "CR-DAMAGED_BY_CARRIER",
        "in_policy": "Y",
        "return_type": "C-Returns",
        "resolution": "StandardRefund",
        "order_amount": "39.90",
        "order_quantity": "1",
    }
    return line | {name: str(value) for name, value in given.items() if name in LABELS}


def flat(lines: list[Line]) -> bytes:
    """Tab-separated with the trailing empty cells left away, in Windows Latin, as real files come."""
    heading = "\t".join(LABELS.values())
    rows = ["\t".join(line.get(name, "") for name in LABELS).rstrip("\t") for line in lines]
    return "\r\n".join([heading, *rows, ""]).encode("cp1252", "replace")


def xml(lines: list[Line]) -> bytes:
    returns = "".join(f"<return_details>{_head(line)}{_item(line)}</return_details>" for line in lines)
    text = f'<?xml version="1.0" encoding="UTF-8"?><AmazonEnvelope><Message>{returns}</Message></AmazonEnvelope>'
    return text.encode()


def _head(line: Line) -> str:
    rest = [name for name in LABELS if name not in (*_LABEL_PARTS, *_ITEM_PARTS)]
    return _tags(line, rest) + f"<label_details>{_tags(line, _LABEL_PARTS)}</label_details>"


def _item(line: Line) -> str:
    return f"<item_details>{_tags(line, _ITEM_PARTS)}</item_details>"


def _tags(line: Line, names: Any) -> str:
    return "".join(f"<{name}>{escape(line[name])}</{name}>" for name in names if line.get(name))


def authorised(line: Line, now: datetime, given: Mapping[str, Any]) -> None:
    line["return_request_status"] = "Approved"


def ships(line: Line, now: datetime, given: Mapping[str, Any]) -> None:
    line["tracking_id"] = str(given.get("tracking_id", "9202090339598363834190"))
    line["return_carrier"] = str(given.get("return_carrier", "USPS"))


def arrives(line: Line, now: datetime, given: Mapping[str, Any]) -> None:
    line["return_delivery_date"] = day(now)


def refunded(line: Line, now: datetime, given: Mapping[str, Any]) -> None:
    """Completed with all that was paid, or with `amount`."""
    line["refund_amount"] = str(given.get("amount", line["order_amount"]))
    line["return_request_status"] = "Completed"


def closed_by_seller(line: Line, now: datetime, given: Mapping[str, Any]) -> None:
    line["return_request_status"] = "Closed by seller"


def closed_by_buyer(line: Line, now: datetime, given: Mapping[str, Any]) -> None:
    line["return_request_status"] = "Closed by buyer"


def claimed(line: Line, now: datetime, given: Mapping[str, Any]) -> None:
    line["a_to_z_claim"] = "Y"


MOVES: dict[str, Callable[[Line, datetime, Mapping[str, Any]], None]] = {
    move.__name__: move for move in (authorised, ships, arrives, refunded, closed_by_seller, closed_by_buyer, claimed)
}


def finance_event(order: str, now: datetime, given: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One ShipmentEvent; `amount` is negative for what leaves us. A fee is beside it, as in real events."""
    money = {"CurrencyCode": given.get("currency", "USD"), "CurrencyAmount": float(given.get("amount", "-39.90"))}
    fee = {"CurrencyCode": money["CurrencyCode"], "CurrencyAmount": 5.99}
    item = {
        "SellerSKU": "LAMP-01",
        "OrderAdjustmentItemId": f"7000000000{number:04d}",
        "ItemChargeAdjustmentList": [{"ChargeType": "Principal", "ChargeAmount": money}],
        "ItemFeeAdjustmentList": [{"FeeType": "Commission", "FeeAmount": fee}],
    }
    return {"AmazonOrderId": order, "PostedDate": format_time(now), "ShipmentItemAdjustmentList": [item]}
