"""What may be said to an AliExpress buyer: AE-M01 … AE-M11 on real wordings, and our own templates under them."""

from pathlib import Path
from typing import Any

import pytest

from services.notifier import rulebook, rules
from services.notifier.render import Templates
from tests.marketplaces.aliexpress_walk import FOLDER, REGISTRY, playbook

BOOK = rulebook.load(FOLDER / "rules.yaml", "aliexpress")
COMMON = Path(rules.__file__).parent / "templates"
TEMPLATES = Templates([*REGISTRY.template_dirs("aliexpress"), COMMON], REGISTRY.purposes())
ORDER = "8200001234567890"
EXAMPLES: dict[str, Any] = {
    "text": "RR123456785DE", "money": {"value": "12.50", "currency": "USD"}, "date": "2026-11-30",
    "bool": True, "list": ["photo_item"], "int": 2,
}  # fmt: skip
NAMED = {"order_id": ORDER, "explanation": "the parcel was not opened", "result": "ok", "shop": "Blue Teapot"}


def judged(
    text: str, purpose: str = "free_text", phase: str = "awaiting_seller", *, proven: bool = False
) -> rules.Verdict:
    return rules.judge(text, BOOK, purpose=purpose, phase=phase, order_id=ORDER, proven=proven)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("AE-M01", "Please write to me on WhatsApp +49 151 2345 6789"),
        ("AE-M01", "加我微信 teapot88 聊"),
        ("AE-M01", "mail me: help (at) teapot (dot) com"),
        ("AE-M02", "Please confirm receipt now, the parcel will arrive next week."),
        ("AE-M03", "If you do not accept we will sue you."),
        ("AE-M03", "You are a liar."),
        ("AE-M04", "Please change your review to five stars."),
        ("AE-M05", "We can refund you through PayPal instead."),
        ("AE-M05", "我们可以通过支付宝退款给您"),
        ("AE-M07", "We refund you only if you cancel the dispute first."),
        ("AE-M11", "Look here: https://teapot-shop.example.com/track"),
    ],
)
def test_what_must_not_be_said_is_blocked(rule: str, text: str) -> None:
    verdict = judged(text)
    assert verdict.action == "block"
    assert rule in {violation.rule for violation in verdict.violations}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("AE-M06", "Follow our store, new arrivals every week!"),
        ("AE-M07-ask", "Your refund was issued yesterday. Could you please close the dispute?"),
    ],
)
def test_what_a_person_must_look_at_is_held(rule: str, text: str) -> None:
    verdict = judged(text)
    assert verdict.action == "hold"
    assert {violation.rule for violation in verdict.violations} == {rule}


def test_a_coupon_is_goodwill_and_never_tied_to_a_review() -> None:
    assert judged("As an apology here is a coupon of 2 USD for our shop.", "offer_coupon").action == "send"
    tied = judged("Here is a coupon of 2 USD; we look forward to your review.", "offer_coupon")
    assert "AE-M08" in {violation.rule for violation in tied.violations}


@pytest.mark.parametrize(
    "text",
    [
        f"We are sorry about order {ORDER}. Please send us a photo of the outer packaging here.",
        "Your parcel: https://www.17track.net/en#nums=RR123456785DE",
        "We have offered you 12.50 USD in the dispute; you are free to choose another solution.",
        "您好，请您提供外包装的照片，我们会尽快处理。",
    ],
)
def test_plain_good_words_leave(text: str) -> None:
    assert judged(text).action == "send"


@pytest.mark.parametrize("locale", ["en", "zh-Hans"])
@pytest.mark.parametrize("purpose", sorted(set(BOOK.purposes) - {"free_text"}))
def test_our_own_wordings_pass_our_own_rules(purpose: str, locale: str) -> None:
    needs = REGISTRY.purposes()[purpose].variables
    params = {name: NAMED.get(name, EXAMPLES[need.type]) for name, need in needs.items()}
    rendered = TEMPLATES.render(purpose, [locale], params)
    phase = (BOOK.purposes[purpose] or ("awaiting_seller",))[0]
    assert rendered.locale == locale
    assert judged(rendered.body, purpose, phase, proven=True).violations == ()
    assert ORDER in rendered.body


def test_every_message_of_the_playbook_is_allowed() -> None:
    said = {tell.purpose for state in playbook().states.values() for tell in state.enter.tell}
    said |= {tell.purpose for row in playbook().everywhere for tell in row.effects.tell}
    assert said and said <= set(BOOK.purposes)
