"""What has no API is prepared for a person: the text to paste and the steps to take. Reference B4.1."""

from shared.domain.errands import Errand
from shared.ports import Assisted

_OPEN = "Open order {order} in the seller centre and go to its dispute {issue}."
_STEPS: dict[str, tuple[str, ...]] = {
    "escalate": (
        "Choose to escalate the dispute to AliExpress.",
        "The reason is fixed and greyed out; only the explanation is typed (R004-04).",
        "Paste the explanation and add the evidence of this case.",
    ),
    "withdraw": (
        "Choose to withdraw the escalation.",
        "If AliExpress answers with an error, leave it: the arbiter checks the delivery himself (R004-05).",
    ),
    "confirm_receipt": (
        "Check the returned parcel first, with pictures of what is in it.",
        "Confirm the receipt of the return; the refund follows from it.",
    ),
    "set_return_address": ("Choose the return address the buyer shall send the goods to, and save it.",),
    "appeal": ("Open the ruling and file an appeal with the text and the evidence of this case.",),
    "submit_evidence": (
        "Add the evidence of this case to the dispute before its deadline.",
        "The API takes pictures only; texts and videos are added by hand.",
    ),
    "propose": ("This remedy has no plan of its own on AliExpress: agree on it with the buyer in the dispute.",),
    "ship_replacement": (
        "Ship the new parcel and write its tracking number into the dispute's messages.",
        "The dispute stays open: see that the buyer withdraws it, or that a plan is agreed.",
    ),
    "cancel": ("Open the order and answer the buyer's request to cancel it.",),
    "close": ("A dispute ends by an agreed plan, a ruling or the buyer's withdrawal; see that one of them is there.",),
}
_ADDRESS = "Use this return address: {address}"


def prepared(errand: Errand, why: str = "") -> Assisted:
    """`why`: what keeps the API from being used this time."""
    issue = errand.refs.get("issue_id", errand.refs.get("trade_order_line_id", "-"))
    lines = [_OPEN.format(order=errand.order_id, issue=issue), *_STEPS.get(errand.name, ())]
    address = errand.params.get("return_address_id")
    if errand.name == "set_return_address" and address:
        lines.append(_ADDRESS.format(address=address))
    if why:
        lines.append(why)
    lines.append("Confirm this task when it is done; the next reading of the dispute shows what came of it.")
    return Assisted(text=_text(errand), checklist=tuple(lines))


def _text(errand: Errand) -> str:
    given = [str(errand.params[name]) for name in ("text", "comment", "note") if errand.params.get(name)]
    return errand.text or "\n".join(given)
