"""What has no API is prepared for a person: the text to paste and the steps in the merchant console. Reference 3.4.

Only the names of the console's buttons are known, not its addresses: tasks carry ids instead of links.
"""

from shared.domain.errands import Errand
from shared.ports import Assisted

_OPEN = "Open order {order} in the merchant console and go to its after-sale {id}."
_COMPLAINT = (
    "On the order's after-sale page open the after-sale status and choose the rights complaint (维权投诉).",
    "State the problem; add proof that the shop does not sell the item, or that the goods are free of fault.",
    "Add photos of what was shipped and the waybill, or the chat in which the buyer says how it came about.",
    "Wait for the review; note its outcome on the case.",
)
_STEPS: dict[str, tuple[str, ...]] = {
    "decline": (
        "Choose to refuse the after-sale.",
        "Give the reason and paste the explanation.",
        "Add the evidence of this case: a refusal without proof is overturned easily.",
    ),
    "authorise": (
        "Choose to agree to the refund once the parcel is refused (拒收后退款).",
        "It is there only while the parcel is on its way and all of the money is asked back without a return.",
        "The platform pays by itself once the carrier shows the refusal.",
    ),
    "intercept": (
        "Ask for the parcel to be stopped and called back (快递拦截) on the after-sale's page or with the carrier.",
        "It works between dispatch and delivery only.",
    ),
    "propose": (
        "Agree on the remedy below with the buyer in the chat; pay a compensation as a small payment (小额打款).",
        "Where the after-sale's own sum or kind changes, let the buyer change his application, or change it in the console.",
    ),
    "submit_evidence": ("Add the texts and files of this case to the after-sale as evidence.",),
    "escalate": ("Ask the platform to step in on the after-sale's page and paste the explanation.",),
    "appeal": _COMPLAINT,
    "cancel": ("Stop the shipment of the order, then agree to the refund.",),
    "set_return_address": ("Choose the return address and save it.",),
    "ship_replacement": ("Enter carrier and tracking number of the parcel in the after-sale.",),
    "confirm_receipt": (
        "Check the returned parcel, with pictures of what is in it.",
        "Confirm the receipt; the refund follows from agreeing to it.",
    ),
    "refund": ("Agree to the refund on the after-sale's page.",),
}
_GOODS = "Agree on it in the after-sale itself: exchange, sending again and repair have no method to agree with."


def prepared(errand: Errand, why: str = "") -> Assisted:
    """`why`: what keeps the API from being used this time."""
    after_sale = errand.refs.get("refund_id", errand.refs.get("external_id", "-"))
    steps = (_GOODS,) if errand.name == "authorise" and errand.case_kind == "return" else _STEPS.get(errand.name, ())
    lines = [_OPEN.format(order=errand.order_id, id=after_sale), *steps]
    if why:
        lines.append(why)
    lines.append("Confirm this task when it is done; the next reading of the after-sale shows what came of it.")
    return Assisted(text=_text(errand), checklist=tuple(lines))


def message(body: str) -> Assisted:
    return Assisted(body, checklist=("Send this text to the buyer in the merchant console's chat, as it stands.",))


def _text(errand: Errand) -> str:
    names = ("text", "comment", "reason", "note", "cause", "handling_plan", "prevention_plan")
    given = [str(errand.params[name]) for name in names if errand.params.get(name)]
    if errand.name == "propose":
        given = [_remedy(errand), *given]
    return errand.text or "\n".join(given)


def _remedy(errand: Errand) -> str:
    remedy = str(errand.params.get("remedy", "part_refund"))
    sum_ = f": {errand.money.value} {errand.money.currency}" if errand.money else ""
    return remedy.replace("_", " ") + sum_
