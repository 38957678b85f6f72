"""Source and channel against the simulator, over real HTTP: signatures, sweeps, acts, messages, doubt."""

import json
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
from shared.http import Call, Http, InDoubtFault, NotSentFault, RefusedFault
from shared.ids import content_hash
from shared.marketplaces.aliexpress import simulator, webhook
from shared.marketplaces.aliexpress.channel import Channel
from shared.marketplaces.aliexpress.source import FINISHED_PAGES, Source
from shared.ports import Account, Assisted, Done, Found, Inbound, InDoubt, NotSent, Refused
from tests.marketplaces.aliexpress_walk import START
from tests.support import market
from tests.support.market import opened

SECRETS = {"app_key": "500001", "app_secret": ("demo-secret-0001", "older"), "access_token": "demo-token"}
ORDER = "8200001234567890"
pytestmark = pytest.mark.asyncio


class Shop(market.Shop):
    async def stage(self, order: str = ORDER, **given: Any) -> dict[str, Any]:
        body: dict[str, Any] = await self.control("issues", {"order_id": order, **given})
        return body

    async def does(self, issue: dict[str, Any], move: str, **given: Any) -> dict[str, Any]:
        body: dict[str, Any] = await self.control(f"issues/{issue['issue_id']}", {"do": move, **given})
        return body

    async def now_stands(self, issue: dict[str, Any]) -> dict[str, Any]:
        (record,) = await self.source.fetch(f"issue:{issue['issue_id']}:{issue['buyer_login_id']}")
        return dict(record.body)

    def errand(self, issue: dict[str, Any], name: str, money: str | None = None, **params: Any) -> Errand:
        return Errand(
            id="act_1",
            what="act",
            name=name,
            account="ae-main",
            marketplace="aliexpress",
            order_id=issue["parent_order_id"],
            case_id="case_1",
            case_kind="dispute",
            phase="awaiting_seller",
            created_at=START,
            params=params,
            money=Money.parse(money) if money else None,
            refs={"issue_id": issue["issue_id"], "buyer_login_id": issue["buyer_login_id"]},
        )

    def message(self, login: str = "cn1") -> Errand:
        blank = self.errand({"parent_order_id": ORDER, "issue_id": "1", "buyer_login_id": login}, "free_text")
        return replace_struct(blank, what="message", buyer=Buyer(id=login))


def replace_struct(errand: Errand, **changes: Any) -> Errand:
    return msgspec.structs.replace(errand, **changes)


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    account = Account("ae-main", "aliexpress", settings={"return_address_id": "4711"})
    async with opened(Shop, account, SECRETS, START, tmp_path / "issues.json") as found:
        yield found


async def test_an_order_nobody_staged_has_a_dispute_that_waits_for_us(shop: Shop) -> None:
    (record,) = await shop.source.fetch(f"order:{ORDER}")
    assert record.body["parent_order_id"] == ORDER
    assert record.body["buyer_login_id"].startswith("cn")
    assert record.ref == f"issue:{record.body['issue_id']}"
    assert record.revision == int(START.timestamp() * 1000)
    assert (await shop.source.fetch(f"order:{ORDER}"))[0] == record


async def test_a_wrong_secret_is_a_clear_refusal_of_credentials(shop: Shop) -> None:
    stranger = Source(shop.account, {**SECRETS, "app_secret": "wrong"}, shop.http, shop.clock)
    with pytest.raises(RefusedFault) as refused:
        await stranger.fetch(f"order:{ORDER}")
    assert refused.value.status == 401


async def test_the_simulators_push_is_genuine(shop: Shop) -> None:
    made = await shop.control("push", {"order_id": ORDER})
    headers = {name.lower(): (value,) for name, value in made["headers"].items()}
    inbound = Inbound(made["body"].encode(), headers)
    webhook.verify(inbound, shop.account, SECRETS, shop.clock.now())
    assert webhook.parse(inbound, shop.account).ref == f"order:{ORDER}"  # type: ignore[union-attr]


async def test_the_sweep_reads_all_in_progress_and_later_only_what_changed(shop: Shop) -> None:
    staged = [await shop.stage(f"82000000000{n:03d}0") for n in range(103)]
    _, refs, pages = await shop.sweep()
    assert len(set(refs)) == 103 and pages == 3
    began = shop.clock.now()
    shop.clock.advance(timedelta(hours=3))
    assert (await shop.sweep(began + timedelta(hours=2)))[1] == []
    await shop.does(staged[7], "buyer_modifies", amount="3.00")
    await shop.does(staged[8], "buyer_cancels")
    _, refs, _ = await shop.sweep(began + timedelta(hours=2))
    assert sorted(refs) == sorted(f"issue:{s['issue_id']}:{s['buyer_login_id']}" for s in staged[7:9])


async def test_a_sweep_goes_on_where_it_stopped(shop: Shop) -> None:
    for n in range(60):
        await shop.stage(f"82000000000{n:03d}0")
    first = await shop.source.poll(None, None)
    again = Source(shop.account, SECRETS, shop.http, shop.clock)
    second = await again.poll(first.cursor, None)
    assert len({*first.refs, *second.refs}) == 60 and second.cursor is None


async def test_ended_disputes_are_read_some_pages_deep(shop: Shop) -> None:
    for n in range(FINISHED_PAGES * 50 + 60):
        issue = await shop.stage(f"82000000{n:05d}0")
        await shop.does(issue, "buyer_cancels")
    shop.clock.advance(timedelta(days=9))
    _, _, pages = await shop.sweep(shop.clock.now() - timedelta(hours=1))
    assert pages == 1 + FINISHED_PAGES + 1


async def test_agreeing_to_the_buyers_plan_pays(shop: Shop) -> None:
    issue = await shop.stage(amount="12.50")
    errand = shop.errand(issue, "refund", "12.50 USD")
    since = shop.clock.now()
    assert await shop.channel.look_up(errand, "", since) == Found(False)
    assert await shop.channel.perform(errand) == Done()
    assert (await shop.now_stands(issue))["reverse_detail_status"] == "refund_success"
    assert (await shop.channel.look_up(errand, "", since)).there is True
    assert isinstance(await shop.channel.perform(errand), Refused), "a second time nothing is agreed to"
    assert [row["method"] for row in await shop.control("sent")] == ["aliexpress.issue.solution.agree"]


async def test_a_plan_that_has_changed_meanwhile_is_not_agreed_to(shop: Shop) -> None:
    issue = await shop.stage(amount="12.50", max_refund="50.00")
    await shop.does(issue, "buyer_modifies", amount="50.00")
    answer = await shop.channel.perform(shop.errand(issue, "refund", "12.50 USD"))
    assert isinstance(answer, Refused) and "50.00 USD" in answer.why
    await shop.does(issue, "buyer_modifies", amount="12.50", solution_type="return_and_refund")
    assert isinstance(await shop.channel.perform(shop.errand(issue, "refund", "12.50 USD")), Refused)
    assert await shop.control("sent") == []


async def test_a_return_plan_takes_the_address(shop: Shop) -> None:
    issue = await shop.stage(solution_type="return_and_refund")
    assert await shop.channel.perform(shop.errand(issue, "authorise")) == Done()
    (sent,) = await shop.control("sent")
    assert sent["params"]["return_address_id"] == "4711"
    assert (await shop.now_stands(issue))["reverse_detail_status"] == "wait_for_buyer_return"
    homeless = Channel(replace(shop.account, settings={}), SECRETS, shop.http, shop.clock)
    other = await shop.stage("8200001234567000", solution_type="return_and_refund")
    assert isinstance(await homeless.perform(shop.errand(other, "authorise")), Refused)


async def test_a_return_plan_without_a_sum_gives_back_what_is_asked(shop: Shop) -> None:
    issue = await shop.stage(amount="12.50", max_refund="30.00")
    offer = shop.errand(issue, "propose", remedy="return_refund")
    assert await shop.channel.look_up(offer, "", shop.clock.now()) == Found(False)
    assert await shop.channel.perform(offer) == Done()
    plan = (await shop.now_stands(issue))["seller_solution_list"][-1]
    assert (plan["refund_money"], plan["solution_type"]) == ("12.50", "return_and_refund")
    assert (await shop.channel.look_up(offer, "", shop.clock.now())).there is True
    (sent,) = await shop.control("sent")
    assert json.loads(sent["params"]["param_dto"])["return_good_address_id"] == "4711"


async def test_a_counter_plan_and_its_change_and_a_no(shop: Shop) -> None:
    issue = await shop.stage(amount="30.00")
    offer = shop.errand(issue, "propose", "6.00 USD", remedy="part_refund", comment="Keep it, 6 USD back")
    assert await shop.channel.perform(offer) == Done()
    stands = await shop.now_stands(issue)
    assert stands["reverse_detail_status"] == "wait_for_buyer_response"
    assert stands["seller_solution_list"][-1]["refund_money"] == "6.00"
    assert (await shop.channel.look_up(offer, "", shop.clock.now())).there is True
    other = shop.errand(issue, "propose", "7.00 USD", remedy="part_refund")
    assert await shop.channel.look_up(other, "", shop.clock.now()) == Found(
        False, stands["seller_solution_list"][-1]["id"]
    )
    assert await shop.channel.perform(other) == Done()
    assert await shop.channel.perform(shop.errand(issue, "decline", reason="used")) == Done()
    dtos = [json.loads(row["params"]["param_dto"]) for row in await shop.control("sent")]
    assert [dto["add_seller_solution"] for dto in dtos] == [True, False, False]
    assert "modify_seller_solution_id" in dtos[1] and "buyer_solution_id" not in dtos[1]
    assert dtos[0]["buyer_solution_id"] == stands["buyer_solution_list"][-1]["id"]
    assert dtos[2]["refund_amount"] == "0.00"
    too_much = await shop.channel.perform(shop.errand(issue, "propose", "31.00 USD", remedy="part_refund"))
    assert isinstance(too_much, Refused) and "30.00 USD" in too_much.why


PICTURES = {
    content_hash(content): content for content in (b"\xff\xd8\xff one", b"\xff\xd8\xff two", b"\xff\xd8\xff three")
}


def handing_in(shop: Shop, issue: dict[str, Any], *more: dict[str, Any], text: str | None = None) -> Errand:
    files = [{"what": "photo_fault", "sha256": name, "content_type": "image/jpeg"} for name in PICTURES]
    errand = shop.errand(issue, "submit_evidence", files=[*files, *more], **({"text": text} if text else {}))
    return msgspec.structs.replace(errand, attachments=tuple(PICTURES), created_at=shop.clock.now())


async def uploaded(shop: Shop) -> list[tuple[str, str]]:
    return [(row["params"]["image_bytes"], row["params"]["extension"]) for row in await shop.control("sent")]


async def test_pictures_are_uploaded_one_by_one(shop: Shop) -> None:
    errand = handing_in(shop, await shop.stage())
    assert await shop.channel.perform(errand, PICTURES) == Done()
    assert await uploaded(shop) == [(name, "jpg") for name in PICTURES]
    assert await shop.channel.look_up(errand, "", shop.clock.now()) == Found(True)


async def test_what_is_no_picture_is_left_for_a_person(shop: Shop) -> None:
    issue = await shop.stage()
    film = {"what": "video_fault", "sha256": "f" * 64, "content_type": "video/mp4"}
    errand = handing_in(shop, issue, film, text="Weighed at 800 g")
    done = await shop.channel.perform(errand, {**PICTURES, "f" * 64: b"film"})
    assert isinstance(done, Done) and done.left is not None and len(await uploaded(shop)) == 3
    assert done.left.text == "Weighed at 800 g" and "video_fault" in " ".join(done.left.checklist)
    assert (await shop.channel.look_up(errand, "", shop.clock.now())).left == done.left
    words = await shop.channel.perform(shop.errand(issue, "submit_evidence", text="Weighed at 800 g"))
    assert isinstance(words, Assisted) and words.text == "Weighed at 800 g"
    alone = await shop.channel.perform(shop.errand(issue, "submit_evidence", files=[film]), {"f" * 64: b"film"})
    assert isinstance(alone, Assisted) and len(await uploaded(shop)) == 3


@pytest.mark.parametrize(
    ("at", "fault", "ends", "found"),
    [
        (1, "refused", NotSent, False),
        (1, "timeout", InDoubt, None),
        (2, "refused", InDoubt, None),
        (3, "500", InDoubt, None),
    ],
)
async def test_an_upload_that_is_cut_short(shop: Shop, at: int, fault: str, ends: type, found: bool | None) -> None:
    errand = handing_in(shop, await shop.stage())
    shop.faults.extend([*[None] * at, fault])  # the dispute is read first
    end = await shop.channel.perform(errand, PICTURES)
    assert type(end) is ends
    if found is None:
        with pytest.raises(InDoubtFault, match="pictures of ours"):
            await shop.channel.look_up(errand, "", shop.clock.now())
    else:
        assert await shop.channel.look_up(errand, "", shop.clock.now()) == Found(found)


async def test_a_picture_that_is_refused_after_others_says_how_many_are_there(shop: Shop) -> None:
    issue = await shop.stage()
    calls: list[Call] = []

    async def withdrawn_meanwhile(call: Call) -> None:
        calls.append(call)
        if len(calls) == 3:
            await shop.does(issue, "buyer_cancels")

    http = Http(fault=withdrawn_meanwhile)
    try:
        channel = Channel(shop.account, SECRETS, http, shop.clock)
        end = await channel.perform(handing_in(shop, issue), PICTURES)
    finally:
        await http.close()
    assert isinstance(end, Refused) and "1 of 3 pictures" in end.why and len(calls) == 3


@pytest.mark.parametrize(
    "name", ["escalate", "withdraw", "confirm_receipt", "appeal", "close", "set_return_address", "ship_replacement"]
)
async def test_what_has_no_api_is_prepared(shop: Shop, name: str) -> None:
    answer = await shop.channel.perform(
        shop.errand(await shop.stage(), name, text="Please look", return_address_id="9")
    )
    assert isinstance(answer, Assisted)
    assert ORDER in answer.checklist[0] and answer.text == "Please look" and answer.link is None
    assert await shop.control("sent") == []


async def test_a_cancellation_is_accepted_or_refused_where_the_buyer_is_known(shop: Shop) -> None:
    issue = await shop.stage()
    yes = replace_struct(shop.errand(issue, "cancel"), case_kind="cancellation")
    no = replace_struct(shop.errand(issue, "decline", comment="Shipped"), case_kind="cancellation")
    assert await shop.channel.perform(yes) == Done()
    assert await shop.channel.perform(no) == Done()
    assert [r["method"].rpartition(".")[2] for r in await shop.control("sent")] == ["acceptcancel", "refusecancel"]
    unknown = replace_struct(yes, refs={})
    assert isinstance(await shop.channel.perform(unknown), Assisted)


async def test_a_message_is_sent_and_found_again(shop: Shop) -> None:
    errand, since = shop.message(), shop.clock.now()
    assert await shop.channel.look_up(errand, "Hello\nyou", since) == Found(False)
    assert await shop.channel.send(errand, None, "Hello\nyou") == Done("m1")
    assert await shop.channel.look_up(errand, "Hello  you", since) == Found(True, "m1")
    assert await shop.channel.look_up(errand, "Another text", since) == Found(False)
    shop.clock.advance(timedelta(hours=1))
    assert await shop.channel.look_up(errand, "Hello you", shop.clock.now()) == Found(False), "an older one is not ours"
    assert isinstance(await shop.channel.send(replace_struct(errand, refs={}, buyer=Buyer()), None, "x"), Refused)
    assert shop.channel.ability(errand) == "readable"


async def test_doubt_is_told_from_not_sent(shop: Shop) -> None:
    issue, errand = await shop.stage(amount="9.00"), shop.message()
    refund = shop.errand(issue, "refund", "9.00 USD")
    for faults, kind in ((["timeout"], NotSent), ([None, "refused"], NotSent), ([None, "500"], InDoubt)):
        shop.faults[:] = faults
        assert isinstance(await shop.channel.send(errand, None, "Hi"), kind), faults
        shop.faults[:] = faults
        assert isinstance(await shop.channel.perform(refund), kind), faults
    shop.faults[:] = [None, "timeout"]
    assert isinstance(await shop.channel.perform(refund), InDoubt)
    assert (await shop.channel.look_up(refund, "", START)).there is True, "it had been taken"
    shop.faults[:] = ["timeout"]
    assert (await shop.channel.look_up(refund, "", START)).there is None


async def test_silence_carries_out_the_buyers_plan_and_a_restart_keeps_it(shop: Shop, tmp_path: Path) -> None:
    issue = await shop.stage(amount="9.00")
    shop.clock.advance(timedelta(days=5, minutes=1))
    stands = await shop.now_stands(issue)
    assert stands["buyer_solution_list"][0]["reached_type"] == "seller_reponse_timeout"
    again = HttpServer(simulator.create(shop.account, SECRETS, shop.clock, tmp_path / "issues.json"))
    await again.start()
    try:
        restarted = replace(shop, account=replace(shop.account, base_url=again.url))
        assert await restarted.now_stands(issue) == stands
    finally:
        await again.stop()


async def test_a_dead_marketplace_is_not_sent(shop: Shop) -> None:
    nowhere = replace(shop.account, base_url="http://127.0.0.1:9")
    with pytest.raises(NotSentFault):
        await Source(nowhere, SECRETS, shop.http, shop.clock).fetch(f"order:{ORDER}")
