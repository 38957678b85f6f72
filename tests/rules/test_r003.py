# ruff: noqa: N802 - a test bears the id of its rule
"""The seed rule book on refunds after shipment (Ozon), R003-01 … R003-15, as behaviour."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.notifier import rulebook, rules
from shared.domain.errands import Errand
from shared.marketplaces.ozon import actions, assisted, returning, simulated
from tests.marketplaces.ozon_walk import FOLDER, POSTING, REGISTRY, START, Desk, Ordinary, Request

BOOK = rulebook.load(FOLDER / "rules.yaml", "ozon")


def verdict(text: str, purpose: str = "free_text", phase: str = "awaiting_seller") -> rules.Verdict:
    return rules.judge(text, BOOK, purpose=purpose, phase=phase, order_id=POSTING)


def test_R003_01_a_request_is_a_case_with_a_clock_as_soon_as_it_is_read() -> None:
    """shared/marketplaces/ozon/source.py reads it, playbooks/return.yaml `opens_on` takes it up."""
    desk = Desk()
    Request(desk)
    case = desk.case()
    assert (case.state, case.opened_at, case.order_id) == ("new", START, POSTING)
    assert case.clocks["decide"].act_at is not None and case.clocks["decide"].act_at < case.clocks["decide"].due_at
    assert desk.messages() != [], "the buyer hears from us"


def test_R003_02_status_and_logistics_are_known_before_anything_is_done() -> None:
    """playbooks/cancellation.yaml: what was shipped is not cancelled without a person; channel.py reads before it acts."""
    shipped, waiting = Desk(), Desk()
    for desk in (shipped, waiting):
        desk.push("TYPE_NEW_POSTING")
    shipped.state("posting_on_way_to_city")
    for desk in (shipped, waiting):
        desk.read("cancellation:1", simulated.cancellation(POSTING, desk.now, {}))
        desk.wait(days=1, hours=21)
    assert [name for name, _ in waiting.acts()] == ["cancel"] and shipped.acts() == []
    assert "R003-02" in waiting.rules and "R003-05" in shipped.rules
    gone = returning.rfbs({**simulated.request(POSTING, START, {}), "available_actions": []})
    with pytest.raises(actions.No):
        actions.request(errand("decline", rejection_reason_id=12, comment="No"), gone, Desk().account)


def errand(name: str, **params: Any) -> Errand:
    return Errand(
        id="act_1", what="act", name=name, account="oz-main", marketplace="ozon", order_id=POSTING, case_id="case_1",
        case_kind="return", phase="awaiting_seller", created_at=START, params=params,
        refs={"return_id": "8801", "external_id": "8801", "return_number": "R-1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "reason", "asked"),
    [
        ("Товар повреждён", "damaged", "photo_item"),
        ("Товар не соответствует описанию", "not_as_described", "photo_item"),
        ("Брак", "defective", "photo_fault"),
        ("Прислали не тот товар", "wrong_item", "photo_item"),
        ("Покупатель передумал", "change_of_mind", None),
    ],
)
def test_R003_03_the_class_of_the_reason_is_captured(words: str, reason: str, asked: str | None) -> None:
    """shared/marketplaces/ozon/codes.py `reason_of`, the evidence lists of playbooks/return.yaml."""
    desk = Desk()
    Request(desk, return_reason={"id": 3, "name": words, "is_defect": False})
    assert (desk.case().facts["reason"], desk.case().facts["reason_text"]) == (reason, words)
    items = [item for e in desk.errands if e.name == "ask_for_evidence" for item in e.params["items"]]
    assert (asked in items) if asked else items == []


@pytest.mark.parametrize("reason", [{"id": 9, "name": "Другое", "is_defect": False}, {}])
def test_R003_04_an_unclear_reason_is_asked_about(reason: dict[str, Any]) -> None:
    """playbooks/return.yaml `opens_on`, rule R003-04."""
    desk = Desk()
    Request(desk, return_reason=reason)
    assert desk.messages() == ["ask_exact_problem"]
    assert "R003-04" in desk.rules


def test_R003_05_a_parcel_still_on_its_way_is_stopped() -> None:
    """playbooks/cancellation.yaml `coming_back`; assisted.py tells a person how, for Ozon has no call."""
    desk = Desk()
    desk.push("TYPE_POSTING_CANCELLED", old_state="posting_on_way_to_city")
    assert "R003-05" in desk.rules
    (act,) = [e for e in desk.errands if e.what == "act"]
    assert (act.name, act.capability) == ("intercept", "assisted")
    assert any("stop the parcel" in step for step in assisted.prepared(act).checklist)
    arrived = Desk()
    arrived.push("TYPE_POSTING_CANCELLED", old_state="posting_awaiting_registration")
    assert arrived.errands == [], "nothing to stop"


def test_R003_06_a_refund_without_return_where_the_return_costs_more() -> None:
    """playbooks/return.yaml clock `decide`: under keep_item_refund_below the money goes, above it a person decides."""
    cheap, dear = Desk(), Desk()
    Request(cheap, price="19.90")
    Request(dear, price="21.00")
    for desk in (cheap, dear):
        desk.wait(days=2, hours=20)
    assert [name for name, _ in cheap.acts()] == ["refund"] and dear.acts() == []
    assert dear.tasks() == ["Decide on the return: without an answer Ozon approves it"]
    assert dear.act("refund", keep_item=True).rule == "R003-06"


def test_R003_07_delivered_means_return_first_then_refund() -> None:
    """services/policy/core/money.py `rails`, playbooks/return.yaml `inspection`; undelivered is cancelled instead."""
    desk = Desk()
    desk.state("posting_delivered")
    request = Request(desk)
    assert desk.refused("refund") == "goods_not_back"
    request.turns("Delivering")
    assert desk.refused("refund") == "not_allowed"
    request.turns("Checkout")
    assert desk.act("inspect", result="ok").rule == "R003-07"
    assert desk.acts()[-1][0] == "refund"


@pytest.mark.parametrize(
    ("do", "group", "ends"),
    [
        (lambda desk: desk.act("refund", keep_item=True), "Approved", ("refunded", "refund")),
        (
            lambda desk: desk.act("propose", amount={"value": "30.00", "currency": "CNY"}),
            "Approved",
            ("part_refunded", "propose"),
        ),
        (lambda desk: desk.act("decline", rejection_reason_id=12, comment="Worn"), "Rejected", ("rejected", "decline")),
    ],
)
def test_R003_08_all_of_the_money_a_part_or_a_refusal(do: Any, group: str, ends: tuple[str, str]) -> None:
    """playbooks/return.yaml rows R003-08 and ends."""
    desk = Desk()
    request = Request(desk)
    do(desk)
    assert desk.acts()[-1][0] == ends[1]
    request.turns(group)
    desk.wait(days=5)
    assert desk.case().outcome == ends[0]


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"comment": "No"}, "rejection_reason_id"),
        ({"rejection_reason_id": 99, "comment": "No"}, "12 ("),
        ({"rejection_reason_id": 12}, "comment"),
    ],
)
def test_R003_08_a_refusal_has_a_ground_of_ozons_own(params: dict[str, Any], why: str) -> None:
    """shared/marketplaces/ozon/actions.py `_refusal`: only reasons the request lists, never without a comment."""
    found = returning.rfbs(simulated.request(POSTING, START, {}))
    with pytest.raises(actions.No) as no:
        actions.request(errand("decline", **params), found, Desk().account)
    assert why in str(no.value)


@pytest.mark.parametrize(
    "text",
    [
        "We can refund you through PayPal instead.",
        "Мы вернём деньги на карту Сбербанка.",
        "我们可以通过支付宝退款给您",
    ],
)
def test_R003_09_money_goes_by_the_platforms_function_only(text: str) -> None:
    """rules.yaml CR-ALL-02; channel.py performs refunds through /v1/returns/rfbs/action/set alone."""
    assert "CR-ALL-02" in {violation.rule for violation in verdict(text).violations}
    found = returning.rfbs(simulated.request(POSTING, START, {}))
    wanted = actions.request(errand("propose", amount={"value": "30.00", "currency": "CNY"}), found, Desk().account)
    assert (wanted["id"], str(wanted["compensation_amount"])) == (1020, "30.00")


def test_R003_10_every_word_and_every_act_stays_in_the_log() -> None:
    """services/policy/walk.py logs each fact with its decision; assisted.py asks for a picture of what was done by hand."""
    desk = Desk()
    request = Request(desk)
    desk.writes("Лампа разбита")
    desk.act("contact", text="We are sorry, please send a photo.")
    desk.act("authorise")
    request.turns("Delivering")
    seen = [decision.fact_id for decision in desk.log]
    assert seen == [fact.id for fact in desk.facts]
    assert [d.case.seq for d in desk.log] == list(range(1, len(desk.log) + 1))
    assert any("picture of what you did" in line for line in assisted.prepared(errand("authorise")).checklist)


def test_R003_11_after_the_refund_one_question_and_no_word_about_reviews() -> None:
    """playbooks/return.yaml `aftercare` (setting `aftercare`); rules.yaml CR-ALL-03 and CR-ALL-03-any for a person's words."""
    desk = Desk(aftercare=True)
    Ordinary(desk).turns("MoneyReturned")
    assert desk.case().state == "aftercare" and "R003-11" in desk.rules
    desk.sends()
    desk.wait(days=5)
    assert desk.messages()[-1] == "refund_aftercare"
    desk.wait(days=60)
    assert (desk.messages().count("refund_aftercare"), desk.case().outcome) == (1, "refunded")
    assert verdict("Мы будем рады вашему отзыву о заказе.").action == "hold", (
        "only to a satisfied buyer: a person looks"
    )
    assert verdict("We would be glad about your review of the lamp.").action == "hold"
    for bought in (
        "Напишите отзыв, и мы вернём деньги.",
        "Leave us a review and we will refund you.",
        "给我们好评，马上退款",
    ):
        assert verdict(bought).action == "block", bought


def test_R003_12_a_case_closes_with_what_caused_it() -> None:
    """codes.py `cause_of`; playbooks/return.yaml `operator.acted:close` keeps the note, the core demands it."""
    desk = Desk()
    Request(desk)
    assert desk.case().facts["root_cause"] == "packing"
    assert desk.refused("close", reason="mutual_agreement") == "bad_params"
    decision = desk.act("close", reason="mutual_agreement", comment="The box was too thin for a lamp.")
    assert (decision.rule, desk.case().facts["closing_note"]) == ("R003-12", "The box was too thin for a lamp.")
    other = Desk()
    Request(other, return_reason={"id": 4, "name": "Не соответствует описанию", "is_defect": False})
    assert other.case().facts["root_cause"] == "description"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Вы обманщик!", "CR-ALL-05"),
        ("You are a liar.", "CR-ALL-05"),
        ("Мы подадим на вас в суд.", "CR-OZ-10"),
        ("Отмените заказ, пожалуйста.", "CR-OZ-02"),
        ("Could you please cancel the order?", "CR-OZ-02"),
        ("Ozon ужасно работает.", "CR-OZ-03"),
        ("ANSWER NOW!!!", "CR-OZ-09"),
    ],
)
def test_R003_13_polite_and_within_the_rules(text: str, rule: str) -> None:
    """rules.yaml, for an operator's own words as for templates; calm words leave."""
    assert rule in {violation.rule for violation in verdict(text).violations}
    assert verdict("Здравствуйте! Нам очень жаль. Пришлите, пожалуйста, фото лампы здесь, в чате.").action == "send"


def test_R003_14_returning_is_made_easy_and_prevention_is_told() -> None:
    """The buyer is told how to send it back as soon as it is agreed; README.md tells the seller how to prevent returns."""
    desk = Desk(return_address="Moscow, warehouse 4")
    request = Request(desk)
    desk.act("authorise")
    request.turns("Delivering")
    (told,) = [e for e in desk.errands if e.name == "return_instructions"]
    assert told.params["return_address"] == "Moscow, warehouse 4"
    words = (FOLDER / "README.md").read_text()
    assert all(part in words for part in ("Preventing returns", "as they are", "pack them", "return terms"))


def test_R003_15_causes_can_be_counted_over_all_cases() -> None:
    """Each case keeps reason and root cause (returning.py `snapshot`); the survey is the aftercare question, off by default."""
    found = {}
    for words in ("Товар повреждён", "Не хватает деталей", "Долго везли", "Не подошёл размер"):
        desk = Desk()
        Request(desk, return_reason={"id": 1, "name": words, "is_defect": False})
        desk.wait(hours=1)
        found[words] = (desk.case().facts["reason"], desk.case().facts["root_cause"])
    assert found == {
        "Товар повреждён": ("damaged", "packing"), "Не хватает деталей": ("missing_parts", "packing"),
        "Долго везли": ("late", "logistics"), "Не подошёл размер": ("change_of_mind", "buyer"),
    }  # fmt: skip
    assert REGISTRY.manifest("ozon").settings["aftercare"].default is False


def test_every_rule_of_the_article_has_its_test() -> None:
    text = Path(__file__).read_text()
    assert all(f"def test_R003_{n:02d}_" in text for n in range(1, 16))


def test_clocks_leave_time_before_silence_decides() -> None:
    desk = Desk()
    Request(desk)
    clock = desk.case().clocks["decide"]
    assert clock.act_at == clock.due_at - timedelta(hours=6)
