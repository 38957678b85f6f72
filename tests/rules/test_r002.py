# ruff: noqa: N802 - a test bears the id of its rule
"""The seed rule book on Pinduoduo, R002-01 … R002-25, as behaviour: readings and deeds in, decisions out."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.notifier.render import Templates
from services.policy.core.decision import Decision, NotAllowed
from shared.domain.errands import Errand
from shared.marketplaces.pinduoduo import assisted
from tests.marketplaces.pinduoduo_walk import FOLDER, REGISTRY, START, Walk, playbook

SHORT, WRONG, FAULTY, MIND = "少件/漏发", "商家发错货", "质量问题", "不想要了"
IN_TRANSIT: dict[str, Any] = {"shipping_status": 1, "user_shipping_status": 1}


def items(kind: str, reason: str, by: str | None = None) -> set[str]:
    return {item.what for item in playbook(kind).evidence[reason] if by in (None, item.supplied_by)}


def written(errand: Errand, locale: str = "en") -> str:
    folders = [*REGISTRY.template_dirs("pinduoduo"), FOLDER.parents[2] / "services" / "notifier" / "templates"]
    return Templates(folders, REGISTRY.purposes()).render(errand.name, [locale], errand.params).body


@pytest.mark.parametrize("kind", ["refund", "return"])
def test_R002_01_weight_records_belong_to_every_case_of_missing_parts(kind: str) -> None:
    """playbooks/*.yaml, evidence.missing_parts: the warehouse's and the carrier's weights are asked of our own side."""
    walk = Walk(after_sales_reason=SHORT, after_sales_type=1 if kind == "refund" else 2)
    assert {"warehouse_weight_record"} <= items(kind, "missing_parts", "seller")
    assert {"carrier_weight_record"} <= items(kind, "missing_parts", "carrier")
    (task,) = [task for task in walk.case.tasks.values() if task.kind == "evidence_missing"]
    assert "warehouse_weight_record" in task.reason and "carrier_weight_record" in task.reason


def test_R002_02_the_buyer_is_asked_for_all_received_the_parcel_and_the_signature() -> None:
    """playbooks/*.yaml, evidence.missing_parts (supplied_by: buyer), asked on entry of seller_decides."""
    walk = Walk(after_sales_reason=SHORT)
    assert walk.asked_for() == ["photo_all_received", "parcel_state_at_delivery", "signed_by_buyer"]
    text = written(walk.errands[0])
    assert all(part in text for part in ("everything you received", "damaged when", "signed for the parcel yourself"))


def test_R002_03_a_damaged_parcel_is_the_carriers_and_the_goods_go_again() -> None:
    """playbooks/*.yaml, seller_decides evidence.submitted R002-03: claim on the carrier, ladder short_parcel (resend)."""
    walk = Walk(after_sales_reason=SHORT)
    answer = walk.evidence("photo_outer_packaging", "buyer")
    assert isinstance(answer, Decision) and answer.rule == "R002-03"
    assert any("claim on the carrier" in task for task in walk.tasks())
    assert walk.waiting() == ["resend"]
    walk.approve()
    assert walk.messages()[-1] == "offer_resend"


def test_R002_03_the_buyer_is_told_when_it_is_sent_again() -> None:
    """playbooks/*.yaml, operator.acted:ship_replacement: resend_shipped with the tracking number."""
    walk = Walk(after_sales_reason=SHORT)
    walk.act("ship_replacement", carrier="SF", tracking="SF2")
    told = walk.errands[-1]
    assert (told.name, told.params["tracking_number"], told.params["carrier"]) == ("resend_shipped", "SF2", "SF")


def test_R002_04_an_intact_parcel_is_weighed_again_and_compared() -> None:
    """playbooks/*.yaml, seller_decides evidence.submitted R002-04: a task to pack one set again and compare."""
    walk = Walk(after_sales_reason=SHORT)
    answer = walk.evidence("parcel_state_at_delivery", "buyer")
    assert isinstance(answer, Decision) and answer.rule == "R002-04"
    assert any("pack one set again, weigh it, compare" in task for task in walk.tasks())
    assert "repacked_set_weight" in items("refund", "missing_parts", "seller")


def test_R002_05_a_shortage_by_weight_is_apologised_for_and_sent_again() -> None:
    """playbooks/*.yaml, seller_decides evidence.submitted R002-05 (what: weight_shows_shortage): ladder short_parcel."""
    walk = Walk(after_sales_reason=SHORT)
    answer = walk.evidence("weight_shows_shortage", "seller")
    assert isinstance(answer, Decision) and answer.rule == "R002-05" and walk.waiting() == ["resend"]
    walk.approve()
    assert "sorry" in written(walk.errands[-1]) and "很抱歉" in written(walk.errands[-1], "zh-Hans")


def test_R002_06_where_the_weights_agree_a_goodwill_resend_is_the_sellers_choice() -> None:
    """playbooks/*.yaml, R002-04's task: offering, handing in evidence and declining are all open; nothing goes by itself."""
    walk = Walk(after_sales_reason=SHORT)
    walk.evidence("parcel_state_at_delivery", "buyer")
    assert {"propose", "submit_evidence", "decline"} <= walk.allowed() and walk.acts() == []
    walk.act("propose", remedy="resend")
    assert walk.acts() == ["propose"]
    walk.sends()
    assert walk.messages()[-1] == "offer_resend", "told once it is made"


def test_R002_07_before_the_platform_both_weights_and_the_carriers_certificate_are_handed_in() -> None:
    """playbooks/*.yaml, state platform: the evidence task; act submit_evidence, prepared by assisted.py."""
    walk = Walk(after_sales_reason=SHORT)
    walk.turns(8, join_or_not="1")
    assert walk.case.phase == "platform_review"
    assert any("both weight pictures and the carrier's own certificate" in task for task in walk.tasks())
    assert "carrier_shipping_certificate" in items("refund", "missing_parts", "carrier")
    walk.act("submit_evidence", text="Both weights are 812 g")
    assert walk.acts() == ["submit_evidence"] and walk.errands[-1].capability == "assisted"
    assert assisted.prepared(walk.errands[-1]).text == "Both weights are 812 g"


def test_R002_08_wrong_goods_are_first_seen_then_judged_by_a_person() -> None:
    """playbooks/*.yaml, evidence.wrong_item; the ladder's rungs wait for approval: approving is the judgement."""
    walk = Walk(after_sales_type=2, after_sales_reason=WRONG)
    assert "photo_item" in walk.asked_for() and walk.acts() == [] and walk.waiting() == []
    walk.evidence("photo_item", "buyer")
    assert walk.waiting() == ["part_refund"] and walk.acts() == []


@pytest.mark.parametrize("cheap", [True, False])
@pytest.mark.parametrize("type_", [1, 2])
def test_R002_09_the_ladder_of_wrong_goods(cheap: bool, type_: int) -> None:
    """playbooks/*.yaml, ladders.wrong_goods: difference, exchange, resend where cheap (setting), return and refund."""
    walk = Walk({"resend_cheap_items": cheap}, after_sales_type=type_, after_sales_reason=WRONG)
    answer = walk.evidence("photo_item", "buyer")
    assert isinstance(answer, Decision) and answer.rule == "R002-09"
    remedies = []
    while walk.waiting():
        remedies += walk.waiting()
        walk.approve()
        walk.sends()
        if "ladder_wrong_goods" in walk.case.clocks:
            walk.elapse("ladder_wrong_goods")
    assert remedies == ["part_refund", "exchange", *(["resend"] if cheap else []), "return_refund"]
    offers = [name for name in walk.messages() if name.startswith("offer_")]
    assert offers == [
        "offer_partial_refund", "offer_exchange", *(["offer_resend"] if cheap else []), "offer_return_refund",
    ]  # fmt: skip


def test_R002_09_the_difference_stays_under_its_ceiling() -> None:
    """playbooks/*.yaml, ladders.wrong_goods rung 1: 20 per cent, never above keep_item_refund_below."""
    walk = Walk(after_sales_type=2, after_sales_reason=WRONG, refund_amount="100.00", order_amount="100.00")
    walk.evidence("photo_item", "buyer")
    (offer,) = (
        walk.case.errands.values()
        if len(walk.case.errands) == 1
        else [e for e in walk.case.errands.values() if e.name == "propose"]
    )
    assert offer.money is not None and offer.money.value == "15.00"


def test_R002_09_no_rung_is_passed_over_while_the_last_offer_has_not_been_made() -> None:
    """playbooks/*.yaml, timer.elapsed:ladder_*: guarded by offer_made; a person is told instead."""
    walk = Walk(after_sales_type=2, after_sales_reason=WRONG)
    walk.evidence("photo_item", "buyer")
    walk.elapse("ladder_wrong_goods")
    assert walk.waiting() == ["part_refund"]
    assert any("has not been made yet" in task for task in walk.tasks())


def test_R002_09_an_exchange_is_shipped_again_with_its_tracking_number() -> None:
    """playbooks/return.yaml, replacement_due (status 32): task, clock, act ship_replacement; then status 18."""
    walk = Walk(after_sales_type=3, after_sales_reason=WRONG)
    assert walk.case.state == "exchange_asked"
    walk.turns(32)
    assert walk.case.state == "replacement_due" and "replace" in walk.case.clocks
    walk.act("ship_replacement", carrier="SF", tracking="SF2", shipping_id="44")
    assert walk.acts() == ["ship_replacement"]
    walk.turns(18)
    assert (walk.case.state, walk.case.phase) == ("replacement_sent", "goods_in_transit")


@pytest.mark.parametrize(("reason", "ours"), [(WRONG, True), (FAULTY, True), (MIND, False)])
def test_R002_10_the_freight_is_raised_by_us_and_ours_where_the_fault_is(reason: str, ours: bool) -> None:
    """playbooks/return.yaml, return.authorised R002-10 sets seller_pays_freight; said in return_instructions."""
    walk = Walk(after_sales_type=2, after_sales_reason=reason)
    walk.turns(7)
    assert walk.case.state == "buyer_ships"
    assert ("R002-10" in walk.rules) == ours
    (told,) = [e for e in walk.errands if e.name == "return_instructions"]
    assert told.params.get("seller_pays_freight", False) is ours


def test_R002_10_the_offer_of_a_return_apologises_and_names_the_freight() -> None:
    """playbooks/*.yaml, R002-09 sets seller_pays_freight; templates of offer_return_refund."""
    errand = msgspec.structs.replace(
        Walk().errands[0], name="offer_return_refund", params={"order_id": "1", "seller_pays_freight": True}
    )
    walk = Walk(after_sales_type=2, after_sales_reason=WRONG)
    walk.evidence("photo_item", "buyer")
    assert walk.case.facts["seller_pays_freight"] is True
    freight = written(errand)
    assert "sorry" in freight and freight != written(msgspec.structs.replace(errand, params={"order_id": "1"}))


def test_R002_11_a_confused_buyer_gets_a_patient_word() -> None:
    """purposes/not_our_item.yaml with its templates, allowed by rules.yaml; sent by a person's contact."""
    walk = Walk(after_sales_type=2, after_sales_reason=WRONG)
    answer = walk.act("contact", purpose="not_our_item")
    assert isinstance(answer, Decision) and walk.messages()[-1] == "not_our_item"
    assert "another order of yours" in written(walk.errands[-1])


def test_R002_12_bad_faith_is_refused_by_a_person_with_evidence() -> None:
    """playbooks/*.yaml, operator.acted:decline: person only; assisted.py prepares reason, explanation and evidence."""
    walk = Walk(after_sales_type=2, after_sales_reason=WRONG)
    answer = walk.act("decline", reason="not ours", comment="Our shop does not sell this lamp.")
    assert isinstance(answer, Decision) and walk.acts() == ["decline"]
    prepared = assisted.prepared(walk.errands[-1])
    assert "does not sell this lamp" in prepared.text
    assert any("evidence" in step for step in prepared.checklist)
    assert walk.case.state == "seller_decides", "only the reading says that it is refused"
    walk.turns(6)
    assert walk.case.phase == "awaiting_buyer"


@pytest.mark.parametrize("type_", [1, 2])
def test_R002_13_a_refund_by_the_platform_over_foreign_goods_asks_for_a_rights_complaint(type_: int) -> None:
    """playbooks/*.yaml, refund.issued R002-13: a task that outlives the case, with what the complaint needs."""
    walk = Walk(after_sales_type=type_, after_sales_reason=WRONG)
    walk.turns(5, refund_operator_role=3)
    walk.turns(10, refund_operator_role=3)
    assert walk.log[-1].rule == "R002-13" and walk.case.outcome == "refunded"
    (task,) = [t for t in walk.case.tasks.values() if "rights complaint" in t.reason]
    for needed in ("the problem", "does not sell", "photos of what was shipped", "waybill", "wait for the review"):
        assert needed in task.reason
    other = Walk(after_sales_type=type_, after_sales_reason=WRONG)
    other.turns(10, refund_operator_role=2)
    assert not any("rights complaint" in task for task in other.tasks()), "what we agreed to is not complained of"


def test_R002_14_a_small_payment_comes_before_an_exchange_and_an_exchange_before_a_return() -> None:
    """playbooks/*.yaml, ladders.small_defect: the order of its rungs, the same in both kinds."""
    for kind in ("refund", "return"):
        rungs = [rung.remedy for rung in playbook(kind).ladders["small_defect"].rungs]
        assert rungs == ["part_refund", "exchange", "return_refund"]


def test_R002_15_the_defect_is_proven_first() -> None:
    """playbooks/*.yaml, evidence.defective; no remedy is offered before the buyer's pictures are there."""
    walk = Walk(after_sales_reason=FAULTY)
    assert walk.asked_for() == ["photo_fault", "video_fault"]
    assert walk.acts() == [] and not [name for name in walk.messages() if name.startswith("offer_")]
    walk.evidence("photo_fault", "buyer")
    assert walk.acts() == ["propose"]


def test_R002_15_pictures_of_the_application_count_too() -> None:
    """records.py: images of the detail are evidence.submitted by the buyer."""
    walk = Walk(after_sales_reason=FAULTY, images=["https://img.pddpic.com/open/sample.jpeg"])
    assert "R002-16" in walk.rules and walk.acts() == ["propose"]


def test_R002_16_the_ladder_of_a_small_defect_with_the_freight_ours() -> None:
    """playbooks/*.yaml, ladders.small_defect and R002-16 (sets seller_pays_freight)."""
    walk = Walk(after_sales_reason=FAULTY)
    walk.evidence("photo_fault", "buyer")
    remedies = []
    while "propose" in [e.name for e in walk.case.errands.values() if e.status == "planned"]:
        remedies.append(next(str(e.params["remedy"]) for e in reversed(walk.errands) if e.name == "propose"))
        walk.sends()
        walk.elapse("ladder_small_defect")
    assert remedies == ["part_refund", "exchange", "return_refund"]
    exchange = next(e for e in walk.errands if e.name == "offer_exchange")
    assert exchange.params["seller_pays_freight"] is True
    assert next(e for e in walk.errands if e.name == "offer_partial_refund").params["amount"]["value"] == "5.18"


def test_R002_17_misuse_is_explained_and_talked_over() -> None:
    """purposes/usage_advice.yaml with its templates; a person's contact, then an offer or a refusal."""
    walk = Walk(after_sales_reason=FAULTY)
    walk.act("contact", purpose="usage_advice", variables={"explanation": "The cup is not made for ovens."})
    text = written(walk.errands[-1])
    assert "not made for ovens" in text and "look for another solution together" in text
    missing = walk.act("contact", purpose="usage_advice")
    assert isinstance(missing, NotAllowed) and missing.code == "missing_variables"


def test_R002_18_a_refund_by_the_platform_for_sound_goods_asks_for_a_rights_complaint() -> None:
    """playbooks/*.yaml, refund.issued R002-18; the act appeal is prepared by assisted.py."""
    walk = Walk(after_sales_reason=FAULTY)
    walk.turns(10, refund_operator_role=3)
    assert walk.log[-1].rule == "R002-18"
    assert any("proof of no defect or the chat" in task for task in walk.tasks())
    complaint = assisted.prepared(msgspec.structs.replace(walk.errands[0], what="act", name="appeal"))
    assert any("维权投诉" in step for step in complaint.checklist)
    assert any("chat in which the buyer says" in step for step in complaint.checklist)


def test_R002_19_a_fault_after_some_use_is_repaired_or_paid_for_or_declined() -> None:
    """playbooks/return.yaml, state repair_asked (status 21): the period is not told, a person judges it."""
    walk = Walk(after_sales_type=5, after_sales_reason=FAULTY)
    assert walk.case.state == "repair_asked"
    assert any("inside the after-sales period" in task for task in walk.tasks())
    assert {"authorise", "propose", "decline"} <= walk.allowed()
    walk.turns(22)
    assert walk.case.state == "buyer_ships"
    walk.turns(27)
    walk.turns(25)
    assert walk.case.outcome == "replaced"


def test_R002_20_the_shipment_is_looked_at_first() -> None:
    """records.py (shipping_status) and playbooks/refund.yaml: the same wish is answered by where the goods are."""
    unshipped = Walk(after_sales_reason=MIND, shipping_status=0, user_shipping_status=0)
    moving = Walk(after_sales_reason=MIND, **IN_TRANSIT)
    there = Walk(after_sales_reason=MIND, shipping_status=1, user_shipping_status=2)
    assert [walk.log[0].rule for walk in (unshipped, moving)] == ["R002-21", "R002-22"]
    assert there.log[0].rule not in ("R002-21", "R002-22") and there.acts() == []


def test_R002_21_not_shipped_is_refunded_at_once() -> None:
    """playbooks/refund.yaml, refund.requested R002-21; the account's limits for money without goods still hold."""
    small = Walk({"keep_item_refund_below": "30.00 CNY"}, after_sales_reason=MIND, shipping_status=0)
    assert small.acts() == ["refund"]
    assert small.errands[0].money is not None and small.errands[0].money.value == "25.90"
    large = Walk(after_sales_reason=MIND, shipping_status=0)
    assert large.acts() == [] and large.waiting() == ["refund"]
    stopped = large.act("cancel")
    assert isinstance(stopped, Decision) and stopped.rule == "R002-21"
    assert isinstance(Walk(after_sales_reason=MIND).act("cancel"), NotAllowed)


def test_R002_22_on_its_way_the_buyer_is_told_to_refuse_the_parcel() -> None:
    """playbooks/refund.yaml, refund.requested R002-22; purposes/refuse_parcel.yaml."""
    walk = Walk(after_sales_reason=MIND, **IN_TRANSIT)
    assert walk.messages() == ["refuse_parcel"] and walk.acts() == []
    text = written(walk.errands[-1])
    assert "refuse the parcel" in text and "coming back to us, we will refund" in text


@pytest.mark.parametrize(
    ("staged", "possible"),
    [
        (IN_TRANSIT, True),
        ({"shipping_status": 0, "user_shipping_status": 0}, False),
        ({"shipping_status": 1, "user_shipping_status": 2}, False),
        ({**IN_TRANSIT, "refund_amount": "5.00"}, False),
    ],
)
def test_R002_23_refund_on_refusal_only_in_transit_and_for_the_whole_sum(
    staged: dict[str, Any], possible: bool
) -> None:
    """playbooks/refund.yaml, operator.acted:authorise R002-23; assisted.py; then status 31 waits, the platform pays."""
    walk = Walk(after_sales_reason=MIND, **staged)
    answer = walk.act("authorise")
    assert isinstance(answer, Decision) == possible
    if not possible:
        return
    prepared = assisted.prepared(walk.errands[-1])
    assert walk.acts() == ["authorise"] and any("拒收后退款" in step for step in prepared.checklist)
    walk.sends()
    walk.turns(31)
    assert (walk.case.state, walk.case.goods, walk.acts()) == ("awaiting_refusal", "advised", ["authorise"])
    walk.turns(10, refund_operator_role=3)
    assert (walk.case.outcome, walk.case.money) == ("refunded", "refunded")


@pytest.mark.parametrize("type_", [1, 2])
def test_R002_24_a_recall_only_between_dispatch_and_delivery(type_: int) -> None:
    """playbooks/*.yaml, operator.acted:intercept R002-24 (a person's approval, then assisted); status 33 is the recall."""
    walk = Walk(after_sales_type=type_, after_sales_reason=MIND, **IN_TRANSIT)
    answer = walk.act("intercept")
    assert isinstance(answer, Decision) and answer.rule == "R002-24"
    assert any("快递拦截" in step for step in assisted.prepared(walk.errands[-1]).checklist)
    walk.turns(33)
    assert walk.case.state == "recall" and any("bring the parcel back" in task for task in walk.tasks())
    for staged in ({"shipping_status": 0, "user_shipping_status": 0}, {"user_shipping_status": 2}):
        assert isinstance(Walk(after_sales_type=type_, after_sales_reason=MIND, **staged).act("intercept"), NotAllowed)


@pytest.mark.parametrize("kind", ["refund", "return"])
def test_R002_25_every_open_state_has_a_due_time(kind: str) -> None:
    """playbooks/*.yaml: a clock in each open state; the answer's comes before the marketplace's own deadline (CR-PD-04)."""
    book = playbook(kind)
    assert all(state.clocks for state in book.states.values() if not state.is_end)
    walk = Walk(after_sales_type=1 if kind == "refund" else 2)
    clock = walk.case.clocks["answer"]
    assert (clock.origin, clock.due_at) == ("platform", START + timedelta(hours=48))
    assert clock.act_at == clock.due_at - timedelta(hours=12)
    walk.elapse("answer")
    assert any(task.kind == "deadline_at_risk" for task in walk.case.tasks.values())


def test_R002_04_pictures_of_the_application_alone_do_not_say_how_the_parcel_was() -> None:
    """records.py names them pictures_of_application; playbooks/*.yaml ask a person to look and note it."""
    walk = Walk(after_sales_reason=SHORT, images=["https://img.pddpic.com/open/sample.jpeg"])
    assert "R002-03" not in walk.rules and "R002-04" not in walk.rules
    assert any("damaged on its way, or is it intact" in task for task in walk.tasks())
