"""Whatever the order in which DHgate's deliveries come in, and however often: every case ends in the same state."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.marketplaces.dhgate import simulated
from tests.marketplaces.dhgate_walk import Desk, Shop, shuffled

KINDS = ("order_care", "cancellation", "dispute")
SHUFFLES = 100
"""Per story; eleven stories, so over 1,000 in all."""
Step = tuple[str, dict[str, object]]


def turns(status: str) -> Step:
    return "dispute_turns", {"status": status}


STORIES: dict[str, tuple[str, list[Step]]] = {
    "bought and confirmed": (
        "101003",
        [("pays", {}), ("verified", {}), ("ships", {}), ("confirms", {}), ("completes", {})],
    ),
    "on its way": ("103001", [("ships", {})]),
    "asked back, agreed, cancelled": ("103001", [("asks_back", {}), ("agrees_back", {}), ("cancels", {})]),
    "asked back and taken back, shipped": ("103001", [("asks_back", {}), ("takes_back", {}), ("ships", {})]),
    "asked back twice": ("103001", [("asks_back", {}), ("takes_back", {}), ("asks_back", {})]),
    "cancelled unpaid": ("101003", [("cancels", {})]),
    "settled between the two": (
        "103001",
        [("ships", {}), ("opens_dispute", {}), turns("106003"), ("closes", {"refund": 20})],
    ),
    "ruled for the buyer": (
        "101009",
        [("opens_dispute", {}), turns("107001"), turns("107002"), turns("107003"), ("closes", {"refund": 64.5})],
    ),
    "ruled for the seller": (
        "101009",
        [("opens_dispute", {}), turns("107001"), turns("107002"), ("closes", {"refund": 0})],
    ),
    "under review": ("101009", [("opens_dispute", {}), turns("107001"), turns("107002")]),
    "after sale": (
        "101009",
        [("opens_dispute", {}), ("closes", {"refund": 0}), ("opens_dispute", {"status": "109001"}), turns("109002")],
    ),
}


def ends(desk: Desk) -> list[tuple[object, ...] | None]:
    """`denied` counts as none: news that is older than what a case has seen moves no axis, and either way nothing went."""
    found = [desk.outcome(kind) for kind in KINDS]
    return [end and (*end[:4], end[4].replace("denied", "none")) for end in found]


def told(name: str) -> Shop:
    status, steps = STORIES[name]
    unpaid = {"payDate": "", "deliveryDeadline": ""} if status == "101003" else {}
    shop = Shop({"orderStatus": status, **unpaid})
    for move, given_ in steps:
        shop.does(move, **given_)
    return shop


@pytest.mark.parametrize("name", sorted(STORIES))
def test_any_order_of_the_same_deliveries_ends_the_same(name: str) -> None:
    shop = told(name)
    wanted = ends(shop)
    assert any(wanted)
    chance = random.Random(f"dhgate {name}")
    for _ in range(SHUFFLES):
        desk = Desk()
        desk.now = shop.now
        for delivery in shuffled(shop.deliveries, chance):
            for fact in delivery:
                desk.tell(fact)
        assert ends(desk) == wanted
        assert not any(held.order.waiting for held in desk.held.values()), "nothing is left waiting for a case"
        assert sum(e.money.minor for e in desk.errands if e.name == "refund" and e.money) == 0


DOINGS = [
    *simulated.MOVES, "refund", "authorise", "propose", "decline", "submit_evidence", "escalate", "confirm_receipt",
    "cancel", "close", "elapse", "sent", "write", "evidence",
]  # fmt: skip
PARAMS: dict[str, dict[str, object]] = {
    "propose": {"remedy": "part_refund", "amount": {"value": "5.00", "currency": "USD"}},
    "decline": {"reason": "outside policy"},
    "submit_evidence": {"text": "the tracking shows it"},
    "confirm_receipt": {"condition": "ok"},
    "close": {"reason": "other", "comment": "done"},
}


def happen(shop: Shop, what: str, kind: str) -> None:
    case = shop.case(kind) if shop.outcome(kind) else None
    if what == "dispute_turns":
        shop.does(what, status="107001") if simulated.in_dispute(shop.body) else None
    elif what in simulated.MOVES:
        shop.does(what, **({"refund": 5} if what == "closes" and simulated.in_dispute(shop.body) else {}))
    elif what == "write":
        shop.buyer_writes("Hello?")
    elif case is None:
        return
    elif what == "elapse" and case.clocks:
        shop.elapse(kind, min(case.clocks.values(), key=lambda clock: clock.next_at).name)
    elif what == "evidence":
        shop.by_hand_evidence(kind, "photo_item")
    elif what == "sent":
        for errand in [e for e in case.errands.values() if e.status == "planned"]:
            shop.sent(kind, errand.name)
    elif what != "elapse":
        shop.act(kind, what, **PARAMS.get(what, {}))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(DOINGS), st.sampled_from(KINDS)), max_size=14),
    st.sampled_from(["101003", "103001", "101009"]),
)
def test_whatever_happens_no_open_case_lies_unattended_and_no_money_goes_twice(
    doings: list[tuple[str, str]], status: str
) -> None:
    shop = Shop({"orderStatus": status})
    for what, kind in doings:
        happen(shop, what, kind)
    assert [row for decision in shop.log for row in decision.rejected if row.why == "error"] == []
    assert shop.messages().count("awaiting_ruling") <= 1 and shop.messages().count("order_shipped") <= 1
    assert shop.messages().count("payment_reminder") <= 1
    for held in shop.held.values():
        assert held.order.refunded_minor <= 6450
