"""What a notification means, whichever way it came (forwarded or read from the queue). Pure. Reference A1.3.

Types of no concern are named, so that only what Amazon adds is counted as unknown.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime

from shared.clock import format_time, to_micros
from shared.domain.facts import Draft
from shared.json_reader import Unreadable
from shared.marketplaces.amazon.envelope import Body, Envelope, first, items, moment
from shared.ports import Account, Facts, Ignored, NeedsFetch, Parsed, Unmapped

RETURNS_REPORTS = ("GET_FLAT_FILE_RETURNS_DATA_BY_RETURN_DATE", "GET_XML_RETURNS_DATA_BY_RETURN_DATE")
ORDER_STATUS = {
    "Pending": "order.payment_pending",
    "Unshipped": "order.placed",
    "PartiallyShipped": "delivery.updated",
    "Shipped": "order.shipped",
    "Canceled": "order.cancelled",
}
OF_NO_CONCERN = frozenset({"PendingAvailability", "InvoiceUnconfirmed", "Unfulfillable"})
"""Order statuses that no after-sales case needs."""
EASY_SHIP = {
    "Delivered": "delivery.delivered",
    "RejectedByBuyer": "delivery.refused",
    "Undeliverable": "delivery.failed",
    "ReturnedToSeller": "delivery.returned_to_sender",
    "Lost": "delivery.lost",
}
_OTHERS = """
ANY_OFFER_CHANGED B2B_ANY_OFFER_CHANGED BRANDED_ITEM_CONTENT_CHANGE DATA_KIOSK_QUERY_PROCESSING_FINISHED
DETAIL_PAGE_TRAFFIC_EVENT FBA_INVENTORY_AVAILABILITY_CHANGES FBA_OUTBOUND_SHIPMENT_STATUS FEE_PROMOTION
ITEM_INVENTORY_EVENT_CHANGE ITEM_PRODUCT_TYPE_CHANGE ITEM_SALES_EVENT_CHANGE LISTINGS_ITEM_ISSUES_CHANGE
LISTINGS_ITEM_MFN_QUANTITY_CHANGE LISTINGS_ITEM_STATUS_CHANGE PRICING_HEALTH PRODUCT_TYPE_DEFINITIONS_CHANGE
SHIPMENT_TRACKING_MILESTONE_CHANGED
"""
OTHER_TYPES = frozenset(_OTHERS.split())
_ORDER_ID = re.compile(r"[A-Za-z0-9-]{3,60}")
_MONEY_TYPES = ("refund", "guarantee", "claim", "chargeback")


def meaning(envelope: Envelope, account: Account) -> Parsed:
    """Raises Unreadable (naming the place) where a known type lacks what it needs."""
    read = _TYPES.get(envelope.type)
    if read is not None:
        return read(envelope, account)
    if envelope.type in OTHER_TYPES:
        return Ignored(f"{envelope.type} is of no concern to cases")
    return Unmapped(f"type:{envelope.type[:60]}")


def _order_change(envelope: Envelope, account: Account) -> Parsed:
    told = envelope.payload
    order = order_id(told.get("amazonOrderId"), "$.payload.amazonOrderId")
    summary = told.get("summary")
    summary = summary if isinstance(summary, dict) else {}
    trigger = told.get("orderChangeTrigger")
    trigger = trigger if isinstance(trigger, dict) else {}
    at = moment(trigger.get("timeOfOrderChange")) or envelope.at
    if at is None:
        raise Unreadable("$.payload.orderChangeTrigger.timeOfOrderChange", "no time, and none in the envelope")
    status, what = first(summary, "orderStatus"), first(told, "orderChangeType")
    reason = first(trigger, "changeReason") or what
    wanted = any(item.get("isBuyerRequestedCancel") is True for item in items(summary.get("orderItems")))
    told_now = reason if what == "BuyerRequestedChange" else "IsBuyerRequestedCancel"
    asked = (_about(order, "order.cancel_requested", told_now, at, summary),) if wanted else ()
    match what:
        case "DeliveryTipChange":
            return Ignored("a delivery tip was changed")
        case "BuyerRequestedChange":
            return Facts(asked) if asked else _kept(order, f"{what}:{reason}"[:80], at, summary)
        case "OrderStatusChange":
            return _status(order, status, at, summary, asked)
        case _:
            return _kept(order, f"order_change:{what[:60]}", at, summary)


def _status(order: str, status: str, at: datetime, summary: Body, asked: tuple[Draft, ...]) -> Parsed:
    """A buyer's wish that stands on the order comes first: it was there before what became of it."""
    parcel = first(summary, "easyShipShipmentStatus")
    kinds = [(ORDER_STATUS.get(status), status), (EASY_SHIP.get(parcel), parcel)]
    drafts = asked + tuple(_about(order, kind, raw, at, summary) for kind, raw in kinds if kind)
    if status not in ORDER_STATUS and status not in OF_NO_CONCERN:
        return Unmapped(f"order_status:{status[:60]}", drafts)
    return Facts(drafts) if drafts else Ignored(f"order status {status}")


def _kept(order: str, code: str, at: datetime, summary: Body) -> Unmapped:
    return Unmapped(code, (_about(order, "case.updated", code, at, summary),))


def _about(order: str, kind: str, raw: str, at: datetime, summary: Body) -> Draft:
    """All news of an order speaks of its cancellation: what is older than the case knows then changes nothing there."""
    skus = sorted({sku for item in items(summary.get("orderItems")) if (sku := first(item, "sellerSKU"))})
    known = {
        "order_status": first(summary, "orderStatus"),
        "fulfilment": first(summary, "fulfillmentType"),
        "item": ", ".join(skus)[:200],
        **dict(_times(summary)),
    }
    return Draft(
        kind=kind,
        occurred_at=at,
        order_id=order,
        case_kind="cancellation",
        external_id=order,
        raw_code=raw,
        revision=to_micros(at) // 1000,
        data={name: value for name, value in known.items() if value},
    )


def _times(summary: Body) -> Iterator[tuple[str, str]]:
    named = {"ship_by": "latestShipDate", "latest_delivery": "latestDeliveryDate", "purchased_at": "purchaseDate"}
    for name, key in named.items():
        if (at := moment(summary.get(key))) is not None:
            yield name, format_time(at)


def _report(envelope: Envelope, account: Account) -> Parsed:
    kind, report = first(envelope.payload, "reportType"), first(envelope.payload, "reportId")
    if kind not in RETURNS_REPORTS:
        return Ignored("a report of another type")
    return NeedsFetch(f"report:{order_id(report, '$.payload.reportId')}")


def _feed(envelope: Envelope, account: Account) -> Parsed:
    """What a feed did is seen where it shows (an order, the finances); that it failed is seen only here."""
    told = envelope.payload
    status, feed = first(told, "processingStatus"), order_id(told.get("feedId"), "$.payload.feedId")
    if status == "DONE":
        return Ignored("a feed was worked off")
    code = f"FEED:{first(told, 'feedType')[:60]}:{status[:20]}"
    return Facts((Draft(kind="case.updated", occurred_at=_at(envelope), refs={"feed_id": feed}, raw_code=code),))


def _transaction(envelope: Envelope, account: Account) -> Parsed:
    """A doorbell: the finance events of the order say what was paid to whom."""
    told = envelope.payload
    kind = first(told, "transactionType")
    if kind == "Shipment" or account.settings.get("finances", True) is False:
        return Ignored(f"transaction {kind[:60]}")
    named = {
        first(one, "relatedIdentifierName").replace("_", "").lower(): first(one, "relatedIdentifierValue")
        for one in items(told.get("relatedIdentifiers"))
    }
    if not any(word in kind.lower() for word in _MONEY_TYPES):
        return Unmapped(f"transaction:{kind[:60]}")
    if not named.get("orderid"):
        return Ignored("a transaction that names no order: the sweep over the finances finds it")
    return NeedsFetch(f"finances:{order_id(named['orderid'], '$.payload.relatedIdentifiers')}")


def _fulfilment(envelope: Envelope, account: Account) -> Parsed:
    """Multi-channel orders: only a return that Amazon received is after-sales news."""
    told = envelope.payload
    back = told.get("fulfillmentReturnItem")
    if not isinstance(back, dict):
        return Ignored("a multi-channel order without a return")
    order = order_id(told.get("sellerFulfillmentOrderId"), "$.payload.sellerFulfillmentOrderId")
    quantity = back.get("returnedQuantity")
    draft = Draft(
        kind="return.received",
        occurred_at=moment(back.get("receivedDateTime")) or _at(envelope),
        order_id=order,
        raw_code=first(told, "fulfillmentOrderStatus") or None,
        data={"item": first(back, "sellerSKU"), **({"quantity": quantity} if isinstance(quantity, int) else {})},
    )
    return Facts((draft,))


def _account_status(envelope: Envelope, account: Account) -> Parsed:
    status = first(envelope.payload, "currentAccountStatus")
    if status == "NORMAL":
        return Ignored("the account's health is normal")
    code = f"ACCOUNT_STATUS:{status[:40]}"
    return Facts((Draft(kind="case.updated", occurred_at=_at(envelope), refs={"account_status": code}, raw_code=code),))


def _at(envelope: Envelope) -> datetime:
    if envelope.at is None:
        raise Unreadable("$.eventTime", "no time")
    return envelope.at


def order_id(value: object, place: str) -> str:
    """An id that may stand in a path. Raises Unreadable."""
    text = str(value or "").strip()
    if not _ORDER_ID.fullmatch(text):
        raise Unreadable(place, "missing or no id")
    return text


_TYPES: dict[str, Callable[[Envelope, Account], Parsed]] = {
    "ORDER_CHANGE": _order_change,
    "REPORT_PROCESSING_FINISHED": _report,
    "FEED_PROCESSING_FINISHED": _feed,
    "TRANSACTION_UPDATE": _transaction,
    "FULFILLMENT_ORDER_STATUS": _fulfilment,
    "ACCOUNT_STATUS_CHANGED": _account_status,
}
