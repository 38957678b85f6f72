"""DHgate has no API to answer a dispute: every act is prepared for a person. Reference 4.4.

What the console would refuse is refused here before anybody opens it (CR-DH-03, CR-DH-04).
"""

from shared.domain.errands import Errand
from shared.domain.money import Money, money_in
from shared.marketplaces.dhgate import address
from shared.ports import Assisted, Refused

LINK = "https://seller.dhgate.com"
_OPEN = "Open order {order} in the seller console and go to its refund and dispute page."
_STEPS: dict[str, tuple[str, ...]] = {
    "refund": (
        "Agree to the refund the buyer asks for, or enter exactly the amount below as the final one.",
        "Check that the goods need not come back, or are back already.",
    ),
    "authorise": (
        "Agree to the return and enter the return address below, in English with district and street (CR-DH-04).",
        "The buyer has 7 days to ship; once a tracking number is given, silence for 30 days refunds him.",
    ),
    "set_return_address": ("Enter the return address below, in English with district and street (CR-DH-04).",),
    "propose": (
        "Refuse the buyer's proposal and enter ours: 0, a real part or the full amount, never 0.01 (CR-DH-03).",
        "A full refund needs no other option beside it.",
    ),
    "decline": (
        "Refuse the proposal with a counter-proposal of 0 (CR-DH-03) and give the reason below.",
        "Add the evidence of this case.",
    ),
    "submit_evidence": (
        "Upload the evidence of this case on the dispute's page.",
        "Not received: tracking history, shipping receipt and proof of delivery (CR-DH-02). Without them DHgate refunds.",
    ),
    "represent": ("Answer the dispute analyst with the text below and the evidence of this case.",),
    "escalate": (
        "Ask DHgate to step in on the dispute's page, with the explanation below and the evidence of this case.",
    ),
    "confirm_receipt": (
        "Check the returned goods first, with pictures of parcel and contents.",
        "Confirm the receipt of the return; the refund follows from it.",
    ),
    "cancel": ("Agree to the refund of this unshipped order.",),
    "close": ("A dispute ends by agreement, ruling or the buyer's withdrawal: see that one of them is there.",),
    "intercept": ("Ask the carrier to stop the parcel and send it back.",),
    "ship_replacement": (
        "Ship the replacement and tell the buyer its number; the order's page takes no second parcel.",
    ),
}
_REMEDY = {
    "part_refund": "part of the money back, the buyer keeps the goods",
    "exchange": "the goods back against new ones",
    "resend": "another parcel, nothing comes back",
    "return_refund": "the goods back, then the money",
    "coupon": "a coupon, which the console has no option for: agree on it by mail",
}
_END = "Confirm this task when it is done; the next reading of the dispute shows what came of it."


def refusal(errand: Errand, given_address: str | None) -> Refused | None:
    """What the console would not take."""
    money = money_of(errand)
    if errand.name == "propose" and money is not None and money.minor == 1:
        return Refused("CR-DH-03: a counter-proposal is 0, a real part or the full amount, never the smallest coin")
    if errand.name not in ("authorise", "set_return_address") or given_address is None:
        return None
    why = address.fault(given_address)
    return Refused(f"CR-DH-04: {why}") if why else None


def prepared(errand: Errand, given_address: str | None) -> Assisted:
    lines = [_OPEN.format(order=errand.order_id), *_STEPS.get(errand.name, ()), *_details(errand, given_address), _END]
    return Assisted(text=_text(errand), link=LINK, checklist=tuple(lines))


def _details(errand: Errand, given_address: str | None) -> list[str]:
    money, remedy = money_of(errand), _REMEDY.get(str(errand.params.get("remedy", "")))
    lines = [f"Amount: {money.value} {money.currency}"] if money else []
    lines += [f"Remedy: {remedy}"] if remedy else []
    if errand.name in ("authorise", "set_return_address"):
        lines.append(f"Return address: {given_address}" if given_address else "Return address: still to be chosen")
    files = [str(one.get("what") or one.get("evidence_id")) for one in errand.params.get("files", ())]
    return lines + ([f"Evidence: {', '.join(files)}"] if files else [])


def money_of(errand: Errand) -> Money | None:
    return errand.money or money_in(dict(errand.params), "amount")


def _text(errand: Errand) -> str:
    names = ("text", "comment", "reason", "cause", "handling_plan", "prevention_plan")
    given = [str(errand.params[name]) for name in names if errand.params.get(name)]
    return errand.text or "\n".join(given)
