"""The source against the simulator over real HTTP: reports asked for and waited for, finances swept, failures told."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from amends.serve import HttpServer
from shared.clock import TestClock, parse_time
from shared.domain.facts import Draft
from shared.http import Call, Http, InDoubtFault, NotSentFault, RefusedFault
from shared.marketplaces.amazon import records, simulator
from shared.marketplaces.amazon.source import PATIENCE, Source
from shared.ports import Account, NotYetThere, Page, Record

SECRETS = {
    "notification_key": "the-key-of-the-forwarder",
    "lwa_client_id": "client-1",
    "lwa_client_secret": ("secret-1", "older"),
    "refresh_token": "Atzr|demo",
}
START = parse_time("2026-01-05T09:30:00Z")
ORDER = "902-1234567-7654321"
pytestmark = pytest.mark.asyncio


@dataclass
class Shop:
    account: Account
    clock: TestClock
    http: Http
    url: str
    source: Source
    seen: list[Call]
    faults: list[tuple[str, Exception]]
    """Label of a call and what becomes of it, once."""

    async def control(self, path: str, body: Any = None) -> Any:
        quiet = Http()
        try:
            content = None if body is None else msgspec.json.encode(body)
            call = Call("GET" if body is None else "POST", f"{self.url}/_control/{path}", body=content)
            return (await quiet.call(call)).json()
        finally:
            await quiet.close()

    async def poll(self, since: Any = None) -> list[Page]:
        """A whole poll: page after page until it says that it is done."""
        pages = [await self.source.poll(None, since)]
        while pages[-1].cursor is not None:
            pages.append(await self.source.poll(round_trip(pages[-1].cursor), since))
        return pages

    def another(self, **settings: Any) -> Source:
        account = replace(self.account, settings={**self.account.settings, **settings})
        return Source(account, SECRETS, self.http, self.clock)


def round_trip(cursor: Mapping[str, Any]) -> Any:
    """As intake keeps it."""
    return msgspec.json.decode(msgspec.json.encode(cursor))


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    clock = TestClock(START)
    account = Account("amz", "amazon", settings={"marketplace_id": "A1PA6795UKMFR9", "finances": True}, sandbox=True)
    server = HttpServer(simulator.create(account, SECRETS, clock, tmp_path / "amazon.json"))
    await server.start()
    seen: list[Call] = []
    faults: list[tuple[str, Exception]] = []

    async def fault(call: Call) -> str | None:
        seen.append(call)
        if faults and faults[0][0] == call.label:
            raise faults.pop(0)[1]
        return None

    http = Http(fault=fault)
    account = replace(account, base_url=server.url)
    try:
        yield Shop(account, clock, http, server.url, Source(account, SECRETS, http, clock), seen, faults)
    finally:
        await http.close()
        await server.stop()


def by_ref(pages: list[Page]) -> dict[str, Record]:
    return {record.ref: record for page in pages for record in page.records}


@pytest.mark.parametrize("kind", ["GET_FLAT_FILE_RETURNS_DATA_BY_RETURN_DATE", "GET_XML_RETURNS_DATA_BY_RETURN_DATE"])
@pytest.mark.parametrize("packed", [True, False])
async def test_a_return_comes_out_of_its_report(shop: Shop, kind: str, packed: bool) -> None:
    staged = await shop.control("returns", {"order_id": ORDER})
    await shop.control("reports", {"packed": packed})
    shop.source = shop.another(returns_report=kind)
    found = by_ref(await shop.poll())
    record = found[f"return:{staged['amazon_rma_id']}"]
    assert record.body == {"lines": [staged]}, "also the letters beyond ASCII"
    assert record.revision == int(START.timestamp() * 1000)
    (asked,) = (msgspec.json.decode(call.body or b"") for call in shop.seen if call.label == "createReport")
    assert asked == {
        "reportType": kind,
        "marketplaceIds": ["A1PA6795UKMFR9"],
        "dataStartTime": "2025-11-06T09:30:00Z",
        "dataEndTime": "2026-01-05T09:30:00Z",
    }


async def test_the_window_slides_and_is_never_longer_than_amazon_allows(shop: Shop) -> None:
    shop.source = shop.another(returns_window="P365D")
    shop.clock.advance(timedelta(days=10))
    await shop.poll()
    shop.source = shop.another(returns_window="P7D")
    await shop.poll()
    asked = [msgspec.json.decode(call.body or b"") for call in shop.seen if call.label == "createReport"]
    assert [one["dataStartTime"][:10] for one in asked] == ["2025-11-16", "2026-01-08"]


async def test_changes_are_seen_in_the_next_report_and_become_facts(shop: Shop) -> None:
    await shop.control("returns", {"order_id": ORDER})
    before, told = None, []
    for move in (None, "authorised", "ships", "arrives", "claimed", "refunded"):
        if move:
            await shop.control(f"returns/{ORDER}", {"do": move})
        shop.clock.advance(timedelta(minutes=15))
        (record,) = [r for ref, r in by_ref(await shop.poll(START)).items() if ref.startswith("return:")]
        told += [draft.kind for draft in facts(shop, record.body, before)]
        before = record.body
    assert told == ["return.requested", "return.authorised", "return.shipped", "return.received", "case.updated",
                    "dispute.opened", "refund.issued", "case.closed"]  # fmt: skip


def facts(shop: Shop, body: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Draft]:
    return list(records.facts(body, before, shop.account, shop.clock.now()))


async def test_a_report_takes_its_time_and_the_poll_goes_on_where_it_stood(shop: Shop) -> None:
    await shop.control("returns", {"order_id": ORDER})
    await shop.control("reports", {"looks": 5})
    page = await shop.source.poll(None, None)
    with pytest.raises(NotYetThere):
        await shop.source.poll(page.cursor, None)
    fresh = shop.another()
    found = await fresh.poll(round_trip(page.cursor or {}), None)
    assert any(record.ref.startswith("return:") for record in found.records)
    assert [call.label for call in shop.seen].count("createReport") == 1


async def test_a_report_that_never_comes_is_given_up_and_told(shop: Shop) -> None:
    await shop.control("reports", {"looks": 1000})
    page = await shop.source.poll(None, None)
    shop.clock.advance(PATIENCE)
    after = await shop.source.poll(page.cursor, None)
    assert [(record.ref, record.body["status"]) for record in after.records] == [("reading:returns", "NOT_READY")]
    assert after.cursor is not None and after.cursor["stage"] == "finances"


@pytest.mark.parametrize(("status", "told"), [("CANCELLED", 0), ("FATAL", 1), ("SOMETHING_NEW", 1)])
async def test_a_report_that_ends_otherwise(shop: Shop, status: str, told: int) -> None:
    await shop.control("reports", {"status": status})
    found = by_ref(await shop.poll())
    assert len(facts(shop, found["reading:returns"].body, None)) == told


async def test_a_notification_has_its_report_read_at_once(shop: Shop) -> None:
    staged = await shop.control("returns", {"order_id": ORDER})
    page = await shop.source.poll(None, None)
    assert page.cursor is not None
    found = await shop.source.fetch(f"report:{page.cursor['id']}")
    assert found[0].ref == f"return:{staged['amazon_rma_id']}"
    with pytest.raises(RefusedFault, match="NotFound"):
        await shop.source.fetch("report:1")


async def test_a_document_that_is_no_report_is_told_and_stops_nothing(shop: Shop) -> None:
    await shop.control("returns", {"order_id": ORDER})
    await shop.control("reports", {"packed": False})
    page = await shop.source.poll(None, None)
    real = shop.http.call

    async def call(call: Call) -> Any:
        answer = await real(call)
        return replace(answer, body=b"<html>Access denied</html>") if call.label == "document" else answer

    shop.http.call = call  # type: ignore[method-assign]
    after = await shop.source.poll(page.cursor, None)
    assert [record.body["status"] for record in after.records] == ["UNREADABLE"]
    assert after.cursor is not None


async def test_faults_leave_the_poll_where_it_is(shop: Shop) -> None:
    shop.faults += [("createReport", NotSentFault("HTTP 429", 30.0)), ("getReport", InDoubtFault("HTTP 500"))]
    with pytest.raises(NotSentFault):
        await shop.source.poll(None, None)
    page = await shop.source.poll(None, None)
    with pytest.raises(InDoubtFault):
        await shop.source.poll(page.cursor, None)
    assert (await shop.source.poll(page.cursor, None)).records


async def test_the_sweep_finds_orders_and_each_is_read_whole(shop: Shop) -> None:
    for n in range(60):
        await shop.control("finances", {"order_id": f"902-0000000-00000{n:02d}", "amount": "-10.00"})
    await shop.control("finances", {"order_id": ORDER, "list": "GuaranteeClaimEventList"})
    pages = await shop.poll(START)
    refs = [ref for page in pages for ref in page.refs]
    assert len(refs) == len(set(refs)) == 61 and len(pages) == 4, "two pages of events after report and its reading"
    (record,) = await shop.source.fetch(f"finances:{ORDER}")
    assert [draft.kind for draft in facts(shop, record.body, None)][-1] == "dispute.resolved"
    shop.clock.advance(timedelta(minutes=15))
    await shop.control("finances", {"order_id": ORDER, "amount": "-1.00"})
    again = await shop.poll(START + timedelta(minutes=15))
    assert [ref for page in again for ref in page.refs] == [f"finances:{ORDER}"], "only what is new is read again"


async def test_a_sweep_begins_before_the_last_one_for_what_comes_late(shop: Shop) -> None:
    await shop.control("finances", {"order_id": ORDER})
    shop.clock.advance(timedelta(days=3))
    assert any(page.refs for page in await shop.poll(START + timedelta(days=2)))
    shop.source = shop.another()
    assert not any(page.refs for page in await shop.poll(START + timedelta(days=3)))


async def test_an_order_without_such_events_is_not_there_yet(shop: Shop) -> None:
    with pytest.raises(NotYetThere):
        await shop.source.fetch("finances:902-0000000-0000000")


async def test_without_the_role_for_finances_returns_are_read_all_the_same(shop: Shop) -> None:
    await shop.control("returns", {"order_id": ORDER})
    shop.faults.append(("listFinancialEvents", RefusedFault("HTTP 403", 403, b'{"errors":[{"code":"Unauthorized"}]}')))
    found = by_ref(await shop.poll())
    assert found["reading:finances"].body["status"] == "REFUSED_403"
    assert any(ref.startswith("return:") for ref in found)
    shop.source = shop.another(finances=False)
    assert "reading:finances" not in by_ref(await shop.poll())


async def test_wrong_credentials_are_refused_account_wide(shop: Shop) -> None:
    stranger = Source(shop.account, {**SECRETS, "lwa_client_secret": "wrong"}, shop.http, shop.clock)
    with pytest.raises(RefusedFault) as refused:
        await stranger.poll(None, None)
    assert refused.value.status == 401


async def test_the_simulator_remembers_over_a_restart(shop: Shop, tmp_path: Path) -> None:
    await shop.control("returns", {"order_id": ORDER})
    await shop.control("finances", {"order_id": ORDER})
    again = HttpServer(simulator.create(shop.account, SECRETS, shop.clock, tmp_path / "amazon.json"))
    await again.start()
    try:
        shop.source = Source(replace(shop.account, base_url=again.url), SECRETS, shop.http, shop.clock)
        pages = await shop.poll()
    finally:
        await again.stop()
    assert f"finances:{ORDER}" in [ref for page in pages for ref in page.refs]
    assert any(ref.startswith("return:") for ref in by_ref(pages))
