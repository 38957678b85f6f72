"""The generic playbooks through the real core: what a seller sees happen to a return, a refund, a dispute, a cancellation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from services.policy import shipped, terms
from services.policy.core.check import check
from services.policy.core.decision import Decision, NotAllowed
from shared.accounts import AccountEntry
from shared.domain.case import OUTCOMES, PHASES
from shared.ports import Account
from tests.support.rehearsal import DOLLARS, NOW, PLAYBOOKS, REGISTRY, a_return, euros, opened, terms_with


@pytest.mark.parametrize("kind", sorted(PLAYBOOKS))
def test_a_playbook_passes_the_checker(kind: str) -> None:
    assert [str(fault) for fault in check(PLAYBOOKS[kind], shipped.known(REGISTRY, "generic", kind))] == []


def test_the_playbooks_know_every_phase_and_outcome_and_whose_figures_they_use() -> None:
    assert set(PLAYBOOKS) == {"return", "refund", "dispute", "cancellation"}
    states = [state for book in PLAYBOOKS.values() for state in book.states.values()]
    assert {state.phase for state in states} == set(PHASES)
    assert {state.outcome for state in states if state.outcome} == set(OUTCOMES)
    assert all(
        str(clock.read) == "2026-11-21" and clock.source for b in PLAYBOOKS.values() for clock in b.clocks.values()
    )


def test_a_return_goes_contact_goods_check_money() -> None:
    r = a_return(reason="change_of_mind", return_required=True)
    assert (r.case.state, r.case.phase, r.names("message")) == (
        "seller_decides",
        "awaiting_seller",
        ["acknowledge_request"],
    )
    assert isinstance(r.act("authorise"), Decision)
    r.sent("authorise")
    assert (r.case.state, r.case.goods) == ("seller_decides", "none"), "asked for is not yet done"
    r.tell("return.authorised")
    assert (r.case.phase, r.case.goods, r.names("message")[-1]) == ("awaiting_buyer", "advised", "return_instructions")
    r.tell("return.shipped", tracking_number="RR1", carrier="DHL")
    assert (r.case.phase, r.case.goods, r.names("message")[-1]) == (
        "goods_in_transit",
        "in_transit",
        "return_in_transit",
    )
    r.tell("return.received")
    assert (r.case.phase, r.case.goods, r.names("message")[-1]) == ("inspection", "received", "goods_received")
    assert "refund" not in r.names("act")
    r.act("inspect", result="ok")
    assert r.names("act") == ["authorise", "refund"]
    assert r.left[-1].money == msgspec.convert(euros("39.90"), type(r.left[-1].money))
    r.sent("refund")
    assert (r.case.is_open, r.case.money) == (True, "none"), "sent is not yet paid"
    r.tell("refund.issued", refunded=euros("39.90"))
    assert (r.case.state, r.case.outcome, r.case.money, r.case.liability) == (
        "refunded",
        "refunded",
        "refunded",
        "seller",
    )
    assert r.names("message")[-1] == "refund_issued"
    assert len(r.names("message")) == len(set(r.names("message"))), "nothing is said twice"


def test_money_never_goes_before_the_goods_unless_the_item_is_kept() -> None:
    r = a_return(reason="change_of_mind", return_required=True)
    refused = r.act("refund", amount=euros("39.90"))
    assert isinstance(refused, NotAllowed) and refused.code == "goods_not_back"
    assert isinstance(r.act("refund", amount=euros("10.00"), keep_item=True), Decision)
    assert r.names("act") == ["refund"]
    r.tell("refund.issued", refunded=euros("10.00"))
    assert (r.case.outcome, r.case.money) == ("part_refunded", "part_refunded")


def test_a_refund_above_the_limit_waits_for_a_person() -> None:
    r = a_return(reason="change_of_mind", amount=euros("80.00"), paid=euros("80.00"))
    r.tell("return.received", condition="ok")
    r.act("inspect", result="ok")
    assert r.names("act") == []
    (task,) = [task for task in r.case.tasks.values() if task.kind == "approve_act"]
    assert task.errand_id is not None
    assert isinstance(r.act("approve", "approve", act_id=task.errand_id), Decision)
    assert r.names("act") == ["refund"]


@pytest.mark.parametrize("kind", ["refund", "dispute"])
def test_proof_is_asked_for_instead_of_an_acknowledgement_and_reminded_of_once(kind: str) -> None:
    r = opened(kind, {"refund": "refund.requested", "dispute": "dispute.opened"}[kind], reason="damaged")
    assert r.names("message") == ["ask_for_evidence"]
    assert r.left[0].params["items"] == ["photo_outer_packaging", "photo_item"]
    r.wait(days=20)
    assert r.names("message").count("remind_once") == 1


@pytest.mark.parametrize("kind", ["refund", "dispute"])
def test_the_one_reminder_is_not_repeated_when_an_offer_lapsed_in_between(kind: str) -> None:
    r = opened(kind, {"refund": "refund.requested", "dispute": "dispute.opened"}[kind], reason="damaged")
    r.wait(hours=49)
    assert r.names("message").count("remind_once") == 1
    r.tell("evidence.submitted", what="photo_item")
    r.act("propose", remedy="part_refund", amount=euros("8.00"))
    r.sent("propose")
    r.tell("refund.offered", offered=euros("8.00"))
    assert r.case.phase == "awaiting_buyer"
    r.wait(days=20)
    assert r.names("message").count("remind_once") == 1


def test_a_reminder_that_was_not_sent_is_not_counted_as_sent() -> None:
    """What a planned row sets is set only when it was done: an answered request leaves the one reminder for later."""
    r = opened("refund", "refund.requested", reason="damaged")
    assert "reminded" not in r.case.facts
    r.wait(hours=25)
    assert (r.names("message").count("remind_once"), r.case.facts["reminded"]) == (1, True)
    answered = opened("refund", "refund.requested", reason="damaged")
    answered.act("propose", remedy="part_refund", amount=euros("8.00"))
    answered.sent("propose")
    answered.wait(hours=25)
    assert "remind_once" not in answered.names("message") and "reminded" not in answered.case.facts


def test_no_reminder_once_the_buyer_wrote_but_a_word_to_us() -> None:
    r = opened("dispute", "dispute.opened", reason="damaged", due_at="2026-03-30T00:00:00Z")
    r.tell("message.received", text="I will send photos tomorrow")
    assert "The buyer wrote" in r.tasks
    r.wait(days=10)
    assert "remind_once" not in r.names("message")
    assert "Nothing has been decided on the dispute yet" in r.tasks


def test_no_reminder_and_nothing_overdue_once_the_seller_has_decided() -> None:
    r = a_return(reason="damaged", return_required=True)
    r.act("authorise")
    r.sent("authorise")
    r.wait(days=3)
    assert r.names("message") == ["ask_for_evidence"] and r.names("act") == ["authorise"]
    assert r.tasks == ["What was decided has not been confirmed: look where it stands"]


@pytest.mark.parametrize("kind", ["return", "refund", "dispute", "cancellation"])
@pytest.mark.parametrize("reason", ["damaged", "change_of_mind"])
def test_what_comes_next_in_a_fresh_case_is_always_planned(kind: str, reason: str) -> None:
    first = {"return": "return.requested", "refund": "refund.requested", "dispute": "dispute.opened"}
    r = opened(kind, first.get(kind, "order.cancel_requested"), reason=reason)
    assert all(clock.planned is not None and clock.act_at is not None for clock in r.case.clocks.values())


@pytest.mark.parametrize(
    ("data", "acts"),
    [
        ({"return_required": True}, ["authorise"]),
        ({}, ["authorise"]),
        ({"return_required": False, "amount": euros("9.00")}, ["refund"]),
        ({"return_required": False, "amount": euros("15.01")}, []),
        ({"return_required": False, "amount": euros("9.00"), "reason": "damaged"}, []),
        ({"return_required": False, "amount": DOLLARS, "paid": DOLLARS}, []),
    ],
)  # fmt: skip
def test_nobody_decides_so_the_planned_act_goes_ahead_of_the_deadline(data: dict[str, Any], acts: list[str]) -> None:
    r = a_return(**{"reason": "change_of_mind", "due_at": "2026-03-07T09:00:00Z", **data})
    r.wait(days=4, hours=11)
    assert r.names("act") == [], "never early"
    r.wait(hours=2)
    assert r.names("act") == acts
    if not acts:
        assert "Decide on the return" in r.tasks
    else:
        assert r.left[-1].urgent and r.left[-1].not_after == datetime(2026, 3, 7, 9, tzinfo=UTC)


def test_the_shops_own_deadline_goes_before_the_playbooks_figure() -> None:
    own, told = a_return(), a_return(due_at="2026-03-10T12:00:00Z")
    assert (own.case.clocks["answer"].due_at, own.case.clocks["answer"].origin) == (
        NOW + timedelta(hours=48),
        "default",
    )
    assert told.case.clocks["answer"].due_at == datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert told.case.clocks["answer"].origin == "platform"
    told.wait(hours=1)
    told.tell("return.authorised")
    assert told.case.clocks["buyer_ships"].due_at == told.now + timedelta(days=14), (
        "that deadline was for the state before"
    )


def test_small_faults_climb_the_ladder_within_the_permitted_sum() -> None:
    r = a_return(reason="defective", return_required=False)
    r.tell("evidence.submitted", what="photo_fault")
    assert (r.case.state, r.case.facts["offered"]) == ("offer_open", euros("7.98"))
    assert r.names("act") == ["propose"] and "offer_partial_refund" not in r.names("message"), "not yet made"
    r.sent("propose")
    assert r.names("message")[-1] == "offer_partial_refund" and r.left[-1].params["amount"] == euros("7.98")
    r.tell("refund.offer_declined")
    assert r.case.facts["offered"] == euros("15.00"), "40 % would be 15.96: the ceiling holds"
    r.sent("propose")
    r.tell("refund.offer_accepted")
    (paid,) = [errand for errand in r.left if errand.name == "refund"]
    assert paid.params["amount"] == euros("15.00") and r.case.state == "refund_due"
    r.sent("refund")
    r.tell("refund.issued", refunded=euros("15.00"))
    assert (r.case.outcome, r.case.money) == ("part_refunded", "part_refunded")


@pytest.mark.parametrize(
    ("remedy", "message"),
    [("part_refund", "offer_partial_refund"), ("exchange", "offer_exchange"), ("resend", "offer_resend"),
     ("return_refund", "offer_return_refund"), ("coupon", "offer_coupon")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["return", "refund", "dispute"])
def test_an_operators_offer_is_told_once_it_is_made(kind: str, remedy: str, message: str) -> None:
    facts = {"return": "return.requested", "refund": "refund.requested", "dispute": "dispute.opened"}
    r = opened(kind, facts[kind], reason="other")
    amount = {"amount": euros("5.00")} if remedy == "part_refund" else {}
    assert isinstance(r.act("propose", remedy=remedy, **amount), Decision)
    assert (r.case.phase, r.names("message")[-1]) == ("awaiting_buyer", r.names("message")[0])
    r.sent("propose")
    assert r.names("message")[-1] == message


@pytest.mark.parametrize("remedy", ["exchange", "resend", "return_refund", "coupon"])
@pytest.mark.parametrize("kind", ["return", "refund", "dispute"])
def test_agreeing_to_something_else_pays_out_no_earlier_offer(kind: str, remedy: str) -> None:
    facts = {"return": "return.requested", "refund": "refund.requested", "dispute": "dispute.opened"}
    r = opened(kind, facts[kind], reason="other")
    r.act("propose", amount=euros("5.00"))
    r.sent("propose")
    r.act("propose", remedy=remedy)
    r.sent("propose")
    r.tell("refund.offer_accepted")
    assert "refund" not in r.names("act")
    assert r.tasks or r.names("act")[-1] == "authorise"


def test_an_offer_above_the_limit_is_not_told_before_somebody_agreed() -> None:
    r = a_return(reason="other", amount=euros("90.00"), paid=euros("90.00"))
    r.act("propose", amount=euros("60.00"))
    (task,) = [task for task in r.case.tasks.values() if task.kind == "approve_act"]
    assert r.names("act") == [] and r.names("message") == ["acknowledge_request"]
    assert task.errand_id is not None
    r.act("reject", act_id=task.errand_id)
    assert r.case.state == "seller_decides" and r.names("message") == ["acknowledge_request"]


def test_what_the_buyer_wrote_waits_for_an_answer_wherever_the_case_goes() -> None:
    r = a_return()
    r.tell("message.received", text="When do I get my money?")
    r.tell("return.authorised")
    r.tell("return.shipped")
    assert "The buyer wrote" in r.tasks


def test_without_a_permitted_sum_nothing_is_offered_by_itself() -> None:
    bare = terms_with()
    bare = msgspec.structs.replace(bare, money={k: v for k, v in bare.money.items() if k != "keep_item_refund_below"})
    r = opened("return", "return.requested", terms=bare, reason="defective", return_required=False)
    r.tell("evidence.submitted", what="photo_fault")
    assert r.names("act") == [] and r.case.state == "seller_decides"


def test_goods_that_are_not_as_they_should_be_are_for_a_person() -> None:
    r = a_return()
    r.tell("return.received")
    r.act("inspect", result="wrong")
    assert r.case.state == "inspection" and r.names("act") == []
    assert r.names("message")[-1] == "inspection_result" and r.left[-1].params["result"] == "wrong"
    r.act("decline", reason="not ours", comment="The parcel held another item.")
    assert r.names("act") == ["decline"]
    (told,) = [errand for errand in r.left if errand.name == "decline_with_reason"]
    assert told.params["explanation"] == "The parcel held another item."


@pytest.mark.parametrize(
    ("fact", "data", "outcome"),
    [
        ("return.cancelled", {}, "withdrawn"), ("order.cancelled", {}, "cancelled"), ("return.declined", {}, "rejected"),
        ("case.closed", {"closed_by": "buyer"}, "withdrawn"), ("case.closed", {"closed_by": "seller"}, "rejected"),
        ("case.closed", {}, "completed"), ("refund.issued", {"refunded": euros("39.90")}, "refunded"),
        ("refund.issued", {"refunded": euros("5.00")}, "part_refunded"),
    ],
)  # fmt: skip
def test_ends_of_a_return(fact: str, data: dict[str, Any], outcome: str) -> None:
    r = a_return()
    r.tell(fact, **data)
    assert r.case.outcome == outcome and not r.case.is_open
    assert r.case.clocks == {} and r.case.tasks == {} and r.case.closed_at == NOW


def test_a_replacement_ends_replaced_and_a_return_never_sent_expires() -> None:
    r = a_return(reason="wrong_item")
    r.act("ship_replacement", carrier="DHL", tracking="RR9")
    r.tell("replacement.shipped", tracking_number="RR9", carrier="DHL")
    assert r.names("message")[-1] == "resend_shipped"
    r.tell("replacement.completed")
    assert r.case.outcome == "replaced"

    r = a_return()
    r.tell("return.authorised")
    r.wait(days=15)
    assert r.names("message").count("ask_return_tracking") == 1
    assert r.case.state == "not_sent" and [t.kind for t in r.case.tasks.values() if t.kind == "approve_act"]
    r.tell("case.closed")
    assert (r.case.outcome, r.case.liability) == ("expired", "buyer")


def test_a_refund_refused_at_the_door_is_paid_when_the_parcel_is_back() -> None:
    r = opened("refund", "refund.requested", reason="change_of_mind")
    r.tell("delivery.refused")
    assert (r.case.phase, r.case.goods, r.names("act")) == ("goods_in_transit", "refused", [])
    r.tell("delivery.returned_to_sender")
    assert (r.case.state, r.names("act")) == ("refund_due", ["refund"])
    r.tell("refund.promised")
    r.tell("refund.issued", refunded=euros("39.90"))
    assert r.case.outcome == "refunded"


def test_a_promised_refund_is_not_asked_for_again_and_a_late_one_is_noticed() -> None:
    r = opened("refund", "refund.requested", reason="late")
    r.tell("refund.promised")
    assert (r.case.state, r.case.money, r.names("act")) == ("refund_due", "promised", [])
    r.wait(days=3)
    assert "The refund is overdue" in r.tasks and r.case.is_open


def test_a_parcel_that_arrives_after_all_is_no_reason_to_refund() -> None:
    r = opened("refund", "refund.requested", reason="not_received")
    r.tell("delivery.delivered")
    assert r.tasks == ["The parcel has arrived after all: ask the buyer"] and r.names("act") == []


def test_a_dispute_is_answered_a_day_ahead() -> None:
    r = opened("dispute", "dispute.opened", reason="not_received", stage="case", due_at="2026-03-09T09:00:00Z")
    r.wait(days=5, hours=23)
    assert "Answer the dispute" not in r.tasks
    r.wait(hours=2)
    assert "Answer the dispute" in r.tasks
    task = next(t for t in r.case.tasks.values() if t.reason == "Answer the dispute")
    assert task.due_at == datetime(2026, 3, 9, 9, tzinfo=UTC) and task.kind == "deadline_at_risk"


@pytest.mark.parametrize(
    ("winner", "state", "outcome"),
    [("seller", "won", "rejected"), ("none", "completed", "completed"), ("buyer", "ruled_against_us", None)],
)
def test_rulings(winner: str, state: str, outcome: str | None) -> None:
    r = opened("dispute", "dispute.opened", reason="not_received")
    r.tell("dispute.escalated")
    assert (r.case.phase, r.names("message")[-1]) == ("platform_review", "awaiting_ruling")
    r.tell("dispute.resolved", winner=winner, funded_by="marketplace")
    assert (r.case.state, r.case.outcome) == (state, outcome)
    if outcome is None:
        r.wait(days=15)
        assert (r.case.outcome, r.case.liability) == ("refunded", "marketplace")


@pytest.mark.parametrize(
    ("kind", "first", "asked", "over", "again"),
    [
        ("dispute", "dispute.opened", "dispute.escalated", {"winner": "buyer"}, "dispute.escalated"),
        ("dispute", "dispute.escalated", "dispute.evidence_requested", {"winner": "buyer"}, "appeal.filed"),
        ("return", "return.requested", "dispute.opened", {}, "dispute.response_required"),
        ("refund", "refund.requested", "dispute.response_required", {}, "dispute.escalated"),
    ],
)
def test_that_a_ruling_is_awaited_is_said_once(kind: str, first: str, asked: str, over: Any, again: str) -> None:
    r = opened(kind, first, reason="not_received")
    r.tell(asked)
    assert r.case.state == "under_review"
    r.tell("dispute.resolved", **over)
    assert r.case.is_open and r.case.state != "under_review"
    r.wait(days=1)
    r.tell(again)
    assert (r.case.state, r.names("message").count("awaiting_ruling")) == ("under_review", 1)


def test_withdrawn_disputes_end_withdrawn_and_may_come_back() -> None:
    r = opened("dispute", "dispute.opened", reason="defective")
    r.tell("dispute.withdrawn")
    assert r.case.outcome == "withdrawn"
    r.wait(days=1)
    r.tell("case.reopened")
    assert (r.case.state, r.case.outcome, r.case.is_open) == ("seller_response", None, True)


def test_an_order_not_yet_shipped_is_cancelled_ahead_of_the_deadline_and_paid_back() -> None:
    r = opened("cancellation", "order.cancel_requested", reason="change_of_mind")
    r.wait(hours=19)
    assert r.names("act") == []
    r.wait(hours=1)
    assert (r.names("act"), r.case.state) == (["cancel"], "seller_decides")
    r.sent("cancel")
    r.tell("order.cancelled")
    assert (r.case.state, r.names("message")) == ("money_back", ["acknowledge_request", "cancel_accepted"])
    r.wait(days=3)
    assert "The refund of a cancelled order is overdue" in r.tasks
    r.tell("refund.issued", refunded=euros("39.90"))
    assert (r.case.outcome, r.case.money) == ("cancelled", "refunded")
    assert r.names("act") == ["cancel"], "the shop pays back by itself"


def test_a_cancellation_told_twice_is_told_to_the_buyer_once() -> None:
    r = opened("cancellation", "order.cancel_requested", reason="change_of_mind")
    r.tell("order.cancelled")
    r.tell("order.cancelled")
    assert (r.case.state, r.names("message").count("cancel_accepted")) == ("money_back", 1)


def test_an_order_on_its_way_is_refused_or_turned_back_and_then_paid() -> None:
    r = opened("cancellation", "order.cancel_requested", reason="change_of_mind")
    r.wait(hours=2)
    r.tell("order.shipped", tracking_number="RR5")
    assert (r.case.phase, r.names("message")[-1]) == ("awaiting_buyer", "cancel_refused")
    assert r.left[-1].params["tracking_number"] == "RR5"
    r.tell("delivery.refused")
    assert (r.case.state, r.names("act")) == ("coming_back", [])
    r.tell("delivery.returned_to_sender")
    assert (r.case.state, r.names("act")) == ("money_back", ["refund"])


@pytest.mark.parametrize(
    ("fact", "data", "outcome"),
    [
        ("order.cancel_withdrawn", {}, "withdrawn"), ("case.closed", {"closed_by": "seller"}, "rejected"),
        ("case.closed", {"closed_by": "buyer"}, "withdrawn"), ("refund.issued", {"refunded": euros("39.90")}, "refunded"),
    ],
)  # fmt: skip
def test_ends_of_a_cancellation(fact: str, data: dict[str, Any], outcome: str) -> None:
    r = opened("cancellation", "order.cancel_requested")
    r.tell(fact, **data)
    assert r.case.outcome == outcome


def test_a_shop_without_limits_set_keeps_its_money_in_hand() -> None:
    bare = AccountEntry(Account("shop", "generic"), {}, {})
    needs = {name: terms.needs_of(purpose) for name, purpose in REGISTRY.purposes().items()}
    free = terms.terms_of(bare, REGISTRY.manifest("generic"), terms.purposes_of(REGISTRY, "generic"), needs)
    for kind, fact in (("return", "return.requested"), ("refund", "refund.requested"), ("dispute", "dispute.opened")):
        r = opened(kind, fact, terms=free, reason="other", amount=euros("3.00"), return_required=False)
        r.wait(days=60)
        assert "refund" not in r.names("act") and "propose" not in r.names("act")
