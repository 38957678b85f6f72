"""What may be said to a DHgate buyer: the common rules on real wordings, CR-DH-06, and our own templates under them."""

from pathlib import Path
from typing import Any

import pytest

from services.notifier import rulebook, rules
from services.notifier.render import Templates
from tests.marketplaces.dhgate_walk import ADDRESS, FOLDER, ORDER, REGISTRY, charts

BOOK = rulebook.load(FOLDER / "rules.yaml", "dhgate")
COMMON = Path(rules.__file__).parent / "templates"
TEMPLATES = Templates([*REGISTRY.template_dirs("dhgate"), COMMON], REGISTRY.purposes())
EXAMPLES: dict[str, Any] = {
    "text": "EE123456785CN", "money": {"value": "12.50", "currency": "USD"}, "date": "2026-11-30",
    "bool": True, "list": ["photo_item"], "int": 2,
}  # fmt: skip
NAMED = {"order_id": ORDER, "explanation": "the parcel was not opened", "result": "ok", "return_address": ADDRESS}
NAMED |= {"days": "10 to 15", "buyer_name": "Ann", "shop": "Blue Teapot"}


def judged(
    text: str, purpose: str = "free_text", phase: str = "awaiting_seller", *, proven: bool = False
) -> rules.Verdict:
    return rules.judge(text, BOOK, purpose=purpose, phase=phase, order_id=ORDER, proven=proven)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("CR-ALL-01", "Please write to me on WhatsApp +49 151 2345 6789"),
        ("CR-DH-06", "mail me: help (at) teapot (dot) com"),
        ("CR-ALL-02", "We can refund you through PayPal instead."),
        ("CR-ALL-03", "Please change your review to five stars and we refund you."),
        ("CR-ALL-03-withdraw", "We refund you only if you cancel the dispute first."),
        ("CR-ALL-05", "You are a liar."),
        ("CR-ALL-05", "If you do not accept we will sue you."),
        ("CR-ALL-08", "Please send us a photo of your passport."),
        ("DH-receipt", "Please confirm receipt now, the parcel will arrive next week."),
    ],
)
def test_what_must_not_be_said_is_blocked(rule: str, text: str) -> None:
    verdict = judged(text)
    assert verdict.action == "block"
    assert rule in {violation.rule for violation in verdict.violations}


def test_a_discount_for_next_time_is_never_joined_with_a_review() -> None:
    """T20: the thanks after a return."""
    told = f"The return of order {ORDER} has arrived. "
    assert judged(told + "We are checking the goods now.", "goods_received").action == "send"
    tied = judged(told + "We look forward to your feedback and give you 10 % next time.", "goods_received")
    assert "CR-ALL-03-coupon" in {violation.rule for violation in tied.violations}


def test_a_mail_that_names_no_order_waits_for_a_person() -> None:
    assert judged("The return has arrived.", "goods_received").action == "hold"
    assert judged("The return has arrived.").action == "send"


@pytest.mark.parametrize("locale", ["en", "zh-Hans"])
@pytest.mark.parametrize("purpose", sorted(set(BOOK.purposes) - {"free_text"}))
def test_our_own_wordings_pass_our_own_rules(purpose: str, locale: str) -> None:
    needs = REGISTRY.purposes()[purpose].variables
    params = {name: NAMED.get(name, EXAMPLES[need.type]) for name, need in needs.items()}
    rendered = TEMPLATES.render(purpose, [locale], params)
    phase = (BOOK.purposes[purpose] or ("awaiting_seller",))[0]
    assert rendered.locale == locale
    assert judged(rendered.body, purpose, phase, proven=True).violations == ()


def test_every_message_of_the_playbooks_is_allowed_and_every_purpose_of_the_article_is_told() -> None:
    said: set[str] = set()
    for kind in ("order_care", "cancellation", "dispute"):
        book = charts()["dhgate", kind]
        effects = [row.effects for row in (*book.opens_on, *book.everywhere)]
        for state in book.states.values():
            effects += [state.enter, *(row.effects for row in state.rows)]
        for clock in book.clocks.values():
            effects += [row.effects for row in clock.planned]
        said |= {tell.purpose for effect in effects for tell in effect.tell}
        said |= {"ask_for_evidence"} if any(effect.evidence for effect in effects) else set()
    article = {
        "payment_reminder", "payment_under_review", "out_of_stock_choice", "delivery_surcharge", "carrier_change",
        "shipping_delay", "order_shipped", "parcel_lost_choice", "parcel_in_transit", "held_at_customs", "delivery_check",
        "delivered_check", "ask_for_evidence", "ask_exact_problem", "awaiting_ruling", "offer_partial_refund",
        "solution_agreed", "return_instructions", "ask_return_tracking", "goods_received", "refund_started",
    }  # fmt: skip
    assert article <= said <= set(BOOK.purposes)
    readme = (FOLDER / "README.md").read_text()
    assert all(f"`{purpose}`" in readme for purpose in article), "T01A to T20 stand in the README's table"
