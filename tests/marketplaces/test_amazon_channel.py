"""The Amazon channel over real HTTP: what may be sent and in which language, the refund feed, what is left to a person."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.clock import TestClock
from shared.domain.money import Money
from shared.marketplaces.amazon import refund_feed
from shared.marketplaces.amazon.channel import Channel
from shared.ports import Assisted, Done, Found, InDoubt, NotSent, Refused
from tests.marketplaces.amazon_shop import BODY, ORDER, SECRETS, START, Shop, errand, message, open_shop

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as found:
        yield found


async def test_a_message_goes_as_the_action_amazon_allows(shop: Shop) -> None:
    assert await shop.channel().send(message("ask_exact_problem"), None, BODY) == Done()
    [taken] = shop.market.sent
    assert (taken["operation"], taken["action"], taken["order_id"]) == ("message", "unexpectedProblem", ORDER)
    assert taken["text"] == BODY


async def test_a_question_about_the_delivery_takes_the_action_made_for_it(shop: Shop) -> None:
    assert await shop.channel().send(message("delivery_check"), None, BODY) == Done()
    assert shop.market.sent[0]["action"] == "confirmDeliveryDetails"
    await shop.stage("messaging", order_id=ORDER, actions=["unexpectedProblem"])
    assert await shop.channel().send(message("delivery_check"), None, BODY) == Done()
    assert shop.market.sent[1]["action"] == "unexpectedProblem"


async def test_what_amazon_does_not_allow_is_prepared_for_a_person(shop: Shop) -> None:
    await shop.stage("messaging", order_id=ORDER, actions=["invoice"])
    left = await shop.channel(seller_central="https://sellercentral.amazon.de/").send(message(), None, BODY)
    assert isinstance(left, Assisted)
    assert left.text == BODY
    assert left.link == f"https://sellercentral.amazon.de/orders-v3/order/{ORDER}"
    assert "invoice" in left.checklist[0] and any("Contact Buyer" in step for step in left.checklist)
    assert shop.market.sent == []


async def test_the_buyers_language_decides(shop: Shop) -> None:
    await shop.stage("messaging", order_id=ORDER, locale="de-DE")
    left = await shop.channel().send(message(), None, BODY)
    assert isinstance(left, Assisted) and "de-DE" in left.checklist[0]
    assert await shop.channel().send(message(locale="de"), None, BODY) == Done()
    await shop.stage("messaging", order_id=ORDER, locale="en-GB")
    assert await shop.channel().send(message(locale="en"), None, BODY) == Done(), "a region is no other language"


async def test_files_and_long_texts_are_for_a_person(shop: Shop) -> None:
    with_file = await shop.channel().send(message("return_label", attachments=("a" * 64,)), None, BODY)
    assert isinstance(with_file, Assisted) and "10 MB" in with_file.checklist[-1]
    assert isinstance(await shop.channel().send(message(), None, "x" * 2001), Assisted)
    assert shop.market.sent == []


async def test_a_refused_message_is_a_clear_no(shop: Shop) -> None:
    refused = await shop.channel().send(message(), None, "write to a@b.example")
    assert isinstance(refused, Refused) and "InvalidInput" in refused.why and not refused.account_wide


@pytest.mark.parametrize(
    ("fault", "means"), [("timeout", InDoubt), ("500", InDoubt), ("429", NotSent), ("refused", NotSent)]
)
async def test_only_the_post_itself_can_be_in_doubt(shop: Shop, fault: str, means: type) -> None:
    channel = shop.channel()
    assert channel.ability(message()) == "blind"
    shop.faults.append(fault)
    assert isinstance(await channel.send(message(), None, BODY), means)
    assert await channel.look_up(message(), BODY, START) == Found(None), "there is nothing to read it back from"


async def test_wrong_credentials_concern_the_account(shop: Shop) -> None:
    wrong = Channel(shop.account, {**SECRETS, "lwa_client_secret": "gone"}, shop.http, TestClock(START))
    refused = await wrong.send(message(), None, BODY)
    assert isinstance(refused, Refused) and refused.account_wide


async def test_a_refund_is_prepared_unless_the_account_refunds_by_feed(shop: Shop) -> None:
    left = await shop.channel().perform(errand("refund", money="12.50 USD", order_item_id="7"))
    assert isinstance(left, Assisted)
    assert any("12.50 USD" in step for step in left.checklist) and any("RMA-7" in step for step in left.checklist)
    assert shop.market.sent == []


async def test_a_refund_by_feed(shop: Shop) -> None:
    done = await shop.channel(refund_by_feed=True).perform(
        errand("refund", money="12.50 USD", order_item_id="70000000000011")
    )
    assert done == Done("50001")
    [taken] = shop.market.sent
    assert taken["feed_type"] == "POST_FLAT_FILE_PAYMENT_ADJUSTMENT_DATA"
    [row] = taken["rows"]
    assert {name: value for name, value in row.items() if value} == {
        "order-id": ORDER,
        "order-item-id": "70000000000011",
        "adjustment-reason-code": "CustomerReturn",
        "currency": "USD",
        "item-price-adj": "12.50",
    }


async def test_what_the_feed_lacks_is_said(shop: Shop) -> None:
    channel = shop.channel(refund_by_feed=True)
    unknown = await channel.perform(errand("refund", money="1.00 USD"))
    assert isinstance(unknown, Assisted) and any("order_item_id" in step for step in unknown.checklist)
    bad = await channel.perform(errand("refund", money="1.00 USD", order_item_id="7", adjustment_reason_code="Because"))
    assert isinstance(bad, Assisted) and any("no reason Because" in step for step in bad.checklist)
    claim = await channel.perform(errand("refund", kind="claim", money="1.00 USD", order_item_id="7"))
    assert isinstance(claim, Assisted), "under a claim the money goes through the claim's page"
    assert shop.market.sent == []


@pytest.mark.parametrize(("before", "means"), [(0, NotSent), (1, NotSent), (2, InDoubt)])
async def test_money_is_in_doubt_only_once_the_feed_was_asked_for(shop: Shop, before: int, means: type) -> None:
    """Calls that change something, in order: login is a read, document is a read, upload, feed."""
    shop.faults += [None] * (before - 1) + (["timeout"] if before else [])
    if before == 0:
        shop.faults.append("refused")
    found = await shop.channel(refund_by_feed=True).perform(errand("refund", money="1.00 USD", order_item_id="7"))
    assert isinstance(found, means)


async def test_a_cell_cannot_break_out_of_its_row() -> None:
    made = refund_feed.row(ORDER, Money.parse("1.00 USD"), "7\t8\n9", "Other").decode()
    assert made.count("\n") == 2
    assert made.splitlines()[1].split("\t")[1] == "7 8 9"


@pytest.mark.parametrize(
    ("kind", "name", "params", "said"),
    [
        ("return", "authorise", {}, "way back only"),
        ("return", "close", {"reason": "outside_policy", "comment": "The 30 days are over."}, "outside_policy"),
        ("return", "ship_replacement", {"carrier": "UPS", "tracking": "1Z1"}, "UPS 1Z1"),
        ("claim", "represent", {"text": "On 3 November the parcel was shipped."}, "no attachments"),
        ("claim", "appeal", {"cause": "c", "handling_plan": "h", "prevention_plan": "p"}, "Appeal decision"),
        ("claim", "submit_evidence", {"text": "proof"}, "proof of delivery"),
        ("claim", "cancel", {}, "still wants the item"),
        ("cancellation", "cancel", {}, "Cancel order"),
        ("cancellation", "decline", {"comment": "shipped"}, "ship it"),
    ],
)
async def test_acts_without_an_api_are_prepared(
    shop: Shop, kind: str, name: str, params: dict[str, str], said: str
) -> None:
    left = await shop.channel().perform(errand(name, kind=kind, **params))
    assert isinstance(left, Assisted)
    assert left.link == f"https://sellercentral.amazon.com/orders-v3/order/{ORDER}"
    assert any(said in step for step in left.checklist), left.checklist
    assert all(value in left.text or name == "ship_replacement" for key, value in params.items() if key != "reason")
