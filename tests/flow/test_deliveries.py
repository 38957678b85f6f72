"""From a genuine delivery to a case, a deadline and one message; and what becomes of deliveries that are not right."""

import json

import pytest

from tests.flow.conftest import START, WorldMaker
from tests.support import pushes

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(400)]
EUR20 = {"value": "20.00", "currency": "EUR"}
RETURN = {
    "kind": "return", "external_id": "R1", "order_id": "O1", "reason": "defective", "amount": EUR20, "paid": EUR20,
    "buyer": {"id": "B1", "name": "Ada", "locale": "en"},
}  # fmt: skip


async def test_a_push_becomes_a_case_a_deadline_and_one_message(world: WorldMaker) -> None:
    async with world() as w:
        assert await w.ring("8200000001") == 200
        assert await w.push_generic("return.requested", "msg_1", **RETURN) == 202
        await w.system.drain()
        cases = await w.system.cases("?sort=deadline")
        assert {c["marketplace"] for c in cases} == {"aliexpress", "generic"}
        for case in cases:
            assert case["phase"] == "awaiting_seller"
            assert case["deadlines"] and case["deadlines"][0]["planned"], "a deadline with a planned default act"
            sent = [m for m in await w.system.messages(case["id"]) if m["status"] == "sent"]
            assert len(sent) == 1, [m["status"] for m in await w.system.messages(case["id"])]
            rows = await w.system.timeline(case["id"])
            assert [r["seq"] for r in rows] == list(range(1, len(rows) + 1))
            assert rows[0]["why"]["rule"] and rows[0]["why"]["version"] == case["playbook_version"]
        assert w.shop.said_twice() == []


async def test_the_marketplaces_own_deadline_wins(world: WorldMaker) -> None:
    async with world() as w:
        await w.ring("8200000002")
        await w.system.drain()
        case = (await w.system.cases("?marketplace=aliexpress"))[0]
        [deadline, *_] = case["deadlines"]
        assert deadline["origin"] == "platform"
        assert deadline["due_at"].startswith("2026-11-07T")


async def test_repeated_reordered_and_replayed_leave_one_case_and_one_message(world: WorldMaker) -> None:
    async with world() as w:
        now = w.system.clock.now()
        opened = pushes.generic(now, "return.requested", "msg_1", revision=1, **RETURN)
        shipped = pushes.generic(
            now, "return.shipped", "msg_2", revision=3, kind="return", external_id="R1", order_id="O1"
        )
        late = pushes.generic(
            now, "return.authorised", "msg_3", revision=2, kind="return", external_id="R1", order_id="O1"
        )
        for body, headers in (opened, shipped, late, opened, shipped):
            assert (await w.system.push("generic", "shop", body, headers))[0] == 202
        await w.system.drain()
        before = await w.system.case_of("R1")
        await w.system.restart()
        for body, headers in (late, opened, shipped):
            assert (await w.system.push("generic", "shop", body, headers))[0] == 202
        await w.system.drain()
        after = await w.system.case_of("R1")
        assert after == before
        stale = [r for r in await w.system.timeline(after["id"]) if r["fact"]["kind"] == "return.authorised"]
        assert [r["no_op"] for r in stale] == [True]
        assert w.shop.said_twice() == []


async def test_what_is_not_genuine_is_refused_and_leaves_nothing(world: WorldMaker) -> None:
    async with world() as w:
        body, headers = pushes.aliexpress(START, "8200000003", "6200000003")
        altered = body.replace(b"return_requested", b"return_requestee")
        reserialised = json.dumps(json.loads(body)).encode()
        _, foreign = pushes.aliexpress(START, "8200000003", "6200000003", secret="another-secret-01")
        stale_body, stale_headers = pushes.aliexpress(START.replace(hour=0), "8200000003", "6200000003")
        tries = [(altered, headers), (reserialised, headers), (body, foreign), (body, {}), (stale_body, stale_headers)]
        for raw, signed in tries:
            assert (await w.system.push("aliexpress", "ae-main", raw, signed))[0] == 401
        assert (await w.system.push("aliexpress", "nobody", body, headers))[0] == 404
        await w.system.drain()
        assert await w.system.cases() == []
        assert (await w.system.get("/v1/admin/deliveries"))["items"] == []


async def test_authentic_but_unreadable_is_kept_and_answered_2xx(world: WorldMaker) -> None:
    async with world() as w:
        body = b'{"type": "return.requested", "data": {"kind": "return", "kind": "refund"}}'
        from shared import standard_webhooks

        headers = standard_webhooks.headers(pushes.GENERIC_SECRET, "msg_bad", START, body)
        assert (await w.system.push("generic", "shop", body, headers))[0] == 202
        await w.system.drain()
        [kept] = (await w.system.get("/v1/admin/deliveries"))["items"]
        assert kept["outcome"] in ("unreadable", "failed")
