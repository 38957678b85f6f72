"""Money: what no playbook and no operator may break."""

from datetime import timedelta

import msgspec
import pytest
from core_scene import Scene, usd

from shared.domain.order import Reservation


def with_money(scene: Scene, **money: dict[str, int]) -> None:
    scene.terms = msgspec.structs.replace(scene.terms, money=money)


def received(scene: Scene) -> Scene:
    scene.tell("return.received")
    return scene


def test_no_refund_before_the_goods_are_back(opened: Scene) -> None:
    answer = opened.refused("refund", {"amount": usd("40.00")})
    assert (answer.code, answer.status) == ("goods_not_back", 409)
    assert opened.order.reserved == {}


def test_an_operator_may_let_the_buyer_keep_the_item(opened: Scene) -> None:
    decision = opened.act("refund", {"amount": usd("40.00"), "keep_item": True})
    assert decision.to_state == "paying"
    assert decision.errands[0].money is not None and decision.errands[0].money.minor == 4000
    assert decision.answered == decision.errands[0].id


def test_a_refund_on_its_way_is_reserved_and_asked_for_again_is_that_one(opened: Scene) -> None:
    received(opened)
    first = opened.act("refund", {"amount": usd("40.00")})
    assert opened.order.reserved == {first.answered: Reservation("case_1", 4000)}
    again = opened.act("refund", {"amount": usd("10.00")})
    assert again.answered == first.answered
    assert again.errands == () and not again.waits_for_approval


def test_refunds_stay_under_the_orders_ceiling_over_all_its_cases(opened: Scene) -> None:
    received(opened)
    other = {"act_of_another_case": Reservation("case_2", 3000, in_doubt=True)}
    opened.order = msgspec.structs.replace(opened.order, reserved=other)
    answer = opened.refused("refund", {"amount": usd("40.00")})
    assert answer.code == "above_ceiling"
    assert opened.act("refund", {"amount": usd("30.00")}).answered


def test_the_marketplaces_own_maximum_counts_too(opened: Scene) -> None:
    received(opened)
    opened.tell("case.updated", {"max_refund": usd("20.00")})
    assert opened.refused("refund", {"amount": usd("20.01")}).code == "above_ceiling"


def test_another_currency_is_no_amount_of_this_case(opened: Scene) -> None:
    received(opened)
    answer = opened.refused("refund", {"amount": {"value": "1.00", "currency": "EUR"}})
    assert (answer.code, answer.status) == ("other_currency", 422)


def test_an_amount_in_another_currency_is_put_before_a_person_and_not_believed(opened: Scene) -> None:
    opened.tell("case.updated", {"amount": {"value": "5.00", "currency": "EUR"}})
    assert opened.case.facts["amount"] == usd("40.00")
    assert [task.kind for task in opened.case.tasks.values()] == ["conflict"]


def test_without_an_amount_all_that_is_asked_is_refunded(opened: Scene) -> None:
    decision = received(opened).act("refund")
    assert decision.errands[0].params["amount"] == usd("40.00")


def test_above_the_limit_waits_for_somebody_who_may(opened: Scene) -> None:
    received(opened)
    decision = opened.act("refund", {"amount": usd("50.01")})
    assert decision.waits_for_approval and decision.errands == ()
    assert opened.order.reserved == {}, "nothing is on its way yet"
    act_id = decision.answered
    assert act_id is not None
    assert opened.refused("approve", {"act_id": act_id}).status == 403
    approved = opened.act("approve", {"act_id": act_id}, scopes=("act", "approve"))
    assert [errand.id for errand in approved.errands] == [act_id]
    assert opened.order.promised_minor == 5001
    assert "approve_act" not in opened.tasks


def test_with_the_scope_it_goes_at_once(opened: Scene) -> None:
    decision = received(opened).act("refund", {"amount": usd("50.01")}, scopes=("act", "approve"))
    assert not decision.waits_for_approval and decision.errands


def test_a_limit_in_another_currency_never_permits(opened: Scene) -> None:
    received(opened)
    with_money(opened, approve_refund_above={"EUR": 100_000})
    assert opened.act("refund", {"amount": usd("1.00")}).waits_for_approval


def test_no_limit_set_needs_no_approval(opened: Scene) -> None:
    received(opened)
    with_money(opened)
    assert not opened.act("refund", {"amount": usd("60.00")}).waits_for_approval


def test_a_rejected_refund_is_gone(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("60.00")}).answered
    opened.act("reject", {"act_id": act_id})
    assert opened.case.errands.keys() & {act_id} == set()
    assert "approve_act" not in opened.tasks
    assert opened.refused("approve", {"act_id": act_id}).code == "not_waiting"


def test_approval_tests_the_ceiling_again(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("60.00")}).answered
    other = {"act_of_another_case": Reservation("case_2", 1)}
    opened.order = msgspec.structs.replace(opened.order, reserved=other)
    answer = opened.refused("approve", {"act_id": act_id}, scopes=("approve",))
    assert answer.code == "above_ceiling"


def test_leaving_the_state_drops_what_waited_for_approval(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("60.00")}).answered
    decision = opened.tell("case.closed")
    assert act_id not in opened.case.errands
    assert decision.withdrawals == (), "it never left: there is nothing to call back"


def test_the_planned_default_keeps_the_item_only_as_far_as_the_account_permits(opened: Scene) -> None:
    decision = opened.clock("answer")
    assert decision.rule == "clock/answer#2" and decision.errands == ()
    assert opened.tasks == ["deadline_at_risk"]


def test_a_small_sum_is_refunded_ahead_of_the_deadline(scene: Scene) -> None:
    scene.tell("return.requested", {"amount": usd("12.00"), "paid": usd("60.00")})
    due = scene.case.clocks["answer"].due_at
    decision = scene.clock("answer")
    refund = decision.errands[0]
    assert (refund.name, refund.money and refund.money.minor, refund.urgent) == ("refund", 1200, True)
    assert refund.not_after == due, "money is never started after the deadline it was planned for"
    assert scene.now == due - timedelta(hours=24)


def test_keeping_the_item_on_the_playbooks_word_needs_the_accounts_permission(scene: Scene) -> None:
    scene.tell("return.requested", {"amount": usd("12.00"), "paid": usd("60.00")})
    scene.clock("nudge")
    with_money(scene, keep_item_refund_below={"EUR": 1500})
    decision = scene.clock("answer")
    assert decision.errands == () and "deadline_at_risk" in scene.tasks


def test_only_an_observed_refund_confirms_one(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("40.00")}).answered or ""
    opened.report("sent", act_id)
    assert opened.case.errands[act_id].status == "sent" and opened.case.money == "none"
    assert opened.order.promised_minor == 4000
    opened.tell("refund.promised")
    assert act_id in opened.case.errands and opened.case.money == "promised"
    opened.tell("refund.issued", {"refunded": usd("40.00")})
    assert opened.case.errands.keys() & {act_id} == set()
    assert (opened.order.refunded_minor, opened.order.promised_minor) == (4000, 0)
    assert opened.case.money == "refunded"


def test_a_refund_made_elsewhere_calls_the_planned_one_back(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("40.00")}).answered
    decision = opened.tell("refund.issued", {"refunded": usd("40.00")})
    assert act_id in {withdrawn.errand_id for withdrawn in decision.withdrawals}
    assert ("confirm", "refund") in {(effect.do, effect.name) for effect in decision.effects}
    assert ("withdraw", "refund") not in {(effect.do, effect.name) for effect in decision.effects}
    opened.report("withdrawn", act_id or "")
    assert act_id not in opened.case.errands and opened.order.promised_minor == 0


def test_another_sum_than_the_planned_one_is_called_back_and_said_so(opened: Scene) -> None:
    act_id = received(opened).act("refund", {"amount": usd("40.00")}).answered
    decision = opened.tell("refund.issued", {"refunded": usd("10.00")})
    assert ("withdraw", act_id) in {(effect.do, effect.id) for effect in decision.effects}


@pytest.mark.parametrize(
    "answers", [("sent", "too_late"), ("too_late", "sent"), ("in_doubt", "too_late"), ("refused",)]
)
def test_a_refund_seen_before_the_notifier_told_of_it_is_settled_by_whatever_it_tells(
    opened: Scene, answers: tuple[str, ...]
) -> None:
    act_id = received(opened).act("refund", {"amount": usd("40.00")}).answered or ""
    opened.tell("refund.issued", {"refunded": usd("40.00")})
    ended = opened.case.state
    for answer in answers:
        opened.report(answer, act_id)
    assert (opened.case.state, opened.case.money, opened.tasks) == (ended, "refunded", [])
    assert act_id not in opened.case.errands
    assert (opened.order.refunded_minor, opened.order.promised_minor, opened.order.in_doubt_minor) == (4000, 0, 0)


def test_a_refund_that_had_left_is_not_taken_for_another_seen_before_it(opened: Scene) -> None:
    received(opened).tell("refund.issued", {"refunded": usd("10.00")}, refs={"refund_id": "R1"})
    opened.tell("case.reopened")
    act_id = opened.act("refund", {"amount": usd("5.00")}).answered or ""
    opened.tell("return.cancelled")
    opened.report("too_late", act_id)
    assert opened.case.errands[act_id].status == "sending" and opened.order.promised_minor == 500


def test_a_refund_told_of_twice_counts_once(opened: Scene) -> None:
    told = {"refunded": usd("10.00")}
    opened.tell("refund.issued", told, refs={"refund_id": "R1"})
    opened.tell("refund.issued", told, refs={"refund_id": "R1"})
    opened.tell("refund.issued", told, refs={"refund_id": "R2"})
    assert opened.order.refunded_minor == 2000
    assert opened.case.facts["refunded"] == usd("20.00")


@pytest.mark.parametrize(
    ("answer", "promised", "doubt", "alive"),
    [("sent", 4000, 0, True), ("not_sent", 0, 0, False), ("send_again", 4000, 0, True)],
)
def test_doubt_is_a_persons_to_resolve(opened: Scene, answer: str, promised: int, doubt: int, alive: bool) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("40.00")}).answered or ""
    opened.report("in_doubt", act_id, why="time-out")
    assert opened.case.money == "in_doubt"
    assert (opened.order.promised_minor, opened.order.in_doubt_minor) == (0, 4000)
    assert opened.tasks == ["in_doubt"]
    decision = opened.answer(opened.task("in_doubt"), answer)
    assert [(r.errand_id, r.answer, r.by) for r in decision.resolutions] == [(act_id, answer, "ann")]
    assert (opened.order.promised_minor, opened.order.in_doubt_minor) == (promised, doubt)
    assert (act_id in opened.case.errands) is alive
    assert opened.case.money == "none" and "in_doubt" not in opened.tasks


def test_money_in_doubt_still_counts_against_the_ceiling(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("40.00")}).answered or ""
    opened.report("in_doubt", act_id)
    opened.tell("case.closed")
    assert act_id in opened.case.errands, "what may have happened is not called back"
    assert opened.order.refundable_minor == 2000


def test_a_refused_refund_is_free_again_and_the_row_answers(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("40.00")}).answered or ""
    decision = opened.report("refused", act_id, why="closed")
    assert decision.rule == "paying/act.refused:refund#1"
    assert opened.order.reserved == {}


def test_a_failure_no_row_answers_is_put_before_a_person(opened: Scene) -> None:
    act_id = opened.act("authorise").answered or ""
    opened.report("failed", act_id, why="no such return")
    assert "answer_needed" in opened.tasks
    assert any("authorise failed: no such return" in task.reason for task in opened.case.tasks.values())


def test_what_the_marketplace_cannot_do_is_not_possible(opened: Scene) -> None:
    terms = msgspec.structs.replace(opened.terms, capabilities={**opened.terms.capabilities, "authorise": "none"})
    opened.terms = terms
    answer = opened.refused("authorise")
    assert answer.code == "no_capability" and "authorise" not in answer.allowed


def test_by_hand_is_prepared_then_confirmed(opened: Scene) -> None:
    capabilities = {**opened.terms.capabilities, "authorise": "assisted"}
    opened.terms = msgspec.structs.replace(opened.terms, capabilities=capabilities)
    decision = opened.act("authorise")
    act_id = decision.answered or ""
    assert decision.errands[0].capability == "assisted"
    prepared = {"text": "Press agree", "link": "https://example.test", "checklist": ["log in"]}
    opened.report("assisted", act_id, prepared=prepared)
    task = opened.case.tasks[opened.task("assisted_act")]
    assert task.prepared == prepared and task.allowed == ("sent", "not_sent")
    opened.tell("return.authorised")
    assert act_id not in opened.case.errands and opened.tasks == []
    assert opened.last is not None
    assert [(r.answer, r.by) for r in opened.last.resolutions] == [("sent", "observed")]


def test_an_unknown_paid_sum_lets_no_more_go_than_was_asked(scene: Scene) -> None:
    scene.tell("return.requested", {"amount": usd("12.00")})
    scene.tell("return.received")
    assert scene.act("refund", {"amount": usd("12.01")}).waits_for_approval


def test_an_order_in_another_currency_is_no_measure(scene: Scene) -> None:
    scene.tell("order.placed", {"paid": {"value": "900", "currency": "JPY"}})
    scene.tell("return.requested", {"amount": usd("12.00"), "max_refund": usd("12.00")})
    scene.tell("return.received")
    assert scene.refused("refund", {"amount": usd("12.01")}).code == "above_ceiling"
    assert scene.act("refund", {"amount": usd("12.00")}).errands
    assert scene.order.reserved == {}, "dollars are not counted as yen"


def test_a_confirmed_refund_is_still_on_its_way_until_the_money_is_seen(opened: Scene) -> None:
    received(opened)
    act_id = opened.act("refund", {"amount": usd("20.00")}).answered or ""
    opened.report("confirmed", act_id)
    assert opened.act("refund", {"amount": usd("20.00")}).answered == act_id, "never a second one for the same money"
    opened.tell("refund.issued", {"refunded": usd("20.00")})
    assert act_id not in opened.case.errands and opened.order.reserved == {}


def test_a_message_that_bounced_after_it_was_sent_is_put_before_a_person(opened: Scene) -> None:
    message = opened.errand("acknowledge_request")
    opened.report("sent", message)
    opened.tell("message.failed", {"errand_id": message, "name": "acknowledge_request", "why": "mailbox full"})
    assert "answer_needed" in opened.tasks


@pytest.mark.parametrize(
    ("source", "by", "over"), [("operator", "seller", False), ("poll", "buyer", False), ("poll", "seller", True)]
)
def test_only_what_the_marketplace_shows_of_us_confirms_an_act(opened: Scene, source: str, by: str, over: bool) -> None:
    act_id = opened.act("submit_evidence", {"text": "The box was whole"}).answered or ""
    opened.report("sent", act_id)
    opened.tell("evidence.submitted", {"what": "statement", "supplied_by": by}, source=source)
    assert (act_id not in opened.case.errands) is over


def called_back(scene: Scene) -> str:
    """A refund on its way whose withdrawal nobody has answered, on a case that is open again."""
    act_id = received(scene).act("refund", {"amount": usd("10.00")}).answered
    scene.tell("return.cancelled")
    scene.tell("case.reopened", {"amount": usd("10.00")})
    assert act_id is not None and scene.case.errands[act_id].withdrawing
    return act_id


def test_a_refund_being_called_back_is_live_until_the_notifier_has_answered(opened: Scene) -> None:
    act_id = called_back(opened)
    answer = opened.refused("refund", {"amount": usd("10.00")})
    assert (answer.code, answer.status) == ("being_withdrawn", 409)
    opened.report("withdrawn", act_id)
    assert opened.act("refund", {"amount": usd("10.00")}).errands


def test_what_was_planned_meanwhile_is_put_before_a_person(opened: Scene) -> None:
    called_back(opened)
    decision = opened.clock("answer")
    assert decision.errands == ()
    (task,) = (t for t in opened.case.tasks.values() if t.kind == "answer_needed")
    assert "called back" in task.reason and task.prepared is not None


def test_a_refund_that_had_left_before_it_was_called_back_is_that_one(opened: Scene) -> None:
    act_id = called_back(opened)
    opened.report("too_late", act_id)
    assert opened.act("refund", {"amount": usd("10.00")}).answered == act_id


def test_what_the_case_has_given_back_is_taken_off_the_marketplaces_maximum(opened: Scene) -> None:
    received(opened)
    opened.tell("case.updated", {"max_refund": usd("25.00")})
    opened.tell("refund.issued", {"refunded": usd("15.00")})
    opened.tell("case.reopened")
    assert opened.refused("refund", {"amount": usd("10.01")}).code == "above_ceiling"
    assert opened.act("refund", {"amount": usd("10.00")}).answered


def test_a_proposal_takes_nothing_off_the_marketplaces_maximum(opened: Scene) -> None:
    opened.tell("case.updated", {"max_refund": usd("25.00")})
    first = opened.act("propose", {"amount": usd("15.00")}, override={"rule": "contact_first", "reason": "seen"})
    opened.report("sent", first.answered or "")
    assert opened.act("propose", {"amount": usd("20.00")}).errands
