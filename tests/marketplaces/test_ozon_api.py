"""Source and channel against the simulator, over real HTTP: keys, sweeps, actions on offer, chats, cancellations, doubt."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from amends.serve import HttpServer
from shared.domain.errands import Errand
from shared.domain.money import Money
from shared.http import RefusedFault
from shared.marketplaces.ozon import records, simulator, webhook
from shared.marketplaces.ozon.channel import Channel
from shared.marketplaces.ozon.simulated import APPROVE, PAY_ALL, RECEIVED
from shared.marketplaces.ozon.source import REQUESTS_PAGE, Source
from shared.ports import Account, Assisted, Done, Facts, Found, Inbound, InDoubt, NotSent, NotYetThere, Refused
from tests.marketplaces.ozon_walk import POSTING, START
from tests.support import market
from tests.support.market import opened

SECRETS = {"client_id": "40404", "api_key": ("demo-key-1", "older")}
ACTIONS = {"action_authorise": APPROVE, "action_confirm_receipt": RECEIVED, "action_refund": PAY_ALL}
pytestmark = pytest.mark.asyncio


class Shop(market.Shop):
    async def stage(self, kind: str = "requests", posting: str = POSTING, **given: Any) -> dict[str, Any]:
        body: dict[str, Any] = await self.control(kind, {"posting_number": posting, **given})
        return body

    async def group(self, request: dict[str, Any]) -> str:
        (record,) = await self.source.fetch(f"rfbs:{request['return_id']}")
        return str(record.body["state"]["group_state"])

    async def sent(self) -> list[tuple[str, dict[str, Any]]]:
        return [(row["method"], row["params"]) for row in await self.control("sent")]


def on_return(request: dict[str, Any], name: str, money: str | None = None, **params: Any) -> Errand:
    id_ = str(request["return_id"])
    return Errand(
        id="act_1", what="act", name=name, account="oz-main", marketplace="ozon", order_id=request["posting_number"],
        case_id="case_1", case_kind="return", phase="awaiting_seller", created_at=START, params=params,
        money=Money.parse(money) if money else None, refs={"return_id": id_, "external_id": id_},
    )  # fmt: skip


def on_cancellation(name: str, request: dict[str, Any] | None = None, **params: Any) -> Errand:
    refs = {"cancellation_id": str(request["cancellation_id"])} if request else {}
    blank = on_return({"return_id": 1, "posting_number": POSTING}, name, **params)
    return msgspec.structs.replace(blank, case_kind="cancellation", refs=refs)


def message(**refs: str) -> Errand:
    blank = on_return({"return_id": 1, "posting_number": POSTING}, "free_text")
    return msgspec.structs.replace(blank, what="message", refs=refs)


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    account = Account("oz-main", "ozon", settings={"premium_plus": True, **ACTIONS})
    async with opened(Shop, account, SECRETS, START, tmp_path / "ozon.json", spare_reads=True) as found:
        yield found


async def test_a_wrong_key_is_a_clear_refusal_of_credentials(shop: Shop) -> None:
    request = await shop.stage()
    stranger = Channel(shop.account, {**SECRETS, "api_key": "wrong"}, shop.http, shop.clock)
    answer = await stranger.perform(on_return(request, "authorise"))
    assert isinstance(answer, Refused) and answer.account_wide
    with pytest.raises(RefusedFault):
        await Source(shop.account, {**SECRETS, "client_id": "7"}, shop.http, shop.clock).poll(None, None)


async def test_the_simulators_push_is_read(shop: Shop) -> None:
    made = await shop.control(
        "push", {"message_type": "TYPE_STATE_CHANGED", "posting_number": POSTING, "new_state": "posting_delivered"}
    )
    parsed = webhook.parse(Inbound(made["body"].encode(), {}), shop.account)
    assert isinstance(parsed, Facts) and parsed.drafts[0].occurred_at == START


# reading
async def test_a_request_is_read_whole_with_its_group(shop: Shop) -> None:
    request = await shop.stage(comment="cracked")
    (record,) = await shop.source.fetch(f"rfbs:{request['return_id']}")
    assert (record.ref, record.revision) == (f"rfbs:{request['return_id']}", None)
    assert record.body["state"]["group_state"] == "New"
    assert record.body["comment"] == "cracked"
    assert {row["id"] for row in record.body["available_actions"]} == {APPROVE, PAY_ALL, 1020, -1}
    (draft,) = records.facts(record.body, None, shop.account, START)
    assert (draft.kind, draft.external_id) == ("return.requested", str(request["return_id"]))
    assert (await shop.source.fetch(f"rfbs:{request['return_id']}"))[0] == record


@pytest.mark.parametrize("ref", ["rfbs:7", "chat:unknown"])
async def test_what_is_not_there_yet_is_asked_for_again(shop: Shop, ref: str) -> None:
    with pytest.raises(NotYetThere):
        await shop.source.fetch(ref)


async def test_the_first_poll_opens_nothing_that_is_over(shop: Shop) -> None:
    new = await shop.stage()
    await shop.stage(posting="1-1-1", group_state="Approved")
    await shop.stage("returns", "2-1-1", id=21)
    await shop.stage("returns", "3-1-1", id=31, status="MoneyReturned")
    asked = await shop.stage("cancellations", "4-1-1")
    done = await shop.stage("cancellations", "5-1-1")
    await shop.control(f"cancellations/{done['cancellation_id']}", {"state": "REJECTED"})
    found, refs, _ = await shop.sweep()
    assert refs == [f"rfbs:{new['return_id']}"]
    assert {record.ref for record in found} == {f"cancellation:{asked['cancellation_id']}", "return:fbs-21"}


async def test_later_polls_see_every_end(shop: Shop) -> None:
    over = await shop.stage(posting="1-1-1", group_state="Rejected")
    back = await shop.stage("returns", "2-1-1", id=21)
    asked = await shop.stage("cancellations", "4-1-1")
    began = shop.clock.now()
    shop.clock.advance(timedelta(hours=6))
    await shop.control(f"returns/{back['id']}", {"status": "MoneyReturned"})
    await shop.control(f"cancellations/{asked['cancellation_id']}", {"state": "APPROVED"})
    found, refs, _ = await shop.sweep(began)
    assert refs == []
    assert {record.ref for record in found} == {
        f"rfbs:{over['return_id']}", "return:fbs-21", f"cancellation:{asked['cancellation_id']}",
    }  # fmt: skip
    shop.clock.advance(timedelta(days=3))
    found, _, _ = await shop.sweep(shop.clock.now() - timedelta(minutes=5))
    assert {record.ref for record in found} == {f"rfbs:{over['return_id']}"}, "decided long ago, and known"


async def test_a_decided_request_reads_the_same_both_ways(shop: Shop) -> None:
    over = await shop.stage(group_state="Rejected")
    found, _, _ = await shop.sweep(shop.clock.now())
    assert await shop.source.fetch(f"rfbs:{over['return_id']}") == found


async def test_a_poll_goes_page_by_page_and_on_where_it_stopped(shop: Shop) -> None:
    for n in range(REQUESTS_PAGE + 3):
        await shop.stage(posting=f"{n}-1-1", return_id=5000 + n)
    first = await shop.source.poll({"stage": "open_requests", "after": None}, None)
    assert len(first.refs) == REQUESTS_PAGE and first.cursor == {
        "stage": "open_requests",
        "after": str(5000 + REQUESTS_PAGE - 1),
    }
    second = await shop.source.poll(first.cursor, None)
    assert len({*first.refs, *second.refs}) == REQUESTS_PAGE + 3
    assert second.cursor == {"stage": "returns", "after": None}


async def test_unread_chats_are_found_and_their_order_with_them(shop: Shop) -> None:
    said = await shop.control("chats", {"posting_number": POSTING, "text": "Где лампа?"})
    _, refs, _ = await shop.sweep()
    assert refs == [f"chat:{said['chat_id']}"]
    (record,) = await shop.source.fetch(refs[0])
    (draft,) = records.facts(record.body, None, shop.account, START)
    assert draft.refs == {"chat_id": said["chat_id"], "order_number": "70811234-0008"}
    assert (draft.kind, draft.data["text"]) == ("message.received", "Где лампа?")
    assert records.facts(record.body, record.body, shop.account, START) == ()
    assert (await shop.with_settings(premium_plus=False).sweep())[1] == [], (
        "without the subscription chats are not ours to read"
    )


async def test_a_subscription_that_has_ended_keeps_no_return_unread(shop: Shop) -> None:
    await shop.stage("returns", "2-1-1", id=21)
    ended = HttpServer(
        simulator.create(Account("oz-main", "ozon", settings={"premium_plus": False}), SECRETS, shop.clock)
    )
    await ended.start()
    try:
        found, refs, pages = await replace(shop, account=replace(shop.account, base_url=ended.url)).sweep()
        assert (found, refs, pages) == ([], [], 4), "to its end"
    finally:
        await ended.stop()


# acts on requests
@pytest.mark.parametrize(
    ("name", "action", "group"), [("authorise", APPROVE, "Delivering"), ("refund", PAY_ALL, "Approved")]
)
async def test_actions_that_are_set_up_go_by_api(shop: Shop, name: str, action: int, group: str) -> None:
    request = await shop.stage()
    assert await shop.channel.perform(on_return(request, name, "89.00 CNY" if name == "refund" else None)) == Done()
    assert await shop.group(request) == group
    assert await shop.sent() == [("/v1/returns/rfbs/action/set", {"return_id": request["return_id"], "id": action})]


@pytest.mark.parametrize("name", ["propose", "refund"])
async def test_a_part_of_the_price_is_action_1020_with_an_exact_amount(shop: Shop, name: str) -> None:
    request = await shop.stage()
    assert await shop.channel.perform(on_return(request, name, "17.80 CNY")) == Done()
    ((_, params),) = await shop.sent()
    assert params == {"return_id": request["return_id"], "id": 1020, "compensation_amount": 17.8}


@pytest.mark.parametrize(("group", "action"), [("New", -1), ("Checkout", -10)])
async def test_a_refusal_takes_the_way_that_is_offered(shop: Shop, group: str, action: int) -> None:
    request = await shop.stage(group_state=group)
    errand = on_return(request, "decline", rejection_reason_id=12, comment="Worn")
    since = shop.clock.now()
    assert await shop.channel.look_up(errand, "", since) == Found(False)
    assert await shop.channel.perform(errand) == Done()
    ((_, params),) = await shop.sent()
    assert (params["id"], params["rejection_reason_id"], params["comment"]) == (action, 12, "Worn")
    assert await shop.channel.look_up(errand, "", since) == Found(True)
    assert isinstance(await shop.channel.perform(errand), Refused), "no longer offered"


@pytest.mark.parametrize(
    ("name", "money", "params", "why"),
    [
        ("decline", None, {"comment": "No"}, "rejection_reason_id"),
        ("decline", None, {"rejection_reason_id": 12}, "comment"),
        ("propose", "90.00 CNY", {}, "89.00 CNY"),
        ("propose", "5.00 USD", {}, "89.00 CNY"),
        ("propose", None, {}, "amount"),
        ("confirm_receipt", None, {}, "does not offer"),
        ("authorise", None, {"action_id": 4711}, "does not offer action 4711"),
    ],
)
async def test_what_ozon_would_not_take_is_not_asked_for(
    shop: Shop, name: str, money: str | None, params: dict[str, Any], why: str
) -> None:
    request = await shop.stage()
    answer = await shop.channel.perform(on_return(request, name, money, **params))
    assert isinstance(answer, Refused) and why in answer.why
    assert await shop.sent() == []


async def test_an_action_nobody_has_named_is_prepared_with_what_is_offered(shop: Shop) -> None:
    request = await shop.stage()
    plain = shop.with_settings(**dict.fromkeys(ACTIONS))
    answer = await plain.channel.perform(on_return(request, "authorise"))
    assert isinstance(answer, Assisted)
    assert any("action_authorise" in line and "1001 (Одобрить)" in line for line in answer.checklist)
    assert await plain.channel.perform(on_return(request, "authorise", action_id=str(APPROVE))) == Done()


async def test_fbs_and_fbo_returns_are_a_persons(shop: Shop) -> None:
    blank = on_return({"return_id": 1, "posting_number": POSTING}, "decline", comment="Worn")
    errand = msgspec.structs.replace(blank, refs={"fbs_return_id": "551", "external_id": "fbs-551"})
    assert isinstance(await shop.channel.perform(errand), Assisted)
    assert shop.channel.ability(errand) == "blind"


async def test_a_lost_answer_is_a_doubt_and_what_is_still_offered_was_not_taken(shop: Shop) -> None:
    request = await shop.stage()
    errand = on_return(request, "refund", "89.00 CNY")
    shop.faults[:] = ["timeout"]
    assert isinstance(await shop.channel.perform(errand), InDoubt)
    assert shop.channel.ability(errand) == "readable"
    assert await shop.channel.look_up(errand, "", START) == Found(None), (
        "paid, by whom cannot be told: a person decides"
    )
    other = await shop.stage(posting="9-1-1")
    shop.faults[:] = ["500"]
    assert isinstance(await shop.channel.perform(on_return(other, "refund", "89.00 CNY")), InDoubt)
    assert await shop.channel.look_up(on_return(other, "refund", "89.00 CNY"), "", START) == Found(False)
    shop.faults[:] = ["429"]
    assert isinstance(await shop.channel.perform(on_return(other, "refund", "89.00 CNY")), NotSent)


# cancellations
async def test_a_request_to_cancel_is_approved_or_rejected(shop: Shop) -> None:
    request = await shop.stage("cancellations")
    yes, no = on_cancellation("cancel", request), on_cancellation("decline", request, comment="On its way")
    assert await shop.channel.look_up(yes, "", START) == Found(False)
    assert isinstance(await shop.channel.perform(on_cancellation("decline", request)), Refused), "a reason is needed"
    assert await shop.channel.perform(no) == Done()
    assert await shop.channel.look_up(no, "", START) == Found(True)
    assert await shop.channel.look_up(yes, "", START) == Found(None)
    answer = await shop.channel.perform(yes)
    assert isinstance(answer, Refused) and "decided already" in answer.why
    assert shop.channel.ability(yes) == "readable"


async def test_our_own_posting_is_cancelled_with_a_reason_ozon_lists(shop: Shop) -> None:
    answer = await shop.channel.perform(on_cancellation("cancel"))
    assert isinstance(answer, Refused) and "352 (Нет в наличии)" in answer.why
    answer = await shop.channel.perform(on_cancellation("cancel", cancel_reason_id=402))
    assert isinstance(answer, Refused) and "cancel_reason_message" in answer.why
    errand = on_cancellation("cancel", cancel_reason_id=352)
    assert await shop.channel.perform(errand) == Done()
    assert await shop.sent() == [("/v2/posting/fbs/cancel", {"posting_number": POSTING, "cancel_reason_id": 352})]
    assert shop.channel.ability(errand) == "blind"


@pytest.mark.parametrize("name", ["intercept", "escalate", "submit_evidence", "appeal", "ship_replacement"])
async def test_what_has_no_call_is_prepared(shop: Shop, name: str) -> None:
    request = await shop.stage()
    answer = await shop.channel.perform(on_return(request, name, text="As agreed."))
    assert isinstance(answer, Assisted)
    assert (answer.text, bool(answer.link), len(answer.checklist) >= 3) == ("As agreed.", True, True)


# chats
async def test_a_message_goes_into_the_postings_chat_and_is_found_again(shop: Shop) -> None:
    since = shop.clock.now()
    assert await shop.channel.look_up(message(), "Hello", since) == Found(False)
    assert await shop.channel.send(message(), None, "Hello") == Done()
    ((path, params),) = await shop.sent()
    assert (path, params["text"]) == ("/v1/chat/send/message", "Hello")
    assert (await shop.channel.look_up(message(), "Hello", since)).there is True
    assert await shop.channel.look_up(message(), "Hello", since + timedelta(hours=1)) == Found(False)
    assert await shop.channel.send(message(chat_id=params["chat_id"]), None, "Again") == Done(), "the chat is known"


async def test_a_chat_that_is_not_there_is_a_clear_no(shop: Shop) -> None:
    answer = await shop.channel.send(message(chat_id="gone"), None, "Hello")
    assert isinstance(answer, Refused) and "no such chat" in answer.why


async def test_without_premium_plus_a_person_sends_it(shop: Shop) -> None:
    plain = shop.with_settings(premium_plus=False)
    answer = await plain.channel.send(message(), None, "Hello")
    assert isinstance(answer, Assisted)
    assert answer.text == "Hello" and "Premium Plus" in " ".join(answer.checklist)
    assert await shop.sent() == []


async def test_the_simulator_remembers_over_a_restart(shop: Shop, tmp_path: Path) -> None:
    request = await shop.stage()
    again = HttpServer(simulator.create(shop.account, SECRETS, shop.clock, tmp_path / "ozon.json"))
    await again.start()
    try:
        other = replace(shop, account=replace(shop.account, base_url=again.url))
        assert await other.group(request) == "New"
        shop.clock.advance(timedelta(days=3))
        assert await other.group(request) == "Delivering", "silence approves"
    finally:
        await again.stop()
