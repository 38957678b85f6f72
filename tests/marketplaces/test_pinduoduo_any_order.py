"""Any order of the same deliveries, with duplicates, ends in the same case state: messages and readings through the core."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.facts import Draft
from shared.marketplaces.pinduoduo import messages, records, simulator
from shared.marketplaces.pinduoduo.after_sale import STATUSES
from shared.ports import NeedsFetch
from tests.marketplaces.pinduoduo_walk import ORDER, START, Walk, account, record

SHUFFLES = 125
Delivery = Sequence[Draft]

# (operation of a message or None, status and fields of the reading after it)
REFUNDING, PLATFORM = {"after_sales_status": 4}, {"after_sales_status": 8, "join_or_not": "1"}
BACK = {"after_sales_status": 3, "express_no": "YT1"}
STREAMS: dict[str, tuple[int, list[tuple[int | None, dict[str, Any]]]]] = {
    "refunded": (1, [(1000, {}), (None, REFUNDING), (1304, {"after_sales_status": 10})]),
    "withdrawn": (1, [(1000, {}), (None, {"images": ["a"]}), (1300, {"after_sales_status": 11})]),
    "with pictures": (1, [(1000, {}), (None, {"images": ["a"]}), (None, {"images": ["a", "b"]})]),
    "overruled": (
        1,
        [(1000, {}), (None, {"after_sales_status": 6}), (None, PLATFORM), (1304, {"after_sales_status": 10})],
    ),
    "in arbitration": (1, [(1000, {}), (None, {"after_sales_status": 6}), (None, PLATFORM)]),
    "opened again": (1, [(1000, {}), (1306, {"after_sales_status": 13}), (1002, {"after_sales_status": 2})]),
    "returned": (
        2,
        [
            (1000, {}),
            (None, {"after_sales_status": 7}),
            (None, BACK),
            (None, REFUNDING),
            (1304, {"after_sales_status": 10}),
        ],
    ),
    "on its way back": (2, [(1001, {}), (None, {"after_sales_status": 7}), (None, BACK)]),
    "exchanged": (
        3,
        [
            (1000, {}),
            (None, {"after_sales_status": 32}),
            (None, {"after_sales_status": 18}),
            (1311, {"after_sales_status": 16}),
        ],
    ),
}


def message(body: dict[str, Any], operation: int, modified: int) -> Delivery:
    content = {
        "mall_id": 1, "refund_fee": 2590, "bill_type": body["after_sales_type"], "modified": modified,
        "refund_id": body["id"], "operation": operation, "tid": ORDER,
    }  # fmt: skip
    parsed = messages.meaning("", messages.content_of(content))
    assert isinstance(parsed, NeedsFetch) and parsed.drafts
    return parsed.drafts


def deliveries(name: str) -> tuple[int, list[Delivery]]:
    """As they come in order: every message, and the reading it (or a poll) caused."""
    type_, steps = STREAMS[name]
    now, found, previous = START, list[Delivery](), None
    body = simulator.staged(now, {"order_sn": ORDER, "id": 550031, "after_sales_type": type_})
    for operation, fields in steps:
        body = simulator.laid_over(body, fields, now)
        if operation is not None:
            found.append(message(body, operation, simulator.millis(now) + 123))
        seen = record(body)
        found.append(records.facts(seen, previous, account(), now))
        previous, now = seen, now + timedelta(hours=1)
    return type_, found


def end_of(type_: int, told: Sequence[Delivery]) -> tuple[Any, ...]:
    walk = Walk(read=False, after_sales_type=type_)
    for drafts in told:
        walk.take(*drafts)
        walk.now += timedelta(seconds=1)
    case = walk.case
    return case.state, case.phase, case.outcome, case.liability, case.facts.get("amount"), case.revision


@pytest.mark.parametrize("name", STREAMS)
def test_any_order_with_duplicates_ends_alike(name: str) -> None:
    type_, told = deliveries(name)
    expected = end_of(type_, told)
    shuffler = random.Random(name)
    for _ in range(SHUFFLES):
        mixed = [*told, *shuffler.choices(told, k=shuffler.randint(0, len(told)))]
        shuffler.shuffle(mixed)
        assert end_of(type_, mixed) == expected, [(d.kind, d.raw_code) for drafts in mixed for d in drafts]


def test_the_streams_end_as_they_should_and_the_shuffles_are_a_thousand() -> None:
    ends = {name: end_of(*deliveries(name))[0] for name in STREAMS}
    assert ends == {
        "refunded": "refunded", "withdrawn": "withdrawn", "overruled": "refunded", "in arbitration": "platform",
        "opened again": "seller_decides",
        "with pictures": "seller_decides", "returned": "refunded", "on its way back": "return_on_its_way",
        "exchanged": "replaced",
    }  # fmt: skip
    assert SHUFFLES * len(STREAMS) >= 1000


def test_messages_alone_decide_the_outcome() -> None:
    """The interface's table of closing operations, told before or after the opening."""
    outcomes = {
        1300: "withdrawn", 1302: "rejected", 1303: "rejected", 1304: "refunded", 1305: "replaced", 1306: "expired",
        1307: "expired", 1308: "expired", 1309: "expired", 1310: "replaced", 1311: "replaced", 1312: "expired",
        1313: "replaced", 1314: "rejected",
    }  # fmt: skip
    for type_ in (1, 2):
        body = simulator.staged(START, {"order_sn": ORDER, "id": 550031, "after_sales_type": type_})
        opening = message(body, 1000, simulator.millis(START))
        for operation, outcome in outcomes.items():
            closing = message(body, operation, simulator.millis(START) + 5000)
            for told in ((opening, closing), (closing, opening), (closing,), (closing, closing, opening)):
                assert end_of(type_, told)[1:3] == ("resolved", outcome), (operation, told)


STEPS = st.one_of(
    st.sampled_from(sorted(int(code) for code in STATUSES)).map(lambda code: ("turns", code, {})),
    st.sampled_from([{"express_no": "YT1"}, {"images": ["a"]}, {"refund_amount": "12.00"}, {"user_shipping_status": 2}]).map(
        lambda fields: ("turns", None, fields)
    ),
    st.sampled_from(["photo_item", "photo_fault", "photo_outer_packaging", "parcel_state_at_delivery"]).map(
        lambda what: ("evidence", what, {})
    ),
    st.sampled_from(
        [("refund", {}), ("refund", {"keep_item": True}), ("authorise", {}), ("propose", {"remedy": "exchange"}),
         ("decline", {"reason": "no"}), ("confirm_receipt", {"condition": "ok"}), ("inspect", {"result": "ok"}),
         ("intercept", {}), ("cancel", {}), ("contact", {"text": "您好"}),
         ("refund", {"amount": {"value": "99.00", "currency": "CNY"}, "keep_item": True})]
    ).map(lambda act: ("act", *act)),
    st.just(("elapse", None, {})), st.just(("sends", None, {})), st.just(("approve", None, {})),
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    type_=st.sampled_from([1, 2, 3, 5]),
    reason=st.sampled_from(["质量问题", "商家发错货", "少件", "不想要了"]),
    shipped=st.sampled_from([0, 1]),
    steps=st.lists(STEPS, max_size=12),
)
def test_whatever_happens_money_stays_within_bounds(
    type_: int, reason: str, shipped: int, steps: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    """Attended at every step (Walk sees to it); never more than was paid, never before the goods unless they may stay."""
    walk = Walk(after_sales_type=type_, after_sales_reason=reason, shipping_status=shipped)
    for do, what, params in steps:
        before, rest, goods = len(walk.errands), walk.order.refundable_minor or 0, walk.case.goods
        step(walk, do, what, params)
        for errand in walk.errands[before:]:
            if errand.what == "act" and errand.name == "refund":
                assert errand.money is not None and 0 < errand.money.minor <= rest
                back = {goods, walk.case.goods} & {"received", "inspected"}
                assert back or errand.params.get("keep_item") is True or kept(walk, errand.id), "money before the goods"


def step(walk: Walk, do: str, what: Any, params: dict[str, Any]) -> None:
    match do:
        case "turns":
            walk.turns(what or walk.body["after_sales_status"], **params)
        case "evidence":
            walk.evidence(what, "buyer")
        case "act":
            walk.act(what, **params)
        case "elapse" if walk.case.clocks:
            walk.elapse(min(walk.case.clocks.values(), key=lambda clock: (clock.next_at, clock.name)).name)
        case "sends":
            walk.sends()
        case "approve":
            walk.approve()


def kept(walk: Walk, id_: str) -> bool:
    return any(decision.case.errands[id_].keep_item for decision in walk.log if id_ in decision.case.errands)
