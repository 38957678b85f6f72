"""What may be said to an Amazon buyer: AMZ-M01 … AMZ-M23 of reference A6 on real wordings."""

import pytest

from tests.marketplaces.amazon_walk import BOOK, ORDER, broken, judged, playbook

BAD = [
    ("AMZ-M03", "We are sorry. What would put it right for you?"),
    ("AMZ-M05", f"Order {ORDER}: please write to help@teapot.example."),
    ("AMZ-M05", f"Order {ORDER}: call us, +49 151 2345 6789."),
    ("AMZ-M05", f"Order {ORDER}: help (at) teapot (dot) com is faster."),
    ("AMZ-M05", f"订单 {ORDER}：加我微信 teapot88 聊。"),
    ("AMZ-M06", f"Order {ORDER} is here: https://www.17track.net/en#nums=RR123456785DE"),
    ("AMZ-M06", f"Order {ORDER}: see http://www.amazon.com/orders"),
    ("AMZ-M07", f"<b>Order {ORDER}</b>: we are sorry."),
    ("AMZ-M08", f"Order {ORDER}: take 20% off your next order in our shop."),
    ("AMZ-M09", f"Order {ORDER}: we refund you if you change your review."),
    ("AMZ-M10", f"Order {ORDER}: could you remove the feedback?"),
    ("AMZ-M10", f"Auftrag {ORDER}: Können Sie die Bewertung bitte anpassen?"),
    ("AMZ-M10", f"Commande {ORDER} : pourriez-vous modifier votre évaluation ?"),
    ("AMZ-M10", f"Pedido {ORDER}: ¿podría cambiar su reseña?"),
    ("AMZ-M10", f"Ordine {ORDER}: può modificare la recensione?"),
    ("AMZ-M10", f"注文 {ORDER}：レビューの変更をお願いします。"),
    ("AMZ-M11", f"Order {ORDER}: a five-star review would make our day."),
    ("AMZ-M11", f"Order {ORDER}: if you are happy please leave feedback."),
    ("AMZ-M11", f"订单 {ORDER}：满意的话请给我们评价。"),
    ("AMZ-M12", f"Order {ORDER}: we have read your review."),
    ("AMZ-M13", f"Thank you for your order {ORDER}!"),
    ("AMZ-M13", f"Your order {ORDER} has been shipped."),
    ("AMZ-M13", f"感谢您的购买，订单 {ORDER}。"),
    ("AMZ-M13", f"Order {ORDER}: thank you!"),
    ("AMZ-M13", f"Order {ORDER}: hello Ann, thank you very much. We are here to help.\nBest regards"),
    ("AMZ-M13", f"Vielen Dank für Ihre Bestellung {ORDER}."),
    ("AMZ-M13", f"Ihre Sendung {ORDER} wurde heute versandt."),
    ("AMZ-M13", f"Votre colis {ORDER} a été expédié."),
    ("AMZ-M13", f"Gracias por su compra {ORDER}."),
    ("AMZ-M13", f"Il suo ordine {ORDER} è stato spedito."),
    ("AMZ-M13", f"Obrigado pela sua compra {ORDER}."),
    ("AMZ-M13", f"ご注文 {ORDER} ありがとうございます。"),
    ("AMZ-M14", f"Order {ORDER}: we are out of stock, please cancel the order."),
    ("AMZ-M15", f"Order {ORDER}: sorry \U0001f622"),
    ("AMZ-M16", f"Order {ORDER}:\n\n\nwe are sorry."),
    ("AMZ-M19", f"[Important] Order {ORDER}: please answer."),
    ("AMZ-M23", f"Order {ORDER}: we refund you 10 USD once you withdraw the claim."),
    ("CR-ALL-02", f"Order {ORDER}: we pay you back by PayPal."),
    ("CR-ALL-05", f"Order {ORDER}: accept it or our lawyer will write to you."),
    ("CR-ALL-08", f"Order {ORDER}: please send your card number."),
]
HELD = {"AMZ-M12", "AMZ-M16", "AMZ-M23-ask", "R001-05"}


@pytest.mark.parametrize(("rule", "text"), BAD)
def test_what_breaks_a_rule_does_not_leave_by_itself(rule: str, text: str) -> None:
    assert rule in broken(text)
    assert judged(text).action == ("hold" if broken(text) <= HELD else "block")


@pytest.mark.parametrize(
    "text",
    [
        f"We are sorry about order {ORDER}. Could you tell us what exactly is wrong?",
        f"Order {ORDER}: please send us a photo of the outer packaging in this conversation.",
        f"Order {ORDER}: we refund 12.50 USD and you keep the item. If you would rather send it back, tell us.",
        f"Order {ORDER}: the label is on https://www.amazon.com/returns and costs you nothing.",
        f"Order {ORDER}: thank you for the photos, we are looking into it.",
        f"Thank you, the return of order {ORDER} has arrived.\nBest regards",
        f"Vielen Dank für die Fotos zur Bestellung {ORDER}. Der Ersatz geht morgen ab.",
        f"Order {ORDER}: was the parcel (1Z999AA10123456784) left with a neighbour?",
        f"Order {ORDER}: we will refund you today ourselves; you need not do anything.",
        f"订单 {ORDER}：非常抱歉，请提供外包装的照片，我们会尽快处理。",
        f"Bestellung {ORDER}: Es tut uns leid. Was genau ist defekt?",
    ],
)
def test_plain_good_words_leave(text: str) -> None:
    assert judged(text).action == "send", judged(text)


def test_the_longest_text_is_that_of_the_api() -> None:
    said = f"Order {ORDER}: " + "We are sorry for the scratch on the lid and send you a new one. " * 40
    assert judged(said[:2000]).action == "send"
    assert {v.rule for v in judged(said[:2001]).violations} == {"max_chars"}


def test_every_rule_is_broken_by_something_here() -> None:
    tried = {rule for rule, _ in BAD} | {"R001-05", "R001-06", "AMZ-M23-ask"}
    assert {rule.id for rule in BOOK.rules} == tried


def test_no_purpose_promotes_confirms_or_asks_for_a_review() -> None:
    never = {"offer_coupon", "order_shipped", "delivered_check", "payment_reminder", "refund_aftercare_review"}
    assert not never & set(BOOK.purposes)


@pytest.mark.parametrize("kind", ["return", "claim", "cancellation", "review"])
def test_each_clock_has_its_source_and_each_deadline_its_plan(kind: str) -> None:
    for clock in playbook(kind).clocks.values():
        assert clock.source and clock.read is not None
        assert clock.planned or not clock.deadline
