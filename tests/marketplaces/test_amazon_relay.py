"""Messages to a buyer's relay address: when they go that way, to whom, and what is left to a person."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from shared.clock import TestClock
from shared.domain.order import Buyer
from shared.http import Http
from shared.marketplaces.amazon.channel import Channel
from shared.marketplaces.amazon.mail import is_alias
from shared.ports import Account, Assisted, Attempt, Done, InDoubt, NotSent, Refused
from tests.marketplaces.amazon_shop import BODY, ORDER, SECRETS, START, Shop, message, open_shop
from tests.support.post_office import PostOffice

pytestmark = pytest.mark.asyncio
ALIAS = "k3v9p2q8x1@marketplace.amazon.de"
SENDER = "orders@teapot.example"


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as found:
        yield found


@pytest_asyncio.fixture
async def office(shop: Shop) -> AsyncIterator[PostOffice]:
    """The API allows nothing for the order; a mail server is there."""
    await shop.stage("messaging", order_id=ORDER, actions=["invoice"])
    async with PostOffice() as found:
        yield found


async def sent(
    shop: Shop,
    office: PostOffice,
    alias: str | None = ALIAS,
    subject: str | None = None,
    **settings: Any,
) -> Attempt:
    told = {"smtp_host": "127.0.0.1", "smtp_port": office.port, "smtp_tls": "none", "mail_from": SENDER, **settings}
    errand = message("ask_exact_problem", id="msg_7", buyer=Buyer(mail=alias))
    return await shop.channel(**told).send(errand, subject, BODY)


async def test_where_no_action_is_allowed_a_mail_goes_to_the_relay(shop: Shop, office: PostOffice) -> None:
    assert await sent(shop, office, subject="Your request") == Done("<msg_7@teapot.example>")
    letter = office.letter()
    assert office.envelopes == [(SENDER, [ALIAS])] and shop.market.sent == []
    assert letter["subject"] == "Your request" and letter.get_content().strip() == BODY


async def test_words_without_a_subject_go_under_the_order(shop: Shop, office: PostOffice) -> None:
    assert isinstance(await sent(shop, office), Done)
    assert office.letter()["subject"] == ORDER


async def test_what_the_api_allows_goes_by_the_api(shop: Shop, office: PostOffice) -> None:
    await shop.stage("messaging", order_id=ORDER, actions=["unexpectedProblem"])
    assert await sent(shop, office) == Done()
    assert len(shop.market.sent) == 1 and office.connections == 0


async def test_it_is_off_unless_a_mail_server_is_named(shop: Shop, office: PostOffice) -> None:
    left = await sent(shop, office, smtp_host=None)
    assert isinstance(left, Assisted) and "invoice" in left.checklist[0]
    assert office.connections == 0


@pytest.mark.parametrize(
    "alias", [None, "", "anna@example.org", "k3@marketplace.amazon.evil", "k3@amazon.de", "k3@marketplace.amazon.de.example",
              "a b@marketplace.amazon.de", f"{ALIAS}\r\nBcc: x@y.example", f"{ALIAS},x@y.example"],
)  # fmt: skip
async def test_only_the_relay_is_ever_written_to(shop: Shop, office: PostOffice, alias: str | None) -> None:
    assert not is_alias(alias)
    assert isinstance(await sent(shop, office, alias), Assisted)
    assert office.connections == 0


async def test_the_buyers_language_decides_here_too(shop: Shop, office: PostOffice) -> None:
    await shop.stage("messaging", order_id=ORDER, actions=[], locale="de-DE")
    left = await sent(shop, office)
    assert isinstance(left, Assisted) and "de-DE" in left.checklist[0]
    assert office.connections == 0


@pytest.mark.parametrize(
    ("says", "means"),
    [
        ({"DATA": "reset"}, InDoubt),
        ({"DATA": "451 later"}, NotSent),
        ({"RCPT": "452 4.5.3 too many recipients"}, NotSent),
    ],
)
async def test_an_end_means_what_it_means_by_mail(
    shop: Shop,
    office: PostOffice,
    says: dict[str, str],
    means: type,
) -> None:
    office.says |= says
    assert isinstance(await sent(shop, office), means)
    assert shop.channel().ability(message()) == "blind"


async def test_a_mail_that_is_refused_is_sent_by_a_person(shop: Shop, office: PostOffice) -> None:
    """The account's breaker is not for that: the API may well be used for other orders."""
    office.says["RCPT"] = "550 5.7.1 sender not authorised"
    left = await sent(shop, office)
    assert isinstance(left, Assisted) and left.text == BODY
    assert "550 5.7.1 sender not authorised" in left.checklist[0]
    unsafe = await sent(shop, office, smtp_host="localhost", smtp_tls="starttls")
    assert isinstance(unsafe, Assisted)


async def test_without_the_api_nothing_goes_by_mail_either(shop: Shop, office: PostOffice) -> None:
    """Whether Amazon allows an action has to be known first."""
    wrong = {**SECRETS, "lwa_client_secret": "gone"}
    told = {"smtp_host": "127.0.0.1", "smtp_port": office.port, "smtp_tls": "none", "mail_from": SENDER}
    account = Account("amz", "amazon", base_url=shop.url, sandbox=True, settings=told)
    http = Http()
    try:
        errand = msgspec.structs.replace(message(), buyer=Buyer(mail=ALIAS))
        refused = await Channel(account, wrong, http, TestClock(START)).send(errand, None, BODY)
    finally:
        await http.close()
    assert isinstance(refused, Refused) and office.connections == 0
