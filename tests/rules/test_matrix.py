"""The freight and resolution matrix of the seller articles (reference 6.6), row by row, over every marketplace's ladders.

A ladder is offered rung by rung through the core itself: which remedies, in which order, up to which sum, with which wait.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.policy import shipped
from services.policy.core import ladder
from services.policy.core.decision import View
from services.policy.core.working import Working
from services.policy.terms import needs_of, purposes_of, terms_of
from shared.accounts import AccountEntry
from shared.domain.case import Case
from shared.domain.facts import Fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook, Terms
from shared.durations import parse_duration
from shared.ports import Account
from shared.registry import Registry
from tests.marketplaces import aliexpress_walk, amazon_walk
from tests.marketplaces.dhgate_walk import ORDER, Shop
from tests.support.rehearsal import Rehearsal, a_return, euros, opened

REGISTRY = Registry()
BOOKS = shipped.read_all(REGISTRY, None)
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LADDERS = [(*chart, name) for chart, book in sorted(BOOKS.items()) for name in sorted(book.ladders)]
RANK = {"coupon": 0, "part_refund": 0, "exchange": 1, "resend": 2, "return_refund": 3}
"""R002-14: if a small payment settles it, do not exchange; if an exchange settles it, do not return."""
CURRENCY = {"pinduoduo": "CNY"}
WRONG, DEFECT, SHORT = "wrong_item", "defective", "missing_parts"
WHOLE = ("dhgate", "pinduoduo")
"""Where sellers meet all rows of the matrix: their ladders follow it to the last rung."""
LADDERED = ("aliexpress", "amazon", "dhgate", "generic", "pinduoduo")
"""Where each row's remedies are offered in its order; part payments may come in two steps."""
SET = {"aliexpress": {"return_address_id": "4711"}, "pinduoduo": {"resend_cheap_items": True}}
"""What an account says so that every rung can be offered."""


@dataclass(frozen=True, slots=True)
class Offer:
    remedy: str
    minor: int | None
    wait: timedelta


def terms_for(marketplace: str, **settings: Any) -> Terms:
    account = Account("a", marketplace, settings=settings)
    allowed = purposes_of(REGISTRY, marketplace)
    needs = {name: needs_of(purpose) for name, purpose in REGISTRY.purposes().items() if name in allowed}
    return terms_of(AccountEntry(account, {}, {}), REGISTRY.manifest(marketplace), allowed, needs)


def case_for(book: Playbook, reason: str, asked: str, currency: str) -> Case:
    state = next(state for state in book.states.values() if state.phase == "awaiting_seller")
    facts = {"reason": reason, "amount": {"value": asked, "currency": currency}}
    return Case(
        id="case_1", account="a", marketplace=book.marketplace, kind=book.kind, external_id="X-1", order_id="O-1",
        playbook=book.name, playbook_version=book.version, playbook_hash=book.hash, state=state.name, phase=state.phase,
        facts=facts, contacted=True, opened_at=NOW, updated_at=NOW,
    )  # fmt: skip


def offered(
    marketplace: str, kind: str, name: str, reason: str, asked: str = "40.00", **settings: Any
) -> tuple[list[Offer], list[str]]:
    """All rungs of a ladder one after the other; and the tasks opened once nothing is left."""
    book, currency = BOOKS[marketplace, kind], CURRENCY.get(marketplace, "EUR" if marketplace == "generic" else "USD")
    limits = {"keep_item_refund_below": f"15.00 {currency}", "approve_refund_above": f"50.00 {currency}"}
    terms = terms_for(marketplace, **{**limits, **settings})
    case = case_for(book, reason, asked, currency)
    order = Order(account="a", order_id="O-1", currency=currency, paid_minor=int(float(asked) * 100))
    fact = Fact(
        id="f", kind="evidence.submitted", account="a", marketplace=marketplace, order_id="O-1", occurred_at=NOW,
        observed_at=NOW, source="hand",
    )  # fmt: skip
    offers: list[Offer] = []
    used = 0
    for _ in range(10):
        work = Working(book, View(case=case, order=order, terms=terms), fact, NOW)
        work.ladder[name] = used
        ladder.offer(work, name, "matrix")
        if work.ladder[name] > len(book.ladders[name].rungs) - 1 and f"ladder_{name}" not in work.clocks:
            return offers, [task.reason for task in work.opened]
        offers.append(_offer(work, book, name))
        used = work.ladder[name]
    raise AssertionError("a ladder has no end")


def _offer(work: Working, book: Playbook, name: str) -> Offer:
    rung = book.ladders[name].rungs[work.ladder[name] - 1]
    sums = [errand.money.minor for errand in work.errands.values() if errand.name == "propose" and errand.money]
    told = work.facts.get("offered")
    minor = sums[0] if sums else (round(float(told["value"]) * 100) if told and rung.percent else None)
    return Offer(rung.remedy, minor, work.clocks[f"ladder_{name}"].due_at - NOW)


def ladders_for(reason: str, marketplaces: tuple[str, ...] | None = None) -> Iterator[tuple[str, str, str]]:
    for marketplace, kind, name in LADDERS:
        fits = reason in BOOKS[marketplace, kind].ladders[name].reasons
        if fits and (marketplaces is None or marketplace in marketplaces):
            yield marketplace, kind, name


@pytest.mark.parametrize(("marketplace", "kind", "name"), LADDERS)
def test_no_ladder_offers_the_dearer_before_the_cheaper_and_each_rung_waits(
    marketplace: str, kind: str, name: str
) -> None:
    for reason in BOOKS[marketplace, kind].ladders[name].reasons:
        offers, left = offered(marketplace, kind, name, reason)
        ranks = [RANK[offer.remedy] for offer in offers]
        assert offers and ranks == sorted(ranks)
        assert all(offer.wait >= timedelta(hours=12) for offer in offers), "the buyer has time to answer"
        waits = [parse_duration(rung.wait) for rung in BOOKS[marketplace, kind].ladders[name].rungs]
        assert {offer.wait for offer in offers} <= set(waits)
        assert any("Nothing is left to offer" in reason for reason in left), "at the end a person decides"


@pytest.mark.parametrize(("marketplace", "kind", "name"), LADDERS)
@pytest.mark.parametrize("asked", ["5.00", "40.00", "999.00"])
def test_no_sum_is_offered_above_the_limit_or_above_what_is_asked(
    marketplace: str, kind: str, name: str, asked: str
) -> None:
    for reason in BOOKS[marketplace, kind].ladders[name].reasons:
        offers, _ = offered(marketplace, kind, name, reason, asked)
        sums = [offer.minor for offer in offers if offer.remedy == "part_refund"]
        assert all(minor is not None and 0 < minor <= min(1500, float(asked) * 100) for minor in sums)
        assert sums == sorted(sums, key=lambda minor: minor or 0), "an offer never shrinks"


# the rows of the matrix
@pytest.mark.parametrize(("marketplace", "kind", "name"), list(ladders_for(WRONG, WHOLE)))
def test_wrong_goods_difference_exchange_resend_where_cheap_return(marketplace: str, kind: str, name: str) -> None:
    told = {"resend_cheap_items": True} if marketplace == "pinduoduo" else {}
    cheap, _ = offered(marketplace, kind, name, WRONG, "9.00", **told)
    assert [offer.remedy for offer in cheap] == ["part_refund", "exchange", "resend", "return_refund"]
    if marketplace == "dhgate":
        dear, _ = offered(marketplace, kind, name, WRONG, "90.00")
        assert [offer.remedy for offer in dear] == ["part_refund", "exchange", "return_refund"]


@pytest.mark.parametrize(("marketplace", "kind", "name"), list(ladders_for(DEFECT, WHOLE)))
def test_a_small_defect_subsidy_exchange_return(marketplace: str, kind: str, name: str) -> None:
    offers, _ = offered(marketplace, kind, name, DEFECT)
    assert [offer.remedy for offer in offers] == ["part_refund", "exchange", "return_refund"]


@pytest.mark.parametrize(("marketplace", "kind", "name"), list(ladders_for(SHORT, WHOLE)))
def test_short_shipped_and_proven_is_sent_again(marketplace: str, kind: str, name: str) -> None:
    offers, _ = offered(marketplace, kind, name, SHORT)
    assert [offer.remedy for offer in offers] == ["resend"]


@pytest.mark.parametrize("reason", [WRONG, DEFECT, SHORT])
def test_the_matrix_is_met_where_it_is_said_to_be(reason: str) -> None:
    assert {marketplace for marketplace, _, _ in ladders_for(reason)} >= set(WHOLE)


def remedies(marketplace: str, kind: str, name: str, reason: str, asked: str = "40.00") -> list[str]:
    """In their order, each once."""
    offers, _ = offered(marketplace, kind, name, reason, asked, **SET.get(marketplace, {}))
    return list(dict.fromkeys(offer.remedy for offer in offers))


@pytest.mark.parametrize(("marketplace", "kind", "name"), list(ladders_for(WRONG, LADDERED)))
def test_wrong_goods_are_made_good_in_the_order_of_the_matrix(marketplace: str, kind: str, name: str) -> None:
    whole = ["part_refund", "exchange", "resend", "return_refund"]
    assert remedies(marketplace, kind, name, WRONG, "9.00") == whole
    if marketplace != "pinduoduo":  # whether it is cheap there is a setting, elsewhere the account's limit tells
        assert remedies(marketplace, kind, name, WRONG, "90.00") == ["part_refund", "exchange", "return_refund"]


@pytest.mark.parametrize("reason", ["defective", "not_as_described"])
@pytest.mark.parametrize("marketplace", LADDERED)
def test_a_small_defect_is_made_good_in_the_order_of_the_matrix(marketplace: str, reason: str) -> None:
    found = list(ladders_for(reason, (marketplace,)))
    assert found
    for _, kind, name in found:
        assert remedies(marketplace, kind, name, reason) == ["part_refund", "exchange", "return_refund"]


@pytest.mark.parametrize("marketplace", LADDERED)
def test_a_short_parcel_is_sent_again(marketplace: str) -> None:
    found = list(ladders_for(SHORT, (marketplace,)))
    assert found and all(remedies(*place, SHORT) == ["resend"] for place in found)


def approves(r: Rehearsal) -> None:
    (waiting,) = [errand for errand in r.case.errands.values() if errand.status == "awaiting_approval"]
    r.act("approve", "approve", act_id=waiting.id)


@pytest.mark.parametrize("kind", ["return", "refund", "dispute"])
def test_wrong_goods_of_a_shop_climb_from_a_difference_to_an_exchange_a_person_agrees_to_each(kind: str) -> None:
    facts = {"return": "return.requested", "refund": "refund.requested", "dispute": "dispute.opened"}
    r = opened(kind, facts[kind], reason=WRONG)
    for what in ("photo_item", "photo_label"):
        r.tell("evidence.submitted", what=what)
    if kind == "dispute":
        r.wait(days=4)
    assert r.names("act") == [] and r.case.tasks, "whether it was our fault a person judges (R002-08)"
    approves(r)
    r.sent("propose")
    assert (r.names("message")[-1], r.left[-1].params["amount"]) == ("offer_partial_refund", euros("7.98"))
    if kind == "dispute":
        return
    r.tell("refund.offer_declined")
    approves(r)
    r.sent("propose")
    assert (r.names("message")[-1], r.left[-1].params["seller_pays_freight"]) == ("offer_exchange", True)
    r.tell("refund.offer_accepted")
    assert r.case.state == "replacement_due" and "refund" not in r.names("act")


def test_an_offer_nobody_has_agreed_to_yet_is_not_followed_by_a_reminder() -> None:
    r = a_return(reason=SHORT)
    r.tell("evidence.submitted", what="photo_all_received")
    r.tell("evidence.submitted", what="parcel_state_at_delivery")
    r.wait(days=3)
    assert [task.kind for task in r.case.tasks.values()] == ["approve_act"]
    assert "remind_once" not in r.names("message")


def test_on_aliexpress_plans_go_by_api_and_the_rest_is_agreed_on_by_a_person() -> None:
    walk = aliexpress_walk.Walk({"return_address_id": "4711"}, issue_reason="Quality problem", amount="20.00")
    walk.does("buyer_adds_image")
    said: list[str] = []
    while "ladder_small_fault" in walk.case.clocks:
        (waiting,) = [e for e in walk.case.errands.values() if e.status == "awaiting_approval"]
        walk.elapse("ladder_small_fault")
        assert walk.acts()[len(said) :] == [], "no rung is used up behind an offer that waits"
        walk.act("approve", act_id=waiting.id, scopes=("act", "approve"))
        said.append(str(waiting.params["remedy"]))
        walk.sends()
        if "ladder_small_fault" in walk.case.clocks:
            walk.elapse("ladder_small_fault")
    assert said == ["part_refund", "part_refund", "exchange", "return_refund"]
    assert walk.messages()[-2:] == ["offer_exchange", "offer_return_refund"]
    assert all(e.params["seller_pays_freight"] is True for e in walk.errands if e.name in walk.messages()[-2:])


def test_on_amazon_a_person_sends_the_dearer_offers_and_the_agreed_replacement_ends_the_return() -> None:
    walk = amazon_walk.Walk("return", reason=WRONG)
    walk.tell("evidence.submitted", what="photo_item", supplied_by="buyer")
    walk.did("answer", task_id=_offer_task(walk, "part_refund"), answer="contact", params={})
    assert walk.messages()[-1] == "offer_partial_refund"
    walk.tell("refund.offer_declined")
    walk.did("answer", task_id=_offer_task(walk, "exchange"), answer="contact", params={})
    assert walk.messages()[-1] == "offer_exchange"
    assert walk.errands[-1].params["seller_pays_freight"] is True
    assert walk.acts() == [], "nothing can be proposed on Amazon"
    walk.tell("refund.offer_accepted")
    assert "refund" not in walk.acts() and any("carry out" in reason for reason in walk.tasks())
    walk.did("ship_replacement", carrier="UPS", tracking="1Z")
    walk.becomes("sent", "ship_replacement")
    walk.tell("case.closed", "Closed by seller")
    assert (walk.case.state, walk.case.outcome) == ("replaced", "replaced")


def _offer_task(walk: amazon_walk.Walk, remedy: str) -> str:
    (found,) = [task.id for task in walk.case.tasks.values() if task.reason.endswith(f": {remedy}")]
    return found


def test_not_as_described_and_proven_keep_and_a_part_or_back_for_another_or_the_money() -> None:
    """DHgate's own row."""
    offers, _ = offered("dhgate", "dispute", "small_fault", "not_as_described")
    assert [offer.remedy for offer in offers] == ["part_refund", "exchange", "return_refund"]
    assert offers[0].minor == 800


@pytest.mark.parametrize(
    ("marketplace", "kind"),
    sorted(chart for chart, book in BOOKS.items() if "damaged" in book.evidence),
)
def test_damaged_in_carriage_asks_for_the_packaging_that_the_carriers_claim_needs(marketplace: str, kind: str) -> None:
    listed = {item.what for item in BOOKS[marketplace, kind].evidence["damaged"]}
    assert listed & {"photo_outer_packaging", "photo_parcel_damage"}, "without it fault cannot be assigned (R004-02)"


def test_the_seller_pays_the_way_back_of_wrong_goods() -> None:
    shop = Shop({"orderStatus": "102111"}, approve_refund_above="500.00 USD")
    shop.by_hand("dispute", reason=WRONG, paid={"value": "64.50", "currency": "USD"}, opened_on="2026-11-23T09:00:00Z")
    shop.by_hand_evidence("dispute", "photo_item")
    assert shop.case("dispute").facts["seller_pays_freight"] is True
    (waiting,) = [errand for errand in shop.case("dispute").errands.values() if errand.name == "propose"]
    shop.act("dispute", "reject", act_id=waiting.id)
    shop.act("dispute", "propose", remedy="exchange")
    shop.sent("dispute", "propose")
    (told,) = [errand for errand in shop.errands if errand.name == "offer_exchange"]
    assert told.params["seller_pays_freight"] is True


def test_a_ladders_offer_on_dhgate_is_told_once_it_is_made() -> None:
    shop = Shop({"orderStatus": "102111"}, approve_refund_above="500.00 USD")
    shop.by_hand("dispute", reason=WRONG, paid={"value": "64.50", "currency": "USD"}, opened_on="2026-11-23T09:00:00Z")
    shop.by_hand_evidence("dispute", "photo_item")
    (waiting,) = [errand for errand in shop.case("dispute").errands.values() if errand.name == "propose"]
    shop.act("dispute", "approve", act_id=waiting.id)
    assert "offer_partial_refund" not in [e.name for e in shop.errands]
    shop.sent("dispute", "propose")
    (told,) = [errand for errand in shop.errands if errand.name == "offer_partial_refund"]
    assert waiting.money is not None and told.params["amount"]["value"] == waiting.money.value


def test_a_lost_parcel_resend_or_all_the_money_the_buyer_chooses() -> None:
    shop = Shop()
    shop.does("ships")
    shop.act("order_care", "contact", purpose="parcel_lost_choice")
    (task,) = [t for t in shop.case("order_care").tasks.values() if "claim on the carrier" in t.reason]
    assert {"ship_replacement", "refund"} <= set(task.allowed)
    shop.act("order_care", "refund", "approve")
    (errand,) = [e for e in shop.errands if e.name == "refund"]
    assert errand.money is not None and errand.money.value == "64.50", "all of it"


def test_change_of_mind_before_shipment_is_paid_back_and_on_its_way_is_stopped() -> None:
    shop = Shop()
    shop.does("asks_back")
    assert [e.name for e in shop.elapse("cancellation", "answer").errands] == ["cancel"]
    moving = Shop()
    moving.does("ships")
    moving.act("order_care", "intercept")
    assert [name for name, _ in moving.acts()] == ["intercept"]
    assert moving.case("order_care", ORDER).money == "none"
