"""What may be said to an Ozon buyer: CR-ALL and CR-OZ on real wordings in Russian, English and Chinese."""

from datetime import UTC, datetime, timedelta

import pytest

from services.notifier import governor, rulebook, rules
from services.notifier.governor import Go, Limits, Wait
from shared.domain.errands import Conversation
from shared.domain.order import Buyer
from tests.marketplaces.ozon_walk import FOLDER, POSTING, playbooks

BOOK = rulebook.load(FOLDER / "rules.yaml", "ozon")
NOW = datetime(2026, 12, 10, 9, 0, tzinfo=UTC)


def judged(text: str, purpose: str = "free_text", phase: str = "awaiting_seller") -> rules.Verdict:
    return rules.judge(text, BOOK, purpose=purpose, phase=phase, order_id=POSTING, known=["80080012345678"])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("CR-ALL-01", "Напишите нам в вотсап, так быстрее."),
        ("CR-ALL-01", "Позвоните мне на номер +7 916 123-45-67"),
        ("CR-ALL-01", "加我微信 lamp88"),
        ("CR-ALL-01", "Write to us: help@lamp.example"),
        ("CR-ALL-02", "Переведём деньги вам на карту."),
        ("CR-ALL-02", "Доплатите за доставку напрямую."),
        ("CR-ALL-03", "Удалите, пожалуйста, плохой отзыв."),
        ("CR-ALL-03", "Поставьте хорошую оценку."),
        ("CR-ALL-03", "За отзыв подарим скидку."),
        ("CR-ALL-03", "Please change your review to five stars."),
        ("CR-ALL-05", "Вы сами виноваты."),
        ("CR-ALL-08", "Пришлите фото паспорта."),
        ("CR-OZ-01", "Смотрите здесь: https://lamp-shop.example.com/42"),
        ("CR-OZ-01", "Отследить можно на https://www.17track.net/ru"),
        ("CR-OZ-01-address", "Отправьте посылку на ул. Ленина, дом 5."),
        ("CR-OZ-01-shop", "Заходите в наш магазин на Wildberries."),
        ("CR-OZ-02", "Отмените заказ сами, пожалуйста."),
        ("CR-OZ-02", "Вы можете отказаться от заказа в приложении."),
        ("CR-OZ-02", "请您取消订单"),
        ("CR-OZ-02-dispute", "Закройте спор, и мы вернём часть денег."),
        ("CR-OZ-03", "Ozon всех обманывает."),
        ("CR-OZ-03", "Other sellers sell fakes."),
        ("CR-OZ-03", "Посылка задержалась по вине Ozon."),
        ("CR-OZ-03", "Ozon опять всё потерял."),
        ("CR-OZ-03", "На Озоне бардак, мы не виноваты."),
        ("CR-OZ-03", "Конкуренты врут про качество."),
        ("CR-OZ-03", "It is Ozon's fault."),
        ("CR-OZ-03", "Other sellers are unreliable."),
        ("CR-OZ-05", "<b>Hello</b>"),
        ("CR-OZ-10", "Иначе пожалеете."),
        ("CR-OZ-10", "We will sue you."),
    ],
)
def test_what_must_not_be_said_is_blocked(rule: str, text: str) -> None:
    verdict = judged(text)
    assert verdict.action == "block"
    assert rule in {violation.rule for violation in verdict.violations}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("CR-ALL-03-any", "Ваш отзыв нам важен."),
        ("CR-OZ-02-ask", "Could you please close the dispute?"),
        ("CR-OZ-04", "Лампа оригинальная, гарантируем."),
        ("CR-OZ-09", "Спасибо!!!"),
        ("CR-OZ-09-emoji", "Спасибо 🙂"),
    ],
)
def test_what_a_person_must_look_at_is_held(rule: str, text: str) -> None:
    verdict = judged(text)
    assert verdict.action == "hold"
    assert rule in {violation.rule for violation in verdict.violations}


@pytest.mark.parametrize(
    "text",
    [
        f"Здравствуйте! Нам жаль, что лампа из заказа {POSTING} пришла разбитой. Пришлите, пожалуйста, фото здесь, в чате.",
        "Добрый день! Возврат согласован, деньги вернёт Ozon после проверки товара.",
        "Если служба Ozon потеряла посылку, мы вышлем новую.",
        "Нам жаль, товар плохого качества; решение примет Ozon.",
        "The fault is ours; Ozon decides within three days.",
        "Мы проверили посылку: трек-номер 80080012345678, она в пути.",
        "Ваш заказ отменён по вашей просьбе, деньги вернутся на ту же карту.",
        "Подробнее: https://www.ozon.ru/my/returns",
        "您好，请提供商品照片，我们会尽快处理。",
    ],
)
def test_plain_good_words_leave(text: str) -> None:
    assert judged(text).violations == ()


def test_a_text_has_1_to_1000_characters() -> None:
    assert judged("а" * 1000).action == "send"
    assert {v.rule for v in judged("а" * 1001).violations} == {"max_chars"}
    assert judged(" ").action == "block"


def test_the_return_address_stands_only_in_the_instructions_once_agreed() -> None:
    text = f"Заказ {POSTING}. Отправьте товар: ул. Складская, дом 4."
    assert judged(text, "return_instructions", "awaiting_buyer").action == "send"
    assert judged(text, "return_instructions", "awaiting_seller").action == "block", "not agreed yet"
    assert judged(f"{text} Тел. +7 916 123-45-67", "return_instructions", "awaiting_buyer").action == "block"


@pytest.mark.parametrize(
    ("since_delivery", "since_buyer", "open_"),
    [
        (None, None, True),
        (timedelta(hours=71), None, True),
        (timedelta(hours=73), None, False),
        (timedelta(hours=73), timedelta(hours=47), True),
        (timedelta(hours=73), timedelta(hours=49), False),
    ],
)
def test_a_chat_is_open_until_72_hours_after_delivery_and_48_after_the_buyer(
    since_delivery: timedelta | None, since_buyer: timedelta | None, open_: bool
) -> None:
    """CR-OZ-06."""
    until = None if since_delivery is None else NOW - since_delivery + timedelta(hours=72)
    spoke = None if since_buyer is None else NOW - since_buyer
    talk = Conversation(
        account="a", order_id=POSTING, buyer=Buyer(), seq=1, window_until=until, last_buyer_message_at=spoke
    )
    answer = governor.may_leave(
        POSTING, False, Limits(BOOK, None, None), talk, None, [], governor.zone_of("UTC"), NOW
    )  # fmt: skip
    assert isinstance(answer, Go if open_ else Wait)


def test_ozon_takes_fifty_calls_a_second() -> None:
    assert BOOK.calls_per_second == 50


@pytest.mark.parametrize("kind", ["return", "cancellation", "dispute"])
def test_every_message_of_the_playbooks_is_allowed(kind: str) -> None:
    book = playbooks().current["ozon", kind]
    rows = [*book.opens_on, *book.everywhere, *(row for state in book.states.values() for row in state.rows)]
    said = {tell.purpose for row in rows for tell in row.effects.tell}
    said |= {tell.purpose for state in book.states.values() for tell in state.enter.tell}
    assert said and said <= set(BOOK.purposes)
