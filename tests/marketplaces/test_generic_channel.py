"""The generic marketplace, outbound: over real HTTP against its own receiver, and against receivers that misbehave."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
import standardwebhooks
from aiohttp import web

from amends.serve import HttpServer
from shared.clock import TestClock
from shared.domain.errands import Errand
from shared.domain.money import Money
from shared.domain.order import Buyer
from shared.http import Http
from shared.marketplaces.generic import simulator
from shared.marketplaces.generic.channel import Channel
from shared.ports import Account, Assisted, Done, InDoubt, NotSent, Refused
from shared.standard_webhooks import headers

SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
OTHER = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODk="
NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
ACCOUNT = Account("my-shop", "generic")
MESSAGE = Errand(
    id="msg_1a_0192f0c0-0000-7000-8000-000000000001",
    what="message",
    name="ask_for_evidence",
    account="my-shop",
    marketplace="generic",
    order_id="O-1",
    case_id="case_1a_1",
    case_kind="return",
    phase="awaiting_seller",
    created_at=NOW,
    locale="en",
    buyer=Buyer("B-1", "Zoë"),
    refs={"external_id": "R-1"},
)
REFUND = msgspec.structs.replace(
    MESSAGE,
    id="act_1a_0192f0c0-0000-7000-8000-000000000002",
    what="act",
    name="refund",
    params={"amount": {"value": "12.50", "currency": "EUR"}},
    money=Money("12.50", "EUR"),
)


@pytest_asyncio.fixture
async def http() -> AsyncIterator[Http]:
    client = Http(timeout=2)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[str]:
    server = HttpServer(simulator.create(ACCOUNT, {"signing_secret": SECRET}, TestClock(NOW)))
    await server.start()
    yield server.url
    await server.stop()


def channel(url: str | None, http: Http, secret: Any = SECRET, clock: TestClock | None = None) -> Channel:
    return Channel(replace(ACCOUNT, base_url=url), {"signing_secret": secret}, http, clock or TestClock(NOW))


async def taken(url: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_control/sent") as answer:
        found: list[dict[str, Any]] = await answer.json()
        return found


@pytest.mark.asyncio
async def test_a_message_and_an_act_arrive_whole(shop: str, http: Http) -> None:
    there = channel(f"{shop}/amends", http)
    assert await there.send(MESSAGE, "Order O-1", "Hello Zoë,\n…") == Done("shop-1")
    assert await there.perform(REFUND) == Done("shop-2")
    message, refund = await taken(shop)
    assert message["type"] == "message.send" and message["idempotency_key"] == MESSAGE.id
    assert message["data"] == {
        "errand_id": MESSAGE.id, "account": "my-shop", "order_id": "O-1", "case_id": "case_1a_1", "kind": "return",
        "refs": {"external_id": "R-1"}, "purpose": "ask_for_evidence", "locale": "en", "subject": "Order O-1",
        "text": "Hello Zoë,\n…", "attachments": [], "buyer": {"id": "B-1", "name": "Zoë"},
    }  # fmt: skip
    assert refund["type"] == "act.perform"
    assert refund["data"]["act"] == "refund"
    assert refund["data"]["params"] == {"amount": {"value": "12.50", "currency": "EUR"}}
    assert refund["data"]["money"] == {"value": "12.50", "currency": "EUR"}


@pytest.mark.asyncio
async def test_the_same_errand_again_is_one_effect_and_the_same_answer(shop: str, http: Http) -> None:
    there = channel(shop, http)
    first = await there.perform(REFUND)
    assert await there.perform(REFUND) == first == Done("shop-1")
    assert [row["attempts"] for row in await taken(shop)] == [2]
    other = msgspec.structs.replace(REFUND, money=Money("13.00", "EUR"))
    assert isinstance(await there.perform(other), Refused)
    assert there.ability(REFUND) == there.ability(MESSAGE) == "keyed"


@pytest.mark.asyncio
async def test_the_receiver_keeps_its_keys_over_a_restart(tmp_path: Path, http: Http) -> None:
    for attempts in (1, 2):
        app = simulator.create(ACCOUNT, {"signing_secret": SECRET}, TestClock(NOW), tmp_path / "shop.json")
        server = HttpServer(app)
        await server.start()
        assert await channel(server.url, http).perform(REFUND) == Done("shop-1")
        assert [row["attempts"] for row in await taken(server.url)] == [attempts]
        await server.stop()


@pytest.mark.asyncio
async def test_a_wrong_secret_stops_the_whole_account(shop: str, http: Http) -> None:
    refused = await channel(shop, http, OTHER).perform(REFUND)
    assert isinstance(refused, Refused) and refused.account_wide
    assert await taken(shop) == []
    assert isinstance(await channel(shop, http, (OTHER, SECRET)).perform(REFUND), Done)


@pytest.mark.asyncio
async def test_a_stale_signature_is_refused_by_the_receiver(shop: str, http: Http) -> None:
    late = TestClock(NOW + timedelta(seconds=301))
    assert isinstance(await channel(shop, http, clock=late).perform(REFUND), Refused)


@pytest.mark.asyncio
async def test_without_an_address_a_person_is_asked(http: Http) -> None:
    there = channel(None, http)
    message, act = await there.send(MESSAGE, None, "Hello"), await there.perform(REFUND)
    assert isinstance(message, Assisted) and message.text == "Hello"
    assert isinstance(act, Assisted) and act.text == "refund: order O-1, 12.50 EUR"


class Receiver:
    """Answers what it is told to and keeps what it got."""

    def __init__(self) -> None:
        self.answer = web.Response(status=200)
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.got.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        if self.answer.status == 299:
            assert request.transport is not None
            request.transport.abort()
        return self.answer


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    taking = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", taking.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield taking, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (lambda: web.Response(status=204), Done()),
        (lambda: web.Response(status=202, text="thanks, {no json"), Done()),
        (lambda: web.json_response({"id": "p-1"}), Done("p-1")),
        (lambda: web.json_response({"id": 7}), Done()),
        (lambda: web.json_response(["id"]), Done()),
        (lambda: web.Response(status=429, headers={"Retry-After": "7"}), NotSent("HTTP 429", 7.0)),
        (lambda: web.Response(status=503, headers={"Retry-After": "9"}), NotSent("HTTP 503", 9.0)),
        (lambda: web.Response(status=503), InDoubt("HTTP 503")),
        (lambda: web.Response(status=500), InDoubt("HTTP 500")),
        (lambda: web.Response(status=408), InDoubt("HTTP 408")),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), InDoubt("HTTP 302")),
        (lambda: web.Response(status=422), Refused("HTTP 422")),
        (lambda: web.Response(status=404), Refused("HTTP 404")),
        (lambda: web.Response(status=401), Refused("HTTP 401", account_wide=True)),
        (lambda: web.Response(status=403), Refused("HTTP 403", account_wide=True)),
        (lambda: web.Response(status=410), Refused("HTTP 410", account_wide=True)),
    ],
)
async def test_what_each_answer_means(answer: Any, meaning: Any, receiver: tuple[Receiver, str], http: Http) -> None:
    taking, url = receiver
    taking.answer = answer()
    assert await channel(url, http).perform(REFUND) == meaning
    assert len(taking.got) == 1


@pytest.mark.asyncio
async def test_a_cut_line_is_in_doubt_and_nobody_there_is_not_sent(receiver: tuple[Receiver, str], http: Http) -> None:
    taking, url = receiver
    taking.answer = web.Response(status=299)
    assert isinstance(await channel(url, http).perform(REFUND), InDoubt)
    assert isinstance(await channel("http://127.0.0.1:9", http).perform(REFUND), NotSent)


@pytest.mark.asyncio
async def test_the_reference_library_verifies_what_leaves(
    receiver: tuple[Receiver, str], http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking, url = receiver
    monkeypatch.setattr(standardwebhooks.webhooks, "datetime", _Fixed)
    await channel(url, http, (OTHER, SECRET)).send(MESSAGE, None, "Grüße")
    sent, body = taking.got[0]
    assert (sent["idempotency-key"], sent["webhook-id"]) == (MESSAGE.id, MESSAGE.id)
    assert sent["content-type"] == "application/json"
    for secret in (SECRET, OTHER):
        said = standardwebhooks.Webhook(secret).verify(body, sent)
        assert said["data"]["text"] == "Grüße" and said["timestamp"] == "2026-01-05T09:30:00Z"
        assert "subject" not in said["data"]


class _Fixed(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return NOW


@pytest.mark.asyncio
async def test_the_receiver_refuses_what_is_not_ours(shop: str) -> None:
    async with aiohttp.ClientSession() as session:

        async def post(body: bytes, **more: str) -> int:
            sent = {**headers(SECRET, "m-1", NOW, body), **more}
            async with session.post(shop, data=body, headers=sent) as answer:
                return answer.status

        good = json.dumps({"type": "message.send", "data": {}}).encode()
        assert await post(good) == 400, "no Idempotency-Key"
        assert await post(b"{", **{"idempotency-key": "k"}) == 400
        assert await post(b'{"type":"x"}', **{"idempotency-key": "k"}) == 422
        assert await post(good, **{"idempotency-key": "k", "webhook-timestamp": "1"}) == 401
        assert await post(good, **{"idempotency-key": "k"}) == 202
        async with session.post(f"{shop}/_control/sign", data=good) as answer:
            assert (await answer.json())["webhook-signature"].startswith("v1,")
    assert len(await taken(shop)) == 1
