"""Finance events: what the buyer got, once whoever tells it; claims, chargebacks, and sweeps that overlap."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.facts import Draft
from shared.marketplaces.amazon import records
from shared.marketplaces.amazon.finances import Seen, events_of, orders_of, refund_ref
from shared.ports import Account

NOW = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
ORDER = "902-1234567-7654321"


def event(*charges: Any, day: int = 5, item: str = "i1", order: str = ORDER, **parts: Any) -> dict[str, Any]:
    rows = [{"ChargeType": "Principal", "ChargeAmount": {"CurrencyCode": "USD", "CurrencyAmount": c}} for c in charges]
    line = {"OrderAdjustmentItemId": item, "ItemChargeAdjustmentList": rows, **parts}
    return {"AmazonOrderId": order, "PostedDate": f"2026-01-{day:02d}T09:00:00Z", "ShipmentItemAdjustmentList": [line]}


def body(*refunds: dict[str, Any], **lists: list[dict[str, Any]]) -> dict[str, Any]:
    return {"AmazonOrderId": ORDER, "FinancialEvents": {"RefundEventList": list(refunds), **lists}}


def facts(record: dict[str, Any], previous: dict[str, Any] | None = None) -> list[Draft]:
    return list(records.facts(record, previous, Account("amz", "amazon"), NOW))


def test_what_counts_is_what_the_buyer_got() -> None:
    promotion = [{"PromotionAmount": {"CurrencyCode": "USD", "CurrencyAmount": "2.00"}}]
    fees = [{"FeeType": "RefundCommission", "FeeAmount": {"CurrencyCode": "USD", "CurrencyAmount": "-1.20"}}]
    (draft,) = facts(
        body(event("-20.00", Decimal("-1.6"), -3, PromotionAdjustmentList=promotion, ItemFeeAdjustmentList=fees))
    )
    assert draft.data["refunded"] == {"value": "22.60", "currency": "USD"}
    assert (draft.order_id, draft.case_kind, draft.refs) == (ORDER, None, {"refund_id": f"{ORDER}:2260"})


def test_a_refund_told_by_the_report_and_the_finances_has_one_name() -> None:
    line = {"order_id": ORDER, "amazon_rma_id": "R", "return_request_status": "Completed", "currency_code": "USD"}
    reported = facts({"lines": [{**line, "refund_amount": "22.60"}]}, {"lines": [line]})
    posted = facts(body(event("-22.60")))
    names = [draft.refs["refund_id"] for draft in (*reported, *posted) if draft.kind == "refund.issued"]
    assert names == [refund_ref(ORDER, 2260)] * 2


def test_equal_refunds_are_two_and_known_ones_are_no_news() -> None:
    first, second = event("-5.00"), event("-5.00", day=6, item="i2")
    assert [d.refs["refund_id"] for d in facts(body(first, second))] == [f"{ORDER}:500", f"{ORDER}:500:2"]
    assert [d.refs["refund_id"] for d in facts(body(first, second), body(first))] == [f"{ORDER}:500:2"]
    assert facts(body(second, first), body(first, second)) == [], "their order in the answer means nothing"


@pytest.mark.parametrize("earlier", [0, 1, 2, 3])
def test_however_the_events_arrive_the_same_is_told(earlier: int) -> None:
    every = [event("-5.00"), event("-7.00", day=6), event("-5.00", day=7, item="i2")]
    before = body(*every[:earlier])
    split = (facts(before) if earlier else []) + facts(body(*every), before if earlier else None)
    assert split == facts(body(*every))


@pytest.mark.parametrize(
    "bad",
    [event(), event("x"), event("1e999"), event("-1.005"), event(True), event(None), {"AmazonOrderId": ORDER},
     event("-1.00", ItemChargeList=[{"ChargeAmount": {"CurrencyCode": "EUR", "CurrencyAmount": "-1"}}])],
)  # fmt: skip
def test_money_that_cannot_be_read_is_put_before_a_person(bad: dict[str, Any]) -> None:
    assert [(d.kind, d.raw_code) for d in facts(body(bad))] == [("case.updated", "RefundEvent:unreadable")]


def test_a_claim_debited_is_lost_and_a_credit_later_comes_back() -> None:
    debit, credit = event("-39.90"), event("39.90", day=9, item="i2")
    first = facts(body(GuaranteeClaimEventList=[debit]))
    assert [d.kind for d in first] == ["dispute.opened", "dispute.funds_moved", "refund.issued", "dispute.resolved"]
    assert {(d.case_kind, d.external_id, d.data["stage"]) for d in first} == {("claim", ORDER, "guarantee")}
    assert (first[-1].data["winner"], first[-1].data["funded_by"]) == ("buyer", "seller")
    (back,) = facts(body(GuaranteeClaimEventList=[debit, credit]), body(GuaranteeClaimEventList=[debit]))
    assert (back.kind, back.raw_code) == ("dispute.funds_moved", "GuaranteeClaimEvent:credit")
    assert back.data["reimbursed"] == {"value": "39.90", "currency": "USD"}


def test_a_second_debit_of_one_claim_opens_nothing_again() -> None:
    debit, more = event("-30.00"), event("-9.90", day=9, item="i2")
    seen = facts(body(GuaranteeClaimEventList=[debit, more]), body(GuaranteeClaimEventList=[debit]))
    assert [d.kind for d in seen] == ["dispute.funds_moved", "refund.issued", "dispute.resolved"]


def test_a_chargeback_is_a_claim_of_its_own_and_no_refund() -> None:
    drafts = facts(body(ChargebackEventList=[event("-39.90")]))
    assert [(d.kind, d.external_id) for d in drafts] == [
        ("dispute.opened", f"chargeback:{ORDER}"),
        ("dispute.funds_moved", f"chargeback:{ORDER}"),
    ]


def test_lists_that_are_missing_or_odd_are_empty() -> None:
    for lists in ({}, {"RefundEventList": None}, {"RefundEventList": [None, 7]}, None):
        assert events_of({"FinancialEvents": lists}) == []
    page = body(event("-1", order="A"), event("-1", order="B"), event("-1", order="A", item="i2"))
    assert orders_of(page) == ("A", "B")


def test_overlapping_sweeps_ask_for_an_order_once() -> None:
    seen = Seen()
    a, b = event("-1", order="A"), event("-1", order="B")
    assert seen.orders(("p1", None), body(a)) == ("A",)
    assert seen.orders(("p1", None), body(a)) == ("A",), "the same page asked for again was not taken the first time"
    assert seen.orders(("p2", None), body(a, b)) == ("B",)
    assert seen.orders(("p3", None), body(a, b, event("-2", order="A", item="i2"))) == ("A",)
