"""DHgate's playbooks as whole stories: readings and people in, cases, clocks, messages and prepared acts out."""

from datetime import timedelta
from typing import Any

import pytest

from services.policy.core.check import check
from services.policy.core.decision import Decision, NotAllowed
from services.policy.shipped import known
from shared.marketplaces.dhgate import simulated
from shared.marketplaces.dhgate.reading import stamp
from tests.marketplaces.dhgate_walk import ADDRESS, ORDER, REGISTRY, Shop, charts

KINDS = ["cancellation", "dispute", "order_care"]
USD = "USD"


def usd(value: str) -> dict[str, str]:
    return {"value": value, "currency": USD}


@pytest.mark.parametrize("kind", KINDS)
def test_the_checker_has_nothing_to_say(kind: str) -> None:
    assert check(charts()["dhgate", kind], known(REGISTRY, "dhgate", kind)) == []


def shipped_order() -> Shop:
    shop = Shop()
    shop.does("ships", tracking="EE123456785CN")
    return shop


def disputed(**settings: Any) -> Shop:
    shop = Shop(**settings)
    shop.does("ships")
    shop.does("opens_dispute")
    return shop


# order care
def test_an_order_from_payment_to_its_end_says_what_the_article_says_and_no_more() -> None:
    shop = Shop({"orderStatus": "101003", "payDate": "", "deliveryDeadline": ""})
    assert shop.outcome("order_care") == ("awaiting_payment", "awaiting_buyer", None, "none", "none")
    shop.elapse("order_care", "payment_nudge")
    shop.does("pays")
    shop.does("verified")
    clock = shop.case("order_care").clocks["ship"]
    assert (clock.origin, clock.due_at) == ("platform", shop.now + timedelta(days=5))
    shop.does("ships", tracking="EE123456785CN", carrier="EMS")
    assert shop.case("order_care").phase == "goods_in_transit"
    shop.elapse("order_care", "on_the_way")
    shop.does("confirms")
    assert shop.messages() == ["payment_reminder", "payment_under_review", "order_shipped", "parcel_in_transit"]
    assert shop.case("order_care").outcome == "completed"
    assert {"T01A", "T01B", "T06", "T08"} <= shop.rules


def test_an_order_first_seen_over_opens_nothing() -> None:
    shop = Shop({"orderStatus": "102111"})
    assert shop.outcome("order_care") is None and shop.errands == []


def test_what_follows_on_an_order_first_seen_over_waits_for_nothing() -> None:
    shop = Shop({"orderStatus": "102006"})
    assert shop.does("completes") == []
    assert shop.held.get(("dh-main", ORDER)) is None


def test_an_order_that_dhgate_marks_is_looked_at_before_it_is_shipped() -> None:
    shop = Shop({"isWarn": True, "warnReason": "high risk order"})
    assert any("look before shipping" in task for task in shop.tasks("order_care"))
    assert shop.case("order_care").facts["warning"] == "high risk order"
    assert Shop().tasks("order_care") == []


def test_the_ship_date_of_dhgate_is_kept_in_view_and_follows_when_it_is_moved() -> None:
    shop = Shop()
    decision = shop.elapse("order_care", "ship")
    assert [task.kind for task in decision.opened_tasks] == ["deadline_at_risk"]
    before = shop.case("order_care").clocks["ship"].due_at
    later = before + timedelta(days=3)
    shop.body["deliveryDeadline"] = stamp(later, simulated.ZONE)
    shop.look()
    assert shop.case("order_care").clocks["ship"].due_at == later


@pytest.mark.parametrize(
    ("obstacle", "more", "purpose", "state"),
    [
        ("out_of_stock", {}, "out_of_stock_choice", "buyer_choice"),
        ("remote_area", {"surcharge": usd("7.00")}, "delivery_surcharge", "buyer_choice"),
        ("carrier", {"carrier": "ePacket", "delivery_days": "10 to 15"}, "carrier_change", "buyer_choice"),
        ("holiday", {"ship_by": "2026-12-09T00:00:00Z"}, "shipping_delay", "buyer_choice"),
        ("in_transit", {"tracking_number": "EE1"}, "parcel_in_transit", "in_transit"),
        ("lost", {}, "parcel_lost_choice", "lost"),
        ("customs", {}, "held_at_customs", "customs"),
        ("delivery_disputed", {}, "delivery_check", "delivered_disputed"),
        ("delivered", {}, "delivered_check", "delivered"),
        ("payment_review", {}, "payment_under_review", "payment_review"),
    ],
)
def test_what_dhgate_does_not_report_is_opened_by_hand(
    obstacle: str, more: dict[str, object], purpose: str, state: str
) -> None:
    shop = Shop({"orderStatus": "102111"})
    shop.by_hand("order_care", obstacle=obstacle, **more)
    assert shop.case("order_care").state == state
    assert shop.messages() == [purpose]


def test_by_hand_without_what_the_message_needs_a_person_is_asked() -> None:
    shop = Shop({"orderStatus": "102111"})
    shop.by_hand("order_care", obstacle="remote_area")
    assert shop.messages() == []
    assert any("delivery_surcharge cannot be written" in task for task in shop.tasks("order_care"))


@pytest.mark.parametrize(
    ("purpose", "variables", "state"),
    [
        ("out_of_stock_choice", {}, "buyer_choice"),
        ("delivery_surcharge", {"amount": usd("7.00")}, "buyer_choice"),
        ("carrier_change", {"carrier": "ePacket"}, "buyer_choice"),
        ("shipping_delay", {"ship_by": "2026-12-09"}, "buyer_choice"),
    ],
)
def test_before_shipment_an_operators_word_waits_for_the_buyers_choice(
    purpose: str, variables: dict[str, object], state: str
) -> None:
    shop = Shop()
    assert isinstance(shop.act("order_care", "contact", purpose=purpose, variables=variables), Decision)
    assert (shop.case("order_care").state, shop.messages()) == (state, [purpose])
    shop.elapse("order_care", "choice")
    assert shop.messages() == [purpose, "remind_once"]
    shop.buyer_writes("Please send the other one")
    assert any("as he chose" in task for task in shop.tasks("order_care"))


@pytest.mark.parametrize(
    ("purpose", "state"),
    [
        ("parcel_lost_choice", "lost"),
        ("held_at_customs", "customs"),
        ("delivered_check", "delivered"),
        ("delivery_check", "delivered_disputed"),
    ],
)
def test_on_the_way_an_operators_word_moves_the_case_and_is_said_once(purpose: str, state: str) -> None:
    shop = shipped_order()
    shop.act("order_care", "contact", purpose=purpose)
    assert shop.case("order_care").state == state
    assert shop.messages() == ["order_shipped", purpose]


def test_a_lost_parcel_is_sent_again_or_paid_back_as_the_buyer_chooses() -> None:
    again = shipped_order()
    again.act("order_care", "contact", purpose="parcel_lost_choice")
    again.act("order_care", "ship_replacement", carrier="EMS", tracking="EE222222225CN")
    assert again.case("order_care").outcome == "replaced"
    assert again.messages()[-1] == "resend_shipped"
    back = shipped_order()
    back.act("order_care", "contact", purpose="parcel_lost_choice")
    back.elapse("order_care", "lost_choice")
    assert any("refund is what he is owed" in task for task in back.tasks("order_care"))


def test_an_order_in_dispute_is_left_to_its_dispute_and_goes_on_after_it() -> None:
    shop = disputed()
    assert shop.case("order_care").state == "in_dispute"
    shop.does("closes", refund=0, order_status="101009")
    assert shop.case("order_care").state == "in_transit"
    assert shop.case("dispute").outcome == "completed"
    assert shop.messages().count("order_shipped") == 1


# cancellation
def test_money_asked_back_before_shipment_is_agreed_to_by_a_prepared_act() -> None:
    shop = Shop()
    shop.does("asks_back")
    assert shop.outcome("cancellation") == ("asked", "awaiting_seller", None, "none", "none")
    assert shop.case("order_care").state == "on_hold"
    decision = shop.elapse("cancellation", "answer")
    assert [(e.name, e.capability) for e in decision.errands] == [("cancel", "assisted")]
    shop.does("agrees_back")
    assert shop.case("cancellation").state == "agreed"
    shop.does("cancels")
    assert shop.outcome("cancellation") == ("cancelled", "resolved", "cancelled", "none", "refunded")
    assert shop.case("order_care").outcome == "cancelled"
    assert shop.messages() == ["acknowledge_request", "cancel_accepted"]


def test_money_asked_back_and_the_wish_taken_back() -> None:
    shop = Shop()
    shop.does("asks_back")
    shop.does("takes_back")
    assert shop.case("cancellation").outcome == "withdrawn"
    assert shop.case("order_care").state == "to_ship"


def test_money_asked_back_again_opens_the_case_again() -> None:
    shop = Shop()
    for move in ("asks_back", "takes_back", "verified", "asks_back"):
        shop.does(move)
    assert shop.case("cancellation").state == "asked"
    shop.does("agrees_back")
    shop.does("cancels")
    assert (shop.case("cancellation").outcome, shop.case("cancellation").money) == ("cancelled", "refunded")


@pytest.mark.parametrize("status", ["105002", "105003", "105004"])
def test_what_was_asked_back_before_we_looked_waits_for_nothing(status: str) -> None:
    for shop in (Shop({"orderStatus": status}), Shop()):
        shop.body["orderStatus"] = status
        shop.look()
        assert shop.held["dh-main", ORDER].order.waiting == ()
        ends = {"105002": "agreed", "105003": "part_refunded"}
        found = shop.outcome("cancellation")
        assert (found and found[0]) == ends.get(status)


# disputes
def test_a_dispute_opens_with_a_question_five_dated_days_and_our_own_day() -> None:
    shop = disputed()
    opened = shop.now
    clocks = shop.case("dispute").clocks
    assert {name: clocks[name].due_at - opened for name in clocks} == {
        "target": timedelta(hours=24),
        "mediation": timedelta(days=3),
        "answer": timedelta(days=5),
        "negotiation_end": timedelta(days=10),
    }
    assert [name for name in clocks if clocks[name].deadline] == ["answer"]
    assert shop.messages()[-1] == "ask_exact_problem"


def test_nobody_answers_and_a_person_is_told_in_time() -> None:
    shop = disputed()
    assert "CR-DH-01" in {shop.elapse("dispute", "target").rule}
    decision = shop.elapse("dispute", "answer")
    assert [task.kind for task in decision.opened_tasks] == ["deadline_at_risk"]
    shop.elapse("dispute", "answer")
    assert shop.case("dispute").state == "lapsed"
    assert isinstance(shop.act("dispute", "decline", reason="no ground"), Decision), "our reading of the time is early"
    simulated.lapse(shop.body, shop.now)
    shop.look()
    assert shop.outcome("dispute") == ("refunded", "resolved", "refunded", "none", "refunded")


def test_a_small_sum_told_by_hand_is_prepared_at_the_margin() -> None:
    shop = Shop({"orderStatus": "102111"})
    shop.by_hand("dispute", reason="defective", amount=usd("9.00"))
    shop.elapse("dispute", "target")
    decision = shop.elapse("dispute", "answer")
    (errand,) = decision.errands
    assert (errand.name, errand.capability, errand.params["amount"]) == ("refund", "assisted", usd("9.00"))


@pytest.mark.parametrize(("amount", "taken"), [("0.00", True), ("0.01", False), ("0.02", True), ("64.50", True)])
def test_a_counter_offer_is_nothing_a_real_part_or_all_never_a_cent(amount: str, taken: bool) -> None:
    shop = disputed()
    answer = shop.act("dispute", "propose", "approve", remedy="part_refund", amount=usd(amount))
    assert isinstance(answer, Decision) is taken
    assert [name for name, _ in shop.acts()] == (["propose"] if taken else [])


def test_the_buyer_reads_of_an_offer_when_it_has_been_made() -> None:
    shop = disputed()
    shop.act("dispute", "propose", remedy="part_refund", amount=usd("10.00"))
    assert "offer_partial_refund" not in shop.messages()
    shop.sent("dispute", "propose")
    assert shop.messages()[-1] == "offer_partial_refund"
    shop.does("dispute_turns", status="106003")
    assert shop.case("dispute").state == "executing" and shop.messages()[-1] == "solution_agreed"
    shop.does("closes", refund=10)
    assert shop.outcome("dispute") == ("part_refunded", "resolved", "part_refunded", "none", "part_refunded")


def test_an_agreed_return_brings_the_goods_back_first() -> None:
    shop = disputed()
    shop.act("dispute", "authorise")
    shop.does("dispute_turns", status="106003")
    case = shop.case("dispute")
    assert case.state == "buyer_return"
    assert case.clocks["buyer_ships"].due_at - shop.now == timedelta(days=7)
    assert case.clocks["return_receipt"].due_at - shop.now == timedelta(days=30)
    (told,) = [e for e in shop.errands if e.name == "return_instructions"]
    assert told.params["return_address"] == ADDRESS and told.params["ship_by"]
    assert isinstance(shop.act("dispute", "refund"), NotAllowed)
    shop.elapse("dispute", "ask_tracking")
    shop.act("dispute", "confirm_receipt", condition="ok")
    assert shop.case("dispute").goods == "received"
    assert [name for name, _ in shop.acts()][-1] == "confirm_receipt"
    assert shop.messages()[-2:] == ["ask_return_tracking", "goods_received"]


@pytest.mark.parametrize("address", [None, "深圳市南山区科学路12号"])
def test_without_an_english_address_no_return_is_explained_and_a_person_is_asked(address: str | None) -> None:
    shop = disputed(return_address=address)
    shop.act("dispute", "authorise")
    shop.does("dispute_turns", status="106003")
    assert "return_instructions" not in shop.messages()
    assert any("CR-DH-04" in task for task in shop.tasks("dispute"))


def test_an_escalation_asks_once_waits_for_our_evidence_and_says_one_calm_word() -> None:
    shop = disputed()
    shop.does("dispute_turns", status="107001")
    assert shop.messages().count("ask_exact_problem") == 1, "asked already, not answered: no chasing (CR-ALL-04)"
    assert any("CR-DH-02" in task for task in shop.tasks("dispute"))
    assert shop.case("dispute").clocks["our_evidence"].deadline
    shop.does("dispute_turns", status="107002")
    shop.does("dispute_turns", status="107001")
    shop.does("dispute_turns", status="107002")
    assert shop.messages().count("awaiting_ruling") == 1
    shop.does("dispute_turns", status="107003")
    shop.does("closes", refund=0)
    assert shop.outcome("dispute") == ("rejected", "resolved", "rejected", "none", "denied")


def test_a_buyer_who_has_answered_is_asked_again_when_he_escalates() -> None:
    shop = disputed()
    shop.buyer_writes("It is broken")
    shop.does("dispute_turns", status="107001")
    assert shop.messages().count("ask_exact_problem") == 2


def test_not_received_asks_ourselves_for_the_proof() -> None:
    shop = Shop({"orderStatus": "102111"})
    shop.by_hand("dispute", reason="not_received")
    assert "CR-DH-02" in shop.rules
    assert any("tracking_history, shipping_receipt" in task for task in shop.tasks("dispute"))
    assert shop.messages() == ["acknowledge_dispute"]


@pytest.mark.parametrize(
    ("reason", "items"),
    [
        ("not_as_described", ["photo_item", "photo_fault"]),
        ("missing_parts", ["photo_all_received", "photo_outer_packaging"]),
        ("damaged", ["photo_outer_packaging", "photo_fault"]),
    ],
)
def test_a_complaint_about_the_goods_asks_for_pictures(reason: str, items: list[str]) -> None:
    shop = Shop({"orderStatus": "102111"})
    shop.by_hand("dispute", reason=reason)
    (asked,) = [e for e in shop.errands if e.name == "ask_for_evidence"]
    assert asked.params["items"] == items


def test_after_sale_reopens_the_case_and_ends_it_again() -> None:
    shop = disputed()
    shop.does("closes", refund=0)
    assert shop.case("dispute").outcome == "rejected"
    assert shop.does("opens_dispute", status="109001") == ["case.reopened"]
    case = shop.case("dispute")
    assert (case.state, case.outcome, case.facts["after_sale"]) == ("after_sale", None, True)
    shop.does("dispute_turns", status="109002")
    assert shop.case("dispute").state == "after_sale_review"
    shop.does("closes", refund=64.5, order_status="102111")
    assert shop.outcome("dispute") == ("refunded", "resolved", "refunded", "none", "refunded")


def test_money_told_by_order_and_dispute_counts_once() -> None:
    shop = disputed()
    shop.does("closes", refund=20)
    shop.look()
    held = shop.held["dh-main", ORDER]
    assert held.order.refunded_minor == 2000
    shop.body["refundMoney"] = 30
    shop.look()
    assert shop.held["dh-main", ORDER].order.refunded_minor == 3000


@pytest.mark.parametrize("status", ["106003", "107001", "107002", "107003", "109001", "109002"])
def test_a_dispute_first_seen_late_is_taken_up_where_it_stands(status: str) -> None:
    shop = Shop({"orderStatus": "106002", "disputeStatus": status, "disputeOpenDate": "2026-11-20 10:00:00"})
    assert shop.case("dispute").state == charts()["dhgate", "dispute"].statuses[status]


def test_an_unknown_status_is_kept_and_put_before_a_person() -> None:
    shop = disputed()
    shop.body["disputeStatus"] = "108888"
    shop.look()
    assert shop.case("dispute").state == "negotiation"
    assert "unmapped" in {task.kind for task in shop.case("dispute").tasks.values()}
    shop = shipped_order()
    shop.body["orderStatus"] = "104999"
    shop.look()
    assert "unmapped" in {task.kind for task in shop.case("order_care").tasks.values()}


@pytest.mark.parametrize(
    ("reason", "rungs"),
    [
        ("not_as_described", ["part_refund", "exchange", "return_refund"]),
        ("missing_parts", ["resend"]),
        ("wrong_item", ["part_refund", "exchange", "return_refund"]),
    ],
)
def test_the_ladder_offers_remedies_in_the_order_of_the_matrix(reason: str, rungs: list[str]) -> None:
    shop = Shop({"orderStatus": "102111"})
    shop.by_hand("dispute", reason=reason, paid=usd("64.50"), opened_on="2026-11-23T09:00:00Z")
    shop.by_hand_evidence("dispute", "photo_item")
    ladder = next(name for name in shop.case("dispute").ladder)
    offered = []
    for _ in rungs:
        waiting = [e for e in shop.case("dispute").errands.values() if e.name == "propose"]
        offered += [str(e.params["remedy"]) for e in waiting]
        for errand in waiting:
            shop.act("dispute", "reject", act_id=errand.id)
        if f"ladder_{ladder}" in shop.case("dispute").clocks:
            shop.elapse("dispute", f"ladder_{ladder}")
    assert offered == rungs
