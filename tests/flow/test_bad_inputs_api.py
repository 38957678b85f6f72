"""Odd requests to the internal API, end to end over all three services (docs/bad-inputs.md, rows 56 to 66)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import System

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(400)]
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
LISTS = ("/v1/cases", "/v1/tasks", "/v1/messages", "/v1/admin/deliveries", "/v1/admin/parked")
CANARY = "ZX81CANARY"


async def _opened(system: System) -> dict[str, Any]:
    body, headers = pushes.generic(
        START, "return.requested", "msg_1", kind="return", external_id="R1", order_id="O1", reason="other",
        amount={"value": "20.00", "currency": "EUR"}, buyer={"id": "B1", "name": CANARY, "locale": "en"},
    )  # fmt: skip
    assert (await system.push("generic", "shop", body, headers))[0] == 202
    await system.drain()
    return await system.case_of("R1")


def _is_problem(status: int, body: Any, wanted: set[int], about: object) -> None:
    assert status in wanted, (about, status, body)
    assert isinstance(body, dict) and body["code"] and body["status"] == status, (about, body)
    assert CANARY not in json.dumps(body) and "Traceback" not in json.dumps(body)


async def test_lists_take_only_what_they_promise(tmp_path: Path) -> None:
    """Rows 60, 63, 66: limits, cursors, sorts, filters; each service the same."""
    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START) as system:
        await _opened(system)
        bad = [
            "limit=1000000000",
            "limit=-1",
            "limit=0",
            "limit=x",
            "cursor=forged",
            "cursor=" + "A" * 5000,
            "cursor=%00",
        ]
        for path in LISTS:
            for query in bad:
                _is_problem(*await system.request("GET", f"{path}?{query}"), {400, 422}, (path, query))
        for query in ("sort=__class__", "phase=x", "due_before=yesterday", "order_id=" + "x" * 5000, "order_id=%00"):
            _is_problem(*await system.request("GET", f"/v1/cases?{query}"), {400, 422}, query)
        for literal in ("O%25", "O_", "' OR 1=1 --", "(a%2B)%2B%24", "o1"):
            assert (await system.get(f"/v1/cases?order_id={literal}"))["items"] == [], literal
        assert len((await system.get("/v1/cases?order_id=O1"))["items"]) == 1
        for path in ("/v2/cases", "/v1/nothing", "/v1/cases/..%2f..%2fetc", "/v1/cases/%00", "/v1/messages/nothing"):
            _is_problem(*await system.request("GET", path), {404, 422}, path)


async def test_writes_take_only_what_they_promise(tmp_path: Path) -> None:
    """Rows 56, 57, 58, 61, 62: keys, scopes, idempotency, foreign fields, a double click."""
    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START) as system:
        case = await _opened(system)
        path = f"/v1/cases/{case['id']}/actions"

        async def post(body: Any, key: str = "k", *, api_key: str = "sandbox", at: str = path) -> tuple[int, Any]:
            return await system.request("POST", at, key=api_key, json=body, headers={"Idempotency-Key": key})

        good = {"action": "authorise", "override": {"rule": "contact_first", "reason": "known customer"}}
        for mistake in ("state", "account_id", "created_at", "__class__"):
            _is_problem(*await post({**good, mistake: "x"}), {422}, mistake)
        _is_problem(*await post(good, api_key="sandbox-read"), {403}, "scope")
        _is_problem(*await post(good, api_key="nobody"), {401}, "key")
        _is_problem(*await post(good, "k" * 300), {400}, "key too long")
        _is_problem(*await post([good]), {422}, "a list")
        _is_problem(*await system.request("POST", path + "?key=sandbox", key="", json=good), {401}, "key in the query")
        _is_problem(*await post(good, at="/v1/cases/case_0000000_none/actions"), {404}, "no such case")
        for raw in (b"", b"{", b'{"action": NaN}', b'{"action": "a", "action": "b"}', b"[" * 100_000, b"\xff\xfe"):
            sent = {"Idempotency-Key": "k", "Content-Type": "application/json"}
            _is_problem(*await system.request("POST", path, data=raw, headers=sent), {400, 422}, raw[:20])
        sent = {"Idempotency-Key": "k", "Content-Type": "application/json"}
        _is_problem(*await system.request("POST", path, data=b" " * 1_000_001, headers=sent), {413}, "too large")
        assert (await system.case_of("R1"))["seq"] == case["seq"], "nothing has happened so far"
        clicks = await asyncio.gather(*(post(good, "same") for _ in range(5)), *(post(good, f"k{n}") for n in range(3)))
        assert {status for status, _ in clicks} <= {200, 409}
        _is_problem(*await post({**good, "action": "close"}, "same"), {422}, "another body under the same key")
        await system.drain()
        acts = [c for c in await system.calls() if c["kind"] == "act"]
        assert len(acts) == 1, acts
        assert CANARY not in (tmp_path / "embedded.log").read_text()


async def test_odd_hands_and_evidence(tmp_path: Path) -> None:
    """Rows 45, 53, 55, 61 at the operators' door."""
    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START) as system:
        case = await _opened(system)
        hand = {"account": "shop", "kind": "return", "external_id": "H1", "order_id": "O2"}
        bad: list[dict[str, Any]] = [
            {"account": "nobody"}, {"kind": "dragon"}, {"external_id": ""}, {"order_id": " "}, {"external_id": "x" * 5000},
            {"order_id": "a\nb"}, {"external_id": "\u202ex"}, {"amount": {"value": "12,50", "currency": "EUR"}},
            {"amount": {"value": "5.00", "currency": "EURO"}}, {"amount": {"value": 5, "currency": "EUR"}},
            {"state": "closed"}, {"seq": 7}, {"facts": []}, {"buyer": {"name": 7}},
        ]  # fmt: skip
        for change in bad:
            _is_problem(*await system.request("POST", "/v1/cases", json={**hand, **change}), {404, 409, 422}, change)
        assert len(await system.cases()) == 1
        evidence = f"/v1/cases/{case['id']}/evidence"
        proof = {"kind": "photo", "supplied_by": "buyer", "url": "https://cdn.example.com/a.jpg"}
        for change in (
            {"url": "file:///etc/passwd"}, {"url": "javascript:alert(1)"}, {"url": "gopher://x/"}, {"url": "x" * 20_000},
            {"url": None}, {"kind": ""}, {"kind": "x" * 5000}, {"supplied_by": "ghost"}, {"sha256": "0" * 64},
        ):  # fmt: skip
            _is_problem(*await system.request("POST", evidence, json={**proof, **change}), {422}, change)
        assert (await system.request("POST", evidence, json=proof))[0] == 201


NUL, HALF = b"\\u0000", b"\\ud800"
STRANGE: list[tuple[str, str, bytes]] = [
    *(("GET", path, b"") for path in (
        "/v1/cases/%00", "/v1/cases/%00/timeline", "/v1/cases/%00/messages", "/v1/tasks/%00", "/v1/messages/%00",
        "/v1/messages?case_id=%00", "/v1/admin/deliveries/%00", "/v1/admin/deliveries?account=%00", "/v1/admin/parked/%00",
        "/v1/playbooks/%00/return", "/v1/cases?account=%00", "/v1/tasks?kind=%00",
    )),
    ("POST", "/v1/cases/%00/actions", b'{"action": "close"}'),
    ("POST", "/v1/cases/%00/evidence", b'{"kind": "a", "supplied_by": "buyer", "text": "b"}'),
    ("POST", "/v1/tasks/%00/done", b'{"answer": "done"}'),
    ("POST", "/v1/admin/parked/%00/retry", b""),
    ("POST", "/v1/admin/deliveries/replay", b'{"ids": ["' + HALF + b'"]}'),
    ("POST", "/v1/admin/deliveries/replay", b'{"outcome": "failed", "since": "9999-12-31T23:59:59-14:00"}'),
    ("POST", "/v1/admin/resync", b'{"since": "0001-01-01T00:00:00+14:00"}'),
    ("POST", "/v1/messages/preview", b'{"text": "' + HALF + b'", "marketplace": "generic"}'),
    ("POST", "/v1/messages/preview", b"[" * 100_000),
    ("POST", "/v1/messages/preview", b'{"text": ' + b"9" * 5000 + b', "marketplace": "generic"}'),
    ("POST", "/sandbox/clock/advance", b'{"by": "P9999999999Y"}'),
    ("POST", "/sandbox/poll", b'{"account": "' + NUL + b'"}'),
]  # fmt: skip


async def test_text_no_database_holds_is_422_everywhere(tmp_path: Path) -> None:
    """Rows 13, 36, 37 on every route: refused or not found, never a 500."""
    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START) as system:
        sent = {"Idempotency-Key": "k", "Content-Type": "application/json"}
        for method, path, raw in STRANGE:
            answer = await system.request(method, path, data=raw, headers=sent)
            _is_problem(*answer, {400, 404, 422}, (method, path, raw[:40]))
        assert '"level": "error"' not in (tmp_path / "embedded.log").read_text()


async def test_no_route_reads_more_than_it_needs_whoever_sends_it(tmp_path: Path) -> None:
    """Row 39 at the operators' door: 3 MB without a length, with a key and without, are cut off."""

    async def much() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield b" " * 65_536

    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START) as system:
        for path in ("/v1/messages/preview", "/v1/cases", "/v1/admin/deliveries/replay", "/v1/admin/resync"):
            for key in ("sandbox", "nobody"):
                sent = {"Content-Type": "application/json"}
                try:
                    status, said = await system.request("POST", path, key=key, data=much(), headers=sent)
                except aiohttp.ClientError:
                    continue  # cut off while it was still sending
                _is_problem(status, said, {413} if key == "sandbox" else {401, 413}, path)
        assert (await system.request("GET", "/v1/cases"))[0] == 200


async def test_an_unknown_account_takes_as_long_as_a_bad_signature(tmp_path: Path) -> None:
    """Row 12: medians of many requests, taken in turn."""
    async with Oracle() as oracle, System(tmp_path, pushes.accounts(oracle.url), START) as system:
        body, headers = pushes.generic(START, "return.requested", "m", secret="whsec_" + "A" * 44, pad="x" * 50_000)
        times: dict[str, list[float]] = {"shop": [], "nobody": []}
        async with aiohttp.ClientSession() as session:
            for _ in range(150):
                for account, taken in times.items():
                    began = time.perf_counter()
                    url = f"{system.processes[0].url}/webhooks/generic/{account}"
                    async with session.post(url, data=body, headers=headers) as answer:
                        await answer.read()
                        assert answer.status == (401 if account == "shop" else 404)
                    taken.append(time.perf_counter() - began)
        known, unknown = (sorted(taken)[len(taken) // 2] for taken in times.values())
        assert 0.5 < known / unknown < 2
