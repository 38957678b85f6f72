# ruff: noqa: E501 - a corpus
"""A labelled corpus of texts, English and Chinese: what each detector must find, evasions included, and what must pass."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifier import contacts, rules
from services.notifier.normalise import normalise
from services.notifier.rulebook import KNOWN, RuleBook, parse
from services.notifier.rules import judge

ORDER = "8012345678901234"


def book(*detectors: str) -> RuleBook:
    listed = [
        {
            "id": name, "severity": "block", "about": name, "source": "this test", "detect": name,
            **({"allow_hosts": ["aliexpress.com", "17track.net"]} if name == "link" else {}),
        }
        for name in detectors
    ]  # fmt: skip
    return parse({"purposes": {"free_text": []}, "rules": listed}, "test", Path("rules.yaml"))


STRICT = book(*sorted(KNOWN - {"no_order_id", "review_mention", "withdraw_request", "marketing"}))


def broken(text: str, rules: RuleBook = STRICT) -> set[str]:
    verdict = judge(text, rules, purpose="free_text", order_id=ORDER, known=["LP00123456789012", "cs-20391"])
    for violation in verdict.violations:
        start, end = violation.span
        assert 0 <= start < end <= len(text)
    return {v.rule for v in verdict.violations}


SEED_EN = (
    "We will fully refund you. We are sorry to bring you any inconvenience, If it is convenient to you, could you please "
    "kindly update your review, which will be a big motive to us and to our hard work as well as service."
)
SEED_ZH = (
    "对于你的这次不满意的购物经历,我们愿意给你提供全额退款,但希望你在收到退款后,结合新的体验,更新一下你的评价,好吗?"
)

AMOUNTS = ["We refund USD 7.00 today.", "Le devolvemos USD75.50.", "USD7 come back to your card.", "We refund 7 USD."]

BAD = [
    # R001-07, the joined sentence, neutral in tone, and its parts far from each other
    ("review_pressure", SEED_EN),
    ("review_pressure", SEED_ZH),
    ("review_pressure", "We are glad to give you a full refund. Your parcel was late.\n\nWhen you have it, please leave us a review."),
    ("review_pressure", "Kindly consider to revise the rating."),
    ("review_pressure", "If you remove the negative feedback we are done here."),
    ("review_pressure", "Only if you are happy, leave a review. If not, contact us first."),
    ("review_pressure", "Please give us five stars"),
    ("review_pressure", "Please give us 5-star, thank you"),
    ("review_pressure", "we hope you can upd\u200bate your rev\u200biew"),
    ("review_pressure", "Please change your rеviеw"),  # Cyrillic e
    ("review_pressure", "麻烦您修改一下评价"),
    ("review_pressure", "亲，给个五星好评哦"),
    ("review_pressure", "我们给您返现10元，请您帮忙写个评价"),
    ("review_pressure", "能不能把差评删一下，或者撤掉评论再修改"),
    # contact
    ("contact", "Write to me: joe.smith@example.com"),
    ("contact", "Write to me: joe.smith (at) example (dot) com"),
    ("contact", "mail joe at gmail dot com"),
    ("contact", "j o e @ g m a i l . c o m"),
    ("contact", "ｊｏｅ＠ｇｍａｉｌ．ｃｏｍ"),
    ("contact", "Call +86 138 0013 8000"),
    ("contact", "My number: 1 3 8 0 0 1 3 8 0 0 0"),
    ("contact", "My number: 138-0013-8000"),
    ("contact", "号码１３８００１３８０００"),
    ("contact", "联系 138.0013.8000"),
    ("contact", "手机一三八零零一三八零零零"),
    ("contact", "one three eight zero zero one three eight zero zero zero"),
    ("contact", "call me at 202-555-0143"),
    ("contact", "Tel: 4408080"),
    ("contact", "٠٠٨٦١٣٨٠٠١٣٨٠٠٠"),
    ("contact", "1\u200b3\u200b8\u200b0\u200b0\u200b1\u200b3\u200b8\u200b0\u200b0\u200b0"),
    ("contact", "Add me on WhatsApp"),
    ("contact", "w h a t s a p p me"),
    ("contact", "Wh4tsApp: search my shop"),
    ("contact", "ＷｅＣｈａｔ"),
    ("contact", "WеChat"),  # Cyrillic e
    ("contact", "add wx: shop_123"),
    ("contact", "t.e.l.e.g.r.a.m"),
    ("contact", "加微信详谈"),
    ("contact", "加 V信 聊"),
    ("contact", "加我好友"),
    ("contact", "扫码联系"),
    ("contact", "@my_shop_name on the usual app"),
    # links
    ("link", "See http://www.xxxxx.com for updates"),
    ("link", "See example.com/track"),
    ("link", "See example . com"),
    ("link", "example[dot]com"),
    ("link", "example dot com"),
    ("link", "hxxp://evil.example/a"),
    ("link", "http://aliexpress.com/plain"),
    ("link", "https://aliexpress.com.evil.example/a"),
    ("link", "https://aliexpress.com@evil.example/"),
    ("link", "https://notaliexpress.com/"),
    ("link", "https://93.184.216.34/a"),
    ("link", "ｅｘａｍｐｌｅ．ｃｏｍ"),
    # money past the marketplace
    ("off_platform_payment", "I refund you by PayPal"),
    ("off_platform_payment", "P a y P a l is easier"),
    ("off_platform_payment", "We can make a bank transfer"),
    ("off_platform_payment", "we refund you outside the platform"),
    ("off_platform_payment", "Card 4111 1111 1111 1111"),
    ("off_platform_payment", "GB82 WEST 1234 5698 7654 32"),
    ("off_platform_payment", "我私下退款给您"),
    ("off_platform_payment", "我用支付宝转给你"),
    # receipt, disputes, orders
    ("early_receipt", "Please confirm receipt now, the parcel will come soon"),
    ("early_receipt", "Please confirm the delivery before the parcel arrives"),
    ("early_receipt", "麻烦您先确认收货"),
    ("withdraw_pressure", "If you cancel the dispute, we will refund you 5 USD"),
    ("withdraw_pressure", "Withdraw your claim and we will send the compensation"),
    ("withdraw_pressure", "您先撤销纠纷，我们就给您退款"),
    ("cancel_request", "Could you please cancel the order?"),
    ("cancel_request", "请您申请取消订单"),
    # tone
    ("threat", "We will take legal action against you"),
    ("threat", "we know where you live"),
    ("threat", "再不配合就报警，后果自负"),
    ("insult", "You are a liar"),
    ("insult", "你就是骗子"),
    # form and data
    ("html", "<b>Hello</b>"),
    ("html", "Hello&nbsp;you"),
    ("emoji", "Thank you 😀"),
    ("emoji", "Thanks ❤️"),
    ("personal_data", "Please send your passport and card number"),
    ("personal_data", "请提供身份证和银行卡号"),
]  # fmt: skip

GOOD = [
    f"Hello, we have received your request for order {ORDER} and will review your case today.",
    "Please send us a photo of the item and of the outer packaging, so that we can check what went wrong.",
    "We can offer you a partial refund of US$12.50, and you keep the item. The choice is yours.",
    "Your refund of EUR 1,234.56 has been started. It can take 5 to 10 days.",
    "Your parcel LP00123456789012 is on its way. It was shipped on 2026-11-30 at 14:05.",
    "You can follow it at https://www.17track.net/en or on https://www.aliexpress.com/.",
    "Case cs-20391: the marketplace will review and decide. We have sent our evidence.",
    "Thank you for your feedback. The refund was issued on 21.11.2026.",
    "Please check with your neighbours and the post office; the tracking says it was delivered.",
    "Please confirm receipt once the parcel has arrived and you have checked the goods.",
    "We are sorry that the goods were damaged. We will resend the missing parts at no cost to you.",
    "The size is 120 x 80 x 45 mm and the weight is 1.250 kg; batch 20260115.",
    "Return address: Warehouse 3, 12 Some Street, Hangzhou 310000, China.",
    f"您好，订单 {ORDER} 的退款 US$12.50 已提交，预计 2026年12月1日 前到账。",
    "很抱歉商品出现问题，请发送商品和外包装的照片，我们会尽快核实。",
    "我们可以为您部分退款，商品您可以留下，无需退回。",
    "您的包裹 LP00123456789012 已发出，请耐心等待。",
    "您可以在订单页面看到退货地址，寄出后请告诉我们物流单号。",
    "已按您的要求取消订单，退款将原路返回。",
]


@pytest.mark.parametrize(("rule", "text"), BAD, ids=[f"{r}-{n}" for n, (r, _) in enumerate(BAD)])
def test_what_must_be_found(rule: str, text: str) -> None:
    assert rule in broken(text)


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_what_must_pass(text: str) -> None:
    assert broken(text) == set()


@pytest.mark.parametrize(
    ("text", "promotes"),
    [
        ("Aún no hay novedades; en cuanto el transportista las tenga, le escribimos.", False),
        ("Le daremos novedades de su paquete el lunes.", False),
        ("Mire las novedades en la tienda.", True),
        ("Le enviamos novedades de nuestra tienda cada semana.", True),
    ],
)
def test_news_of_a_parcel_is_no_promotion(text: str, promotes: bool) -> None:
    verdict = judge(text, book("marketing"), purpose="free_text", proven=True)
    assert bool(verdict.violations) == promotes


def test_the_span_is_the_offence_in_the_original() -> None:
    text = "Hello. Write to ｊｏｅ＠ｇｍａｉｌ．ｃｏｍ now."
    verdict = judge(text, book("contact"), purpose="free_text")
    assert text[slice(*verdict.violations[0].span)] == "ｊｏｅ＠ｇｍａｉｌ．ｃｏｍ"


def test_numbers_of_the_case_are_known_but_only_whole() -> None:
    known = judge("Order 13800138000 is on its way", book("contact"), purpose="free_text", order_id="13800138000")
    assert known.ok
    more = judge("Order 1380013800 and 13800138000", book("contact"), purpose="free_text", order_id="1380013800")
    assert not more.ok


LESS = (
    "If it would be anything below five, please do not leave one at all.",
    "Если выходит меньше пяти, лучше вообще ничего не ставьте.",
    "Wenn es weniger als fünf werden, dann lieber nichts.",
    "Si va a ser menos de cinco, mejor no ponga nada.",
    "Si c'est moins de cinq, ne mettez rien.",
    "Se for menos de cinco, melhor não deixar nada.",
    "要是低于五分就不要打了。",
)


NOT_OURS = (
    "Si recibió un mensaje que ofrece regalos a cambio de cinco estrellas, no lo enviamos nosotros.",
    "Recebeu um cartão oferecendo brinde por cinco estrelas? Não é nosso.",
    "Der Zettel »10 Euro für fünf Sterne« stammt noch von einem früheren Lieferanten. Werfen Sie ihn bitte einfach weg.",
    "Le coupon « un cadeau contre cinq étoiles » a été glissé par un ancien fournisseur. Jetez-le simplement, merci.",
    "La garantía de tres años vale igual aunque su valoración sea mala.",
)


@pytest.mark.parametrize("text", NOT_OURS)
def test_a_bargain_said_to_be_anothers_is_none_of_ours(text: str) -> None:
    """Its words are a person's to let go."""
    assert judge(text, STRICT, purpose="free_text", order_id=ORDER).action != "block"


@pytest.mark.parametrize("text", LESS)
def test_the_best_or_none_is_pressure_without_the_word_for_it(text: str) -> None:
    assert "review_pressure" in broken(text)


@pytest.mark.parametrize(
    "text", ["It takes less than five days, do not worry.", "Это займёт меньше пяти дней, не пишите нам раньше."]
)
def test_less_than_five_days_is_none(text: str) -> None:
    assert broken(text) == set()


OTHERS = (
    "Your order 112-0937741 was handed to UPS last night and should be with you on Friday evening.",
    "The missing leg caps were shipped today with USPS, tracking 9400 1112 0255 5837. No charge, of course.",
    "订单8100672233419058已经按您的要求取消,没有扣款。",
)


@pytest.mark.parametrize("text", OTHERS)
def test_a_number_called_anothers_order_is_a_persons_to_let_go(text: str) -> None:
    """A buyer has more than one order; and a telephone may be called one. So what reads harmless is held, nothing is sent."""
    assert judge(text, STRICT, purpose="free_text", order_id=ORDER).action == "hold"


def test_a_telephone_called_an_order_is_blocked_where_the_rest_says_so() -> None:
    text = (
        "Please write to us on WhatsApp about it: order 138 0013 8000, that is our private number, we answer at once."
    )
    assert judge(text, STRICT, purpose="free_text", order_id=ORDER).action == "block"


def test_years_from_and_to_are_no_telephone() -> None:
    text = "The lamp fits cars of the years 2017-2020, we have looked it up in the catalogue."
    assert judge(text, STRICT, purpose="free_text", order_id=ORDER).ok


def test_letters_and_digits_of_the_cases_own_numbers_are_no_disguise() -> None:
    def readings(text: str) -> int:
        whole = normalise(text)
        others = contacts.without(whole.folded, ["RR123456785C.N"])
        return len(list(rules._undisguised(whole, rules._eye().lists.index.held(whole.folded), others)))

    assert readings("Your parcel rr123456785c.n is on its way.") == 0
    assert readings("Your parcel rr123456784c.n is on its way.") > 0, "not his own"
    assert readings("Your parcel rr123456785c.n: r.e.v.i.e.w it.") > 0


def test_length_is_counted_in_utf16_units_and_nothing_is_cut() -> None:
    short = parse({"purposes": {"free_text": []}, "limits": {"max_chars": 10}}, "test", Path("r.yaml"))
    assert judge("x" * 10, short, purpose="free_text").ok
    verdict = judge("😀" * 6, short, purpose="free_text")
    assert (verdict.action, verdict.violations[0].why) == ("block", "12 characters, at most 10 are allowed")
    assert judge("  ", short, purpose="free_text").action == "block"


def test_a_marketplace_without_rules_allows_nothing() -> None:
    assert judge("Hello", RuleBook("none"), purpose="free_text").action == "block"


def test_holding_rules_hold_and_blocking_ones_win() -> None:
    raw = {
        "purposes": {"free_text": []},
        "rules": [
            {"id": "H", "severity": "hold", "about": "a", "source": "s", "detect": "withdraw_request"},
            {"id": "B", "severity": "block", "about": "b", "source": "s", "detect": "threat", "phases": ["inspection"]},
        ],
    }
    rules = parse(raw, "test", Path("r.yaml"))
    text = "Please close the dispute, or else"
    assert judge(text, rules, purpose="free_text", phase="awaiting_seller").action == "hold"
    assert judge(text, rules, purpose="free_text", phase="inspection").action == "block"


@given(st.text(max_size=400))
def test_normalising_keeps_places_for_any_text(text: str) -> None:
    normal = normalise(text)
    assert len(normal.plain) == len(normal.folded) == len(normal.at)
    assert all(0 <= place < len(text) for place in normal.at)
    assert list(normal.at) == sorted(normal.at)


@given(st.text(max_size=300))
@settings(deadline=None)
def test_any_text_gets_a_verdict_whose_spans_lie_inside(text: str) -> None:
    broken(text or "x")


@given(st.integers(0, 3), st.sampled_from(["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\u2066"]))
@settings(deadline=None)
def test_hidden_signs_do_not_hide(step: int, sign: str) -> None:
    hidden = sign.join("whatsapp"[: step + 2]) + "whatsapp"[step + 2 :]
    assert "contact" in broken(f"Add me on {hidden}")


@pytest.mark.parametrize("piece", ["a@", "1 ", "at ", "http://", "one ", "review refund ", "<a", "一", ". "])
def test_long_texts_are_judged_in_time(piece: str) -> None:
    from shared.clock import monotonic

    broken(piece)  # the first text of all reads the word lists
    began = monotonic()
    broken(piece * (10_000 // len(piece)))
    assert monotonic() - began < 3


@pytest.mark.parametrize("text", AMOUNTS)
def test_an_amount_in_dollars_is_no_other_currency(text: str) -> None:
    assert not broken(text, book("off_platform_payment"))
    assert broken(text.replace("USD", "USDT "), book("off_platform_payment"))
