"""Source, channel and client against the simulator, over real HTTP: signatures, windows, acts, doubt, replies."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from shared.domain.errands import Errand
from shared.domain.money import Money
from shared.http import HttpFault, InDoubtFault, NotSentFault, RefusedFault
from shared.marketplaces.pinduoduo import client, webhook
from shared.marketplaces.pinduoduo.channel import Channel
from shared.marketplaces.pinduoduo.source import Source
from shared.ports import Account, Assisted, Done, Found, Inbound, InDoubt, NotSent, NotYetThere, Refused
from tests.marketplaces.pinduoduo_walk import FOLDER, ORDER, START
from tests.support import market
from tests.support.market import opened

SECRETS = {
    "client_id": "demo-client", "client_secret": ("s3cr3t-demo", "older"), "access_token": "demo-token",
    "relay_secret": "s3cr3t-demo",
}  # fmt: skip


def test_the_signature_is_the_references_vector() -> None:
    params = {
        "type": "pdd.refund.agree", "client_id": "demo-client", "access_token": "demo-token", "timestamp": "1795280400",
        "data_type": "JSON", "version": "V1", "request": '{"after_sales_id":550031,"order_sn":"261120-100200300400500"}',
    }  # fmt: skip
    assert client.sign("s3cr3t-demo", params) == "3344E0F1FF9312473EC4574556D8172A"
    assert client.sign("s3cr3t-demo", {**params, "sign": "x"}) == "3344E0F1FF9312473EC4574556D8172A"
    assert client.sign("s3cr3t-demo", {**params, "version": "V2"}) != "3344E0F1FF9312473EC4574556D8172A"


def error(code: int) -> bytes:
    return json.dumps({"error_response": {"error_code": code, "error_msg": "no", "request_id": "1"}}).encode()


@pytest.mark.parametrize(
    ("code", "fault", "status"),
    [
        (52101, NotSentFault, None), (70031, NotSentFault, None), (10019, RefusedFault, 401), (10002, RefusedFault, 400),
        (39999, RefusedFault, 400), (50001, RefusedFault, 400), (52003, RefusedFault, 400), (52102, InDoubtFault, None),
        (52103, InDoubtFault, None), (40000, InDoubtFault, None), (0, InDoubtFault, None),
    ],
)  # fmt: skip
def test_error_codes_say_whether_anything_happened(code: int, fault: type[HttpFault], status: int | None) -> None:
    with pytest.raises(fault) as raised:
        client.unwrap(error(code), "pdd.refund.agree")
    assert getattr(raised.value, "status", None) == status
    assert "s3cr3t" not in raised.value.why


@pytest.mark.parametrize(
    "body",
    [
        b'{"after_sales_status":2}',
        b'{"result":{"after_sales_status":2}}',
        b'{"refund_increment_get_response":{"after_sales_status":2}}',
        b'{"pdd_refund_information_get_response":{"result":{"after_sales_status":2}}}',
    ],
)
def test_replies_are_read_bare_or_wrapped(body: bytes) -> None:
    assert client.unwrap(body, "pdd.refund.information.get")["after_sales_status"] == 2


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"<html>"])
def test_an_unreadable_reply_is_in_doubt(body: bytes) -> None:
    with pytest.raises(InDoubtFault):
        client.unwrap(body, "pdd.refund.agree")


def test_a_flag_or_the_named_after_sale_acknowledges() -> None:
    for yes in (
        {"succ": True},
        {"success": True, "message": ""},
        {"after_sales_id": 1},
        {"result_data": {"refund_id": 1}},
    ):
        client.acknowledged(yes)
    for no in ({"succ": False, "message": "late"}, {"success": True, "succ": False}, {"succ": True, "error_code": 7}):
        with pytest.raises(RefusedFault):
            client.acknowledged(no)
    with pytest.raises(InDoubtFault):
        client.acknowledged({"request_id": "1"})


class Shop(market.Shop):
    async def stage(self, id_: int = 550031, order: str = ORDER, **given: Any) -> dict[str, Any]:
        body: dict[str, Any] = await self.control("after_sales", {"order_sn": order, "id": id_, **given})
        return body

    async def sent(self) -> list[tuple[str, dict[str, Any]]]:
        return [(row["type"], row["params"]) for row in await self.control("sent")]

    def errand(self, name: str, money: str | None = None, kind: str = "refund", **params: Any) -> Errand:
        return Errand(
            id="act_1", what="act", name=name, account="pdd-main", marketplace="pinduoduo", order_id=ORDER,
            case_id="case_1", case_kind=kind, phase="awaiting_seller", created_at=START, params=params,
            money=Money.parse(money) if money else None, refs={"refund_id": "550031"},
        )  # fmt: skip


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    account = Account("pdd-main", "pinduoduo", settings={"return_address_id": "4711"})
    async with opened(Shop, account, SECRETS, START, tmp_path / "after_sales.json") as found:
        yield found


REF = f"refund:{ORDER}:550031"


@pytest.mark.asyncio
async def test_a_reading_holds_detail_and_row_word_for_word(shop: Shop) -> None:
    await shop.stage(expire_time=1795453200000)
    (record,) = await shop.source.fetch(REF)
    assert record.ref == REF and set(record.body) == {"detail", "row"}
    assert record.body["detail"]["expire_time"] == 1795453200000
    assert record.body["row"]["refund_amount"] == "25.90"
    assert record.revision == int(START.timestamp()) * 1000 + 999


@pytest.mark.asyncio
async def test_what_nobody_staged_says_nothing_and_what_is_refused_is_not_there_yet(shop: Shop) -> None:
    (record,) = await shop.source.fetch(REF)
    assert record.body["detail"]["after_sales_status"] == 0
    stranger = Source(shop.account, {**SECRETS, "client_id": "other"}, shop.http, shop.clock)
    with pytest.raises(NotYetThere):
        await stranger.fetch(REF)


@pytest.mark.asyncio
async def test_polls_walk_windows_of_thirty_minutes(shop: Shop) -> None:
    await shop.stage(1, "261122-1")
    shop.clock.advance(timedelta(hours=2))
    await shop.stage(2, "261122-2")
    _, refs, pages = await shop.sweep()
    assert list(dict.fromkeys(refs)) == ["refund:261122-1:1", "refund:261122-2:2"]
    assert pages == 48, "the first poll reads a day back"
    bodies = [json.loads(call.body or b"{}") for call in shop.calls]
    spans = [int(b["end_updated_at"]) - int(b["start_updated_at"]) for b in bodies]
    assert max(spans) == 1800 and {b["after_sales_type"] for b in bodies} == {"1"}
    since = shop.clock.now()
    shop.clock.advance(timedelta(minutes=5))
    _, refs, pages = await shop.sweep(since)
    assert (refs, pages) == (["refund:261122-2:2"], 1), "what lies in the overlap is asked for again"
    shop.clock.advance(timedelta(minutes=20))
    assert (await shop.sweep(shop.clock.now()))[1] == []


@pytest.mark.asyncio
async def test_a_full_window_goes_on_page_by_page_and_resumes_where_it_stopped(shop: Shop) -> None:
    for n in range(1, 131):
        await shop.stage(n, f"261122-{n}")
    since = shop.clock.now() - timedelta(minutes=5)
    first = await shop.source.poll(None, since)
    assert len(first.refs) == 100 and first.cursor is not None and first.cursor["page"] == 2
    again = Source(shop.account, SECRETS, shop.http, shop.clock)
    second = await again.poll(first.cursor, since)
    assert len({*first.refs, *second.refs}) == 130 and second.cursor is None


@pytest.mark.asyncio
async def test_where_no_number_means_all_each_status_is_asked_for(shop: Shop) -> None:
    await shop.stage(7, "261122-7", after_sales_status=8)
    each = shop.with_settings(poll_each_status=True)
    _, refs, pages = await each.sweep(shop.clock.now())
    assert refs == ["refund:261122-7:7"] and pages == 25


@pytest.mark.asyncio
async def test_agreeing_pays_just_what_the_buyer_asks(shop: Shop) -> None:
    await shop.stage(images=[])
    errand = shop.errand("refund", "25.90 CNY")
    assert await shop.channel.look_up(errand, "", START) == Found(False)
    assert await shop.channel.perform(errand) == Done()
    assert await shop.sent() == [("pdd.refund.agree", {"after_sales_id": 550031, "order_sn": ORDER})]
    assert await shop.channel.look_up(errand, "", START) == Found(True)
    assert isinstance(await shop.channel.perform(errand), Refused), "a second time nothing is agreed to"
    shop.clock.advance(timedelta(hours=1))
    (record,) = await shop.source.fetch(REF)
    assert record.body["detail"]["after_sales_status"] == 10


@pytest.mark.asyncio
@pytest.mark.parametrize("now", ["30.00", "12.00"])
async def test_another_sum_than_decided_upon_is_not_agreed_to(shop: Shop, now: str) -> None:
    await shop.stage(refund_amount=now)
    answer = await shop.channel.perform(shop.errand("refund", "25.90 CNY"))
    assert isinstance(answer, Refused) and now in answer.why and await shop.sent() == []


@pytest.mark.asyncio
async def test_a_return_takes_a_validated_address_only(shop: Shop) -> None:
    await shop.stage(after_sales_type=2)
    errand = shop.errand("authorise", kind="return")
    for wrong in ("4712", "9"):
        answer = await shop.channel.perform(msgspec.structs.replace(errand, params={"return_address_id": wrong}))
        assert isinstance(answer, Refused) and wrong in answer.why
    homeless = Channel(replace(shop.account, settings={}), SECRETS, shop.http, shop.clock)
    assert isinstance(await homeless.perform(errand), Refused)
    assert await shop.sent() == []
    assert await shop.channel.perform(errand) == Done()
    ((type_, params),) = await shop.sent()
    assert (type_, params["return_address_id"]) == ("pdd.refund.returngoods.agree", "4711")
    assert await shop.channel.look_up(errand, "", START) == Found(True)


@pytest.mark.asyncio
async def test_receipt_and_replacement_need_the_carriers_id(shop: Shop) -> None:
    await shop.stage(after_sales_type=2, express_no="YT1")
    receipt = shop.errand("confirm_receipt", kind="return", condition="damaged")
    assert isinstance(await shop.channel.perform(receipt), Assisted)
    told = msgspec.structs.replace(receipt, params={"condition": "damaged", "reverse_logistics_id": "44"})
    assert await shop.channel.perform(told) == Done()
    ((type_, params),) = await shop.sent()
    assert type_ == "pdd.nextone.logistics.warehouse.update"
    assert (params["reverse_tracking_number"], params["warehouse_status"], params["reverse_logistics_id"]) == (
        "YT1",
        2,
        44,
    )
    await shop.stage(after_sales_type=3, after_sales_status=32)
    ship = shop.errand("ship_replacement", kind="return", carrier="SF", tracking="SF2")
    assert isinstance(await shop.channel.perform(ship), Assisted)
    known = msgspec.structs.replace(ship, params={**ship.params, "shipping_id": "44"})
    assert await shop.channel.perform(known) == Done()
    assert (await shop.sent())[-1][0] == "pdd.refund.exchange.shipping"


@pytest.mark.asyncio
async def test_a_parcel_sent_again_is_shown_and_the_rest_left_to_a_person(shop: Shop) -> None:
    await shop.stage(after_sales_type=4, after_sales_status=32)
    errand = shop.errand("ship_replacement", kind="return", carrier="SF", tracking="SF2", shipping_id="44")
    done = await shop.channel.perform(errand)
    assert isinstance(done, Done) and done.left is not None
    ((type_, params),) = await shop.sent()
    assert (type_, params["extra_track_type"]) == ("pdd.order.upload.extra.logistics", "2")


@pytest.mark.asyncio
async def test_a_stopped_shipment_is_told_in_fen_and_only_before_dispatch(shop: Shop) -> None:
    await shop.stage(shipping_status=1)
    assert isinstance(await shop.channel.perform(shop.errand("cancel")), Refused)
    await shop.stage(shipping_status=0)
    assert await shop.channel.perform(shop.errand("cancel")) == Done()
    ((_, params),) = await shop.sent()
    assert (params["refund_fee"], params["status"], params["tid"]) == (2590, "SUCCESS", ORDER)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "name", ["decline", "intercept", "propose", "escalate", "appeal", "submit_evidence", "authorise"]
)
async def test_what_has_no_api_is_prepared_and_calls_nobody(shop: Shop, name: str) -> None:
    answer = await shop.channel.perform(shop.errand(name, "5.00 CNY", text="Please look", remedy="part_refund"))
    assert isinstance(answer, Assisted) and answer.link is None
    assert ORDER in answer.checklist[0] and "550031" in answer.checklist[0] and "Please look" in answer.text
    assert shop.calls == []


@pytest.mark.asyncio
async def test_a_message_is_always_a_prepared_text(shop: Shop) -> None:
    errand = msgspec.structs.replace(shop.errand("free_text"), what="message")
    answer = await shop.channel.send(errand, None, "您好")
    assert isinstance(answer, Assisted) and answer.text == "您好" and shop.calls == []
    assert shop.channel.ability(errand) == "blind"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("at", "fault", "ends"),
    [(0, "timeout", NotSent), (2, "timeout", InDoubt), (2, "500", InDoubt), (2, "429", NotSent)],
)
async def test_a_call_cut_short_says_what_may_have_happened(shop: Shop, at: int, fault: str, ends: type) -> None:
    await shop.stage()
    shop.faults.extend([*[None] * at, fault])  # detail and row are read first
    errand = shop.errand("refund", "25.90 CNY")
    assert type(await shop.channel.perform(errand)) is ends
    taken = fault == "timeout" and at == 2
    assert (await shop.channel.look_up(errand, "", START)).there is taken


@pytest.mark.asyncio
async def test_a_wrong_secret_is_a_clear_no(shop: Shop) -> None:
    await shop.stage()

    wrong = Channel(shop.account, {**SECRETS, "client_secret": "wrong"}, shop.http, shop.clock)
    answer = await wrong.perform(shop.errand("refund", "25.90 CNY"))
    assert isinstance(answer, Refused) and "20004" in answer.why and await shop.sent() == []


@pytest.mark.asyncio
async def test_the_simulators_relay_is_genuine(shop: Shop) -> None:
    await shop.stage()
    made = await shop.control("relay", {"id": 550031, "operation": 1000})
    inbound = Inbound(made["body"].encode(), {}, query=made["query"])
    webhook.verify(inbound, shop.account, SECRETS, shop.clock.now())
    assert webhook.parse(inbound, shop.account).ref == REF  # type: ignore[union-attr]


def test_no_private_console_address_is_named_anywhere() -> None:
    """CR-PD-05: only the open platform, never the merchant back office."""
    for path in FOLDER.rglob("*.py"):
        text = path.read_text()
        assert "mms.pinduoduo" not in text and "plateau" not in text
    assert client.BASE == "https://gw-api.pinduoduo.com"
