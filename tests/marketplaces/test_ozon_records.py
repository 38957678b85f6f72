"""Ozon's records as facts: both return APIs, cancellation requests, chats; odd shapes, reasons, and each reading said once."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.facts import Draft
from shared.json_reader import read
from shared.marketplaces.ozon import codes, records, returning, simulated
from shared.ports import Account
from tests.marketplaces.ozon_walk import FOLDER, POSTING, START

ACCOUNT = Account("oz-main", "ozon")
Body = dict[str, Any]
FIXTURES = sorted(
    path
    for path in (FOLDER / "fixtures").glob("*.json")
    if not path.name.startswith("push") and "expect" not in path.name
)


def facts(body: Body, previous: Body | None = None) -> tuple[Draft, ...]:
    return tuple(records.facts(body, previous, ACCOUNT, START))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_the_same_reading_again_says_nothing(path: Any) -> None:
    body = read(path.read_bytes())
    assert facts(body, body) == ()


def test_an_unknown_status_is_said_once_and_verbatim() -> None:
    body = simulated.ordinary(POSTING, START, {"status": "OnTheMoon"})
    assert [(d.kind, d.raw_code) for d in facts(body)] == [
        ("return.requested", "OnTheMoon"),
        ("case.updated", "OnTheMoon"),
    ]
    assert facts(body, body) == ()


@pytest.mark.parametrize("status", ["oNsELLERaPPROVAL", "ОnSеllеrАpprоvаl"])
def test_look_alikes_and_case_do_not_matter(status: str) -> None:
    (draft,) = facts(simulated.ordinary(POSTING, START, {"status": status, "schema": "Fbо", "type": "СlientReturn"}))
    assert (draft.raw_code, draft.data["scheme"], draft.data["return_type"]) == (
        "OnSellerApproval",
        "fbo",
        "ClientReturn",
    )


def test_numbers_and_their_text_read_the_same() -> None:
    body = simulated.ordinary(POSTING, START, {})
    price = {"currency_code": "RUB", "price": "1231"}
    texts = {**body, "id": str(body["id"]), "product": {**body["product"], "quantity": "1", "price": price}}
    assert facts(body) == facts(texts)
    assert facts(body, texts) == ()


def test_prices_are_exact_and_of_all_pieces() -> None:
    body = simulated.ordinary(POSTING, START, {})
    body["product"] |= {"quantity": 3, "price": {"currency_code": "RUB", "price": "1231.10"}}
    assert facts(body)[0].data["amount"] == {"value": "3693.30", "currency": "RUB"}
    body["product"] |= {"price": {"currency_code": "RUB", "price": "1231.105"}}
    assert "amount" not in facts(body)[0].data, "no amount rather than a rounded one"
    request = simulated.request(POSTING, START, {"price": "89.00"})
    assert facts(request)[0].data["max_refund"] == {"value": "89.00", "currency": "CNY"}


@pytest.mark.parametrize(
    "broken",
    [
        {"product": None}, {"product": []}, {"return_reason": "x"}, {"client_photo": 7},
        {"available_actions": [None, {"id": "x"}]}, {"available_actions": {"id": -1, "name": "alone"}},
        {"created_at": "soon"}, {"state": {"group_state": None}},
    ],
)  # fmt: skip
def test_odd_bodies_are_read_as_far_as_they_go(broken: Body) -> None:
    for draft in facts({**simulated.request(POSTING, START, {}), **broken}):
        assert draft.kind and draft.occurred_at.tzinfo


def test_one_object_instead_of_a_list_is_a_list_of_one() -> None:
    assert codes.rows({"return_id": 1}) == [{"return_id": 1}] == codes.rows([{"return_id": 1}, None])
    assert codes.rows(None) == []


def test_a_reason_is_read_by_its_words() -> None:
    said = {
        "Товар повреждён": "damaged", "Обнаружен брак": "defective", "Не хватает деталей": "missing_parts",
        "Прислали не тот товар": "wrong_item", "Не соответствует описанию": "not_as_described", "Подделка": "counterfeit",
        "Не подошёл размер": "change_of_mind", "Долго везли": "late", "not received": "not_received", "质量问题": "defective",
        "Что-то новое": "other", "": "other",
    }  # fmt: skip
    assert {words: codes.reason_of(words) for words in said} == said
    assert codes.reason_of("Что-то новое", is_defect=True) == "defective"
    assert {codes.cause_of(reason) for reason in said.values()} <= {
        "packing",
        "description",
        "picking",
        "logistics",
        "quality",
        "buyer",
        None,
    }


def test_a_chat_says_only_what_waits_for_an_answer_and_then_what_is_new() -> None:
    first, later = (
        read((FOLDER / "fixtures" / f"chat_{name}.json").read_bytes()) for name in ("first_seen", "went_on")
    )
    assert [d.data["text"] for d in facts(first)] == ["Лампа пришла разбитой"]
    assert [d.data["text"] for d in facts(later, first)] == ["Вот фото"]
    edited = json.loads(json.dumps(later))
    edited["messages"][-1]["data"] = ["Вот два фото"]
    assert [d.data["text"] for d in facts(edited, later)] == ["Вот два фото"]
    assert facts(first, later) == (), "what falls out of the history has been said"


STEPS = st.lists(st.sampled_from(returning.STATUSES), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_a_return_read_step_by_step_is_asked_for_once_and_opened_again_only_after_an_end(steps: list[str]) -> None:
    bodies = [simulated.ordinary(POSTING, START.replace(minute=n), {"status": step}) for n, step in enumerate(steps)]
    read_ = [facts(body, before) for before, body in pairwise([None, *bodies])]
    kinds = [draft.kind for drafts in read_ for draft in drafts]
    assert kinds[0] == "return.requested" and kinds.count("return.requested") == 1
    reopened = sum(a in returning.ENDS and b not in returning.ENDS for a, b in pairwise(steps))
    assert kinds.count("case.reopened") == reopened
    for drafts in read_:
        assert len({(draft.revision, str(draft.data.get("amount"))) for draft in drafts if draft.revision}) <= 1
