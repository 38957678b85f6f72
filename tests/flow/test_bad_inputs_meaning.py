"""Genuine deliveries that say something odd: what becomes of each, end to end (docs/bad-inputs.md, rows 40 to 55)."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared import standard_webhooks
from tests.support import pushes
from tests.support.oracle import Oracle
from tests.support.system import System

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(400)]
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
EUR20 = {"value": "20.00", "currency": "EUR"}


@dataclass
class Shop:
    """One generic account, and deliveries by the id of their case: `R-x` of order `O-x`."""

    system: System
    oracle: Oracle
    pushed: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)

    async def push(self, type_: str = "return.requested", name: str = "x", **data: Any) -> str:
        """What became of the delivery."""
        ids = {"kind": "return", "external_id": f"R-{name}", "order_id": f"O-{name}"}
        if type_ == "return.requested":
            ids |= {"amount": EUR20, "paid": EUR20, "reason": "other", "buyer": {"id": f"B-{name}", "locale": "en"}}
        body = {"type": type_, "timestamp": "2026-11-02T08:00:00Z", "data": {**ids, **data}}
        return await self.raw(json.dumps(body).encode())

    async def raw(self, body: bytes) -> str:
        self.pushed += 1
        headers = standard_webhooks.headers(pushes.GENERIC_SECRET, f"msg_{self.pushed}", self.system.clock.now(), body)
        status, said = await self.system.push("generic", "shop", body, headers)
        assert (status, said) == (202, "")
        await self.system.drain()
        listed = await self.system._whole("/v1/admin/deliveries?")
        [new] = [d for d in listed if d["id"] not in self.outcomes]
        self.outcomes[new["id"]] = new["outcome"]
        return str(new["outcome"])

    async def case(self, name: str = "x") -> dict[str, Any]:
        return await self.system.case_of(f"R-{name}")

    async def tasks(self, name: str = "x") -> list[str]:
        case = await self.case(name)
        return [t["kind"] for t in await self.system.tasks() if t["case_id"] == case["id"]]


Open = Callable[[], Awaitable[Shop]]


@asynccontextmanager
async def _shop(folder: Path) -> AsyncIterator[Shop]:
    async with Oracle() as oracle, System(folder, pushes.accounts(oracle.url), START) as system:
        yield Shop(system, oracle)
        log = (folder / "embedded.log").read_text()
        assert '"level": "error"' not in "".join(x for x in log.splitlines() if "delivery_needs_attention" not in x)
        assert "Traceback" not in log


async def test_amounts_currencies_and_times_are_exact_or_unreadable(tmp_path: Path) -> None:
    """Rows 45, 46, 47."""
    bad_amounts: list[Any] = ["12,50", "1e2", -5, "-5.00", 0.1 + 0.2, "1e15", "9" * 30, "1.005", True, None]
    bad_currencies = ["EURO", "eur", "E U", "ZZZ", ""]
    bad_times = [
        "2026-11-10T10:00:00", "2026-11-10", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-06-30T23:59:60Z",
        "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-10T25:00:00Z", 1767225600, "tomorrow",
    ]  # fmt: skip
    async with _shop(tmp_path) as shop:
        for n, value in enumerate(bad_amounts):
            assert await shop.push(name=f"a{n}", amount={"value": value, "currency": "EUR"}) == "unreadable", value
        for n, currency in enumerate(bad_currencies):
            outcome = await shop.push(name=f"c{n}", amount={"value": "5.00", "currency": currency})
            assert outcome == "unreadable", currency
        assert await shop.push(name="yen", amount={"value": "5.50", "currency": "JPY"}) == "unreadable"
        for n, moment in enumerate(bad_times):
            assert await shop.push(name=f"t{n}", due_at=moment) == "unreadable", moment
        assert await shop.system.cases() == []
        assert await shop.push(name="good", due_at="2026-11-10T02:30:00+01:00") == "accepted"
        assert (await shop.case("good"))["deadlines"][0]["due_at"] == "2026-11-10T01:30:00Z"


async def test_unknown_and_missing_fields(tmp_path: Path) -> None:
    """Rows 40, 42, 43, 44."""
    async with _shop(tmp_path) as shop:
        assert await shop.push("moon.phase", "moon") == "unmapped"
        assert (
            await shop.raw(b'{"type": "return.requested", "timestamp": "2026-11-02T08:00:00Z", "data": {}}')
            == "unreadable"
        )
        odd = {"__proto__": {"x": 1}, "constructor": 1, "__class__": "{{7*7}}", "$ref": "${x}", "weight": "{{7*7}}"}
        assert await shop.push(name="odd", **odd) == "accepted"
        case = await shop.case("odd")
        [opened, *_] = await shop.system.timeline(case["id"])
        assert odd.items() <= opened["fact"]["data"].items(), "kept as data"
        texts = [body["data"]["text"] for body in shop.oracle.effects().values() if body["type"] == "message.send"]
        assert texts
        assert not any("49" in text for text in texts)


async def test_a_deadline_in_the_past_and_one_that_moves(tmp_path: Path) -> None:
    """Rows 48, 49: the case opens all the same, the old generation never fires."""
    async with _shop(tmp_path) as shop:
        await shop.push(name="past", due_at="2026-11-01T00:00:00Z")
        assert "deadline_at_risk" in await shop.tasks("past")
        assert not any("act" in body["data"] for body in shop.oracle.effects().values()), "too late for the planned act"
        await shop.push(name="moves", due_at="2026-11-10T00:00:00Z")
        await shop.push("case.updated", "moves", due_at="2026-11-20T00:00:00Z")
        await shop.system.advance(timedelta(days=9))
        rows = await shop.system.timeline((await shop.case("moves"))["id"])
        assert not [r for r in rows if r["fact"]["kind"] == "timer.elapsed"], "not at the old time"
        await shop.push("case.updated", "moves", due_at="2026-11-13T00:00:00Z")
        await shop.system.advance(timedelta(hours=30))
        rows = await shop.system.timeline((await shop.case("moves"))["id"])
        fired = [r["fact"]["data"] for r in rows if r["fact"]["kind"] == "timer.elapsed"]
        assert [(f["clock"], f["moment"]) for f in fired] == [("answer", "margin")]
        await shop.push("case.updated", "moves", due_at=None)
        assert (await shop.case("moves"))["deadlines"][0]["due_at"] == "2026-11-13T00:00:00Z", "a null says nothing"


async def test_another_currency_within_a_case_is_a_conflict(tmp_path: Path) -> None:
    """Row 46: never believed silently."""
    async with _shop(tmp_path) as shop:
        await shop.push(name="money")
        await shop.push("case.updated", "money", amount={"value": "5.00", "currency": "USD"})
        assert (await shop.case("money"))["amount"] == EUR20
        assert await shop.tasks("money") == ["conflict"]
        await shop.push("case.updated", "money", amount={"value": "12.00", "currency": "EUR"})
        assert (await shop.case("money"))["amount"] == {"value": "12.00", "currency": "EUR"}


async def test_the_end_before_the_beginning_and_a_second_order(tmp_path: Path) -> None:
    """Rows 50, 51, 52."""
    async with _shop(tmp_path) as shop:
        await shop.push("case.closed", "early", closed_by="buyer")
        assert await shop.system.cases() == []
        await shop.push(name="early")
        case = await shop.case("early")
        assert (case["phase"], case["outcome"]) == ("resolved", "withdrawn")
        await shop.push("return.shipped", "early")
        assert (await shop.case("early"))["phase"] == "resolved", "what comes after the end is recorded only"
        assert (await shop.system.timeline(case["id"]))[-1]["fact"]["kind"] == "return.shipped"
        await shop.push(name="two")
        await shop.push(name="two", order_id="O-another")
        assert (await shop.case("two"))["order_id"] == "O-two"
        assert await shop.tasks("two") == ["conflict"]
        await shop.push("case.closed", "never-opened", closed_by="buyer")
        await shop.system.advance(timedelta(hours=25))
        assert "orphan" in [t["kind"] for t in await shop.system.tasks()]


NAMES = {
    "long": "X" * 10_000, "bidi": "\u202eevil\u202c", "hidden": "a\u200bb", "emoji": "\U0001f600\U0001f600",
    "markup": "<script>alert(1)</script>", "formula": '=HYPERLINK("x")', "template": "{{ 7*7 }}${x}",
    "break": "Ada\r\nBcc: all",
}  # fmt: skip


async def test_odd_names_of_buyers_do_no_harm(tmp_path: Path) -> None:
    """Row 53: each message is plain text without hidden signs, or does not go and a person is told."""
    async with _shop(tmp_path) as shop:
        for name, buyer in NAMES.items():
            outcome = await shop.push(name=name, buyer={"id": name, "name": buyer, "locale": "en"})
            assert outcome == "accepted"
            [message, *_] = await shop.system.messages((await shop.case(name))["id"])
            if message["status"] != "sent":
                assert message["status"] == "blocked"
                assert "message_blocked" in await shop.tasks(name)
        sent = [b["data"]["text"] for b in shop.oracle.effects().values() if b["type"] == "message.send"]
        assert len(sent) >= 5
        for text in sent:
            assert not set(text) & set("\u202e\u202c\u200b\r\x00") and "<script" not in text and "X" * 200 not in text
        assert any("{{ 7*7 }}${x}" in text for text in sent)


async def test_an_address_in_a_fact_is_never_fetched(tmp_path: Path) -> None:
    """Row 55: links of attachments are data."""
    async with _shop(tmp_path) as shop:
        called = shop.oracle.url.replace("/hooks", "/inside")
        await shop.push(name="link", evidence_url=called)
        await shop.push("evidence.submitted", "link", what="photo", url=called)
        case = await shop.case("link")
        for url in (called, "http://169.254.169.254/latest", "file:///etc/passwd", "gopher://127.0.0.1/x"):
            await shop.system.request(
                "POST", f"/v1/cases/{case['id']}/evidence", json={"kind": "photo", "supplied_by": "buyer", "url": url}
            )
        await shop.system.advance(timedelta(days=3))
        assert {b["type"] for _, b in shop.oracle.received} <= {"message.send", "act.perform"}
        assert not [b for _, b in shop.oracle.received if "type" not in b]


async def test_the_same_order_in_two_accounts_is_two_cases(tmp_path: Path) -> None:
    """Row 54: also under the same delivery id."""
    async with Oracle() as oracle:
        one = pushes.accounts(oracle.url)
        both = one + one.partition("accounts:\n")[2].replace("id: shop", "id: other-shop")
        async with System(tmp_path, both, START) as system:
            body, headers = pushes.generic(START, "return.requested", "m", kind="return", external_id="R", order_id="O")
            for account in ("shop", "other-shop", "shop"):
                assert (await system.push("generic", account, body, headers))[0] == 202
            await system.drain()
            cases = await system.cases("?order_id=O")
            assert sorted(c["account"] for c in cases) == ["other-shop", "shop"]
            assert len({c["id"] for c in cases}) == 2
