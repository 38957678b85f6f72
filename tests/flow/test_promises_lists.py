"""What the interfaces promise of lists, shapes, scopes and problems, asked of one running product from outside."""

from typing import Any

import pytest

from tests.flow.conftest import START, World
from tests.support import pushes

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
EUR = {"value": "20.00", "currency": "EUR"}
CASE = {
    "id", "account", "marketplace", "kind", "external_id", "order_id", "playbook", "playbook_version", "state", "phase",
    "outcome", "liability", "goods", "money", "reason", "amount", "buyer", "opened_at", "updated_at", "closed_at",
    "deadlines", "money_at_risk", "seq", "allowed",
}  # fmt: skip
ROW = {
    "seq", "occurred_at", "observed_at", "fact", "from_state", "to_state", "no_op", "why", "effects", "actor",
}  # fmt: skip
MESSAGE = {
    "id", "case_id", "purpose", "locale", "status", "subject", "body", "channel", "verdict", "attempts", "sent_at",
    "provider_id",
}  # fmt: skip
CALL = {"at", "account", "marketplace", "kind", "name", "case_id", "order_id", "idempotency_key", "body"}
LISTS = (
    "/v1/cases", "/v1/tasks", "/v1/messages", "/v1/playbooks", "/v1/admin/deliveries", "/v1/admin/parked",
)  # fmt: skip


async def returned(w: World, name: str, value: str = "20.00", **more: Any) -> dict[str, Any]:
    """A case of a return asked for by push."""
    money = {"value": value, "currency": "EUR"}
    buyer = {"id": f"B-{name}", "name": "Ada", "locale": "en"}
    data = {"reason": "change_of_mind", "amount": money, "paid": money, "buyer": buyer} | more
    ids = {"kind": "return", "external_id": name, "order_id": f"O-{name}"}
    assert await w.push_generic("return.requested", f"msg_{name}", **ids, **data) == 202
    await w.system.drain()
    return await w.system.case_of(name)


async def unread(w: World, name: str) -> None:
    """A delivery that is genuine and means nothing."""
    from shared import standard_webhooks

    headers = standard_webhooks.headers(pushes.GENERIC_SECRET, f"bad_{name}", START, b"{}")
    assert (await w.system.push("generic", "shop", b"{}", headers))[0] == 202


@pytest.mark.parametrize("path", [*LISTS, "/v1/cases/{id}/timeline", "/v1/cases/{id}/messages"])
async def test_each_list_has_items_and_next_and_a_limit_of_1_to_200(product: World, path: str) -> None:
    case = await product.system.cases() or [await returned(product, "L1")]
    path = path.replace("{id}", case[0]["id"])
    assert set(await product.system.get(path)) == {"items", "next"}
    assert (await product.system.request("GET", f"{path}?limit=200"))[0] == 200
    for limit in ("0", "201", "-1", "x", "1.5", ""):
        status, problem = await product.system.request("GET", f"{path}?limit={limit}")
        assert status == 422, (path, limit)
        assert problem["code"] == "invalid"
        assert problem["status"] == status
    status, problem = await product.system.request("GET", f"{path}?cursor=made-up")
    assert (status, problem["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize("path", [*LISTS, "/sandbox/calls"])
async def test_pages_of_one_put_together_are_the_whole_list(product: World, path: str) -> None:
    for n in range(2):
        await returned(product, f"P{n}{path.count('a')}{path[-3:]}")
        await unread(product, f"P{n}{path[-5:]}")
    whole = (await product.system.get(f"{path}?limit=200"))["items"]
    found: list[Any] = []
    cursor = ""
    while True:
        page = await product.system.get(f"{path}?limit=1{cursor}")
        found += page["items"]
        if page["next"] is None:
            break
        assert len(page["items"]) <= 1
        cursor = f"&cursor={page['next']}"
    assert found == whole


async def test_the_shapes_are_those_promised(product: World) -> None:
    case = await returned(product, "S1")
    assert set(case) >= CASE
    assert case["buyer"] == {"locale": "en"}
    assert case["money_at_risk"] == {"value": "20.00", "currency": "EUR"}
    [deadline] = case["deadlines"]
    assert set(deadline) == {"name", "due_at", "origin", "act_at", "planned"}
    assert set(deadline["planned"]) == {"do", "params"}
    assert deadline["act_at"] < deadline["due_at"]
    assert await product.system.get(f"/v1/cases/{case['id']}") == case
    [row, *_] = await product.system.timeline(case["id"])
    assert set(row) >= ROW
    assert set(row["fact"]) >= {"kind", "raw_code", "source", "data"}
    assert set(row["why"]) == {"rule", "matched", "rejected", "playbook", "version"}
    assert row["fact"]["kind"] == "return.requested"
    assert all(set(tried) >= {"rule", "guard"} for tried in row["why"]["rejected"])
    [message] = await product.system.messages(case["id"])
    assert set(message) >= MESSAGE
    assert message["verdict"] == {"ok": True, "action": "send", "violations": []}
    call = next(c for c in await product.system.calls() if c["case_id"] == case["id"])
    assert set(call) >= CALL
    assert (call["kind"], call["attempt"], call["outcome"], call["body"]) == ("message", 1, "sent", message["body"])


async def test_filters_and_sorts_of_cases(product: World) -> None:
    first, second = await returned(product, "F1", "7.00"), await returned(product, "F2", "70.00")
    get = product.system.cases
    assert [c["id"] for c in await get("?order_id=O-F1")] == [first["id"]]
    assert [c["id"] for c in await get("?external_id=F2&kind=return&account=shop&marketplace=generic")] == [
        second["id"]
    ]
    assert await get("?external_id=F2&kind=dispute") == []
    assert {c["phase"] for c in await get("?phase=awaiting_seller")} == {"awaiting_seller"}
    assert {c["state"] for c in await get("?state=seller_decides")} == {"seller_decides"}
    due = first["deadlines"][0]["due_at"]
    assert first["id"] in {c["id"] for c in await get(f"?due_before={due}")}
    assert await get("?due_before=2026-11-01T00:00:00Z") == []
    risk = [float(c["money_at_risk"]["value"]) for c in await get("?sort=money_at_risk&phase=awaiting_seller")]
    assert risk == sorted(risk, reverse=True)
    dues = [c["deadlines"][0]["due_at"] for c in await get("?sort=deadline&phase=awaiting_seller")]
    assert dues == sorted(dues)
    for query in ("sort=name", "phase=open", "kind=thing", "due_before=soon"):
        assert (await product.system.request("GET", f"/v1/cases?{query}"))[0] == 422


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/v1/cases", "read"), ("GET", "/v1/tasks", "read"), ("GET", "/v1/messages", "read"),
        ("GET", "/v1/playbooks", "read"), ("POST", "/v1/messages/preview", "read"), ("POST", "/v1/cases", "act"),
        ("POST", "/v1/cases/x/actions", "act"), ("POST", "/v1/cases/x/evidence", "act"), ("POST", "/v1/tasks/x/done", "act"),
        ("GET", "/v1/admin/deliveries", "admin"), ("GET", "/v1/admin/parked", "admin"),
        ("GET", "/v1/admin/parked/x", "admin"), ("POST", "/v1/admin/parked/x/retry", "admin"),
        ("POST", "/v1/admin/deliveries/replay", "admin"), ("POST", "/v1/admin/resync", "admin"),
        ("POST", "/v1/admin/reload", "admin"), ("POST", "/sandbox/poll", "admin"), ("POST", "/sandbox/faults", "admin"),
        ("GET", "/sandbox/calls", "read"), ("GET", "/sandbox/clock", "read"), ("POST", "/sandbox/drain", "act"),
    ],
)  # fmt: skip
async def test_without_a_key_401_without_the_scope_403(product: World, method: str, path: str, needed: str) -> None:
    ask = product.system.request
    for key in ("", "nobody"):
        status, problem = await ask(method, path, key=key)
        assert (status, problem["code"]) == (401, "unauthorised")
    for key in {"read": (), "act": ("sandbox-read",), "admin": ("sandbox-read", "sandbox-act")}[needed]:
        status, problem = await ask(method, path, key=key)
        assert (status, problem["code"]) == (403, "forbidden")


async def test_what_needs_no_key(product: World) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
        assert (await product.system.request("GET", path, key=""))[0] == 200, path


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/v1/nothing", "/v1/cases/none", "/v1/cases/none/timeline", "/v1/cases/none/messages",
        "/v1/tasks/none", "/v1/messages/none", "/v1/playbooks/generic/nothing", "/v1/admin/parked/none",
        "/v1/admin/deliveries/none",
    ],
)  # fmt: skip
async def test_what_is_not_there_is_a_problem_with_its_code(product: World, path: str) -> None:
    status, problem = await product.system.request("GET", path)
    assert (status, problem["status"], problem["code"]) == (404, 404, "not_found")


async def test_one_openapi_document_for_the_whole_origin(product: World) -> None:
    document = await product.system.get("/openapi.json")
    assert document["info"]["title"] == "Amends"
    promised = {
        "/webhooks/{marketplace}/{account}", "/v1/cases", "/v1/cases/{case_id}/actions", "/v1/tasks/{task_id}/done",
        "/v1/messages/preview", "/v1/admin/parked", "/v1/admin/resync", "/v1/admin/reload", "/v1/playbooks",
        "/sandbox/clock/advance", "/sandbox/calls", "/sandbox/poll", "/readyz",
    }  # fmt: skip
    assert promised <= set(document["paths"])


async def test_what_intake_could_not_read_is_parked_and_can_be_tried_again(product: World) -> None:
    await unread(product, "parked")
    items = (await product.system.get("/v1/admin/parked?account=shop&limit=200"))["items"]
    row = next(row for row in items if row["service"] == "intake")
    shown = await product.system.get(f"/v1/admin/parked/{row['id']}")
    assert shown["why"] == "$.type: is missing"
    assert shown["body"] == "e30="
    status, problem = await product.system.request("POST", f"/v1/admin/parked/{row['id']}/retry")
    assert (status, problem["code"]) == (409, "failed_again")


async def test_playbooks_are_listed_read_and_drawn(product: World) -> None:
    names = {(p["marketplace"], p["kind"]) for p in (await product.system.get("/v1/playbooks?limit=200"))["items"]}
    assert {("aliexpress", "dispute"), ("generic", "return"), ("generic", "refund"), ("generic", "dispute")} <= names
    path = "/v1/playbooks/aliexpress/dispute"
    assert (await product.system.get(path))["kind"] == "dispute"
    for accept, begin in (("text/vnd.mermaid", "stateDiagram-v2"), ("image/svg+xml", "<svg")):
        status, text = await product.system.request("GET", path, headers={"Accept": accept})
        assert (status, text.startswith(begin)) == (200, True)
