"""What has no API is prepared for a person in Seller Central: the text to paste, the order's page, the steps. Reference A4.

The address of an order's page is common knowledge of sellers, not documented; `seller_central` replaces its beginning.
"""

from shared.domain.errands import Errand
from shared.ports import Account, Assisted

SELLER_CENTRAL = "https://sellercentral.amazon.com"
_READ = "Read the return reason and the buyer's comment first; both decide what is right (R000-02)."
_SPELLING = (
    "Read it once more: whole sentences, no spelling mistake. A careless answer is worse than a refund (R001-14)."
)
_RETURN: dict[str, tuple[str, ...]] = {
    "authorise": (
        _READ,
        "Manage Returns: choose Authorize Request; it permits the way back only, nothing is refunded by it (R000-12).",
        "Choose the label and the return address Amazon shows to the buyer; never write an address in a message.",
    ),
    "close": (
        _READ,
        "Manage Returns: choose Close Request, select the reason {reason} and paste the comment: Amazon sends it to the buyer.",
        "A closed request cannot be opened again; the buyer would have to file a new one.",
    ),
    "refund": (
        "Check that no A-to-Z claim is open on this order: under a claim the refund goes through the claim's page.",
        "Manage Returns (or the order): choose Issue Refund, enter {amount}, choose the reason.",
    ),
    "confirm_receipt": ("Note the arrival and the state of the goods in Manage Returns.",),
    "ship_replacement": (
        "Ship the replacement with a tracked service.",
        "Enter {carrier} {tracking} with the order, so that the buyer sees it.",
    ),
}
_CLAIM: dict[str, tuple[str, ...]] = {
    "represent": (
        "Performance > A-to-z Guarantee claims > Action required: choose the claim and Represent to Amazon.",
        "Say in order: what was shipped when, each contact, the solution offered, what the buyer has not shown (R001-13).",
        "Answer what does not fit with a fact: proof of delivery, tracking record, pictures of what was shipped.",
        "The box takes no attachments: send them through Buyer-Seller Messages and say so in the text.",
        _SPELLING,
    ),
    "appeal": (
        "Performance > A-to-z Guarantee claims > Option to appeal: choose the claim and Appeal decision.",
        "Name the cause, how this case was handled, and how it is prevented from now on (R001-18).",
        _SPELLING,
    ),
    "refund": (
        "Performance > A-to-z Guarantee claims: choose the claim and Refund customer, amount {amount}.",
        "It closes the claim and admits the fault: see that the reason given is noted in your own books (R001-15).",
    ),
    "submit_evidence": (
        "Send these through Buyer-Seller Messages of the order, at most 10 MB each: the claim itself takes no attachments.",
        "Then name them in the claim: proof of delivery, tracking record, message history, pictures.",
    ),
    "cancel": (
        "The buyer has been asked whether he still wants the item (R001-16): cancel only if he does not.",
        "Open the order and choose Cancel order; the claim ends with it.",
    ),
}
_CANCELLATION: dict[str, tuple[str, ...]] = {
    "cancel": ("Open the order and choose Cancel order; reason: the buyer cancelled.",),
    "decline": ("Leave the order as it is and ship it; the buyer is told by message.",),
    "refund": ("Open the order and choose Refund Order, amount {amount}.",),
}
_STEPS = {"claim": _CLAIM, "cancellation": _CANCELLATION}
_LAST = "Confirm this task when it is done; the next report or finance event shows what came of it."


def prepared(account: Account, errand: Errand, why: str = "") -> Assisted:
    """An act for a person. `why`: what kept the API from being used this time."""
    steps = _STEPS.get(errand.case_kind, {}).get(errand.name) or _RETURN.get(errand.name, ())
    told = {name: str(value) for name, value in errand.params.items()}
    given = {"reason": "-", "carrier": "", "tracking": "", **told, "amount": _amount(errand)}
    lines = [f"Open order {errand.order_id} in Seller Central{_named(errand)}.", *(s.format(**given) for s in steps)]
    lines += [why] if why else []
    return Assisted(_text(errand), order_page(account, errand.order_id), (*lines, _LAST))


def by_hand(account: Account, errand: Errand, body: str, why: str) -> Assisted:
    """A message for a person to send."""
    lines: tuple[str, ...] = (
        why,
        f"Open order {errand.order_id} in Seller Central and choose Contact Buyer.",
        "Paste the text as it is; add nothing to it.",
    )
    if errand.attachments:
        lines += (
            "Attach the files of this message: instructions, labels, invoices and legal papers only, at most 10 MB.",
        )
    return Assisted(body, order_page(account, errand.order_id), lines)


def order_page(account: Account, order_id: str) -> str:
    start = str(account.settings.get("seller_central") or SELLER_CENTRAL).rstrip("/")
    return f"{start}/orders-v3/order/{order_id}"


def _named(errand: Errand) -> str:
    rma = errand.refs.get("amazon_rma_id") or errand.refs.get("merchant_rma_id")
    return f" and go to its return {rma}" if rma and errand.case_kind == "return" else ""


def _amount(errand: Errand) -> str:
    return f"{errand.money.value} {errand.money.currency}" if errand.money else "the amount decided"


def _text(errand: Errand) -> str:
    plan = {
        "cause": "What went wrong",
        "handling_plan": "What we did for this buyer",
        "prevention_plan": "What we changed so that it does not happen again",
    }
    if errand.name == "appeal":
        return "\n\n".join(
            f"{title}:\n{errand.params[name]}" for name, title in plan.items() if errand.params.get(name)
        )
    given = [str(errand.params[name]) for name in ("text", "comment", "note") if errand.params.get(name)]
    return errand.text or "\n".join(given)
