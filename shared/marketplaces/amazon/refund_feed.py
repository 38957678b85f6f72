"""A refund by the payment adjustment feed: one row, one document, one feed. Reference A4 (S30, S31).

Amazon's own people disagree whether it refunds (S29), so it is used only where the account says `refund_by_feed`. A feed
cannot be told apart from another when read back: what is in doubt is for a person, and for the finance events.
"""

from shared.domain.errands import Errand
from shared.domain.money import Money
from shared.http import HttpFault, NotSentFault, RefusedFault
from shared.marketplaces.amazon.assisted import prepared
from shared.marketplaces.amazon.client import Client
from shared.marketplaces.amazon.messaging import attempt
from shared.marketplaces.amazon.regions import marketplace_of
from shared.ports import Attempt, Done

FEED = "POST_FLAT_FILE_PAYMENT_ADJUSTMENT_DATA"
CONTENT_TYPE = "text/tab-separated-values; charset=UTF-8"
COLUMNS = (
    "order-id", "order-item-id", "adjustment-reason-code", "currency", "item-price-adj", "item-tax-adj",
    "shipping-price-adj", "shipping-tax-adj", "gift-wrap-price-adj", "gift-wrap-tax-adj", "item-promotion-adj",
    "item-promotion-id", "ship-promotion-adj", "ship-promotion-id", "quantity-cancelled",
)  # fmt: skip
REASONS = frozenset({
    "NoInventory", "CustomerReturn", "GeneralAdjustment", "CouldNotShip", "DifferentItem", "Abandoned", "CustomerCancel",
    "PriceError", "ProductOutofStock", "CustomerAddressIncorrect", "Exchange", "Other", "CarrierCreditDecision",
    "RiskAssessmentInformationNotValid", "CarrierCoverageFailure", "TransactionRecord", "Undeliverable", "RefusedDelivery",
})  # fmt: skip
_BY_KIND = {"return": "CustomerReturn", "cancellation": "CustomerCancel"}


async def refund(client: Client, errand: Errand) -> Attempt:
    """By feed where the account allows it and all is known that a row needs; else prepared for a person."""
    account = client.account
    if errand.case_kind == "claim":
        return prepared(account, errand)
    if account.settings.get("refund_by_feed") is not True:
        return prepared(account, errand)
    item = errand.params.get("order_item_id") or errand.refs.get("order_item_id")
    reason = errand.params.get("adjustment_reason_code") or _reason(errand)
    if errand.money is None or not item:
        return prepared(
            account, errand, "The feed needs the order item id, which is not known: give it as order_item_id."
        )
    if reason not in REASONS:
        return prepared(account, errand, f"The feed knows no reason {str(reason)[:40]}.")
    return await _submit(client, row(errand.order_id, errand.money, str(item), str(reason)))


def row(order_id: str, money: Money, item: str, reason: str) -> bytes:
    """The feed's document: its heading and one line. The whole sum is an adjustment of the item's price."""
    given = {
        "order-id": order_id,
        "order-item-id": item,
        "adjustment-reason-code": reason,
        "currency": money.currency,
        "item-price-adj": money.value,
    }
    cells = (given.get(name, "").translate(_NO_BREAKS) for name in COLUMNS)
    return ("\t".join(COLUMNS) + "\n" + "\t".join(cells) + "\n").encode()


_NO_BREAKS = str.maketrans("\t\r\n", "   ")


def _reason(errand: Errand) -> str:
    kept = errand.params.get("keep_item") is True
    return "GeneralAdjustment" if kept else _BY_KIND.get(errand.case_kind, "GeneralAdjustment")


async def _submit(client: Client, document: bytes) -> Attempt:
    """Nothing is refunded before the feed itself is asked for: what fails earlier is not sent."""
    try:
        document_id = await _laid_up(client, document)
    except HttpFault as fault:
        return attempt(fault, before=True)
    feed = {"feedType": FEED, "marketplaceIds": [marketplace_of(client.account)], "inputFeedDocumentId": document_id}
    try:
        told = await client.call("POST", "/feeds/2021-06-30/feeds", "createFeed", body=feed)
    except HttpFault as fault:
        return attempt(fault)
    feed_id = told.get("feedId")
    return Done(feed_id if isinstance(feed_id, str) else None)


async def _laid_up(client: Client, document: bytes) -> str:
    """The id under which Amazon keeps the document."""
    made = await client.call(
        "POST", "/feeds/2021-06-30/documents", "createFeedDocument", body={"contentType": CONTENT_TYPE}, reads=True
    )
    address, document_id = made.get("url"), made.get("feedDocumentId")
    if not isinstance(address, str) or not isinstance(document_id, str):
        raise NotSentFault("createFeedDocument: the answer names no document")
    try:
        await client.upload(address, document, CONTENT_TYPE)
    except RefusedFault as fault:  # of the place for documents, not of our credentials
        raise NotSentFault(f"the feed's document was not taken: {fault.why}") from fault
    return document_id
