"""Readings of an after-sale into facts: every status, the numberings, the units, the times."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.money import Money
from shared.marketplaces.pinduoduo import after_sale, records
from shared.marketplaces.pinduoduo.after_sale import AfterSale, moment
from shared.ports import Account
from shared.registry import Registry

ACCOUNT = Account("pdd-main", "pinduoduo")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIXTURES = Registry().folder("pinduoduo") / "fixtures"
STATUS_2 = json.loads((FIXTURES / "status_2.json").read_text())


def with_status(code: int, type_: int = 1, **detail: Any) -> dict[str, Any]:
    return {
        "detail": {**STATUS_2["detail"], "after_sales_status": code, "after_sales_type": type_, **detail},
        "row": {**STATUS_2["row"], "updated_time": "2026-11-22 03:00:00"},
    }


def kinds(body: dict[str, Any], previous: dict[str, Any] | None = None) -> list[str]:
    return [draft.kind for draft in records.facts(body, previous, ACCOUNT, NOW)]


MEANING = {
    2: "refund.requested", 3: "return.requested", 4: "refund.promised", 5: "refund.promised", 6: "return.declined",
    7: "return.authorised", 8: "dispute.escalated", 9: "dispute.resolved", 10: "refund.issued", 11: "case.closed",
    12: "case.closed", 13: "case.closed", 14: "replacement.requested", 15: "case.updated", 16: "replacement.completed",
    17: "case.closed", 18: "replacement.shipped", 21: "return.requested", 22: "return.authorised", 24: "case.closed",
    25: "replacement.completed", 27: "replacement.shipped", 31: "return.authorised", 32: "replacement.requested",
    33: "case.updated",
}  # fmt: skip


@pytest.mark.parametrize("code", MEANING)
def test_each_status_of_the_reference_means_one_fact(code: int) -> None:
    assert str(code) in after_sale.STATUSES and len(MEANING) == len(after_sale.STATUSES)
    before = with_status(6 if code == 2 else 2)
    (draft,) = records.facts(with_status(code), before, ACCOUNT, NOW)
    assert (draft.kind, draft.raw_code) == (MEANING[code], str(code))
    assert (draft.external_id, draft.order_id) == ("550031", "261120-100200300400500")


def test_an_unknown_status_is_an_update_with_its_code_and_never_raises() -> None:
    (draft,) = records.facts(with_status(34), STATUS_2, ACCOUNT, NOW)
    assert (draft.kind, draft.raw_code) == ("case.updated", "34")
    assert kinds(with_status(34)) == ["refund.requested", "case.updated"]


def test_the_same_reading_again_says_nothing_and_no_after_sale_neither() -> None:
    assert kinds(STATUS_2, STATUS_2) == []
    assert kinds(with_status(0)) == []


@pytest.mark.parametrize(("type_", "kind"), [(1, "refund"), (2, "return"), (3, "return"), (4, "return"), (5, "return")])
def test_the_details_numbering_of_types_decides_the_kind(type_: int, kind: str) -> None:
    assert {draft.case_kind for draft in records.facts(with_status(8, type_), None, ACCOUNT, NOW)} == {kind}


def test_an_unknown_type_is_a_return_where_nothing_is_paid_before_the_goods_are_back() -> None:
    assert AfterSale(with_status(2, 9)).kind == "return"


def test_amounts_are_the_rows_yuan_and_never_the_details_figure() -> None:
    body = with_status(2, refund_amount=999999, order_amount=999999)
    (draft,) = records.facts(body, None, ACCOUNT, NOW)
    assert draft.data["amount"] == draft.data["paid"] == {"value": "25.90", "currency": "CNY"}
    body["row"] = {}
    (draft,) = records.facts(body, None, ACCOUNT, NOW)
    assert "amount" not in draft.data and draft.revision is None


@pytest.mark.parametrize("told", [1795453200000, 1795453200, "1795453200000", "1795453200", "2026-11-24 01:00:00"])
def test_the_deadline_is_read_by_its_magnitude(told: Any) -> None:
    assert moment(told) == datetime(2026, 11, 23, 17, tzinfo=UTC)
    (draft,) = records.facts(with_status(2, expire_time=told), None, ACCOUNT, NOW)
    assert draft.data["due_at"] == "2026-11-23T17:00:00Z"


@pytest.mark.parametrize("told", [None, 0, "", "soon", -1, True, [], 1.5, "2026-13-01 00:00:00", 10**15, "٣"])
def test_what_is_no_time_is_none(told: Any) -> None:
    assert moment(told) is None


def test_a_second_of_a_row_counts_as_its_end() -> None:
    """A message of the same second tells ms: the reading it caused must not be older than it."""
    sale = AfterSale(STATUS_2)
    assert sale.revision == 1795280400999
    assert sale.changed_at == datetime(2026, 11, 21, 17, tzinfo=UTC)


def test_a_parcel_on_its_way_back_is_told_once() -> None:
    asked = with_status(7, 2)
    shipped = with_status(3, 2, express_no="YT1")
    assert kinds(shipped, asked) == ["return.shipped", "return.requested"]
    assert kinds(shipped, shipped) == []
    assert kinds(with_status(3, 2, express_no="YT2"), shipped) == ["return.shipped", "case.updated"]


def test_a_change_of_kind_closes_the_one_and_opens_the_other() -> None:
    drafts = records.facts(with_status(3, 2), STATUS_2, ACCOUNT, NOW)
    told = [(draft.kind, draft.case_kind, draft.raw_code) for draft in drafts]
    assert told == [("case.closed", "refund", "type_changed"), ("return.requested", "return", "3")]


def test_opened_again_after_its_end() -> None:
    assert kinds(STATUS_2, with_status(11)) == ["case.reopened", "refund.requested"]


def test_ended_at_first_sight_is_one_fact_with_its_money() -> None:
    (draft,) = records.facts(with_status(10), None, ACCOUNT, NOW)
    assert (draft.kind, draft.data["refunded"]["value"]) == ("refund.issued", "25.90")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("商家发错货", "wrong_item"), ("少件/漏发", "missing_parts"), ("质量问题", "defective"), ("包装/商品破损", "damaged"),
        ("与商品描述不符", "not_as_described"), ("不想要了", "change_of_mind"), ("未收到货", "not_received"), ("其他", "other"),
        ("疑似假货", "counterfeit"), ("未按约定时间发货", "late"), ("", "other"),
    ],
)  # fmt: skip
def test_reasons_are_read_by_their_words(told: str, reason: str) -> None:
    assert after_sale.reason_of(told) == reason


ODD = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.lists(st.integers(), max_size=2)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    detail=st.dictionaries(st.sampled_from(sorted(STATUS_2["detail"])), ODD),
    row=st.dictionaries(st.sampled_from(sorted(STATUS_2["row"])), ODD),
)
def test_whatever_a_field_holds_a_reading_never_raises(detail: dict[str, Any], row: dict[str, Any]) -> None:
    odd = {"detail": {**STATUS_2["detail"], **detail}, "row": {**STATUS_2["row"], **row}}
    for body, previous in ((odd, None), (odd, STATUS_2), (STATUS_2, odd), ({"detail": 7, "row": []}, odd)):
        for draft in records.facts(body, previous, ACCOUNT, NOW):
            assert draft.case_kind in ("refund", "return")
    assert AfterSale(odd).amount is None or isinstance(AfterSale(odd).amount, Money)
    assert records.facts(STATUS_2, None, ACCOUNT, NOW + timedelta(days=1))
