# ruff: noqa: N802 - a test bears the id of its rule
"""The seed rule book on AliExpress disputes, R004-01 … R004-10, as behaviour: readings in, decisions out."""

from datetime import timedelta
from pathlib import Path

import pytest

from services.notifier import rulebook, rules
from services.policy.core.decision import Decision, NotAllowed
from shared.marketplaces.aliexpress import assisted
from shared.marketplaces.aliexpress.issue import pacific
from tests.marketplaces.aliexpress_walk import FOLDER, START, Walk


def returning(**settings: object) -> Walk:
    """A return that was agreed and shipped, waiting for our receipt."""
    walk = Walk(settings, solution_type="return_and_refund", amount="30.00")
    plan = walk.body["buyer_solution_list"][0]
    plan |= {"status": "reached", "reached_type": "negotiation_consensus"}
    walk.turns("wait_for_buyer_return")
    walk.does("buyer_ships", tracking_number="RR1")
    assert (walk.case.state, walk.case.goods) == ("seller_receipt", "in_transit")
    return walk


def test_R004_01_wrong_goods_by_platform_logistics_ask_for_both_labels() -> None:
    walk = Walk(issue_reason="Wrong item received")
    assert walk.log[0].rule == "R004-01"
    assert "photo_both_labels" in walk.asked_for()
    assert "photo_both_labels" not in Walk(issue_reason="Quality problem").asked_for()


def test_R004_02_damage_needs_the_outer_packaging() -> None:
    walk = Walk(issue_reason="Product damaged")
    assert walk.log[0].rule == "R004-02"
    assert "photo_outer_packaging" in walk.asked_for()
    walk.turns("wait_for_your_evidence")
    assert walk.case.state == "platform_evidence"
    assert any("outer packaging" in task for task in walk.tasks())


def test_R004_03_a_return_not_received_is_escalated_before_its_countdown_ends() -> None:
    walk = returning()
    clock = walk.case.clocks["receipt"]
    assert clock.due_at == pacific(walk.body["timeout_trigger_time"])
    assert (clock.origin, clock.act_at) == ("platform", clock.due_at - timedelta(hours=24))
    decision = walk.elapse("receipt")
    assert [e.name for e in decision.errands] == ["escalate"]
    assert decision.errands[0].capability == "assisted"
    assert decision.errands[0].not_after == clock.due_at > walk.now
    assert walk.elapse("receipt").rule == "R004-03"


def test_R004_03_nothing_is_escalated_once_the_return_is_confirmed() -> None:
    walk = returning()
    walk.act("confirm_receipt", condition="ok")
    assert [name for name, _ in walk.acts()] == ["confirm_receipt"]
    assert walk.elapse("receipt").errands == ()


def test_R004_04_only_the_explanation_of_an_escalation_is_typed() -> None:
    walk = returning()
    walk.act("escalate", text="The parcel has not arrived")
    assert walk.log[-1].rule == "R004-04"
    (errand,) = [e for e in walk.errands if e.name == "escalate"]
    assert errand.params == {"text": "The parcel has not arrived"}
    prepared = assisted.prepared(errand)
    assert prepared.text == "The parcel has not arrived"
    assert any("reason is fixed" in step for step in prepared.checklist)


@pytest.mark.parametrize("by_us", [True, False])
def test_R004_05_the_parcel_arrives_after_the_escalation_and_it_is_withdrawn(by_us: bool) -> None:
    walk = returning()
    if by_us:
        walk.act("escalate", text="Not here")
    walk.does("seller_escalates")
    assert walk.case.state == "arbitration"
    walk.act("confirm_receipt", condition="ok")
    assert walk.case.goods == "received"
    assert walk.acts()[-1][0] == "withdraw"
    steps = assisted.prepared(walk.errands[-1]).checklist
    assert any("error, leave it" in step for step in steps)


def test_R004_05_a_failed_withdrawal_is_harmless() -> None:
    walk = returning()
    walk.does("seller_escalates")
    walk.act("confirm_receipt", condition="ok")
    walk.turns("return_success")
    assert (walk.case.phase, walk.case.outcome, walk.case.tasks) == ("resolved", "refunded", {})


def test_R004_05_an_arrival_in_an_ordinary_arbitration_withdraws_nothing() -> None:
    walk = Walk()
    walk.does("buyer_escalates")
    walk.act("confirm_receipt", condition="ok")
    assert walk.acts() == []


def test_R004_06_five_days_to_agree_then_arbitration() -> None:
    walk = Walk(amount="40.00", timeout_trigger_time=None)
    clock = walk.case.clocks["response"]
    assert (clock.due_at, clock.origin) == (START + timedelta(days=5), "rule")
    told = Walk(amount="40.00").case.clocks["response"]
    assert told.origin == "platform"
    walk.elapse("response")
    assert walk.case.state == "seller_response"
    assert any("silence carries out" in task for task in walk.tasks())
    assert walk.elapse("response").rule == "R004-06"
    assert walk.case.phase == "platform_review"
    walk.does("buyer_escalates")
    assert walk.case.state == "arbitration"
    assert walk.messages()[-1] == "awaiting_ruling"


def test_R004_06_a_changed_plan_starts_the_five_days_again() -> None:
    walk = Walk(amount="40.00")
    first = walk.case.clocks["response"]
    walk.now += timedelta(days=2)
    assert walk.does("buyer_modifies", amount="35.00") == ["dispute.response_required"]
    again = walk.case.clocks["response"]
    assert again.due_at == first.due_at + timedelta(days=2, minutes=1)
    assert again.generation == first.generation + 1
    assert walk.case.facts["amount"]["value"] == "35.00"


@pytest.mark.parametrize(
    ("reason", "items"),
    [
        ("Quality problem", {"photo_fault", "video_fault"}),
        ("Product not as described", {"photo_item", "photo_outer_packaging"}),
        ("Quantity shortage", {"photo_all_received", "photo_outer_packaging"}),
    ],
)
def test_R004_07_the_fault_is_reconstructed_with_pictures(reason: str, items: set[str]) -> None:
    walk = Walk(issue_reason=reason)
    assert walk.log[0].rule == "R004-07"
    assert set(walk.asked_for()) == items
    assert walk.messages() == ["ask_for_evidence"]


def test_R004_08_a_refund_or_a_coupon_is_offered_for_a_trifle() -> None:
    walk = Walk(issue_reason="Quality problem", amount="20.00")
    walk.does("buyer_adds_image")
    (waiting,) = [e for e in walk.case.errands.values() if e.status == "awaiting_approval"]
    assert (waiting.name, waiting.params["amount"]["value"]) == ("propose", "4.00")
    assert "offer_partial_refund" not in walk.messages(), "a promise is sent only once it is decided (CR-ALL-07)"
    walk.act("approve", act_id=waiting.id, scopes=("act", "approve"))
    assert walk.acts() == [("propose", waiting.params)]
    assert walk.messages()[-1] == "offer_partial_refund"
    coupon = Walk(issue_reason="Quality problem")
    answer = coupon.act("propose", remedy="coupon")
    assert isinstance(answer, Decision) and answer.rule == "R004-08"
    assert coupon.acts() == [("propose", {"remedy": "coupon"})]


def test_R004_09_a_withdrawal_by_the_buyer_ends_it_without_fault() -> None:
    walk = Walk()
    walk.does("buyer_cancels")
    assert walk.log[-1].rule == "R004-09"
    assert (walk.case.outcome, walk.case.liability, walk.case.money) == ("withdrawn", "none", "none")


def verdict(text: str) -> set[str]:
    book = rulebook.load(FOLDER / "rules.yaml", "aliexpress")
    return {f"{v.rule}:{v.severity}" for v in judged(text, book)}


def judged(text: str, book: rulebook.RuleBook) -> list[rules.Violation]:
    return list(rules.judge(text, book, purpose="free_text", phase="awaiting_seller").violations)


def test_R004_09_never_by_pressure() -> None:
    assert "AE-M07:block" in verdict("We refund you 5 USD only if you cancel the dispute first.")
    assert verdict("We are sorry. We have offered you a refund of 5 USD in the dispute.") == set()


def test_R004_10_an_italian_overseas_account_supplies_the_waybill() -> None:
    def ruled(**settings: object) -> Walk:
        walk = Walk(settings, amount="30.00")
        walk.does("buyer_escalates")
        walk.does("platform_rules", solution_type="return_and_refund", address="1")
        assert walk.case.state == "buyer_return"
        return walk

    walk = ruled(italy_overseas=True)
    assert "R004-10" in walk.rules
    assert any("return waybill" in task for task in walk.tasks())
    assert "return_instructions" not in walk.messages(), "the buyer ships with our number, not before"
    other = ruled()
    assert "R004-10" not in other.rules
    assert not any("return waybill" in task for task in other.tasks())
    assert other.messages()[-1] == "return_instructions"


def test_the_evidence_rules_stand_in_the_evidence_lists() -> None:
    text = Path(FOLDER / "playbooks" / "dispute.yaml").read_text()
    for rule in ("R004-01", "R004-02", "R004-07"):
        assert f"supplied_by: buyer, rule: {rule}" in text


def test_no_money_goes_while_a_return_is_agreed_and_not_here() -> None:
    walk = returning()
    answer = walk.act("refund", amount={"value": "30.00", "currency": "USD"})
    assert isinstance(answer, NotAllowed)
