"""The two axes that only facts move: where the goods are, where the money is. And which facts confirm which act."""

from services.policy.core.names import as_json
from services.policy.core.orders import refund_key, refund_money
from services.policy.core.working import Working
from shared.domain.facts import Fact
from shared.domain.money import from_minor, money_in

_GOODS: dict[str, tuple[str, frozenset[str]]] = {
    "return.authorised": ("advised", frozenset({"none"})),
    "return.shipped": ("in_transit", frozenset({"none", "advised"})),
    "delivery.refused": ("refused", frozenset({"none", "advised", "in_transit"})),
    "return.received": ("received", frozenset({"none", "advised", "in_transit", "refused", "lost"})),
    "delivery.returned_to_sender": ("received", frozenset({"none", "advised", "in_transit", "refused", "lost"})),
    "return.inspected": ("inspected", frozenset({"none", "advised", "in_transit", "received", "refused", "lost"})),
    "return.rejected_on_receipt": ("refused", frozenset({"none", "advised", "in_transit", "received", "inspected"})),
    "return.lost": ("lost", frozenset({"none", "advised", "in_transit"})),
    "delivery.lost": ("lost", frozenset({"none", "advised", "in_transit"})),
    "return.cancelled": ("none", frozenset({"advised"})),
    "return.declined": ("none", frozenset({"advised"})),
}
"""Fact -> where the goods are after it, and from where it may move them: late news never moves them back."""
_BY_OPERATOR = {"confirm_receipt": "return.received", "inspect": "return.inspected"}

CONFIRMS: dict[str, frozenset[str]] = {
    "authorise": frozenset({"return.authorised"}),
    "decline": frozenset({"return.declined", "refund.offer_declined", "case.closed"}),
    "refund": frozenset({"refund.issued"}),
    "propose": frozenset({"refund.offered", "refund.offer_accepted", "refund.issued"}),
    "close": frozenset({"case.closed", "return.cancelled", "return.declined"}),
    "submit_evidence": frozenset({"evidence.submitted"}),
    "represent": frozenset({"evidence.submitted", "dispute.resolved"}),
    "appeal": frozenset({"appeal.filed", "appeal.decided"}),
    "escalate": frozenset({"dispute.escalated"}),
    "withdraw": frozenset({"dispute.withdrawn"}),
    "cancel": frozenset({"order.cancelled"}),
    "intercept": frozenset({"delivery.intercepted"}),
    "ship_replacement": frozenset({"replacement.shipped", "replacement.completed"}),
    "confirm_receipt": frozenset({"return.received"}),
    "set_return_address": frozenset({"return.authorised", "return.shipped"}),
}
"""Act -> the observed facts that confirm it. What a marketplace merely accepted is not yet done."""


def move(work: Working, fact: Fact) -> None:
    """Applies a fact to both axes."""
    kind = _BY_OPERATOR.get(work.action or "", fact.kind)
    to, from_ = _GOODS.get(kind, ("", frozenset[str]()))
    if work.goods in from_:
        work.goods = to
    _money(work, fact)


def _money(work: Working, fact: Fact) -> None:
    if fact.kind == "refund.issued":
        _count_refund(work, fact)
    elif fact.kind in ("refund.promised", "refund.offer_accepted") and work.money in ("none", "denied"):
        work.money = "promised"
    elif fact.kind == "refund.failed" and work.money == "promised":
        work.money = settled(work)
    elif fact.kind == "dispute.resolved" and fact.data.get("winner") == "seller" and work.money in ("none", "promised"):
        work.money = "denied"


def _count_refund(work: Working, fact: Fact) -> None:
    """Adds a refund once, by its own id; `refunded` is what this case has given back in all."""
    told, key = refund_money(fact), refund_key(fact)
    counted: dict[str, int] = work.facts.get("refunds", {})
    if told is not None and key not in counted:
        counted = {**counted, key: told.minor}
        work.put("refunds", counted)
        work.put("refunded", as_json(from_minor(sum(counted.values()), told.currency)))
    if not any(e.what == "act" and e.name == "refund" and e.status == "in_doubt" for e in work.errands.values()):
        work.money = settled(work) if counted else "refunded"


def settled(work: Working) -> str:
    """Where the money is by the refunds seen: all that is asked (else all that was paid), a part, or none."""
    back = money_in(work.facts, "refunded")
    if back is None or not work.facts.get("refunds"):
        return "none"
    asked = money_in(work.facts, "amount")
    paid = work.order.paid_minor if work.order.currency == back.currency else None
    whole = asked.minor if asked and asked.currency == back.currency else paid
    return "refunded" if whole is None or back.minor >= whole else "part_refunded"


def goods_back(work: Working) -> bool:
    """Whether money may go without keeping the item being said: they are back, never left, or the carrier lost them."""
    if work.goods in ("received", "inspected"):
        return True
    if work.before.kind == "cancellation":
        return work.order.shipped_at is None
    return work.goods == "lost" and "delivery_lost_at" in work.facts
