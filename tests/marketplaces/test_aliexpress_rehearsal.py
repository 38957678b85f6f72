"""Whole AliExpress disputes through the running product (embedded), with the simulator as the marketplace."""

import hashlib
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from shared.ports import Account
from tests.marketplaces.aliexpress_walk import START
from tests.support import market, pushes
from tests.support.market import rehearsed
from tests.support.system import until

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(400)]
SECRETS = {"app_key": pushes.APP_KEY, "app_secret": pushes.APP_SECRET, "access_token": "demo-token"}


def usd(value: str) -> dict[str, str]:
    return {"value": value, "currency": "USD"}


class Rehearsal(market.Rehearsal):
    async def does(self, issue: dict[str, Any], move: str, **given: Any) -> dict[str, Any]:
        """The marketplace moves the dispute and tells us that something has happened."""
        await self.control(f"issues/{issue['issue_id']}", {"do": move, **given})
        return await self.ring(issue)

    async def ring(self, issue: dict[str, Any]) -> dict[str, Any]:
        """The case after the push and all that follows from it."""
        await self.system.advance(timedelta(minutes=2))
        made = await self.control("push", {"order_id": issue["parent_order_id"]})
        status, _ = await self.system.push("aliexpress", "ae-main", made["body"].encode(), made["headers"])
        assert status == 200
        await self.system.drain()
        return await self.case(issue)

    async def case(self, issue: dict[str, Any]) -> dict[str, Any]:
        return await self.system.case_of(issue["issue_id"])

    async def act(self, issue: dict[str, Any], action: str, **params: Any) -> None:
        await self.decide(await self.case(issue), action, **params)

    async def messages(self, issue: dict[str, Any]) -> list[tuple[str, str]]:
        return await self.told(await self.case(issue))

    async def sent(self) -> list[str]:
        return [row["method"].rpartition(".")[2] for row in await self.control("sent")]


def accounts(url: str) -> str:
    return pushes.accounts("http://127.0.0.1:9", url)


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    account = Account("ae-main", "aliexpress")
    async with rehearsed(Rehearsal, account, SECRETS, START, tmp_path, accounts) as found:
        yield found


async def test_a_counter_plan_that_the_buyer_accepts(shop: Rehearsal) -> None:
    issue = await shop.control("issues", {"order_id": "8200001234567890", "amount": "40.00"})
    case = await shop.ring(issue)
    assert (case["state"], case["order_id"], case["amount"]) == ("seller_response", "8200001234567890", usd("40.00"))
    assert await shop.messages(issue) == [("ask_for_evidence", "sent")]
    await shop.act(issue, "propose", amount=usd("8.00"))
    assert (await shop.ring(issue))["state"] == "buyer_response"
    case = await shop.does(issue, "buyer_accepts")
    assert (case["phase"], case["outcome"], case["money"]) == ("resolved", "part_refunded", "part_refunded")
    assert await shop.messages(issue) == [("ask_for_evidence", "sent"), ("solution_agreed", "sent")]
    assert await shop.sent() == ["aliexpress/message/send", "save", "aliexpress/message/send"]
    assert await shop.system.tasks() == []


async def test_a_return_from_agreement_to_receipt(shop: Rehearsal) -> None:
    staged = {"order_id": "8200001234567891", "amount": "30.00", "solution_type": "return_and_refund"}
    issue = await shop.control("issues", staged)
    await shop.ring(issue)
    await shop.act(issue, "authorise", return_address_id="4711")
    case = await shop.ring(issue)
    assert (case["state"], case["goods"]) == ("buyer_return", "advised")
    case = await shop.does(issue, "buyer_ships", tracking_number="RR1")
    assert (case["phase"], case["goods"], case["deadlines"][0]["origin"]) == (
        "goods_in_transit",
        "in_transit",
        "platform",
    )
    assert case["deadlines"][0]["planned"]["do"] == "escalate"
    await shop.act(issue, "confirm_receipt", condition="ok")
    [task] = [t for t in await shop.system.tasks() if t["kind"] == "assisted_act"]
    assert "Confirm the receipt" in " ".join(task["prepared"]["checklist"])
    case = await shop.does(issue, "seller_receives")
    assert (case["outcome"], case["goods"], case["money"]) == ("refunded", "received", "refunded")
    assert await shop.system.tasks() == []


async def test_a_return_that_never_arrives_is_escalated_before_its_time(shop: Rehearsal) -> None:
    staged = {"order_id": "8200001234567892", "amount": "30.00", "solution_type": "return_and_refund"}
    issue = await shop.control("issues", staged)
    await shop.ring(issue)
    await shop.act(issue, "authorise", return_address_id="4711")
    await shop.does(issue, "buyer_ships")
    await shop.system.advance(timedelta(days=14, hours=1))
    [task] = [t for t in await shop.system.tasks() if t["kind"] == "assisted_act"]
    assert any("R004-04" in step for step in task["prepared"]["checklist"])
    assert task["due_at"] <= (await shop.case(issue))["deadlines"][0]["due_at"]
    case = await shop.does(issue, "seller_escalates")
    assert case["state"] == "arbitration"
    assert await shop.system.tasks() == [], "what was prepared is done"


async def test_the_sweep_finds_what_no_push_told(shop: Rehearsal) -> None:
    issue = await shop.control("issues", {"order_id": "8200001234567893", "amount": "40.00"})
    await shop.system.post("/sandbox/poll", {"account": "ae-main"})
    assert (await shop.case(issue))["state"] == "seller_response"
    await shop.control(f"issues/{issue['issue_id']}", {"do": "buyer_cancels"})
    await shop.system.advance(timedelta(minutes=6))
    assert (await shop.case(issue))["outcome"] == "withdrawn"


async def test_a_cancellation_is_put_before_a_person_and_ends_with_the_shipment(shop: Rehearsal) -> None:
    async def told(status: str) -> None:
        made = await shop.control("push", {"order_id": "8200001234567894", "order_status": status})
        await shop.system.push("aliexpress", "ae-main", made["body"].encode(), made["headers"])
        await shop.system.drain()

    await told("IN_CANCEL")
    [case] = await shop.system.cases("?kind=cancellation")
    assert case["state"] == "requested" and "cancel" in case["allowed"]
    await shop.system.advance(timedelta(minutes=2))
    await told("WAIT_BUYER_ACCEPT_GOODS")
    [case] = await shop.system.cases("?kind=cancellation")
    assert case["outcome"] == "rejected"


async def test_a_refund_whose_answer_was_lost_is_read_back_and_never_sent_twice(shop: Rehearsal) -> None:
    issue = await shop.control("issues", {"order_id": "8200001234567895", "amount": "20.00"})
    await shop.ring(issue)
    await shop.system.post("/sandbox/faults", {"channel": "aliexpress", "next": ["timeout"]})
    await shop.act(issue, "refund")
    [tried] = [call for call in await shop.system.calls() if call["kind"] == "act"]
    assert (tried["name"], tried["outcome"]) == ("refund", "in_doubt")
    await shop.system.advance(timedelta(minutes=5))
    assert (await shop.sent()).count("agree") == 1
    case = await shop.ring(issue)
    assert (case["outcome"], case["money"]) == ("refunded", "refunded")
    assert await shop.system.tasks() == []


async def test_a_refund_the_marketplace_refuses_becomes_a_task(shop: Rehearsal) -> None:
    issue = await shop.control("issues", {"order_id": "8200001234567896", "amount": "20.00", "max_refund": "90.00"})
    await shop.ring(issue)
    await shop.control(f"issues/{issue['issue_id']}", {"do": "buyer_modifies", "amount": "45.00"})
    await shop.act(issue, "refund")
    assert "agree" not in await shop.sent(), "the buyer asks for more than what was decided upon"
    [task] = await shop.system.tasks()
    assert "45.00 USD" in task["reason"]
    case = await shop.ring(issue)
    assert (case["amount"], case["money"]) == (usd("45.00"), "none")


@pytest.mark.parametrize(("answer", "ends"), [("send_again", "sent"), ("drop", "suppressed")])
async def test_a_person_decides_over_a_message_that_a_rule_holds(shop: Rehearsal, answer: str, ends: str) -> None:
    issue = await shop.control("issues", {"order_id": "8200001234567899", "amount": "40.00"})
    await shop.ring(issue)
    await shop.act(issue, "contact", text="Everything has been settled. Could you please withdraw the dispute?")
    assert ("free_text", "held") in await shop.messages(issue)
    (task,) = await shop.system.tasks("?status=open&kind=message_blocked")
    assert task["allowed"] == ["send_again", "drop"] and task["prepared"]["verdict"]["action"] == "hold"
    path, headers = f"/v1/tasks/{task['id']}/done", {"Idempotency-Key": "held"}
    await shop.system.post(path, {"answer": answer, "reason": "read it"}, headers=headers)
    await shop.system.drain()
    assert ("free_text", ends) in await shop.messages(issue)
    assert await shop.system.tasks("?status=open&kind=message_blocked") == []


def png(shade: int) -> bytes:
    """One grey pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head, pixel = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), zlib.compress(bytes([0, shade]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


async def asked_for_evidence(shop: Rehearsal, order: str) -> dict[str, Any]:
    issue: dict[str, Any] = await shop.control("issues", {"order_id": order, "amount": "40.00"})
    await shop.ring(issue)
    await shop.control(f"issues/{issue['issue_id']}", {"reverse_detail_status": "wait_for_your_evidence"})
    assert (await shop.ring(issue))["state"] == "platform_evidence"
    return issue


async def laid_up(
    shop: Rehearsal, issue: dict[str, Any], content: bytes, kind: str = "photo_packing"
) -> dict[str, Any]:
    case = await shop.case(issue)
    form = aiohttp.FormData({"kind": kind, "supplied_by": "seller"})
    form.add_field("file", content, filename="picture", content_type="application/octet-stream")
    status, kept = await shop.system.request("POST", f"/v1/cases/{case['id']}/evidence", data=form)
    assert (status, kept["sha256"]) == (201, hashlib.sha256(content).hexdigest())
    return dict(kept)


async def uploads(shop: Rehearsal) -> list[tuple[str, str]]:
    rows = [row["params"] for row in await shop.control("sent") if row["method"].endswith("image.upload")]
    return [(row["image_bytes"], row["extension"]) for row in rows]


async def test_evidence_kept_with_a_case_reaches_its_dispute(shop: Rehearsal) -> None:
    issue = await asked_for_evidence(shop, "8200001234567880")
    first, second = await laid_up(shop, issue, png(1)), await laid_up(shop, issue, png(2))
    assert await uploads(shop) == [], "keeping is not sending"
    await shop.act(issue, "submit_evidence", text="Packed whole", evidence_ids=[first["id"], second["id"]])
    assert await uploads(shop) == [(first["sha256"], "png"), (second["sha256"], "png")]
    case = await shop.case(issue)
    assert case["state"] == "evidence_given" and all(d["name"] != "evidence" for d in case["deadlines"])
    (task,) = await shop.system.tasks()
    assert (task["kind"], task["prepared"]["text"]) == ("assisted_act", "Packed whole")
    kinds = [row["fact"]["kind"] for row in await shop.system.timeline(case["id"])]
    assert kinds.count("act.sent") == 1
    await shop.ring(issue)
    row = (await shop.system.timeline(case["id"]))[-1]
    assert (row["fact"]["kind"], row["fact"]["data"]["images"]) == ("evidence.submitted", 2)
    await shop.system.advance(timedelta(days=5))
    assert [t["kind"] for t in await shop.system.tasks()] == ["assisted_act"], "nothing says that evidence is missing"
    await shop.system.rehearse()


async def test_evidence_of_no_case_or_of_a_missing_file_is_not_sent(shop: Rehearsal) -> None:
    issue = await asked_for_evidence(shop, "8200001234567881")
    kept = [await laid_up(shop, issue, png(shade)) for shade in (3, 4)]
    case = await shop.case(issue)
    body = {"action": "submit_evidence", "params": {"evidence_ids": ["evidence_unknown"]}, "reason": "r"}
    url, key = f"/v1/cases/{case['id']}/actions", {"Idempotency-Key": "unknown"}
    status, problem = await shop.system.request("POST", url, json=body, headers=key)
    assert (status, problem["code"]) == (422, "unknown_evidence")
    name = kept[1]["sha256"]
    (shop.system.folder / "data" / "blobs" / name[:2] / name).unlink()
    await shop.act(issue, "submit_evidence", evidence_ids=[one["id"] for one in kept])
    assert await uploads(shop) == []
    (told,) = [t for t in await shop.system.tasks() if name in t["reason"]]
    assert told["kind"] == "answer_needed"
    assert "act.failed" in [row["fact"]["kind"] for row in await shop.system.timeline(case["id"])]
    assert (await shop.case(issue))["state"] == "platform_evidence", "its clock runs on"


async def test_a_kill_between_two_pictures_uploads_none_twice(shop: Rehearsal) -> None:
    issue = await asked_for_evidence(shop, "8200001234567882")
    kept = [await laid_up(shop, issue, png(shade)) for shade in (5, 6)]
    case = await shop.case(issue)
    body = {"action": "submit_evidence", "params": {"evidence_ids": [one["id"] for one in kept]}, "reason": "r"}
    (process,) = shop.system.processes
    await shop.system.stop()
    whole = process.env
    process.env = {**whole, "AMENDS_CRASHPOINT": "notifier.request:3"}  # the dispute read, one picture, the next begun
    await shop.system.start()
    with suppress(aiohttp.ClientError):  # its answer may go down with it
        await shop.system.post(f"/v1/cases/{case['id']}/actions", body, headers={"Idempotency-Key": "killed"})

    async def is_dead() -> bool:
        return not process.running

    await until(is_dead, "the end between two pictures")
    process.env = whole
    await shop.system.start()
    await shop.system.advance(timedelta(minutes=30))
    assert await uploads(shop) == [(kept[0]["sha256"], "png")]
    (task,) = [t for t in await shop.system.tasks() if t["kind"] == "in_doubt"]
    assert "1 pictures of ours are in the dispute where 2 were" in task["prepared"]["why"]
