"""Both playbooks as a whole: the checker passes them, and whole after-sales walk through them to their end."""

from datetime import timedelta
from typing import Any

import pytest

from services.notifier import rulebook, rules
from services.policy.core.check import Known, check
from services.policy.core.decision import Decision, NotAllowed
from services.policy.terms import needs_of, purposes_of
from shared.accounts import COMMON_SETTINGS
from shared.domain.errands import ACTS
from shared.domain.playbook import Playbook
from shared.marketplaces.pinduoduo import messages, simulator
from shared.marketplaces.pinduoduo.after_sale import ENDED, STATUSES
from shared.ports import NeedsFetch
from tests.marketplaces.pinduoduo_walk import FOLDER, ORDER, REGISTRY, START, Walk, playbook

KINDS = ("refund", "return")
OUTCOMES = {
    "1300": "withdrawn", "1302": "rejected", "1303": "rejected", "1304": "refunded", "1305": "replaced", "1306": "expired",
    "1307": "expired", "1308": "expired", "1309": "expired", "1310": "replaced", "1311": "replaced", "1312": "expired",
    "1313": "replaced", "1314": "rejected",
    "9": "rejected", "10": "refunded", "11": "withdrawn", "12": "expired", "13": "expired", "16": "replaced",
    "17": "rejected", "24": "rejected", "25": "replaced",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_checker_has_nothing_to_say(kind: str) -> None:
    manifest = REGISTRY.manifest("pinduoduo")
    known = Known(
        purposes={name: needs_of(purpose) for name, purpose in REGISTRY.purposes().items()},
        templates=frozenset(purpose for purpose, _ in REGISTRY.templates("pinduoduo")),
        allowed=purposes_of(REGISTRY, "pinduoduo"),
        acts={act: manifest.capability(act) for act in ACTS},
        settings={name: found.type for name, found in {**COMMON_SETTINGS, **manifest.settings}.items()},
        statuses=frozenset((*STATUSES, *messages.OPERATIONS)),
    )
    assert check(playbook(kind), known) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_code_ends_or_waits_as_the_reference_says(kind: str) -> None:
    book: Playbook = playbook(kind)
    ends = {code: state.outcome for code, name in book.statuses.items() if (state := book.states[name]).is_end}
    assert ends == OUTCOMES
    assert {code for code in ends if len(code) < 4} == set(ENDED)
    waits = {"2", "3", "14", "21", "32", "33"}
    assert {c for c in book.statuses if book.states[book.statuses[c]].phase == "awaiting_seller"} >= waits


def created(operation: int = 1000, bill_type: int = 1, seconds: int = -60) -> Any:
    content = {
        "mall_id": 1, "refund_fee": 2590, "bill_type": bill_type, "operation": operation, "refund_id": 550031, "tid": ORDER,
        "modified": simulator.millis(START + timedelta(seconds=seconds)),
    }  # fmt: skip
    parsed = messages.meaning("", messages.content_of(content))
    assert isinstance(parsed, NeedsFetch)
    return parsed.drafts


@pytest.mark.parametrize(("bill_type", "kind"), [(1, "refund"), (2, "return")])
def test_a_message_opens_and_the_reading_goes_on_with_one_message_to_the_buyer(bill_type: int, kind: str) -> None:
    walk = Walk(read=False, after_sales_type=bill_type)
    walk.take(*created(bill_type=bill_type))
    assert (walk.case.state, walk.case.phase, walk.case.kind) == ("arriving", "awaiting_seller", kind)
    assert walk.case.facts["amount"] == {"value": "25.90", "currency": "CNY"}
    assert walk.messages() == ["acknowledge_request"] and set(walk.case.clocks) == {"answer"}
    first = walk.case.clocks["answer"]
    assert (first.origin, first.due_at) == ("default", START + timedelta(hours=24))
    walk.read()
    assert walk.case.state == "seller_decides"
    live = [e.name for e in walk.case.errands.values() if not e.withdrawing]
    assert live == ["ask_for_evidence"], "what was not sent yet is called back for the better one"
    now = walk.case.clocks["answer"]
    assert (now.origin, now.due_at) == ("platform", START + timedelta(hours=48))
    walk.take(*created(bill_type=bill_type))
    assert walk.case.state == "seller_decides", "told again, or late, it moves nothing"


def test_a_message_alone_lets_a_person_do_everything() -> None:
    walk = Walk(read=False)
    walk.take(*created())
    for action, params in (
        ("refund", {"keep_item": True}),
        ("propose", {"remedy": "resend"}),
        ("decline", {"reason": "no"}),
    ):
        assert isinstance(walk.act(action, **params), Decision)


def test_the_platforms_deadline_moves_with_expire_time() -> None:
    walk = Walk()
    later = START + timedelta(hours=90)
    walk.turns(2, expire_time=simulator.millis(later))
    assert walk.case.clocks["answer"].due_at == later
    walk.turns(6)
    assert set(walk.case.clocks) == {"buyer_turn"}
    assert walk.case.deadline_at is None, "the buyer's wait is no deadline of ours"


@pytest.mark.parametrize("after_sales_type", [1, 2])
def test_that_the_platform_decides_is_said_once(after_sales_type: int) -> None:
    walk = Walk(after_sales_type=after_sales_type)
    for status in (8, 6, 8):
        walk.turns(status)
    assert walk.case.state == "platform"
    assert walk.messages().count("awaiting_ruling") == 1


@pytest.mark.parametrize(("amount", "acts"), [("15.00", ["refund"]), ("15.01", [])])
def test_at_the_margin_a_small_refund_is_agreed_to_and_a_larger_one_is_a_task(amount: str, acts: list[str]) -> None:
    walk = Walk(after_sales_reason="其他", refund_amount=amount)
    decision = walk.elapse("answer")
    assert walk.acts() == acts
    assert [task.kind for task in decision.opened_tasks] == ([] if acts else ["deadline_at_risk"])
    if acts:
        assert decision.errands[0].not_after == walk.case.clocks["answer"].due_at


def test_at_the_margin_a_return_is_agreed_to_only_with_an_address() -> None:
    known = Walk({"return_address_id": "4711"}, after_sales_type=2, after_sales_reason="其他")
    assert [errand.name for errand in known.elapse("answer").errands] == ["authorise"]
    unknown = Walk(after_sales_type=2, after_sales_reason="其他").elapse("answer")
    assert unknown.errands == () and len(unknown.opened_tasks) == 1
    exchange = Walk({"return_address_id": "4711"}, after_sales_type=3, after_sales_reason="其他").elapse("answer")
    assert exchange.errands == (), "agreeing to an exchange has no method"


def test_a_return_from_request_to_refund() -> None:
    walk = Walk({"return_address_id": "4711"}, after_sales_type=2, after_sales_reason="其他")
    walk.act("authorise")
    walk.sends()
    walk.turns(7)
    assert (walk.case.state, walk.case.goods) == ("buyer_ships", "advised")
    walk.turns(3, express_no="YT1")
    assert (walk.case.state, walk.case.goods, walk.case.clocks["receipt"].origin) == (
        "return_on_its_way", "in_transit", "platform",
    )  # fmt: skip
    early = walk.act("refund")
    assert isinstance(early, NotAllowed) and early.code == "goods_not_back"
    walk.act("confirm_receipt", condition="ok", reverse_logistics_id="44")
    assert (walk.case.state, walk.case.goods) == ("inspection", "received")
    walk.turns(3, remark="x")
    assert walk.case.state == "inspection", "another reading of the same status does not take the goods away again"
    walk.act("inspect", result="ok")
    assert walk.acts() == ["authorise", "confirm_receipt", "refund"]
    walk.sends()
    walk.turns(4)
    assert walk.case.state == "refunding"
    walk.turns(10)
    assert (walk.case.outcome, walk.case.money) == ("refunded", "refunded")
    assert [e.name for e in walk.case.errands.values()] == ["confirm_receipt"], "no reading ever shows a receipt"


def test_a_return_received_sound_is_paid_before_its_time_runs_out() -> None:
    walk = Walk(after_sales_type=2, after_sales_reason="其他")
    walk.turns(7)
    walk.turns(3, express_no="YT1")
    walk.act("confirm_receipt", condition="ok")
    walk.sends()
    walk.turns(3, remark="x", expire_time=simulator.millis(walk.now + timedelta(hours=40)))
    assert [errand.name for errand in walk.elapse("receipt").errands] == ["refund"]


def test_a_change_of_kind_closes_the_refund() -> None:
    walk = Walk()
    walk.body = simulator.laid_over(walk.body, {"after_sales_type": 2, "after_sales_status": 3}, walk.now)
    assert walk.read() == ["case.closed", "return.requested"]
    assert walk.case.outcome == "completed" and walk.case.money == "none"


def test_an_unknown_status_stays_and_asks_a_person() -> None:
    walk = Walk()
    walk.turns(34)
    assert walk.case.state == "seller_decides"
    assert [task.kind for task in walk.case.tasks.values()] == ["unmapped"]
    walk.turns(10)
    assert walk.case.outcome == "refunded"


def test_opened_again_by_the_platform_the_case_lives_again() -> None:
    walk = Walk()
    walk.turns(13)
    assert walk.case.outcome == "expired"
    walk.turns(2)
    assert (walk.case.state, walk.case.outcome) == ("seller_decides", None)


@pytest.mark.parametrize("type_", [1, 2, 3, 5])
def test_left_alone_for_months_it_says_little_and_somebody_always_waits(type_: int) -> None:
    for reason in ("质量问题", "不想要了", "少件", "其他"):
        walk = Walk(after_sales_type=type_, after_sales_reason=reason)
        for status in (None, 6, 8):
            if status:
                walk.turns(status)
            for _ in range(6):
                if walk.case.clocks:
                    walk.elapse(min(walk.case.clocks.values(), key=lambda c: c.next_at).name)
        assert walk.case.is_open and walk.case.tasks
        assert len(walk.messages()) <= 4, "no chasing (CR-ALL-04)"


def verdict(text: str, purpose: str = "free_text") -> set[str]:
    book = rulebook.load(FOLDER / "rules.yaml", "pinduoduo")
    return {v.rule for v in rules.judge(text, book, purpose=purpose, phase="awaiting_seller").violations}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("麻烦您加微信联系我们", "CR-PD-02"),
        ("加 V 领补偿", "CR-PD-02"),
        ("我们用支付宝转账给您", "CR-PD-02"),
        ("请尽快付款，库存不多", "CR-PD-03"),
        ("Please call us on +86 138 0013 8000", "CR-ALL-01"),
        ("Leave a five star review and we refund 5 yuan", "CR-ALL-03"),
        ("Please send us a photo of your identity card", "CR-ALL-08"),
        ("See https://example.com/help", "CR-ALL-01-link"),
    ],
)
def test_what_must_not_be_said_is_blocked(text: str, rule: str) -> None:
    assert rule in verdict(text)


def test_an_honest_word_passes_and_unpaid_orders_have_no_purpose() -> None:
    assert verdict("很抱歉给您带来不便，我们会尽快为您处理退款。") == set()
    assert "payment_reminder" not in rulebook.load(FOLDER / "rules.yaml", "pinduoduo").purposes
