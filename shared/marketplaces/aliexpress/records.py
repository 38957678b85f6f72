"""A dispute's record into facts: what has happened between the previous reading and this one. Pure. Reference B3.

Every fact of one reading carries the same snapshot of typed fields, the same raw status and the same revision, so
that whichever of them is applied last leaves the case with the same fields.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shared.clock import format_time
from shared.domain.facts import Draft
from shared.domain.money import Money
from shared.marketplaces.aliexpress.issue import PAID_OUT, Issue, Plan
from shared.ports import Account

CASE_KIND = "dispute"
STATUS_FACT = {
    "wait_for_seller_response": "dispute.response_required",
    "wait_for_your_response": "dispute.response_required",
    "wait_for_your_evidence": "dispute.evidence_requested",
    "wait_for_AE_feedback": "dispute.escalated",
    "wait_for_warehouse_quality_check": "return.received",
}
"""What coming into a status means; every other one is `case.updated` with its raw code."""
FIRST = "wait_for_seller_response"
"""The status a dispute opens in: there its opening says it all."""
_STAGE = {"wait_for_AE_feedback": "arbitration", "wait_for_final_solution": "arbitration"}
_STAGE |= {"wait_ae_final_feedback": "arbitration", "ae_feedback_finish": "arbitration"}


def facts(
    record: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Sequence[Draft]:
    issue = Issue(record)
    before = None if previous is None else Issue(previous)
    found = tuple(_all(issue, before, issue.changed_at or now))
    if found or before is None or snapshot(issue) == snapshot(before):
        return found
    return (_draft(issue, "case.updated", issue.changed_at or now),)


def _all(issue: Issue, before: Issue | None, seen: datetime) -> Iterator[Draft]:
    if before is None:
        pictures = issue.images("buyer") or None
        yield _draft(issue, "dispute.opened", issue.opened_at or seen, images=pictures)
    yield from _plans(issue, before, seen)
    yield from _return(issue, before, seen)
    if before is not None:
        yield from _evidence(issue, before, seen)
    if issue.is_over and not (before and before.is_over):
        yield from _end(issue, before, seen)
    elif not issue.is_over:
        yield from _status(issue, before, seen)


def _plans(issue: Issue, before: Issue | None, seen: datetime) -> Iterator[Draft]:
    offer, earlier = issue.seller_plan, before.seller_plan if before else None
    if offer and (earlier is None or offer.same != earlier.same):
        yield _draft(issue, _offer_fact(offer), offer.changed or seen)
    if _newly(offer, earlier, "buyer_refused"):
        yield _draft(issue, "refund.offer_declined", seen)
    agreed = issue.agreed
    if agreed and not (before and before.agreed and before.agreed.same == agreed.same):
        yield from _agreement(issue, agreed, agreed.reached or seen)


def _offer_fact(offer: Plan) -> str:
    """Our own plan of zero is how the seller says no (reference B4.1)."""
    return "return.declined" if offer.money is not None and not offer.money.minor else "refund.offered"


def _newly(plan: Plan | None, earlier: Plan | None, status: str) -> bool:
    return plan is not None and plan.status == status and not (earlier and earlier.status == status)


def _agreement(issue: Issue, agreed: Plan, at: datetime) -> Iterator[Draft]:
    if agreed.owner == "seller":
        yield _draft(issue, "refund.offer_accepted", at)
    if agreed.money is None or agreed.money.minor:
        yield _draft(issue, "return.authorised" if agreed.returns else "refund.promised", at)


def _return(issue: Issue, before: Issue | None, seen: datetime) -> Iterator[Draft]:
    if issue.return_no and not (before and before.return_no):
        yield _draft(issue, "return.shipped", seen)


def _evidence(issue: Issue, before: Issue, seen: datetime) -> Iterator[Draft]:
    for owner in ("buyer", "seller"):
        new = issue.images(owner) - before.images(owner)
        if new > 0:
            yield _draft(issue, "evidence.submitted", seen, supplied_by=owner, images=new)


def _status(issue: Issue, before: Issue | None, seen: datetime) -> Iterator[Draft]:
    kind = STATUS_FACT.get(issue.status, "case.updated")
    if before is None:
        if issue.status != FIRST:
            yield _draft(issue, kind, seen)
    elif issue.status != before.status or _plan_changed(issue, before):
        yield _draft(issue, kind, seen)


def _plan_changed(issue: Issue, before: Issue) -> bool:
    """The buyer changed his plan while it is ours to answer: his clock starts again (reference B3.3)."""
    plan, earlier = issue.buyer_plan, before.buyer_plan
    return plan is not None and (earlier is None or plan.same != earlier.same)


def _end(issue: Issue, before: Issue | None, seen: datetime) -> Iterator[Draft]:
    if issue.is_withdrawn:
        yield _draft(issue, "dispute.withdrawn", seen)
        return
    agreed = issue.agreed
    if issue.status == "return_success" and agreed and agreed.returns:
        yield _draft(issue, "return.received", seen)
    paid = issue.paid_out
    if paid and paid.minor:
        yield _draft(issue, "refund.issued", seen, refunded=_money(paid), refund_id=issue.id)
    yield _draft(issue, "dispute.resolved", seen, winner=_winner(issue, paid), refunded=_money(paid))


def _winner(issue: Issue, paid: Money | None) -> str:
    if paid is None or not paid.minor:
        return "none" if issue.status in PAID_OUT else "seller"
    asked = issue.buyer_plan.money if issue.buyer_plan else None
    if asked is None or asked.currency != paid.currency or paid.minor >= asked.minor:
        return "buyer"
    return "split"


def snapshot(issue: Issue) -> dict[str, Any]:
    """The typed fields of a dispute now; what is not known is left out."""
    buyer, seller, platform, agreed = issue.buyer_plan, issue.seller_plan, issue.platform_plan, issue.agreed
    known = {
        "reason": issue.reason,
        "reason_code": str(issue.body["issue_reason_id"]) if issue.body.get("issue_reason_id") else None,
        "reason_text": issue.reason_text,
        "comment": issue.comment,
        "item": issue.body.get("product_name"),
        "amount": _money(buyer.money) if buyer else None,
        "return_required": plan.returns if (plan := agreed or buyer) else None,
        "offered": _money(seller.money) if seller else None,
        "offer_returns": seller.returns if seller else None,
        "platform_amount": _money(platform.money) if platform else None,
        "platform_returns": platform.returns if platform else None,
        "agreed_amount": _money(agreed.money) if agreed else None,
        "reached_type": (agreed.reached_type or None) if agreed else None,
        "return_fee_by": (agreed.fee_by or None) if agreed else None,
        "max_refund": _money(_ceiling(issue)),
        "buyer_id": issue.buyer,
        "timeout_type": issue.timeout_type,
        "tracking_number": issue.return_no,
        "carrier": issue.return_carrier,
        "stage": _STAGE.get(issue.status, "case"),
    }
    due = None if issue.is_over or issue.due_at is None else format_time(issue.due_at)
    known["due_at"] = due
    return {name: value for name, value in known.items() if value is not None}


def _ceiling(issue: Issue) -> Money | None:
    """What may be given at most; where it is not told (it is 0.00 once all is over), never more than is asked."""
    if issue.max_refund is not None and issue.max_refund.minor:
        return issue.max_refund
    return issue.buyer_plan.money if issue.buyer_plan else None


def _money(money: Money | None) -> dict[str, str] | None:
    return None if money is None else {"value": money.value, "currency": money.currency}


def _refs(issue: Issue) -> dict[str, str]:
    refs = {
        "issue_id": issue.id,
        "trade_order_line_id": issue.line_id,
        "buyer_login_id": issue.buyer,
        "buyer_solution_id": issue.buyer_plan.id if issue.buyer_plan else None,
        "seller_solution_id": issue.seller_plan.id if issue.seller_plan else None,
        "platform_solution_id": issue.platform_plan.id if issue.platform_plan else None,
    }
    return {name: value for name, value in refs.items() if value}


def _draft(issue: Issue, kind: str, at: datetime, **extra: Any) -> Draft:
    draft = Draft(
        kind=kind,
        occurred_at=at,
        order_id=issue.order_id,
        case_kind=CASE_KIND,
        external_id=issue.id,
        refs=_refs(issue),
        raw_code=issue.status,
        revision=issue.revision,
        data={**snapshot(issue), **{name: value for name, value in extra.items() if value is not None}},
    )
    return msgspec.structs.replace(draft, raw_code=issue.issue_status) if issue.is_withdrawn else draft
