"""The HTTP API over the whole service: shapes, idempotency, scopes, accounts, cursors, tasks, evidence, playbooks."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
import pytest_asyncio

from services.policy import wiring
from services.policy.wiring import PolicyService
from shared.bus import open_bus
from shared.bus.port import FACTS, Event, Topology
from shared.clock import TestClock
from shared.domain.facts import Fact, encode
from shared.ids import partition_of
from shared.metrics import Metrics
from shared.registry import Registry
from shared.settings import Process
from tests.services.policy.policy_rig import START, Rig, charts, config
from tests.support.asgi import _ask
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio
KEYS = """
- {name: shop-only, sha256: SHOP, scopes: [read, act], accounts: [other]}
"""


@dataclass
class Reply:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass
class Running:
    service: PolicyService
    bus: Any
    rig: Rig

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = "sandbox",
        raw: bytes | None = None,
        **headers: str,
    ) -> Reply:
        sent = [("authorization", f"Bearer {key}")] if key else []
        sent += [(name.replace("_", "-"), value) for name, value in headers.items()]
        content = raw if raw is not None else (b"" if body is None else msgspec.json.encode(body))
        if content and "content_type" not in headers:
            sent.append(("content-type", "application/json"))
        sent.append(("content-length", str(len(content))))
        answer = await _ask(self.service.app, method, path, sent, content)
        return Reply(
            answer.status, answer.json() if answer.body.startswith((b"{", b"[")) else answer.text, answer.headers
        )

    async def publish(self, *facts: Fact) -> None:
        for fact in facts:
            key = str(partition_of(fact.account, fact.order_id or "", 2))
            event = Event(fact.id, "amends.fact.v1", "/test", fact.order_id or "", fact.observed_at, encode(fact))
            await self.bus.publish(FACTS, key, [event])

    async def opened(self, n: int = 1, **more: Any) -> list[dict[str, Any]]:
        data = {
            "reason": "damaged",
            "amount": {"value": "9.00", "currency": "USD"},
            "paid": {"value": "20.00", "currency": "USD"},
        }
        facts = [
            self.rig.fact("return.requested", external_id=f"R-{i}", order_id=f"O-{i}", data=data, **more)
            for i in range(n)
        ]
        await self.publish(*facts)
        return (await self.ask("GET", "/v1/cases?limit=200")).body["items"]

    async def act(self, case_id: str, action: str, *, key: str = "sandbox", idem: str = "k1", **params: Any) -> Reply:
        reason = params.pop("reason", None)
        override = params.pop("override", None)
        body = {"action": action, "params": params, **({"reason": reason} if reason else {})}
        body |= {"override": override} if override else {}
        return await self.ask("POST", f"/v1/cases/{case_id}/actions", body, key=key, idempotency_key=idem)


CONTACTED = {"rule": "contact_first", "reason": "spoken to by telephone"}


@pytest_asyncio.fixture
async def running(
    database_url: str, clock: TestClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    monkeypatch.setattr("services.policy.shipped.read_all", lambda registry, overlay: charts())
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEYS.replace("SHOP", hashlib.sha256(b"other-key").hexdigest()))
    process = Process(
        data_dir=tmp_path, database_urls={"policy": database_url}, sandbox=True, partitions=2, api_keys_file=keys
    )
    bus = open_bus("embedded://", Topology(2))
    service = wiring.build(process, config(Registry(), "shop", "other"), clock, bus, metrics=Metrics())
    await bus.start()
    sink = asyncio.create_task(_swallow(bus))
    await service.start()
    yield Running(service, bus, Rig(service.policy, service.database, clock))
    await service.stop()
    sink.cancel()
    await asyncio.gather(sink, return_exceptions=True)
    await bus.stop()


async def _swallow(bus: Any) -> None:
    """The notifier's end: takes what is sent to it."""

    async def one(queue: str) -> None:
        subscription = await bus.subscribe(queue)
        while True:
            await (await subscription.take(100)).ack()

    await asyncio.gather(*(one(f"notifier.outbound.{n}") for n in range(2)))


async def test_a_case_has_the_promised_shape(running: Running) -> None:
    (case,) = await running.opened()
    one = (await running.ask("GET", f"/v1/cases/{case['id']}")).body
    assert one == case
    promised = (
        "id account marketplace kind external_id order_id playbook playbook_version state phase outcome liability goods money "
        "reason amount buyer opened_at updated_at closed_at deadlines money_at_risk seq allowed"
    )
    assert set(promised.split()) <= set(case)
    assert case["amount"] == {"value": "9.00", "currency": "USD"} == case["money_at_risk"]
    (answer,) = [d for d in case["deadlines"] if d["name"] == "answer"]
    assert answer["planned"] == {"do": "authorise", "params": {}}
    assert (answer["due_at"], answer["act_at"]) == ("2026-11-23T08:00:00Z", "2026-11-22T20:00:00Z")
    assert "contact" in case["allowed"]


async def test_the_timeline_says_why(running: Running) -> None:
    (case,) = await running.opened()
    rows = (await running.ask("GET", f"/v1/cases/{case['id']}/timeline")).body["items"]
    (row,) = [row for row in rows if row["fact"]["kind"] == "return.requested"]
    assert (row["seq"], row["to_state"], row["no_op"]) == (1, "deciding", False)
    assert row["fact"]["source"] == "push"
    assert row["why"]["playbook"] == "generic/return"
    assert row["why"]["version"] == "test-1"
    assert row["why"]["rule"]


async def test_an_action_is_done_once_per_key_and_another_body_is_refused(running: Running) -> None:
    (case,) = await running.opened()
    first = await running.act(case["id"], "authorise", override=CONTACTED)
    assert first.status == 200, first.body
    again = await running.act(case["id"], "authorise", override=CONTACTED)
    assert (again.status, again.body) == (200, first.body)
    other = await running.act(case["id"], "close", reason="no", comment="x")
    assert (other.status, other.body["code"]) == (422, "key_reused")
    planned = await running.rig.rows(
        "SELECT id FROM outbound WHERE type = 'amends.errand.planned.v1' AND body LIKE '%authorise%'"
    )
    assert len(planned) == 1


async def test_the_same_request_many_times_at_once_is_done_once(running: Running) -> None:
    (case,) = await running.opened()
    replies = await asyncio.gather(*(running.act(case["id"], "authorise", override=CONTACTED) for _ in range(8)))
    assert {reply.status for reply in replies} <= {200, 409}
    assert any(reply.status == 200 for reply in replies)
    seqs = [kind for _, kind in await running.rig.timeline(case["id"])]
    assert seqs.count("operator.acted") == 1


async def test_actions_are_refused_with_what_is_allowed(running: Running) -> None:
    (case,) = await running.opened()
    path = f"/v1/cases/{case['id']}/actions"
    assert (await running.ask("POST", path, {"action": "close"})).body["code"] == "idempotency_key_missing"
    unknown = await running.act(case["id"], "levitate")
    assert (unknown.status, "contact" in unknown.body["allowed"]) == (409, True)
    assert (await running.act(case["id"], "answer", idem="k2", task_id="x", answer="done")).status == 409
    bad = await running.act(case["id"], "refund", idem="k3", amount={"value": "1.001", "currency": "USD"})
    assert (bad.status, bad.body["code"]) == (422, "bad_params")
    assert (await running.act(case["id"], "close", idem="k4", key="sandbox-read")).status == 403
    assert (await running.ask("POST", path, {"action": 5}, idempotency_key="k5")).status == 422
    assert (await running.ask("POST", path, raw=b"{", idempotency_key="k6")).status == 400
    assert (
        await running.ask("POST", path, raw=b'{"action":"close","reason":"\\u0000"}', idempotency_key="k7")
    ).status == 400
    assert (await running.ask("GET", f"/v1/cases/{case['id']}")).body["seq"] == case["seq"]


async def test_money_waits_for_approval_and_the_task_leads_to_it(running: Running) -> None:
    (case,) = await running.opened()
    await running.publish(running.rig.fact("return.received", external_id="R-0", order_id="O-0"))
    asked = await running.act(case["id"], "refund", override=CONTACTED, key="sandbox-act")
    assert (asked.status, asked.body["waits_for_approval"]) == (202, True), asked.body
    tasks = (await running.ask("GET", f"/v1/tasks?status=open&case_id={case['id']}")).body["items"]
    (task,) = [task for task in tasks if task["kind"] == "approve_act"]
    assert {"approve", "reject"} <= set(task["allowed"])
    wrong = await running.ask("POST", f"/v1/tasks/{task['id']}/done", {"answer": "maybe"})
    assert (wrong.status, wrong.body["allowed"]) == (409, task["allowed"])
    done = await running.ask("POST", f"/v1/tasks/{task['id']}/done", {"answer": "approve", "reason": "fine"})
    assert (done.status, done.body["status"], done.body["answer"]) == (200, "done", "approve")
    closed = await running.ask("POST", f"/v1/tasks/{task['id']}/done", {"answer": "approve"}, idempotency_key="another")
    assert (closed.status, closed.body["code"]) == (409, "task_closed")
    refunds = await running.rig.rows(
        "SELECT body FROM outbound WHERE type = 'amends.errand.planned.v1' AND body LIKE '%\"refund\"%'"
    )
    assert len(refunds) == 1


async def test_keys_see_their_accounts_only(running: Running) -> None:
    (case,) = await running.opened()
    await running.publish(msgspec.structs.replace(running.rig.fact("return.requested", key="o"), account="other"))
    mine = await running.ask("GET", "/v1/cases", key="other-key")
    assert [item["account"] for item in mine.body["items"]] == ["other"]
    for method, path in (("GET", ""), ("GET", "/timeline"), ("POST", "/actions"), ("POST", "/evidence")):
        body = {"action": "close"} if path == "/actions" else {"kind": "a", "supplied_by": "buyer", "text": "b"}
        sent = body if method == "POST" else None
        reply = await running.ask(method, f"/v1/cases/{case['id']}{path}", sent, key="other-key", idempotency_key="x")
        assert reply.status == 404, (path, reply.body)
    assert (await running.ask("GET", "/v1/cases", key="wrong")).status == 401
    assert (await running.ask("GET", "/v1/cases", key="")).status == 401
    assert (await running.ask("GET", "/v1/admin/parked", key="sandbox-act")).status == 403


async def test_lists_go_on_from_a_signed_cursor_and_forged_ones_are_refused(running: Running) -> None:
    await running.opened(7)
    for sort in ("deadline", "money_at_risk", "updated"):
        seen: list[str] = []
        path = f"/v1/cases?limit=3&sort={sort}"
        page = (await running.ask("GET", path)).body
        while True:
            seen += [item["external_id"] for item in page["items"]]
            if page["next"] is None:
                break
            page = (await running.ask("GET", f"{path}&cursor={page['next']}")).body
        assert sorted(seen) == [f"R-{n}" for n in range(7)]
    cursor = (await running.ask("GET", "/v1/cases?limit=3&sort=updated")).body["next"]
    forged = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for bad in (forged, cursor[:-3], "x", "é", cursor + "A" * 300):
        assert (await running.ask("GET", f"/v1/cases?limit=3&sort=updated&cursor={bad}")).status in (400, 422)
    assert (await running.ask("GET", f"/v1/cases?limit=3&sort=deadline&cursor={cursor}")).status == 400
    for limit in ("0", "201", "x"):
        assert (await running.ask("GET", f"/v1/cases?limit={limit}")).status == 422


async def test_filters(running: Running) -> None:
    await running.opened(3)
    await running.publish(running.rig.fact("return.cancelled", external_id="R-1", order_id="O-1"))

    async def found(query: str) -> list[str]:
        return sorted(item["external_id"] for item in (await running.ask("GET", f"/v1/cases?{query}")).body["items"])

    assert await found("phase=resolved") == ["R-1"]
    assert await found("order_id=O-2") == ["R-2"]
    assert await found("external_id=R-0&kind=return&marketplace=generic&account=shop&state=deciding") == ["R-0"]
    assert await found("due_before=2026-11-23T08:00:00Z") == ["R-0", "R-2"]
    assert await found("due_before=2026-11-23T07:59:59Z") == []
    (closed,) = (await running.ask("GET", "/v1/cases?phase=resolved")).body["items"]
    assert (closed["deadlines"], closed["money_at_risk"], closed["allowed"]) == ([], None, [])
    assert (await running.ask("GET", "/v1/cases?due_before=2026-11-23T08:00:00")).status == 422


async def test_a_case_opened_by_hand_is_opened_once(running: Running) -> None:
    body = {"account": "shop", "kind": "return", "external_id": "H-1", "order_id": "O-9", "reason": "late",
            "amount": {"value": "5.00", "currency": "EUR"}, "buyer": {"locale": "de"}}  # fmt: skip
    first = await running.ask("POST", "/v1/cases", body)
    assert (first.status, first.body["reason"], first.body["buyer"]) == (201, "late", {"locale": "de"}), first.body
    again = await running.ask("POST", "/v1/cases", body)
    assert (again.status, again.body["id"]) == (200, first.body["id"])
    assert (await running.ask("POST", "/v1/cases", {**body, "account": "nobody"})).status == 404
    assert (await running.ask("POST", "/v1/cases", {**body, "kind": "nonsense"})).status == 422
    assert (await running.ask("POST", "/v1/cases", {**body, "external_id": "H-2", "kind": "review"})).status == 409
    bad = {**body, "external_id": "H-3", "amount": {"value": "5.001", "currency": "EUR"}}
    assert (await running.ask("POST", "/v1/cases", bad)).status == 422


async def test_evidence_as_a_file_and_as_text(running: Running, tmp_path: Path) -> None:
    (case,) = await running.opened()
    path = f"/v1/cases/{case['id']}/evidence"
    text = await running.ask("POST", path, {"kind": "note", "supplied_by": "seller", "text": "seen broken"})
    assert (text.status, text.body["kind"]) == (201, "note")
    content = b"\x89PNG not really"
    form = b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\nphoto\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="supplied_by"\r\n\r\nbuyer\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    form += content + b"\r\n--b--\r\n"
    file = await running.ask("POST", path, raw=form, content_type="multipart/form-data; boundary=b")
    assert file.status == 201, file.body
    assert (await running.ask("POST", path, raw=form, content_type="multipart/form-data; boundary=b")).body == file.body
    assert file.body["sha256"] == hashlib.sha256(content).hexdigest()
    assert any(p.is_file() for p in (tmp_path / "blobs").rglob("*"))
    assert (await running.ask("POST", path, {"kind": "note", "supplied_by": "seller"})).status == 422
    assert (await running.ask("POST", path, {"kind": "n", "supplied_by": "nobody", "text": "x"})).status == 422
    kinds = [kind for _, kind in await running.rig.timeline(case["id"])]
    assert kinds.count("evidence.submitted") == 2
    assert (await running.ask("GET", "/v1/tasks")).body["items"] == []


async def test_evidence_that_is_handed_in_goes_out_by_name(running: Running) -> None:
    (case,) = await running.opened()
    path = f"/v1/cases/{case['id']}/evidence"
    form = b'--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\nphoto\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="supplied_by"\r\n\r\nseller\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\xff\xd8\xff jpeg\r\n--b--\r\n'
    file = (await running.ask("POST", path, raw=form, content_type="multipart/form-data; boundary=b")).body
    assert file["content_type"] == "image/jpeg", "as its first bytes say"
    link = (
        await running.ask("POST", path, {"kind": "film", "supplied_by": "seller", "url": "https://a.example/b"})
    ).body
    strange = await running.act(case["id"], "submit_evidence", evidence_ids=[file["id"], "evidence_0"])
    assert (strange.status, strange.body["code"]) == (422, "unknown_evidence")
    acted = await running.act(case["id"], "submit_evidence", idem="k2", evidence_ids=[file["id"], link["id"]])
    assert acted.status == 200, acted.body
    (row,) = await running.rig.rows("SELECT body FROM outbound WHERE body LIKE '%submit_evidence%'")
    errand = msgspec.json.decode(row["body"])
    assert (errand["id"], errand["attachments"]) == (acted.body["act_id"], [file["sha256"]])
    assert [(f["what"], f["content_type"]) for f in errand["params"]["files"]] == [
        ("photo", "image/jpeg"),
        ("film", None),
    ]
    other = await running.act(case["id"], "submit_evidence", idem="k3", evidence_ids=[link["id"]])
    assert (other.status, other.body["code"]) == (409, "on_its_way"), "never taken for what is on its way already"


async def test_playbooks_as_json_and_drawn(running: Running) -> None:
    listed = (await running.ask("GET", "/v1/playbooks")).body["items"]
    assert [(item["marketplace"], item["kind"]) for item in listed] == [("generic", "claim"), ("generic", "return")]
    one = (await running.ask("GET", "/v1/playbooks/generic/return")).body
    assert one["version"] == "test-1"
    drawn = await running.ask("GET", "/v1/playbooks/generic/return", accept="text/vnd.mermaid")
    assert drawn.headers["content-type"].startswith("text/vnd.mermaid")
    assert "deciding --> returning: return.authorised" in drawn.body
    picture = await running.ask("GET", "/v1/playbooks/generic/return", accept="image/svg+xml")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    texts = [element.text for element in ElementTree.fromstring(picture.body).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert {"deciding", "returning", "inspecting", "refunded", "closed"} <= set(texts)
    assert (await running.ask("GET", "/v1/playbooks/generic/nothing")).status == 404


async def test_unreadable_events_are_parked_and_a_retry_is_told(running: Running) -> None:
    bad = Event("bad-1", "amends.fact.v1", "/test", "O-1", START, b'{"kind": 5, "account": "shop"}')
    await running.bus.publish(FACTS, "0", [bad])

    async def is_parked() -> bool:
        return len((await running.ask("GET", "/v1/admin/parked")).body["items"]) == 1

    await until(is_parked)
    (item,) = (await running.ask("GET", "/v1/admin/parked")).body["items"]
    assert (item["id"], item["service"]) == ("bad-1", "policy")
    retried = await running.ask("POST", "/v1/admin/parked/bad-1/retry")
    assert retried.status == 409
    assert len((await running.ask("GET", "/v1/admin/parked")).body["items"]) == 1
    assert (await running.ask("GET", "/v1/tasks?kind=conflict")).body["items"] != []


async def test_busy_is_truthful_and_time_leads_to_the_planned_act(running: Running) -> None:
    await running.opened(3)
    running.rig.clock.advance(timedelta(hours=37))
    assert await running.service.busy()
    running.service.kick()

    async def idle() -> bool:
        running.service.kick()
        return not await running.service.busy()

    await until(idle)
    assert await running.service.relay.pending() == 0
    for case in await running.rig.cases():
        assert case.clocks["answer"].acted
    metrics = (await running.ask("GET", "/metrics")).body
    assert 'amends_cases{kind="return",marketplace="generic",phase="awaiting_seller"} 3.0' in metrics
    assert 'amends_money_at_risk{currency="USD",marketplace="generic"} 27.0' in metrics
    assert "amends_clock_lag_seconds_count" in metrics
    ready = await running.ask("GET", "/readyz")
    assert ready.status == 200, ready.body
