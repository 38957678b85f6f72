"""The dispute playbook as a whole: the checker passes it, and whole disputes walk through it to their end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.policy.core.check import Known, check
from services.policy.core.decision import Decision, NotAllowed
from services.policy.terms import needs_of, purposes_of
from shared.accounts import COMMON_SETTINGS
from shared.domain.errands import ACTS
from shared.marketplaces.aliexpress import simulated
from shared.marketplaces.aliexpress.issue import STATUSES
from tests.marketplaces.aliexpress_walk import FOLDER, REGISTRY, Walk, playbook

KINDS = [path.stem for path in REGISTRY.playbook_files("aliexpress")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_checker_has_nothing_to_say(kind: str) -> None:
    manifest = REGISTRY.manifest("aliexpress")
    templates = FOLDER.parents[2] / "services" / "notifier" / "templates"
    known = Known(
        purposes={name: needs_of(purpose) for name, purpose in REGISTRY.purposes().items()},
        templates=frozenset(path.name for path in templates.iterdir()),
        allowed=purposes_of(REGISTRY, "aliexpress"),
        acts={act: manifest.capability(act) for act in ACTS},
        settings={name: found.type for name, found in {**COMMON_SETTINGS, **manifest.settings}.items()},
        statuses=frozenset((*STATUSES, "canceled_issue")) if kind == "dispute" else None,
    )
    assert check(playbook(kind), known) == []


def test_a_dispute_opens_with_one_message_one_clock_and_no_task() -> None:
    walk = Walk(issue_reason="Product damaged", amount="12.50")
    assert (walk.case.state, walk.case.phase) == ("seller_response", "awaiting_seller")
    assert walk.messages() == ["ask_for_evidence"]
    assert set(walk.case.clocks) == {"response"} and walk.case.tasks == {}
    assert Walk(issue_reason="Something else").messages() == ["acknowledge_dispute"]


def test_at_the_margin_a_small_refund_without_return_is_agreed_to() -> None:
    walk = Walk(amount="12.50")
    due = walk.case.clocks["response"].due_at
    decision = walk.elapse("response")
    (errand,) = decision.errands
    assert (errand.name, errand.money and errand.money.value) == ("refund", "12.50")
    assert errand.not_after == due > walk.now
    walk.sends()
    walk.body["buyer_solution_list"][0]["status"] = "reached"
    walk.turns("refund_success")
    assert (walk.case.outcome, walk.case.money, walk.case.errands) == ("refunded", "refunded", {})


@pytest.mark.parametrize(("currency", "amount"), [("USD", "15.01"), ("EUR", "1.00")])
def test_at_the_margin_more_than_is_permitted_is_a_task(currency: str, amount: str) -> None:
    decision = Walk(amount=amount, currency=currency).elapse("response")
    assert decision.errands == ()
    assert [task.kind for task in decision.opened_tasks] == ["deadline_at_risk"]


def test_at_the_margin_a_return_plan_is_agreed_to_only_with_an_address() -> None:
    known = Walk({"return_address_id": "4711"}, amount="90.00", solution_type="return_and_refund")
    assert [errand.name for errand in known.elapse("response").errands] == ["authorise"]
    unknown = Walk(amount="9.00", solution_type="return_and_refund")
    decision = unknown.elapse("response")
    assert decision.errands == () and len(decision.opened_tasks) == 1


def test_an_operators_refund_of_the_asked_amount_agrees_and_of_another_proposes() -> None:
    walk = Walk(amount="40.00")
    walk.act("refund", amount={"value": "40.00", "currency": "USD"})
    assert [name for name, _ in walk.acts()] == ["refund"]
    walk = Walk(amount="40.00")
    walk.act("refund", amount={"value": "10.00", "currency": "USD"})
    assert walk.acts() == [
        ("propose", {"remedy": "part_refund", "amount": {"value": "10.00", "currency": "USD"}}),
    ]
    answer = Walk(amount="40.00").act("refund", amount={"value": "41.00", "currency": "USD"})
    assert not isinstance(answer, Decision) or not answer.errands


def test_a_refund_above_the_limit_waits_for_approval() -> None:
    walk = Walk(amount="60.00")
    walk.sends()
    answer = walk.act("refund")
    assert isinstance(answer, Decision) and answer.waits_for_approval and walk.acts() == []
    (waiting,) = walk.case.errands.values()
    walk.act("approve", act_id=waiting.id, scopes=("act", "approve"))
    assert [name for name, _ in walk.acts()] == ["refund"]


def test_a_counter_plan_accepted_ends_part_refunded() -> None:
    walk = Walk(amount="40.00")
    walk.act("propose", remedy="part_refund", amount={"value": "8.00", "currency": "USD"})
    walk.sends()
    simulated.counter(walk.body, "refund", {"value": "8.00", "currency": "USD"}, walk.now)
    assert walk.read() == ["refund.offered", "case.updated"]
    assert (walk.case.state, walk.case.errands) == ("buyer_response", {})
    walk.does("buyer_accepts")
    assert (walk.case.outcome, walk.case.money) == ("part_refunded", "part_refunded")
    assert walk.case.facts["refunded"]["value"] == "8.00"
    assert walk.messages()[-1] == "solution_agreed"


def test_a_counter_plan_refused_comes_back_to_us_with_a_task_and_a_new_deadline() -> None:
    walk = Walk(amount="40.00")
    simulated.counter(walk.body, "refund", {"value": "8.00", "currency": "USD"}, walk.now)
    walk.read()
    assert walk.does("buyer_refuses") == ["refund.offer_declined", "dispute.response_required"]
    assert walk.case.state == "seller_response"
    [task] = walk.case.tasks.values()
    assert (task.kind, task.due_at) == ("answer_needed", walk.case.clocks["response"].act_at)
    walk.does("buyer_escalates")
    assert walk.case.tasks == {}


def test_a_return_inside_the_dispute_stays_in_this_case_to_its_end() -> None:
    walk = Walk({"return_address_id": "4711"}, amount="30.00", solution_type="return_and_refund")
    walk.act("authorise")
    walk.body["buyer_solution_list"][0] |= {"status": "reached", "reached_type": "negotiation_consensus"}
    walk.turns("wait_for_seller_set_return_address")
    assert walk.case.goods == "advised" and walk.acts()[-1][0] == "set_return_address"
    walk.turns("wait_for_buyer_return")
    walk.does("buyer_ships")
    assert (walk.case.state, walk.case.phase, walk.case.goods) == ("seller_receipt", "goods_in_transit", "in_transit")
    walk.act("confirm_receipt", condition="ok")
    walk.turns("return_success")
    assert (walk.case.outcome, walk.case.goods, walk.case.money) == ("refunded", "received", "refunded")
    assert walk.messages() == ["ask_for_evidence", "return_instructions", "return_in_transit", "goods_received"]


def test_a_return_in_bad_condition_is_for_a_person() -> None:
    walk = Walk(solution_type="return_and_refund")
    walk.body["buyer_solution_list"][0]["status"] = "reached"
    walk.turns("wait_for_buyer_return")
    walk.does("buyer_ships")
    walk.act("confirm_receipt", condition="empty")
    assert walk.acts() == [] and any("escalate with pictures" in task for task in walk.tasks())


def test_rulings() -> None:
    for amount, outcome in (("0", "rejected"), ("10.00", "part_refunded"), ("40.00", "refunded")):
        walk = Walk(amount="40.00")
        walk.does("buyer_escalates")
        assert walk.case.phase == "platform_review"
        walk.does("platform_rules", amount=amount)
        assert (walk.case.phase, walk.case.outcome) == ("resolved", outcome)


def test_what_is_first_seen_late_or_over_is_taken_up_where_it_stands() -> None:
    for status in STATUSES:
        walk = Walk(reverse_detail_status=status)
        assert walk.case.state == playbook().statuses[status], status
        assert walk.case.is_open or not walk.case.clocks
        assert not walk.case.is_open or walk.case.clocks or walk.case.tasks
    gone = Walk(issue_status="canceled_issue")
    assert (gone.case.outcome, gone.case.clocks) == ("withdrawn", {})


def test_an_unknown_status_is_kept_and_put_before_a_person() -> None:
    walk = Walk()
    walk.turns("wait_for_the_moon")
    assert walk.case.state == "seller_response" and walk.case.clocks
    assert [task.kind for task in walk.case.tasks.values()] == ["unmapped"]
    first = Walk(reverse_detail_status="wait_for_the_moon")
    assert first.case.state == "arriving" and first.case.clocks


def test_what_an_operator_may_not_do_is_said() -> None:
    walk = Walk()
    walk.does("buyer_escalates")
    for action in ("refund", "propose", "authorise"):
        assert isinstance(walk.act(action, remedy="coupon"), NotAllowed)
    assert isinstance(walk.act("close", reason="other"), NotAllowed)


def test_a_planned_message_is_withdrawn_when_its_state_is_left() -> None:
    walk = Walk()
    (message,) = walk.case.errands.values()
    walk.does("buyer_cancels")
    assert [w.errand_id for w in walk.log[-1].withdrawals] == [message.id]


DOINGS = [
    *simulated.MOVES,
    "refund",
    "authorise",
    "propose",
    "decline",
    "escalate",
    "confirm_receipt",
    "elapse",
    "sends",
]
PARAMS = {
    "propose": {"remedy": "part_refund", "amount": {"value": "5.00", "currency": "USD"}},
    "authorise": {"return_address_id": "4711"},
    "decline": {"reason": "outside policy"},
    "confirm_receipt": {"condition": "ok"},
}


def happen(walk: Walk, what: str) -> None:
    if what in simulated.MOVES:
        walk.does(what)
    elif what == "elapse" and walk.case.clocks:
        walk.elapse(min(walk.case.clocks.values(), key=lambda clock: clock.next_at).name)
    elif what == "sends":
        walk.sends()
    elif what != "elapse":
        walk.act(what, **PARAMS.get(what, {}))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(DOINGS), max_size=12),
    st.sampled_from(["refund", "return_and_refund"]),
    st.sampled_from(["Product damaged", "Wrong item", "Customs problem"]),
)
def test_whatever_happens_no_open_dispute_lies_unattended(what: list[str], kind: str, reason: str) -> None:
    walk = Walk({"return_address_id": "4711"}, amount="12.50", solution_type=kind, issue_reason=reason)
    for doing in what:
        happen(walk, doing)
        assert not walk.case.is_open or walk.case.clocks or walk.case.tasks
        assert walk.case.is_open or not walk.case.clocks
    assert [row for decision in walk.log for row in decision.rejected if row.why == "error"] == []
    assert not [task for task in walk.case.tasks.values() if task.kind == "conflict"]
    assert sum(e.money.minor for e in walk.errands if e.name == "refund" and e.money) <= 1250
    assert walk.messages().count("awaiting_ruling") <= 1 and walk.messages().count("ask_for_evidence") <= 1
