"""Whole Ozon cases through policy's corridor: returns, cancellations, arbitration, and any order of deliveries."""

import random
from datetime import timedelta
from typing import Any

import pytest

from shared.marketplaces.ozon import simulated
from shared.marketplaces.ozon.returning import ENDS, GROUPS, STATUSES
from tests.marketplaces.ozon_walk import MONEY, POSTING, REGISTRY, START, Body, Desk, Ordinary, Request, playbooks

CNY = {"value": "89.00", "currency": "CNY"}


def test_every_status_of_both_apis_has_a_state_and_the_manifest_names_them_all() -> None:
    book = playbooks().current["ozon", "return"]
    assert set(book.statuses) == {*GROUPS, *STATUSES} == set(REGISTRY.manifest("ozon").statuses["return"])
    for status in STATUSES:
        over = book.states[book.statuses[status]].is_end
        assert over <= (status in ENDS), f"{status} ends a case although Ozon goes on with it"


@pytest.mark.parametrize("status", [s for s in STATUSES if s != "OnSellerApproval"])
def test_an_fbs_return_stands_where_its_status_says_whether_seen_from_the_start_or_late(status: str) -> None:
    book = playbooks().current["ozon", "return"]
    followed, late = Desk(), Desk()
    Ordinary(followed).turns(status)
    Ordinary(late, status)
    for desk in (followed, late):
        assert desk.case().state == book.statuses[status]
        assert desk.case().external_id.startswith("fbs-")


def test_an_rfbs_return_from_request_to_refund() -> None:
    desk = Desk()
    desk.state("posting_delivered")
    request = Request(desk)
    case = desk.case()
    assert (case.external_id, case.order_id, case.state) == (request.id, POSTING, "new")
    assert case.clocks["decide"].due_at == START + timedelta(days=3)
    assert desk.messages() == ["ask_for_evidence"]
    desk.act("authorise")
    desk.sends()
    request.turns("Delivering")
    assert (desk.case().state, desk.case().goods) == ("on_its_way", "advised")
    assert [e.name for e in desk.case().errands.values() if e.what == "act"] == [], "seen, hence confirmed"
    request.turns("Delivering", ru_post_tracking_number="80080012345678")
    assert (desk.case().goods, desk.messages()[-1]) == ("in_transit", "return_in_transit")
    request.turns("Checkout")
    assert (desk.case().phase, desk.case().goods) == ("inspection", "received")
    desk.act("inspect", result="ok")
    assert desk.acts()[-1] == ("refund", {"amount": CNY})
    request.turns("Approved")
    case = desk.case()
    assert (case.phase, case.outcome, case.money, case.tasks) == ("resolved", "refunded", "promised", {})
    assert desk.messages()[-1] == "refund_started"


def test_silence_is_never_left_to_decide() -> None:
    desk = Desk()
    Request(desk)
    desk.wait(days=2, hours=17)
    assert desk.tasks() == []
    desk.wait(hours=2)
    assert desk.tasks() == ["Decide on the return: without an answer Ozon approves it"]
    desk.wait(hours=6)
    assert any("approves the return by itself" in task for task in desk.tasks())


def test_a_trifle_is_paid_before_silence_sends_it_back() -> None:
    desk = Desk()
    Request(desk, price="19.90")
    desk.wait(days=2, hours=19)
    assert [name for name, _ in desk.acts()] == ["refund"]
    assert desk.errands[-1].not_after == START + timedelta(days=3)


def test_the_days_to_decide_are_the_accounts() -> None:
    desk = Desk(rfbs_decision_days=5, fbs_decision_hours=48)
    Request(desk)
    assert desk.case().clocks["decide"].due_at == START + timedelta(days=5)
    other = Desk(rfbs_decision_days=5, fbs_decision_hours=48)
    Ordinary(other)
    assert other.case().clocks["decide"].due_at == START + timedelta(hours=48)


def test_a_part_of_the_price_is_offered_once_a_person_agrees() -> None:
    desk = Desk()
    Request(desk, client_photo=["https://cdn.example/1.jpg"])
    (waiting,) = [e for e in desk.case().errands.values() if e.status == "awaiting_approval"]
    assert (waiting.name, waiting.params["amount"]["value"]) == ("propose", "17.80")
    desk.act("approve", act_id=waiting.id)
    assert desk.acts() == [("propose", waiting.params)]
    assert desk.messages()[-1] == "offer_partial_refund"


def test_a_refusal_stands_for_five_days_and_then_the_goods_go_back() -> None:
    desk = Desk()
    request = Request(desk)
    request.turns("Delivering")
    request.turns("Checkout")
    desk.act("decline", rejection_reason_id=12, comment="Worn")
    request.turns("Rejected")
    assert (desk.case().state, desk.case().errands.keys() & {"decline"}) == ("declined", set())
    desk.wait(days=5)
    assert desk.case().state == "to_give_back"
    desk.act("ship_replacement", carrier="Pochta", tracking="RR7")
    assert desk.messages()[-1] == "refused_goods_sent"
    assert desk.errands[-1].params["tracking_number"] == "RR7"
    assert (desk.case().outcome, desk.case().liability) == ("rejected", "none")


def test_a_refusal_before_the_goods_ends_when_nobody_disputes_it() -> None:
    desk = Desk()
    Request(desk).turns("Rejected")
    desk.wait(days=5)
    assert (desk.case().state, desk.case().goods) == ("rejected", "none")


@pytest.mark.parametrize("after", [timedelta(days=1), timedelta(days=9)])
def test_a_disputed_refusal_is_open_again_whenever_it_comes(after: timedelta) -> None:
    desk = Desk()
    request = Request(desk)
    request.turns("Rejected")
    desk.wait(seconds=after.total_seconds())
    request.turns("Arbitration")
    assert (desk.case().state, desk.case().phase) == ("review", "platform_review")
    assert desk.messages().count("awaiting_ruling") <= 1
    desk.wait(days=3)
    assert any("ruling after three days" in task for task in desk.tasks())
    request.turns("Approved")
    assert desk.case().outcome == "refunded"


def test_goods_that_wait_for_us_are_collected_before_ozon_destroys_them() -> None:
    desk = Desk()
    back = Ordinary(desk)
    until = START + timedelta(days=20)
    back.turns("ArrivedAtReturnPlace", storage={"utilization_forecast_date": until.isoformat()})
    assert desk.case().clocks["collect"].due_at == until
    desk.wait(days=18, hours=1)
    assert "Collect the return: Ozon destroys it after this date" in desk.tasks()
    back.turns("ReceivedBySeller")
    assert desk.case().state == "received_back"
    desk.wait(days=14)
    assert (desk.case().outcome, desk.case().goods) == ("completed", "received")


def test_a_return_on_its_way_is_traced_from_its_dispatch_on() -> None:
    desk = Desk()
    back = Ordinary(desk)
    back.turns("ApprovedByOzon")
    desk.wait(days=10)
    back.turns("MovingToSeller")
    desk.wait(days=13)
    assert not any("two weeks" in task for task in desk.tasks())
    desk.wait(days=2)
    assert any("for two weeks: trace it" in task for task in desk.tasks())
    desk.wait(days=17)
    assert any("Ozon opens a dispute by itself" in task for task in desk.tasks())


def test_to_an_fbo_buyer_nothing_is_written_before_he_writes() -> None:
    desk = Desk()
    Ordinary(desk, schema="FBO")
    assert desk.held.order.window_until is not None and desk.held.order.window_until <= desk.now
    other = Desk()
    Ordinary(other)
    assert other.held.order.window_until is None, "FBS: open until 72 h after a delivery"


def test_goods_collected_by_us_are_checked() -> None:
    desk = Desk()
    Ordinary(desk).turns("ArrivedAtReturnPlace")
    desk.act("confirm_receipt", condition="ok")
    assert (desk.case().state, desk.case().goods, desk.acts()) == ("received_back", "received", [])


def test_wrong_goods_after_ozon_has_paid_are_ours_to_dispute() -> None:
    desk = Desk()
    back = Ordinary(desk)
    back.turns("ReceivedBySeller")
    desk.act("inspect", result="wrong")
    assert (desk.acts()[-1][0], desk.errands[-1].capability) == ("escalate", "assisted")
    desk.sends()
    back.turns("DisputeYouOpened")
    assert desk.case().state == "review"
    assert not [e for e in desk.case().errands.values() if e.name == "escalate"], "seen, hence confirmed"


def test_money_returned_tells_the_buyer_and_ends_it() -> None:
    desk = Desk()
    Ordinary(desk).turns("MoneyReturned")
    case = desk.case()
    assert (case.outcome, case.money, case.facts["refunded"]) == (
        "refunded", "refunded", {"value": "1231.00", "currency": "RUB"},
    )  # fmt: skip
    assert desk.messages()[-1] == "refund_issued"


def test_a_request_to_cancel_is_agreed_to_before_silence_does_when_nothing_was_shipped() -> None:
    desk = Desk()
    desk.push("TYPE_NEW_POSTING")
    body = simulated.cancellation(POSTING, desk.now, {})
    desk.read("cancellation:1", body)
    case = desk.case("cancellation")
    assert (case.external_id, case.state, case.clocks["answer"].origin) == (
        str(body["cancellation_id"]), "requested", "platform",
    )  # fmt: skip
    desk.wait(days=1, hours=21)
    assert [name for name, _ in desk.acts()] == ["cancel"]
    simulated.decide(body, "APPROVED", desk.now, "")
    desk.read("cancellation:1", body)
    case = desk.case("cancellation")
    assert (case.outcome, case.money) == ("cancelled", "promised")
    assert desk.messages()[-1] == "cancel_accepted"


def test_a_request_for_a_parcel_on_its_way_is_a_persons_to_decide() -> None:
    desk = Desk()
    desk.push("TYPE_NEW_POSTING")
    desk.state("posting_on_way_to_city")
    body = simulated.cancellation(POSTING, desk.now, {})
    desk.read("cancellation:1", body)
    assert any("can it still be stopped" in task for task in desk.tasks("cancellation"))
    desk.wait(days=1, hours=21)
    assert desk.acts() == []
    desk.act("decline", kind="cancellation", reason="shipped", comment="It is on its way already")
    assert desk.messages()[-1] == "cancel_refused"
    simulated.decide(body, "REJECTED", desk.now, "It is on its way already")
    desk.read("cancellation:1", body)
    assert desk.case("cancellation").outcome == "rejected"


def test_a_posting_cancelled_on_its_way_is_followed_until_its_parcel_is_back() -> None:
    desk = Desk()
    desk.push(
        "TYPE_POSTING_CANCELLED", old_state="posting_in_courier_service", reason={"id": 999, "message": "передумал"}
    )
    case = desk.case("cancellation")
    assert (case.external_id, case.state, case.facts["reason"]) == (POSTING, "coming_back", "change_of_mind")
    assert [(e.name, e.capability) for e in desk.errands] == [("intercept", "assisted")]
    back = Ordinary(desk, "MovingToSeller", type="Cancellation")
    assert [c.kind for c in desk.held.cases.values()] == ["cancellation"], "its way back is no return of a buyer"
    back.turns("ReceivedBySeller")
    case = desk.case("cancellation")
    assert (case.outcome, case.goods) == ("cancelled", "received")


def test_a_posting_cancelled_before_shipment_opens_nothing_and_closes_what_is_open() -> None:
    desk = Desk()
    desk.push("TYPE_POSTING_CANCELLED", old_state="posting_awaiting_registration")
    assert desk.held.cases == {} and desk.held.order.waiting == ()


def test_arbitration_over_a_posting_is_a_dispute_case() -> None:
    desk = Desk()
    desk.state("posting_in_client_arbitration")
    case = desk.case("dispute")
    assert (case.external_id, case.phase, case.facts["stage"]) == (POSTING, "platform_review", "arbitration")
    assert desk.messages() == ["awaiting_ruling"]
    desk.act("submit_evidence", kind="dispute", text="The parcel was handed over on the second.")
    assert (desk.errands[-1].name, desk.errands[-1].capability) == ("submit_evidence", "assisted")
    desk.wait(days=3)
    assert any("look up the ruling" in task for task in desk.tasks("dispute"))
    desk.push("TYPE_POSTING_CANCELLED", old_state="posting_in_client_arbitration")
    assert desk.case("dispute").outcome == "cancelled"


def test_cases_of_one_posting_do_not_take_each_others_fields() -> None:
    desk = Desk()
    Request(desk)
    desk.state("posting_in_client_arbitration")
    desk.push("TYPE_POSTING_CANCELLED", old_state="posting_on_way_to_city", reason={"id": 1, "message": "передумал"})
    assert desk.case("return").facts["reason"] == "damaged"
    assert "reason" not in desk.case("dispute").facts
    assert desk.case("cancellation").facts["reason"] == "change_of_mind"


def test_an_unknown_status_is_kept_and_put_before_a_person() -> None:
    desk = Desk()
    Ordinary(desk).turns("OnTheMoon")
    assert desk.case().state == "new"
    desk.state("posting_on_mars")
    reasons = {task.reason for task in desk.case().tasks.values() if task.kind == "unmapped"}
    assert reasons == {f"The marketplace's status {s} is not in the playbook" for s in ("OnTheMoon", "posting_on_mars")}


def test_the_buyers_words_are_answered_within_a_day() -> None:
    """CR-OZ-07."""
    desk = Desk()
    Request(desk)
    desk.sends()
    desk.now += timedelta(hours=1)
    desk.writes("Где деньги?")
    assert any("within four hours" in task for task in desk.tasks())
    desk.wait(hours=21)
    assert any("twenty hours" in task for task in desk.tasks())
    answered = Desk()
    Request(answered)
    answered.now += timedelta(hours=1)
    answered.writes("Где деньги?")
    answered.now += timedelta(hours=1)
    answered.act("contact", text="We are looking into it.")
    answered.sends()
    answered.wait(hours=21)
    assert not any("twenty hours" in task for task in answered.tasks())


def test_what_the_buyer_has_read_is_known_to_the_case() -> None:
    desk = Desk()
    Request(desk)
    user = {"id": "77001", "type": "Customer"}
    told = {"chat_id": "c1", "chat_type": "Buyer_Seller", "message_id": "9", "user": user, "last_read_message_id": "9"}
    assert desk.push("TYPE_MESSAGE_READ", created_at="2026-11-23T10:00:00Z", **told) == ["message.read"]
    assert desk.case().facts["message_read_at"] == "2026-11-23T10:00:00Z"
    alone = Desk()
    alone.push("TYPE_MESSAGE_READ", created_at="2026-11-23T10:00:00Z", **told)
    assert alone.held.order.waiting == (), "read without a case it is nobody's task"


# any order
def stream() -> list[tuple[str, Any]]:
    """One posting's life: pushes, and the readings of its request. Each delivery is (what, how it is applied)."""
    desk = Desk()
    steps: list[tuple[str, Any]] = []

    def push(type_: str, **fields: Any) -> None:
        desk.now += timedelta(hours=3)
        steps.append(("push", desk.pushed(type_, **fields)))

    push("TYPE_NEW_POSTING")
    push("TYPE_STATE_CHANGED", new_state="posting_transferring_to_delivery")
    push("TYPE_STATE_CHANGED", new_state="posting_on_way_to_city")
    push("TYPE_STATE_CHANGED", new_state="posting_in_pickup_point")
    push("TYPE_STATE_CHANGED", new_state="posting_delivered")
    push("TYPE_STATE_CHANGED", new_state="posting_in_client_arbitration")
    push("TYPE_POSTING_CANCELLED", old_state="posting_in_client_arbitration")
    chat = {"chat_id": "c1", "chat_type": "Buyer_Seller", "user": {"id": "7", "type": "Customer"}, "data": ["?"]}
    push("TYPE_NEW_MESSAGE", message_id="1", **chat)
    push("TYPE_UPDATE_MESSAGE", message_id="1", updated_at="2026-11-24T12:00:00Z", **chat)
    return steps


def readings(last: str) -> list[tuple[Any, Body]]:
    """(when its reading began, what was read) of an rFBS request and of an FBS return of the same posting."""
    request = simulated.request(POSTING, START + timedelta(days=3), {})
    back = simulated.ordinary(POSTING, START + timedelta(days=3), {})
    asked = simulated.cancellation(POSTING, START + timedelta(hours=4), {})
    found: list[tuple[Any, Body]] = [(START + timedelta(hours=5), asked)]
    found.append((START + timedelta(hours=7), {**asked, "state": {"state": "REJECTED"}}))
    for n, group in enumerate(("New", "Delivering", "Checkout", "Rejected", "Arbitration", last)):
        body = {**request}
        simulated.enter(body, group)
        found.append((START + timedelta(days=3, hours=n), body))
    for n, status in enumerate(
        ("OnSellerApproval", "ApprovedByOzon", "MovingToSeller", "ReceivedBySeller", "DisputeYouOpened")
    ):
        body = {**back, "visual": simulated.seen(status, START + timedelta(days=3, hours=n))}
        found.append((START + timedelta(days=3, hours=n), body))
    return found


def ref_of(body: Body) -> str:
    return next(f"{name}:{body[name]}" for name in ("cancellation_id", "return_id", "id") if name in body)


def applied(steps: list[tuple[str, Any]], reads: list[tuple[Any, Body]], order: list[int]) -> Desk:
    """Deliveries in this order; a reading that began before the last one kept of its reference is dropped (as intake does)."""
    desk = Desk()
    began: dict[str, Any] = {}
    every: list[Any] = [*steps, *reads]
    for index in order:
        one = every[index]
        desk.now = START + timedelta(days=6)
        if one[0] == "push":
            desk.apply(one[1], "push")
            continue
        at, body = one
        if at >= began.get(ref_of(body), at):
            began[ref_of(body)] = at
            desk.now = START + timedelta(days=6) + (at - START) / 1000
            desk.read(ref_of(body), body)
    return desk


def mixed(straight: list[int], steps: int, reads: list[tuple[Any, Body]], shuffler: random.Random) -> list[int]:
    """Pushes anyhow and some twice, readings of one reference one after the other (intake reads no reference twice at once)."""
    order = [*straight, *shuffler.choices(range(steps), k=6)]
    shuffler.shuffle(order)
    for ref in {ref_of(body) for _, body in reads}:
        own = [n for n in order if n >= steps and ref_of(reads[n - steps][1]) == ref]
        places = [n for n, index in enumerate(order) if index in own]
        for place, index in zip(places, sorted(own), strict=True):
            order[place] = index
    return order


@pytest.mark.parametrize("last", ["Approved", "Rejected"])
def test_any_order_of_the_same_deliveries_ends_the_same(last: str) -> None:
    """1,000 shuffles in all: state, phase, outcome, liability, goods, money of each case, and what the order knows."""
    steps, reads = stream(), readings(last)
    straight = list(range(len(steps) + len(reads)))
    expected = applied(steps, reads, straight).ends()
    assert {(kind, outcome) for kind, _, _, _, outcome, *_ in expected[:-1]} == {
        ("cancellation", "rejected"), ("dispute", "cancelled"), ("return", None),
        ("return", "refunded") if last == "Approved" else ("return", None),
    }  # fmt: skip
    shuffler = random.Random(f"ozon {last}")
    for _ in range(500):
        order = mixed(straight, len(steps), reads, shuffler)
        assert applied(steps, reads, order).ends() == expected, order


def test_readings_that_come_too_late_are_dropped_and_change_no_end() -> None:
    """Where a step was never read, where the goods were then is not known; where the case stands is."""
    steps, reads = stream(), readings("Approved")
    straight = list(range(len(steps) + len(reads)))
    expected = [end[:6] for end in applied(steps, reads, straight).ends()[:-1]]
    shuffler = random.Random("ozon late")
    for _ in range(100):
        order = [*straight, *shuffler.choices(straight, k=6)]
        shuffler.shuffle(order)
        assert [end[:6] for end in applied(steps, reads, order).ends()[:-1]] == expected, order


def test_settings_of_the_walk_are_the_manifests() -> None:
    known = set(REGISTRY.manifest("ozon").settings) | {"keep_item_refund_below", "approve_refund_above", "shop"}
    assert set(MONEY) <= known
