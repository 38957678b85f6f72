# ruff: noqa: N802 - a test bears the id of its rule
"""The seed rule book on Amazon reviews and A-to-Z claims, R001-01 … R001-20, as behaviour."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from services.notifier import rules
from services.notifier.render import Templates
from services.policy.core.decision import NotAllowed
from services.policy.core.orders import fold
from shared.clock import format_time
from shared.domain.facts import to_fact
from shared.domain.order import Order
from shared.marketplaces.amazon import assisted, webhook
from shared.ports import Account, Facts, Inbound
from tests.marketplaces.amazon_walk import BOOK, FOLDER, ORDER, REGISTRY, START, Walk, broken, judged, playbook, usd

COMMON = Path(rules.__file__).parent / "templates"
TEMPLATES = Templates([*REGISTRY.template_dirs("amazon"), COMMON], REGISTRY.purposes())
FACTS = (
    "The parcel left our warehouse on 3 November with a tracked service and was delivered on 9 November, signed for at the door. "
    "We wrote to the buyer on 12 and 14 November, offered a replacement and asked for pictures; none has come so far."
)


def claim(**told: object) -> Walk:
    return Walk("claim", **told)  # type: ignore[arg-type]


def asked(**told: object) -> Walk:
    """A claim about which Amazon has asked us."""
    walk = claim(**told)
    walk.tell("dispute.evidence_requested", "action_required")
    return walk


def review(buyer_class: str = "product_failure") -> Walk:
    walk = Walk("review")
    walk.did("contact", purpose="apologise_and_help", buyer_class=buyer_class)
    return walk


def text_of(purpose: str, locale: str = "en") -> str:
    return TEMPLATES.render(purpose, [locale], {"order_id": ORDER, "shop": "Blue Teapot"}).body


@pytest.mark.parametrize(
    "text",
    [
        f"About order {ORDER}: if you do not change your review we will report you.",
        f"About order {ORDER}: we refund you in full if you remove the one-star review.",
        f"Order {ORDER}: a 20 USD gift card is yours once the feedback is revised.",
        f"订单 {ORDER}：修改差评后我们马上给您全额退款。",
        f"Bestellung {ORDER}: Wir erstatten alles, wenn Sie die Bewertung löschen.",
    ],
)
def test_R001_01_no_threat_and_no_bait_for_a_review(text: str) -> None:
    """rules.yaml AMZ-M09, AMZ-M10, CR-ALL-05."""
    assert judged(text).action == "block"
    assert broken(text) & {"AMZ-M09", "AMZ-M10", "CR-ALL-05"}


def test_R001_02_a_silent_buyer_is_not_chased() -> None:
    """rules.yaml `limits.unanswered` and the review playbook: one follow-up, then he is left in peace."""
    assert BOOK.unanswered == 2, "the first word and one more; the governor holds the third until he writes"
    walk = review()
    walk.elapse("buyer_answers")
    assert walk.messages() == ["apologise_and_help", "remind_once"]
    assert walk.elapse("buyer_answers").rule == "R001-02"
    assert (walk.messages(), walk.case.outcome) == (["apologise_and_help", "remind_once"], "completed")


def test_R001_03_a_reviewer_is_classified_before_he_is_written_to() -> None:
    """playbooks/review.yaml `classify`."""
    walk = Walk("review")
    assert any("Classify" in task for task in walk.tasks())
    for params in ({}, {"buyer_class": "unlucky"}):
        assert walk.refused("contact", purpose="apologise_and_help", **params).code == "not_allowed"
    assert walk.messages() == []
    assert walk.did("contact", purpose="apologise_and_help", buyer_class="rigid").rule == "R001-03"
    assert (walk.state, walk.case.facts["buyer_class"]) == ("contacted", "rigid")
    malicious = review("malicious")
    assert any("promise nothing" in task for task in malicious.tasks())
    malicious.elapse("buyer_answers")
    assert malicious.messages() == ["apologise_and_help"], "and he is not reminded"


@pytest.mark.parametrize(("locale", "sorry", "help_"), [("en", "sorry", "make it good"), ("zh-Hans", "抱歉", "弥补")])
def test_R001_04_the_answer_begins_with_an_apology_and_an_offer_to_repair(locale: str, sorry: str, help_: str) -> None:
    body = text_of("apologise_and_help", locale)
    said = body.split("\n\n")[1]
    assert sorry in said and help_ in said, said
    assert said.index(sorry) < said.index(help_)


@pytest.mark.parametrize(
    "text",
    [
        f"Order {ORDER}. Please follow the steps below:\n1. Charge it for eight hours.\n2. Hold the button for ten seconds.",
        f"Order {ORDER}: you have to use it on a flat floor, that is the correct way to use it.",
        f"Order {ORDER}: perhaps you did not read the manual.",
        f"订单 {ORDER}：请按以下步骤操作。",
    ],
)
def test_R001_05_no_lecture(text: str) -> None:
    """rules.yaml R001-05: held for a person to look at."""
    assert "R001-05" in broken(text)
    assert judged(text).action != "send"
    assert len(text_of("apologise_and_help")) < 500, "nor does our own answer justify itself at length"


def test_R001_06_an_accepted_refund_is_carried_out_by_us() -> None:
    walk = review()
    assert walk.tell("refund.offer_accepted").rule == "R001-06"
    assert (walk.state, [e.name for e in walk.case.errands.values() if e.what == "act"]) == ("repairing", ["refund"])
    back = Walk(reason="defective")
    back.tell("refund.offered", offered=usd("8.00"))
    back.tell("refund.offer_accepted")
    assert back.acts() == ["refund"]


@pytest.mark.parametrize(
    "text",
    [
        f"Order {ORDER} was shipped by Amazon: you can apply for the refund there.",
        f"Order {ORDER}: please contact Amazon for your refund.",
        f"Order {ORDER}: Amazon will fully refund you.",
        f"订单 {ORDER}：您可以直接向亚马逊申请退款。",
    ],
)
def test_R001_06_the_buyer_is_not_sent_to_ask_amazon(text: str) -> None:
    assert "R001-06" in broken(text) and judged(text).action == "block"


@pytest.mark.parametrize(
    "text",
    [
        f"For order {ORDER} we gladly give you a full refund, and hope that you will update your review with your new "
        "experience after you have received it, all right?",
        f"Order {ORDER}: we will refund you and would you then kindly update your feedback?",
        f"订单 {ORDER}：我们愿意全额退款，希望您收到退款后结合新的体验更新一下您的评价，好吗？",
        f"Order {ORDER}: the refund is done. Could you update the review?",
    ],
)
def test_R001_07_the_joined_sentence_is_blocked(text: str) -> None:
    """Implemented as its opposite (rules.yaml AMZ-M09, AMZ-M10): the neutral word `update` changes nothing."""
    verdict = judged(text)
    assert verdict.action == "block"
    assert {"AMZ-M09", "AMZ-M10"} <= broken(text)


def test_R001_08_the_buyers_concern_first_and_nothing_of_ours() -> None:
    """playbooks/review.yaml: his answer leads to meeting it; no message of the playbook speaks of a review."""
    walk = review()
    assert walk.tell("message.received").rule == "R001-08"
    assert any("meet his concern" in task and "ask for nothing" in task for task in walk.tasks())
    for purpose in {*walk.messages(), "remind_once", "refund_aftercare"}:
        for locale in ("en", "zh-Hans"):
            verdict = rules.judge(text_of(purpose, locale), BOOK, purpose=purpose, order_id=ORDER, proven=True)
            assert verdict.ok, verdict
    assert "AMZ-M12" in broken(f"Order {ORDER}: we have seen your feedback.")


def test_R001_09_when_a_claim_may_be_filed() -> None:
    """playbooks/claim.yaml `opens_on`: today's window (3 days after to 90 days after the latest estimate); outside it a person
    is told to say so. The article's own reading stands beside the row."""

    def filed(days: float, reason: str = "not_received") -> list[str]:
        return claim(latest_delivery=format_time(START - timedelta(days=days)), reason=reason).tasks()

    assert any("later than 90 days" in task for task in filed(91))
    assert any("earlier than 3 days" in task for task in filed(1))
    assert filed(1, reason="defective") == []
    assert filed(10) == [] == claim().tasks()
    text = (REGISTRY.folder("amazon") / "playbooks" / "claim.yaml").read_text("utf-8")
    assert "the article of 2016 reads 3 days before it, or 30 days from the order" in text


def test_R001_09_the_latest_delivery_is_what_amazon_told_of_the_order() -> None:
    """ORDER_CHANGE names it long before the claim; the order keeps it, and the claim's first row asks it."""

    def filed(days: float, **told: object) -> list[str]:
        body = json.loads((FOLDER / "fixtures" / "order_placed.json").read_bytes())
        inner = body["Payload"]["OrderChangeNotification"]
        inner["AmazonOrderId"] = ORDER
        inner["Summary"]["LatestDeliveryDate"] = format_time(START - timedelta(days=days))
        parsed = webhook.parse(Inbound(json.dumps(body).encode(), {}), Account("amz", "amazon"))
        assert isinstance(parsed, Facts)
        order = Order(account="amz", order_id=ORDER)
        for draft in parsed.drafts:
            fact = to_fact(draft, id="f", account="amz", marketplace="amazon", observed_at=START, source="push")
            order = fold(order, fact)
        return claim(order=order, **told).tasks()

    assert any("later than 90 days" in task for task in filed(91))
    assert any("earlier than 3 days" in task for task in filed(1))
    assert filed(10) == []
    assert filed(91, latest_delivery=format_time(START - timedelta(days=10))) == [], (
        "the claim's own figure comes first"
    )


def test_R001_10_seven_days_without_an_answer() -> None:
    """The article's rule of 7 days is kept as our own limit; today's 48 hours after a request of Amazon come before it."""
    walk = claim()
    clock = walk.case.clocks["unanswered"]
    assert clock.due_at - walk.case.opened_at == timedelta(days=7, minutes=1)
    assert clock.planned is not None and clock.act_at is not None
    walk.elapse("unanswered")
    assert [task.kind for task in walk.case.tasks.values()] == ["deadline_at_risk"]
    assert walk.elapse("unanswered").rule == "R001-10"
    assert walk.state == "under_review" and walk.case.clocks, "and it goes on being watched"
    lost = asked()
    assert lost.case.deadline_at == lost.now + timedelta(hours=48)
    lost.tell("dispute.resolved", "granted_seller_funded", winner="buyer", funded_by="seller")
    assert lost.state == "granted_seller_funded"


OUTCOMES = [
    (
        "dispute.resolved",
        "granted_amazon_funded",
        {"winner": "buyer", "funded_by": "marketplace"},
        "refunded",
        "marketplace",
    ),
    ("dispute.resolved", "order_refunded", {"winner": "none"}, "refunded", "seller"),
    ("refund.issued", "RefundEvent", {"refunded": usd("39.90")}, "refunded", "seller"),
    ("dispute.resolved", "denied", {"winner": "seller"}, "rejected", "none"),
    ("dispute.withdrawn", "withdrawn", {}, "withdrawn", "none"),
    ("order.cancelled", "Canceled", {}, "cancelled", "seller"),
    ("dispute.resolved", "order_cancelled", {"winner": "none"}, "cancelled", "seller"),
]


@pytest.mark.parametrize(("kind", "raw", "data", "outcome", "liability"), OUTCOMES)
def test_R001_11_every_outcome_has_its_end(
    kind: str, raw: str, data: dict[str, object], outcome: str, liability: str
) -> None:
    for walk in (claim(), asked()):
        assert walk.case.phase in ("platform_review", "awaiting_seller")
        walk.tell(kind, raw, **data)
        assert (walk.case.phase, walk.case.outcome, walk.case.liability) == ("resolved", outcome, liability)


def test_R001_11_under_review_and_granted_at_our_cost() -> None:
    walk = claim()
    assert (walk.state, walk.case.phase) == ("under_review", "platform_review")
    walk.tell("dispute.funds_moved", "GuaranteeClaimEvent", amount=usd("39.90"))
    walk.tell("refund.issued", "GuaranteeClaimEvent", refunded=usd("39.90"))
    walk.tell("dispute.resolved", "GuaranteeClaimEvent", winner="buyer", funded_by="seller")
    assert (walk.state, walk.case.money) == ("granted_seller_funded", "refunded")
    walk.elapse("appeal")
    walk.elapse("appeal")
    assert (walk.case.outcome, walk.case.liability) == ("refunded", "seller")
    named = set(playbook("claim").statuses)
    assert named >= {
        "under_review", "granted_seller_funded", "granted_amazon_funded", "order_refunded", "denied", "withdrawn",
        "order_cancelled",
    }  # fmt: skip


def test_R001_12_a_calm_word_after_a_day_details_on_the_third_then_the_representation() -> None:
    walk = claim(reason="defective")
    assert walk.messages() == [], "not at once"
    assert walk.elapse("first_word").rule == "R001-12"
    assert walk.now - START == timedelta(days=1, minutes=1)
    assert walk.messages() == ["claim_first_word"]
    assert walk.elapse("second_word").rule == "R001-12"
    assert walk.now - START == timedelta(days=3, minutes=1)
    assert walk.messages() == ["claim_first_word", "claim_ask_details"]
    assert any("representation" in task for task in walk.tasks())
    for purpose in ("claim_first_word", "claim_ask_details"):
        for locale in ("en", "zh-Hans"):
            assert rules.judge(text_of(purpose, locale), BOOK, purpose=purpose, order_id=ORDER, proven=True).ok
    walk.did("represent", "represent", text=FACTS)
    assert walk.acts() == ["represent"]


def test_R001_12_amazons_48_hours_bring_the_second_word_forward() -> None:
    walk = asked(reason="defective")
    assert walk.messages() == ["claim_ask_details"]
    assert walk.state == "information_requested"


def test_R001_13_what_a_representation_says() -> None:
    """assisted.py: the steps before the person; the evidence list of the playbook; his text is handed on whole."""
    walk = asked()
    assert any("proof_of_delivery" in task and "message_history" in task for task in walk.tasks())
    walk.did("represent", "represent", text=FACTS)
    left = assisted.prepared(walk.account, walk.errands[-1])
    steps = " ".join(left.checklist)
    assert left.text == FACTS
    for part in (
        "in order",
        "each contact",
        "solution offered",
        "has not shown",
        "proof of delivery",
        "no attachments",
    ):
        assert part in steps, part


@pytest.mark.parametrize("text", ["Not our fault!!", "x" * 199, " " * 300])
def test_R001_14_no_terse_representation(text: str) -> None:
    """The core (actions._represent); a refund stands beside it as the better way."""
    walk = asked()
    answer = walk.act("represent", "represent", text=text)
    assert isinstance(answer, NotAllowed) and answer.status == 422
    assert any("refund" in task.allowed for task in walk.case.tasks.values())
    assert "careless" in " ".join(assisted.prepared(walk.account, _representing()).checklist)


def _representing():  # type: ignore[no-untyped-def]
    walk = asked()
    walk.did("represent", "represent", text=FACTS)
    return walk.errands[-1]


def test_R001_15_an_immediate_refund_needs_its_reason() -> None:
    """The core (operators._reason_given), under a claim and on every case of an order with one."""
    answer = claim().act("refund", why=" ")
    assert isinstance(answer, NotAllowed) and (answer.code, answer.status) == ("reason_required", 422)
    walk = claim()
    assert walk.did("refund", why="carrier lost it, our own insurance pays").rule == "R001-15"
    left = assisted.prepared(walk.account, walk.errands[-1])
    assert any("admits the fault" in step for step in left.checklist)


def test_R001_16_the_buyer_is_asked_before_the_order_is_cancelled() -> None:
    walk = claim()
    assert walk.did("cancel").rule == "R001-16"
    assert (walk.messages(), walk.acts()) == (["ask_still_wanted"], [])
    assert walk.refused("cancel").code == "not_allowed"
    walk.tell("message.received", text="I do not want it any more")
    walk.did("cancel")
    assert walk.acts() == ["cancel"]
    silent = claim()
    silent.did("cancel")
    silent.now += timedelta(hours=49)
    silent.did("cancel")
    assert silent.acts() == ["cancel"], "or two days have passed"


def test_R001_17_withdrawing_before_and_after_the_ruling() -> None:
    """The buyer's own doing both times: explain_withdrawal says how to one who asks, and ties nothing to it."""
    before = claim()
    assert before.tell("dispute.withdrawn", "withdrawn").rule == "R001-17"
    assert before.case.outcome == "withdrawn"
    after = claim()
    after.tell("dispute.resolved", "granted_seller_funded", winner="buyer", funded_by="seller")
    after.tell("dispute.withdrawn", "withdrawn")
    assert after.case.outcome == "withdrawn"
    text = text_of("explain_withdrawal")
    assert "order page" in text and "charged again" in text and ORDER in text
    assert rules.judge(text, BOOK, purpose="explain_withdrawal", order_id=ORDER).ok
    assert "AMZ-M23-ask" in broken(f"Order {ORDER}: please withdraw your claim.")


def test_R001_18_an_appeal_has_cause_handling_plan_and_prevention_plan() -> None:
    walk = claim()
    walk.tell("dispute.resolved", "granted_seller_funded", winner="buyer", funded_by="seller")
    plans = {
        "cause": "The carrier left the parcel at a neighbour's. " * 3,
        "handling_plan": "We refunded and apologised. " * 3,
    }
    answer = walk.act("appeal", "represent", **plans)
    assert isinstance(answer, NotAllowed) and answer.status == 422 and "prevention_plan" in answer.detail
    assert (
        walk.did("appeal", "represent", **plans, prevention_plan="Signature on delivery from now on.").rule == "R001-18"
    )
    left = assisted.prepared(walk.account, walk.errands[-1])
    assert all(plan.strip() in left.text for plan in plans.values()) and "Signature" in left.text
    walk.becomes("sent", "appeal")
    assert walk.state == "appealed"
    walk.tell("dispute.evidence_requested", "action_required")
    assert (walk.state, walk.case.deadline_at) == ("appeal_question", walk.now + timedelta(hours=72))
    walk.did("represent", "represent", text=FACTS)
    walk.becomes("sent", "represent")
    walk.tell("appeal.decided", "appeal_granted", winner="seller")
    walk.elapse("reversal_visible")
    assert (walk.case.outcome, walk.case.liability) == ("refunded", "marketplace")


def test_R001_18_the_window_for_an_appeal_is_watched() -> None:
    walk = claim()
    walk.tell("dispute.resolved", "granted_seller_funded", winner="buyer", funded_by="seller")
    clock = walk.case.clocks["appeal"]
    assert clock.due_at == walk.now + timedelta(days=30) and clock.act_at == clock.due_at - timedelta(days=5)


@pytest.mark.parametrize("action", ["represent", "appeal"])
def test_R001_19_only_trained_staff_represents_and_appeals(action: str) -> None:
    """The core (actions.SCOPES): a key without `represent` is refused."""
    walk = asked()
    answer = walk.act(action, text=FACTS, cause=FACTS, handling_plan="h", prevention_plan="p")
    assert isinstance(answer, NotAllowed) and (answer.code, answer.status) == ("needs_scope", 403)
    assert walk.acts() == []


def test_R001_20_preventing_a_claim_comes_before_handling_it() -> None:
    """Every buyer's word and every request is answered inside the 48 hours after which he may file (reference A3.2)."""
    for walk in (Walk(), Walk("cancellation")):
        walk.tell("message.received", text="Where is it?")
        (task,) = [task for task in walk.case.tasks.values() if "buyer wrote" in task.reason]
        assert task.due_at - walk.now <= timedelta(hours=24)
    request = Walk()
    assert request.messages(), "he is written to at once"
    clock = request.case.clocks["late_response"]
    assert clock.due_at - START <= timedelta(hours=48, minutes=1) and clock.planned is not None
