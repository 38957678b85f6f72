"""What has no API (or not for this scheme, or not without a subscription) is prepared for a person. Reference 2.4."""

from shared.domain.errands import Errand
from shared.ports import Assisted

SELLER = "https://seller.ozon.ru/app"
"""The seller centre; addresses of its pages are not published."""
_STEPS: dict[str, tuple[str, ...]] = {
    "authorise": ("Approve the return; without an answer Ozon approves it by itself.",),
    "decline": (
        "Refuse the return with the reason from Ozon's list and the comment below.",
        "The buyer may open a dispute within five calendar days.",
    ),
    "refund": ("Give the money back with the button of the return only; never by another way (R003-09).",),
    "propose": ("Offer the part of the price named below; the buyer keeps the goods.",),
    "confirm_receipt": ("Check the parcel with pictures, then confirm that the return has arrived.",),
    "escalate": (
        "Open a dispute with Ozon in the return, or write to support in the chat `Seller_Support`.",
        "Paste the text below and add the pictures of this case.",
    ),
    "submit_evidence": (
        "Hand the text and the files of this case to Ozon in the dispute's chat with support.",
        "Ozon rules within three days: do it at once.",
    ),
    "appeal": ("Write to support why the ruling is wrong, with the text below.",),
    "intercept": (
        "Ask the carrier to stop the parcel and bring it back; Ozon has no call for it.",
        "If it is too late, follow the parcel back and confirm here when it has arrived.",
    ),
    "ship_replacement": ("Ship the goods again and give the buyer the tracking number in the chat.",),
    "cancel": ("Cancel the posting in the seller centre; it counts against the shop when the fault is ours.",),
    "close": ("Nothing is closed on Ozon: note here how it ended and what caused it (R003-12).",),
}


def prepared(errand: Errand, why: str = "") -> Assisted:
    """`why`: what keeps the API from being used this time."""
    lines = [f"Open posting {errand.order_id} in the seller centre{_which(errand)}.", *_STEPS.get(errand.name, ())]
    if errand.money is not None:
        lines.append(f"Amount: {errand.money.value} {errand.money.currency}")
    if why:
        lines.append(why)
    lines.append("Keep a picture of what you did with this case, then confirm the task (R003-10).")
    return Assisted(text=_text(errand), link=SELLER, checklist=tuple(lines))


def message(errand: Errand, body: str, why: str) -> Assisted:
    lines = (f"Open the chat of posting {errand.order_id} with the buyer and send the text as it is.", why)
    return Assisted(text=body, link=SELLER, checklist=lines)


def _which(errand: Errand) -> str:
    number = errand.refs.get("return_number") or errand.refs.get("return_id")
    return f", return {number}" if number and errand.case_kind == "return" else ""


def _text(errand: Errand) -> str:
    given = [str(errand.params[name]) for name in ("text", "comment", "note") if errand.params.get(name)]
    return errand.text or "\n".join(given)
