"""The generic playbooks under whatever may happen, in whatever order: what must never come about."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errands import Errand
from tests.support.rehearsal import PLAYBOOKS, Rehearsal, euros, opened

NEWS = st.one_of(
    st.sampled_from(
        ["return.requested", "return.authorised", "return.declined", "return.shipped", "return.received", "return.inspected",
         "return.lost", "return.cancelled", "refund.offered", "refund.offer_accepted", "refund.offer_declined",
         "refund.promised", "refund.failed", "dispute.opened", "dispute.escalated", "dispute.withdrawn", "order.shipped",
         "order.cancelled", "delivery.refused", "delivery.returned_to_sender", "delivery.lost", "replacement.requested",
         "replacement.shipped", "message.received", "case.closed", "case.reopened", "case.updated"]
    ).map(lambda kind: ("tell", kind, {})),
    st.sampled_from(["photo_item", "photo_fault", "photo_outer_packaging"]).map(
        lambda what: ("tell", "evidence.submitted", {"what": what})
    ),
    st.sampled_from(["seller", "buyer", "split"]).map(lambda w: ("tell", "dispute.resolved", {"winner": w})),
    st.sampled_from(["5.00", "39.90"]).map(lambda v: ("tell", "refund.issued", {"refunded": euros(v)})),
    st.sampled_from(
        [("authorise", {}), ("refund", {}), ("refund", {"amount": euros("7.00"), "keep_item": True}), ("cancel", {}),
         ("refund", {"amount": euros("99.00"), "keep_item": True}), ("propose", {"amount": euros("8.00")}),
         ("propose", {"remedy": "exchange"}), ("decline", {"reason": "no", "comment": "It was used."}),
         ("inspect", {"result": "ok"}), ("confirm_receipt", {}), ("contact", {"text": "Hello"})]
    ).map(lambda a: ("act", *a)),
    st.sampled_from([1, 12, 30, 100, 500]).map(lambda hours: ("wait", "", {"hours": hours})),
    st.just(("sent", "", {})),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(PLAYBOOKS)), reason=st.sampled_from(["damaged", "change_of_mind", "not_received"]),
       steps=st.lists(NEWS, max_size=14))  # fmt: skip
def test_whatever_happens_in_whatever_order(
    kind: str, reason: str, steps: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """Attended, determined, within the order's money, no money before the goods unless the item may stay."""
    first = {"return": "return.requested", "refund": "refund.requested", "dispute": "dispute.opened"}
    r = opened(kind, first.get(kind, "order.cancel_requested"), reason=reason)
    for do, name, data in steps:
        before, rest, goods = len(r.left), r.order.refundable_minor or 0, r.case.goods
        take(r, do, name, data)
        for errand in r.left[before:]:
            if errand.what == "act" and errand.name == "refund":
                assert errand.money is not None and 0 < errand.money.minor <= rest
                back = {goods, r.case.goods} & {"received", "inspected", "lost"} or kind == "cancellation"
                assert back or kept(r, errand), "money before the goods"


def take(r: Rehearsal, do: str, name: str, data: dict[str, Any]) -> None:
    match do:
        case "tell":
            r.tell(name, **data)
        case "act":
            r.act(name, **data)
        case "wait":
            r.wait(**data)
        case "sent" if r.left:
            r.sent(r.left[-1].name)
    r.now += timedelta(minutes=7)


def kept(r: Rehearsal, errand: Errand) -> bool:
    known = [d.case.errands[errand.id] for d in r.decisions if errand.id in d.case.errands]
    return errand.params.get("keep_item") is True or any(found.keep_item for found in known)


@pytest.mark.parametrize("kind", ["return", "refund", "dispute", "cancellation"])
def test_left_alone_for_a_year_a_case_says_little_and_always_has_somebody_waiting(kind: str) -> None:
    facts = {"return": "return.requested", "refund": "refund.requested", "dispute": "dispute.opened"}
    facts["cancellation"] = "order.cancel_requested"
    for reason in ("defective", "change_of_mind", "not_received", "missing_parts"):
        r = opened(kind, facts[kind], reason=reason, return_required=False)
        r.wait(days=365)
        assert not r.case.is_open or r.case.tasks or r.case.clocks
        assert len(r.names("message")) <= 4, "no chasing (CR-ALL-04)"
        assert r.names("message").count("remind_once") <= 1
        assert r.names("act").count("refund") <= 1
