"""Kept deliveries: listed page by page, replayed after a mend; who may; bytes go after 30 days; readiness; migrations."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.intake import tables

pytestmark = pytest.mark.asyncio


async def listed(rig: Any, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        async with rig.http.get(f"/v1/admin/deliveries?limit=3{query}{cursor}") as response:
            page = await response.json()
            assert response.status == 200, page
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


async def test_deliveries_are_listed_newest_first_and_by_outcome(rig: Any) -> None:
    for n in range(10):
        await rig.push(rig.body(f"p{n}", "ping" if n % 2 else "order_sent"))
        rig.clock.advance(timedelta(seconds=1))
    items = await listed(rig)
    assert len(items) == 10 and len({item["id"] for item in items}) == 10
    assert [item["received_at"] for item in items] == sorted((i["received_at"] for i in items), reverse=True)
    assert {item["outcome"] for item in await listed(rig, "&outcome=ignored")} == {"ignored"}
    assert await listed(rig, "&account=toy-b") == []


async def test_one_delivery_is_shown_word_for_word(rig: Any) -> None:
    await rig.push(rig.body("p1"))
    [row] = await listed(rig)
    async with rig.http.get(f"/v1/admin/deliveries/{row['id']}") as response:
        shown = await response.json()
    assert base64.b64decode(shown["raw"]["body_base64"]) == rig.body("p1")
    assert shown["outcome"] == "accepted" and "x-toy-signature" not in shown["raw"]["headers"]
    async with rig.http.get("/v1/admin/deliveries/dlv_nothing") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [("outcome=nonsense", 422), ("limit=0", 422), ("limit=201", 422), ("cursor=AAAA", 400)],
)
async def test_bad_questions_are_refused(rig: Any, query: str, status: int) -> None:
    async with rig.http.get(f"/v1/admin/deliveries?{query}") as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(("key", "status"), [("sandbox-read", 403), ("nonsense", 401)])
async def test_only_administrators_see_and_replay(rig: Any, key: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    for method, path in (("GET", "deliveries"), ("POST", "deliveries/replay"), ("POST", "resync"), ("POST", "reload")):
        async with rig.http.request(method, f"/v1/admin/{path}", headers=headers, json={}) as response:
            assert response.status == status
    async with rig.http.post("/sandbox/poll", headers=headers, json={"account": "toy-a"}) as response:
        assert response.status == status


def told_facts(rig: Any) -> dict[str, float]:
    """`amends_facts_total` by kind."""
    (family,) = rig.metrics.facts.collect()
    return {sample.labels["kind"]: sample.value for sample in family.samples if sample.name.endswith("_total")}


async def test_a_failed_delivery_is_read_again_after_the_mend(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(rig.config.registry.webhooks("toy"), "parse", broken)
    for n in range(5):
        await rig.push(rig.body(f"p{n}"))
    monkeypatch.undo()
    began = rig.clock.now()
    rig.clock.advance(timedelta(hours=1))
    async with rig.http.post("/v1/admin/deliveries/replay", json={"outcome": "failed"}) as response:
        done = await response.json()
    assert done == {"replayed": 5, "facts": 5, "outcomes": {"accepted": 5}, "left": {}}
    assert told_facts(rig) == {"order.shipped": 5}
    await rig.drain()
    assert len(rig.facts("order.shipped")) == 5
    assert {fact.observed_at for fact in rig.facts()} == {began}, "as if it had been read at once"
    assert await listed(rig, "&outcome=failed") == []


async def test_replay_gives_applied_facts_their_old_ids(rig: Any) -> None:
    await rig.push(rig.body("p1", "buyer_wrote", text="Hello"))
    await rig.drain()
    [delivery] = await listed(rig)
    async with rig.http.post("/v1/admin/deliveries/replay", json={"ids": [delivery["id"]]}) as response:
        assert (await response.json())["replayed"] == 1
    await rig.drain()
    published = rig.published()
    assert len(published) >= 2 and len(rig.facts()) == 1
    assert published[0] == published[-1]
    assert len(await rig.rows("SELECT * FROM facts")) == 1
    assert told_facts(rig) == {"message.received": 1}, "counted once"


async def test_a_doorbell_replayed_is_read_anew_and_a_conflict_is_left(rig: Any) -> None:
    rig.market.put(
        "R1", state="requested", order="T-100", amount="1.00", currency="EUR", answer_by="2026-01-08T09:30:00Z"
    )
    await rig.push(rig.body("p1", "return_changed", return_id="R1"))
    await rig.push(rig.body("p1", "return_changed", return_id="R2"))
    await rig.drain()
    before = rig.market.reads
    ids = [item["id"] for item in await listed(rig)]
    async with rig.http.post("/v1/admin/deliveries/replay", json={"ids": ids}) as response:
        done = await response.json()
    await rig.drain()
    assert list(done["left"].values()) == ["a conflict is never applied"]
    assert rig.market.reads == before + 1
    async with rig.http.post("/v1/admin/deliveries/replay", json={}) as response:
        assert response.status == 422


async def test_resync_publishes_everything_once_more(rig: Any) -> None:
    for n in range(3):
        await rig.push(rig.body(f"p{n}"))
    await rig.drain()
    async with rig.http.post("/v1/admin/resync", json={}) as response:
        assert await response.json() == {"resync": {"intake": 3}}
    await rig.drain()
    assert len(rig.published()) >= 6 and len(rig.facts()) == 3


async def test_bytes_go_after_30_days_and_the_delivery_stays(rig: Any) -> None:
    await rig.push(rig.body("old"))
    await rig.advance(timedelta(days=20))
    await rig.push(rig.body("new"))
    rig.clock.advance(timedelta(days=11))
    while len(await rig.rows("SELECT delivery_id FROM raw")) > 1:
        rig.intake.kick()
        await rig.drain()
    assert len(await rig.outcomes()) == 2
    async with rig.http.post("/v1/admin/deliveries/replay", json={"outcome": "accepted"}) as response:
        done = await response.json()
    assert done["replayed"] == 1 and list(done["left"].values()) == ["its bytes are no longer kept"]


async def test_readiness_metrics_and_the_document(rig: Any) -> None:
    async with rig.http.get("/readyz") as response:
        assert response.status == 200, await response.text()
    await rig.push(rig.body("p1"))
    await rig.drain()
    async with rig.http.get("/metrics") as response:
        text = await response.text()
    assert 'amends_deliveries_total{marketplace="toy",outcome="accepted"} 1.0' in text
    assert 'amends_unpublished_oldest_seconds{service="intake"} 0.0' in text
    assert 'amends_facts_total{kind="order.shipped",marketplace="toy"} 1.0' in text
    async with rig.http.get("/openapi.json") as response:
        assert "/v1/admin/deliveries" in (await response.json())["paths"]
    await rig.bus.stop()
    async with rig.http.get("/readyz") as response:
        assert response.status == 503
        assert set((await response.json())["missing"]) == {"broker"}


async def test_the_migrated_database_is_what_the_tables_say(rig: Any) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [d for d in compare_metadata(context, tables.metadata) if "alembic_version" not in str(d)]

    assert await rig.intake.database.run_sync(differences) == []
