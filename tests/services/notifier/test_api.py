"""The HTTP face of the notifier, through its ASGI application."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.clock import format_time
from tests.services.notifier.harness import START, Opened, World, act, config_of, message
from tests.support.asgi import Answer, _ask

pytestmark = pytest.mark.asyncio
FIELDS = {
    "id", "case_id", "purpose", "locale", "status", "subject", "body", "channel", "verdict", "attempts", "sent_at", "provider_id",
}  # fmt: skip
CALL = {
    "at", "account", "marketplace", "kind", "name", "case_id", "order_id", "idempotency_key", "body", "attempt", "outcome",
}  # fmt: skip


async def ask(world: World, method: str, path: str, key: str | None = "sandbox", json: Any = None) -> Answer:
    headers = [("authorization", f"Bearer {key}")] if key else []
    headers += [("content-type", "application/json")] if json is not None else []
    body = msgspec.json.encode(json) if json is not None else b""
    return await _ask(world.notifiers[0].app, method, path, headers, body)


async def test_messages_as_promised(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(message(1), message(2, "write to joe@example.com"), act(3))
    await world.settled()
    said = (await ask(world, "GET", "/v1/messages")).json()
    assert said["next"] is None
    assert [m["id"] for m in said["items"]] == ["msg_toy_0001", "msg_toy_0002"]
    sent, blocked = said["items"]
    assert set(sent) >= FIELDS
    assert sent["verdict"] == {"ok": True, "action": "send", "violations": []}
    assert (sent["status"], sent["purpose"], sent["sent_at"]) == ("sent", "free_text", format_time(START))
    violation = blocked["verdict"]["violations"][0]
    assert violation == {"rule": "T-CONTACT", "severity": "block", "span": [9, 24], "why": "No contact"}
    assert (await ask(world, "GET", "/v1/messages/msg_toy_0002")).json() == blocked
    one = (await ask(world, "GET", "/v1/cases/case_2/messages")).json()
    assert one["items"] == [blocked]
    for query, ids in (
        ("status=blocked", ["msg_toy_0002"]), ("order_id=8000000001", ["msg_toy_0001"]), ("case_id=case_9", []),
    ):  # fmt: skip
        found = (await ask(world, "GET", f"/v1/messages?{query}")).json()
        assert [m["id"] for m in found["items"]] == ids


async def test_lists_go_on_with_a_signed_cursor(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(*[message(n) for n in range(1, 6)])
    await world.settled()
    seen, cursor = [], ""
    while True:
        page = (await ask(world, "GET", f"/v1/messages?limit=2{cursor}")).json()
        seen += [m["id"] for m in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [f"msg_toy_{n:04}" for n in range(1, 6)]
    assert (await ask(world, "GET", "/v1/messages?cursor=forged")).status == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/messages?status=lost", 422),
        ("/v1/messages?limit=0", 422),
        ("/v1/messages?limit=201", 422),
        ("/v1/messages/msg_none", 404),
    ],
)
async def test_refusals_are_problems(open_world: Opened, path: str, status: int) -> None:
    world = await open_world()
    answer = await ask(world, "GET", path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"]


async def test_keys_and_scopes(open_world: Opened) -> None:
    world = await open_world()
    assert (await ask(world, "GET", "/v1/messages", None)).status == 401
    assert (await ask(world, "GET", "/v1/messages", "sandbox-read")).status == 200
    assert (await ask(world, "GET", "/v1/admin/parked", "sandbox-act")).status == 403
    faults = {"channel": "toy", "next": ["ok"]}
    assert (await ask(world, "POST", "/sandbox/faults", "sandbox-read", json=faults)).status == 403
    assert (await ask(world, "GET", "/healthz", None)).status == 200
    assert (await ask(world, "GET", "/readyz", None)).status == 200


async def test_previews_keep_nothing(open_world: Opened) -> None:
    world = await open_world()
    variables = {"order_id": "8000000001", "amount": {"value": "5.00", "currency": "EUR"}}
    asked = {"purpose": "offer_refund", "locale": "zh", "marketplace": "toy", "variables": variables}
    said = (await ask(world, "POST", "/v1/messages/preview", json=asked)).json()
    assert said["locale"] == "zh-Hans"
    assert "€5.00" in said["body"]
    assert said["verdict"]["ok"] is True
    text = {"text": "Full refund! Please update your review.", "marketplace": "toy"}
    said = (await ask(world, "POST", "/v1/messages/preview", json=text)).json()
    assert said["verdict"]["action"] == "block"
    missing = await ask(
        world, "POST", "/v1/messages/preview", json={"purpose": "offer_refund", "marketplace": "toy", "variables": {}}
    )
    assert (missing.status, sorted(missing.json()["missing"])) == (422, ["amount", "order_id"])
    for wrong in (
        {"marketplace": "toy"},
        {"marketplace": "nowhere", "text": "x"},
        {"marketplace": "toy", "purpose": "x"},
    ):
        assert (await ask(world, "POST", "/v1/messages/preview", json=wrong)).status == 422
    assert (await ask(world, "GET", "/v1/messages")).json()["items"] == []


async def test_a_preview_is_judged_together_with_what_was_sent_before(open_world: Opened) -> None:
    world = await open_world()

    async def action(earlier: list[str], **what: Any) -> str:
        asked = {"marketplace": "toy", "earlier": earlier, **what}
        said = (await ask(world, "POST", "/v1/messages/preview", json=asked)).json()
        return str(said["verdict"]["action"])

    gift, review = "We will give you 10 USD back as a gift.", {"text": "Please leave us a review."}
    assert [await action([], **review), await action([gift], **review)] == ["send", "block"]
    variables = {"order_id": "8000000001", "amount": {"value": "5.00", "currency": "EUR"}}
    offer = {"purpose": "offer_refund", "variables": variables}
    assert await action(["Hello, how can we help?"], **offer) == "send"
    far_back = [gift, *["Hello, how can we help?"] * 5]
    assert await action(far_back, **review) == "send", "only the last five count, as when it is sent"
    for wrong in (["x" * 20_001], ["x"] * 51, "x", [1]):
        asked = {"marketplace": "toy", "earlier": wrong, **review}
        assert (await ask(world, "POST", "/v1/messages/preview", json=asked)).status == 422


async def test_calls_list_every_attempt_in_order(open_world: Opened) -> None:
    world = await open_world(ability="keyed")
    answer = await ask(world, "POST", "/sandbox/faults", json={"channel": "toy", "next": ["timeout", "refused", "ok"]})
    assert answer.json() == {"channel": "toy", "next": ["timeout", "refused", "ok"]}
    await world.publish(message(1))
    await world.advance(timedelta(minutes=5))
    await world.publish(act(2, params={"amount": {"value": "5.00", "currency": "EUR"}}), act(3, "decline"))
    await world.settled()
    calls = (await ask(world, "GET", "/sandbox/calls")).json()["items"]
    assert all(set(call) == CALL for call in calls)
    assert [(c["kind"], c["name"], c["attempt"], c["outcome"]) for c in calls] == [
        ("message", "free_text", 1, "in_doubt"),
        ("message", "free_text", 2, "not_sent"),
        ("message", "free_text", 3, "sent"),
        ("act", "refund", 1, "sent"),
    ]
    assert calls[0]["body"] == "Hello, we are looking into it."
    assert calls[0]["idempotency_key"] == "msg_toy_0001"
    assert calls[3]["body"] == {"amount": {"value": "5.00", "currency": "EUR"}}
    assert world.marketplace.keys() == ["msg_toy_0001", "msg_toy_0001", "act_toy_0002"]  # taken, then cut
    assert (await ask(world, "POST", "/sandbox/faults", json={"channel": "toy", "next": ["fire"]})).status == 422


async def test_what_cannot_be_read_is_parked_and_the_others_go_on(open_world: Opened) -> None:
    from shared.bus.port import OUTBOUND, Event

    world = await open_world()
    bad = Event("bad", "amends.errand.planned.v1", "/policy", "8000000001", START, b'{"id": 7}')
    await world.bus.publish(OUTBOUND, "0", [bad])
    await world.publish(message(1))
    await world.settled()
    assert await world.status("msg_toy_0001") == "sent"
    parked = (await ask(world, "GET", "/v1/admin/parked")).json()["items"]
    assert [(p["id"], p["service"]) for p in parked] == [("bad", "notifier")]
    assert (await ask(world, "POST", "/v1/admin/parked/none/retry")).status == 404


async def test_resync_publishes_again_under_the_same_ids(open_world: Opened) -> None:
    world = await open_world()
    await world.publish(message(1))
    await world.settled()
    world.published.clear()
    said = (await ask(world, "POST", "/v1/admin/resync", json={})).json()
    assert said == {"resync": {"notifier": 1}}
    await world.settled()
    assert set(world.published) == {world.facts[0].id}


async def test_metrics_count_what_became_of_errands(open_world: Opened) -> None:
    world = await open_world()
    hint = "Help us and we help you: when the words on our page are kinder, your money goes out."
    await world.publish(message(1), message(2, "call +86 138 0013 8000"), act(3), message(4, hint))
    await world.settled()
    text = (await ask(world, "GET", "/metrics", None)).text
    assert 'amends_messages_total{marketplace="toy",purpose="free_text",status="sent"} 1.0' in text
    assert 'amends_messages_total{marketplace="toy",purpose="free_text",status="blocked"} 1.0' in text
    assert 'amends_acts_total{act="refund",marketplace="toy",status="sent"} 1.0' in text
    assert 'amends_rule_violations_total{rule="T-CONTACT"} 1.0' in text
    assert 'amends_rule_violations_total{rule="T-REVIEW"} 1.0' in text
    assert 'amends_rule_likenesses_total{rule="T-REVIEW"} 1.0' in text and 'likenesses_total{rule="T-C' not in text
    assert 'amends_unpublished_oldest_seconds{service="notifier"} 0.0' in text


async def test_a_reload_changes_settings_and_closes_removed_accounts(open_world: Opened) -> None:
    world = await open_world()
    world.marketplace.script.append("429")
    await world.publish(message(1))
    await world.settled()
    world.reloaded = config_of(world.marketplace.url, {}, accounts=("toy-other",))
    assert (await ask(world, "POST", "/v1/admin/reload", json={})).json() == {"reload": {"notifier": 1}}
    await world.publish(message(2), message(3, account="toy-other"))
    await world.advance(timedelta(hours=1))
    assert await world.status("msg_toy_0001") == "planned"
    assert await world.status("msg_toy_0002") == "failed"
    assert await world.status("msg_toy_0003") == "sent"
    world.reloaded = config_of(world.marketplace.url, {})
    await ask(world, "POST", "/v1/admin/reload", json={})
    await world.settled()
    assert await world.status("msg_toy_0001") == "sent"
