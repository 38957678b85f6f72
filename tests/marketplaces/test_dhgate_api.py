"""Source and channel against the simulator, over real HTTP: sweeps, windows, mail, doubt, prepared acts."""

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
from shared.domain.order import Buyer
from shared.http import RefusedFault
from shared.marketplaces.dhgate import simulator
from shared.marketplaces.dhgate.channel import Channel
from shared.marketplaces.dhgate.source import Source
from shared.ports import Account, Assisted, Done, Found, InDoubt, NotSent, NotYetThere, Refused
from tests.marketplaces.dhgate_walk import ADDRESS, ORDER, START
from tests.support import market
from tests.support.market import opened

SECRETS = {"access_token": ("demo-token", "older"), "client_id": "c", "client_secret": "s"}
pytestmark = pytest.mark.asyncio


class Shop(market.Shop):
    async def stage(self, order: str = ORDER, **given: Any) -> dict[str, Any]:
        body: dict[str, Any] = await self.control("orders", {"order_id": order, **given})
        return body

    async def does(self, move: str, order: str = ORDER, **given: Any) -> None:
        await self.control(f"orders/{order}", {"do": move, **given})

    def errand(
        self, name: str, order: dict[str, Any], what: Any = "message", money: str | None = None, **params: Any
    ) -> Errand:
        return Errand(
            id="e1", what=what, name=name, account="dh-main", marketplace="dhgate", order_id=order["orderNo"],
            case_id="case_1", case_kind="dispute", phase="awaiting_seller", created_at=START, params=params,
            buyer=Buyer(id=order["buyerId"]), money=Money.parse(money) if money else None,
        )  # fmt: skip


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    account = Account("dh-main", "dhgate", settings={"return_address": ADDRESS})
    async with opened(Shop, account, SECRETS, START, tmp_path / "orders.json") as found:
        yield found


# reading
async def test_every_call_is_a_form_to_the_router_with_the_token_and_no_signature(shop: Shop) -> None:
    await shop.stage()
    await shop.source.fetch(f"parcel:{ORDER}")
    (call,) = shop.calls
    assert (call.method, call.url) == ("POST", f"{shop.url}/dop/router") and not call.params
    form = dict(call.form or {})
    assert form.pop("timestamp") == str(int(START.timestamp() * 1000))
    assert form == {"method": "dh.order.get", "v": "2.0", "access_token": "demo-token", "orderNo": ORDER}


async def test_a_wrong_token_is_a_refusal_of_credentials(shop: Shop) -> None:
    stranger = Source(shop.account, {"access_token": "wrong"}, shop.http, shop.clock)
    with pytest.raises(RefusedFault) as refused:
        await stranger.poll(None, None)
    assert refused.value.status == 401


async def test_the_first_sweep_reads_open_disputes_and_late_orders_not_what_had_ended(shop: Shop) -> None:
    await shop.stage("2611200001")
    await shop.does("opens_dispute", "2611200001")
    await shop.stage("2611200002")
    await shop.does("opens_dispute", "2611200002")
    await shop.does("closes", "2611200002")
    records, refs, _ = await shop.sweep(None)
    assert [r.ref for r in records] == ["dispute:2611200001", "order:2611200001", "order:2611200002"]
    assert refs == ["parcel:2611200001", "parcel:2611200002"]


async def test_later_sweeps_read_what_changed_and_fetch_nothing_twice(shop: Shop) -> None:
    for n in range(3):
        await shop.stage(f"261120000{n}")
    await shop.sweep(None)
    began = shop.clock.now()
    shop.clock.advance(timedelta(hours=2))
    assert (await shop.sweep(began))[1] == []
    await shop.does("ships", "2611200001")
    await shop.does("opens_dispute", "2611200002")
    await shop.does("closes", "2611200002", refund=5)
    records, refs, _ = await shop.sweep(began)
    assert {r.ref for r in records} >= {"order:2611200001"}
    assert refs == ["closed:2611200002", "parcel:2611200001", "parcel:2611200002"]
    shop.clock.advance(timedelta(days=9))
    records, refs, _ = await shop.sweep(shop.clock.now() - timedelta(hours=1))
    assert (records, refs) == ([], [])


async def test_a_sweep_goes_page_by_page_and_on_where_it_stopped(shop: Shop) -> None:
    for n in range(103):
        await shop.stage(f"26112{n:05d}")
    page = await shop.source.poll(None, None)
    assert page.records == () and page.cursor is not None
    first = await shop.source.poll(page.cursor, None)
    shop.clock.advance(timedelta(minutes=7))
    again = Source(shop.account, SECRETS, shop.http, shop.clock)
    second = await again.poll(first.cursor, None)
    third = await again.poll(second.cursor, None)
    found = [r.ref for r in (*first.records, *second.records, *third.records)]
    assert len(found) == len(set(found)) == 103
    windows = [dict(c.form or {}) for c in shop.calls if c.label == "dh.order.list.get"]
    assert len({w["startDate"] + w["endDate"] for w in windows}) == 1 and [w["pageNo"] for w in windows] == [
        "1",
        "2",
        "3",
    ]


async def test_a_page_that_could_not_be_kept_tells_the_same_again(shop: Shop) -> None:
    await shop.stage()
    await shop.does("opens_dispute")
    await shop.does("closes")
    cursor: Any = None
    for _ in range(5):
        page = await shop.source.poll(cursor, START)
        again = await shop.source.poll(cursor, START)
        assert (again.refs, again.records) == (page.refs, page.records)
        cursor = page.cursor
    assert cursor is None and (await shop.sweep(START))[1] == []


async def test_windows_never_grow_over_a_year_and_overlap_by_a_day(shop: Shop) -> None:
    await shop.sweep(START - timedelta(days=900))
    await shop.sweep(START - timedelta(minutes=10))
    windows = [dict(c.form or {}) for c in shop.calls if c.label == "dh.order.list.get"]
    long, short = ((w["startDate"], w["endDate"]) for w in windows)
    assert long == ("2025-11-25 17:00:00", "2026-11-24 17:00:00")
    assert short == ("2026-11-22 16:50:00", "2026-11-24 17:00:00")


async def test_an_ended_dispute_comes_with_its_money(shop: Shop) -> None:
    await shop.stage()
    await shop.does("opens_dispute")
    with pytest.raises(NotYetThere):
        await shop.source.fetch(f"closed:{ORDER}")
    await shop.does("closes", refund=20)
    money, dispute = await shop.source.fetch(f"closed:{ORDER}")
    assert (money.ref, money.body["_about"], money.body["refundMoney"]) == (f"parcel:{ORDER}", "dispute", 20)
    assert (dispute.ref, dispute.body["refundMoney"], dispute.body["orderTotalPrice"]) == (
        f"dispute:{ORDER}",
        20,
        "64.5",
    )


async def test_an_order_nobody_knows_is_refused_not_made_up(shop: Shop) -> None:
    with pytest.raises(RefusedFault, match="does not exist"):
        await shop.source.fetch(f"order:{ORDER}")


async def test_a_payment_mail_is_a_doorbell_for_the_order_it_names(shop: Shop) -> None:
    await shop.stage()
    await shop.does("opens_dispute")
    notice = await shop.control("notice", {"order_id": ORDER})
    _, refs, _ = await shop.sweep(START)
    assert f"notice:{notice['msgId']}" in refs
    found = {record.ref for record in await shop.source.fetch(f"notice:{notice['msgId']}")}
    assert found == {f"parcel:{ORDER}", f"order:{ORDER}", f"dispute:{ORDER}"}
    await shop.control("notice", {"order_id": ORDER, "title": f"Refund for order no. {ORDER}"})
    assert f"order:{ORDER}" in (await shop.sweep(START))[1]
    blank = await shop.control("notice", {"order_id": ORDER, "text": "Your payout was refused."})
    assert await shop.source.fetch(f"notice:{blank['msgId']}") == []


async def test_a_buyers_mail_is_read_when_it_changes(shop: Shop) -> None:
    await shop.stage()
    thread = await shop.control("mail", {"order_id": ORDER, "text": "Where is it?"})
    assert (await shop.sweep(None))[1][-1] == f"mail:{thread['msgId']}"
    assert f"mail:{thread['msgId']}" not in (await shop.sweep(START))[1]
    shop.clock.advance(timedelta(minutes=5))
    await shop.control("mail", {"order_id": ORDER, "text": "Hello?"})
    assert f"mail:{thread['msgId']}" in (await shop.sweep(START))[1]
    (record,) = await shop.source.fetch(f"mail:{thread['msgId']}")
    assert [one["content"] for one in record.body["msgDetailList"]] == ["Where is it?", "Hello?"]


async def test_a_zone_that_does_not_exist_is_named_in_one_clear_line(shop: Shop) -> None:
    account = replace(shop.account, settings={"source_time_zone": "Atlantis/Capital"})
    with pytest.raises(RefusedFault, match="source_time_zone"):
        await Source(account, SECRETS, shop.http, shop.clock).poll(None, None)


# mail to the buyer
async def test_a_first_mail_begins_the_orders_thread_under_its_exact_title(shop: Shop) -> None:
    order = await shop.stage()
    done = await shop.channel.send(shop.errand("ask_exact_problem", order), "some subject", "What is wrong?")
    assert isinstance(done, Done) and done.provider_id
    (sent,) = await shop.control("sent")
    assert sent["params"] == {
        "method": "dh.message.send", "v": "2.0", "msgTitle": f"PO#{ORDER}", "content": "What is wrong?",
        "reciverId": order["buyerId"], "sendMsgType": "2", "param": ORDER,
    }  # fmt: skip


async def test_a_second_mail_continues_the_thread(shop: Shop) -> None:
    order = await shop.stage()
    thread = await shop.control("mail", {"order_id": ORDER, "text": "Where is it?"})
    errand = shop.errand("parcel_in_transit", order)
    assert await shop.channel.send(errand, None, "On its way.") == Done(thread["msgId"])
    known = msgspec.structs.replace(errand, refs={"msg_id": thread["msgId"]})
    shop.calls.clear()
    assert await shop.channel.send(known, None, "Still on its way.") == Done(thread["msgId"])
    assert [call.label for call in shop.calls] == ["dh.message.info.reply"], (
        "a thread that is known is not searched for"
    )


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Los_Angeles", "UTC", "Pacific/Kiritimati"])
async def test_a_mail_in_doubt_is_found_whatever_zone_we_believe_in(shop: Shop, zone: str) -> None:
    order = await shop.stage()
    settings = {"source_time_zone": zone}
    channel = Channel(replace(shop.account, settings=settings), SECRETS, shop.http, shop.clock)
    errand, body = shop.errand("ask_exact_problem", order), "What exactly\nis wrong?"
    assert channel.ability(errand) == "readable"
    assert await channel.look_up(errand, body, START) == Found(False)
    shop.faults[:] = [None, "timeout"]
    assert isinstance(await channel.send(errand, None, body), InDoubt)
    assert (await channel.look_up(errand, body, START)).there is True
    assert (await channel.look_up(errand, "Something else", START)).there is False
    later = START + timedelta(days=2)
    assert (await channel.look_up(errand, body, later)).there is False, "the words of another day are not this mail"


async def test_what_surely_did_not_leave_is_said_so(shop: Shop) -> None:
    order = await shop.stage()
    errand = shop.errand("ask_exact_problem", order)
    for faults in (["timeout"], ["500"], ["refused"], [None, "429"], [None, "refused"]):
        shop.faults[:] = faults
        assert isinstance(await shop.channel.send(errand, None, "Hello"), NotSent), faults
    shop.faults[:] = [None, "500"]
    assert isinstance(await shop.channel.send(errand, None, "Hello"), InDoubt)
    nobody = msgspec.structs.replace(errand, buyer=Buyer())
    assert isinstance(await shop.channel.send(nobody, None, "Hello"), Refused)


async def test_a_refused_mail_says_why(shop: Shop) -> None:
    order = await shop.stage()
    stranger = msgspec.structs.replace(shop.errand("free_text", order), buyer=Buyer(id="somebody else"))
    answer = await shop.channel.send(stranger, None, "Hello")
    assert isinstance(answer, Refused) and "do not fit" in answer.why and not answer.account_wide
    wrong = Channel(shop.account, {"access_token": "wrong"}, shop.http, shop.clock)
    answer = await wrong.send(shop.errand("free_text", order), None, "Hello")
    assert isinstance(answer, Refused) and answer.account_wide


async def test_what_needs_a_file_is_prepared_for_a_person(shop: Shop) -> None:
    order = await shop.stage()
    answer = await shop.channel.send(shop.errand("delivery_check", order), None, "It was delivered.")
    assert isinstance(answer, Assisted) and "receipt" in answer.checklist[0] and answer.text == "It was delivered."
    with_file = msgspec.structs.replace(shop.errand("free_text", order), attachments=("0" * 64,))
    assert isinstance(await shop.channel.send(with_file, None, "Look"), Assisted)
    assert await shop.control("sent") == []


# acts
@pytest.mark.parametrize(
    "name",
    ["refund", "authorise", "decline", "propose", "close", "submit_evidence", "represent", "escalate", "cancel",
     "intercept", "ship_replacement", "confirm_receipt", "set_return_address"],
)  # fmt: skip
async def test_every_act_is_prepared_with_text_link_and_checklist(shop: Shop, name: str) -> None:
    order = await shop.stage()
    errand = shop.errand(name, order, "act", "9.00 USD", comment="As agreed", remedy="part_refund")
    answer = await shop.channel.perform(errand)
    assert isinstance(answer, Assisted)
    assert (answer.text, answer.link) == ("As agreed", "https://seller.dhgate.com")
    assert ORDER in answer.checklist[0] and len(answer.checklist) >= 3
    assert any("9.00 USD" in line for line in answer.checklist)
    assert shop.calls == [], "nothing is called: there is no API for it"


async def test_what_the_console_would_not_take_is_refused_before_anybody_opens_it(shop: Shop) -> None:
    order = await shop.stage()
    cent = await shop.channel.perform(shop.errand("propose", order, "act", "0.01 USD"))
    assert isinstance(cent, Refused) and "CR-DH-03" in cent.why
    pinyin = await shop.channel.perform(shop.errand("authorise", order, "act", return_address="12 Ke Xue Lu"))
    assert isinstance(pinyin, Refused) and "CR-DH-04" in pinyin.why
    fine = await shop.channel.perform(shop.errand("authorise", order, "act"))
    assert isinstance(fine, Assisted) and any(ADDRESS in line for line in fine.checklist)


async def test_the_simulator_remembers_over_a_restart_and_lets_five_days_lapse(shop: Shop, tmp_path: Path) -> None:
    await shop.stage()
    await shop.does("opens_dispute")
    again = HttpServer(simulator.create(shop.account, SECRETS, shop.clock, tmp_path / "orders.json"))
    await again.start()
    try:
        source = Source(replace(shop.account, base_url=again.url), SECRETS, shop.http, shop.clock)
        assert [r.ref for r in (await source.poll(None, None)).records] == [f"dispute:{ORDER}"]
        shop.clock.advance(timedelta(days=5))
        assert (await source.poll(None, None)).records == ()
        assert (await source.fetch(f"closed:{ORDER}"))[1].body["refundMoney"] == "64.5"
    finally:
        await again.stop()
