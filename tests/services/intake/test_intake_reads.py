"""Fetches and polls: doorbells collapse, nothing asked is lost, equal records leave no trace, failures are retried."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from shared.clock import to_micros
from shared.http import InDoubtFault
from shared.ports import NotYetThere, Page, Record

pytestmark = pytest.mark.asyncio
SHOWN = {"order": "T-100", "amount": "12.50", "currency": "EUR", "answer_by": "2026-01-08T09:30:00Z"}


async def test_a_doorbell_leads_to_a_read_and_its_facts(rig: Any) -> None:
    rig.market.put("R1", state="requested", **SHOWN)
    assert (await rig.push(rig.body("p1", "return_changed", return_id="R1")))[0] == 200
    await rig.drain()
    [fact] = rig.facts("return.requested")
    assert (fact.source, fact.external_id, fact.revision) == ("fetch", "R1", 1)
    assert fact.data["paid"] == {"value": "12.50", "currency": "EUR"}
    assert [row["outcome"] for row in await rig.rows("SELECT outcome FROM deliveries WHERE source = 'fetch'")] == [
        "accepted"
    ]


async def test_a_storm_of_doorbells_collapses_and_the_last_state_is_read(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.market.put("R1", state="requested", **SHOWN)
    reading, all_rung = asyncio.Event(), asyncio.Event()
    source = rig.intake._readers.get("toy-a").source
    fetch = source.fetch

    async def slow(ref: str) -> Any:
        found = await fetch(ref)
        reading.set()
        await all_rung.wait()
        return found

    monkeypatch.setattr(source, "fetch", slow)
    before = rig.market.reads
    await rig.push(rig.body("first", "return_changed", return_id="R1"))
    await reading.wait()
    pushes = [rig.push(rig.body(f"p{n}", "return_changed", return_id="R1")) for n in range(50)]
    answers = await asyncio.gather(*pushes)
    rig.market.put("R1", state="shipped")
    all_rung.set()
    await rig.drain()
    assert {status for status, _ in answers} == {200}
    assert rig.market.reads - before == 2, "the one under way, and one for all that rang meanwhile"
    assert rig.facts("return.shipped"), "the ask after the change was not lost"
    [row] = await rig.rows("SELECT wanted, done FROM fetches")
    assert row["wanted"] == row["done"] <= 51


async def test_an_ask_during_a_read_makes_another_read(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.market.put("R1", state="requested", **SHOWN)
    reading, go_on = asyncio.Event(), asyncio.Event()
    source = rig.intake._readers.get("toy-a").source
    fetch, at_once, most = source.fetch, 0, 0

    async def slow(ref: str) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        found = await fetch(ref)
        reading.set()
        await go_on.wait()
        at_once -= 1
        return found

    monkeypatch.setattr(source, "fetch", slow)
    await rig.push(rig.body("p1", "return_changed", return_id="R1"))
    rig.intake.kick()
    await reading.wait()
    rig.market.put("R1", state="shipped")
    await rig.push(rig.body("p2", "return_changed", return_id="R1"))
    rig.intake.kick()
    go_on.set()
    await rig.drain()
    assert [fact.kind for fact in rig.facts() if fact.case_kind] == ["return.requested", "return.shipped"]
    assert most == 1, "one read per reference at a time"


async def test_an_equal_record_leaves_no_trace_and_an_older_one_is_dropped_and_counted(rig: Any) -> None:
    rig.market.put("R1", state="requested", **SHOWN)
    rig.market.put("R1", state="shipped")
    for id_ in ("p1", "p2"):
        await rig.push(rig.body(id_, "return_changed", return_id="R1"))
        await rig.drain()
    kept = await rig.rows("SELECT * FROM deliveries WHERE source = 'fetch'")
    assert len(kept) == 1
    rig.market.put("R1", state="requested", version=1)
    await rig.push(rig.body("p3", "return_changed", return_id="R1"))
    await rig.drain()
    assert await rig.rows("SELECT * FROM deliveries WHERE source = 'fetch'") == kept
    assert rig.counted("stale_record") == 1
    assert await rig.rows("SELECT value FROM counters WHERE name = 'stale_record'") == [{"value": 1}]


async def test_a_record_that_goes_back_to_what_it_was_is_news_again(rig: Any) -> None:
    for n, state in enumerate(["requested", "shipped", "requested", "shipped"]):
        rig.market.put("R1", state=state, **SHOWN)
        await rig.push(rig.body(f"p{n}", "return_changed", return_id="R1"))
        await rig.drain()
    kinds = [fact.kind for fact in rig.facts() if fact.case_kind]
    assert kinds == ["return.requested", "return.shipped"] * 2


async def test_failed_reads_are_retried_on_the_ladder_and_then_told_to_policy(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_ref: str) -> Any:
        raise InDoubtFault("HTTP 500")

    monkeypatch.setattr(rig.intake._readers.get("toy-a").source, "fetch", broken)
    await rig.push(rig.body("p1", "return_changed", return_id="R1"))
    await rig.drain()
    moments, began = [], rig.clock.now()
    while (due := await rig.intake.next_due()) is not None:
        moments.append(due - began)
        rig.clock.set(due)
        await rig.drain()
    minutes = [round(gap.total_seconds() / 60) for gap in moments]
    assert minutes[:5] == [1, 6, 21, 51, 111]
    assert all(later - sooner <= 60 for sooner, later in itertools.pairwise(minutes[4:]))
    assert minutes[-1] == 24 * 60
    [notice] = [fact for fact in rig.facts() if fact.raw_code == "fetch_gave_up"]
    assert (notice.kind, notice.order_id, notice.refs) == ("case.updated", "T-100", {"ref": "return:R1"})
    assert "failed" in await rig.outcomes()
    monkeypatch.undo()
    rig.market.put("R1", state="requested", **SHOWN)
    await rig.push(rig.body("p2", "return_changed", return_id="R1"))
    await rig.advance(timedelta(minutes=1))
    assert rig.facts("return.requested")
    assert await rig.rows("SELECT attempts FROM fetches WHERE done = wanted") == [{"attempts": 0}]


async def test_what_is_not_there_yet_is_read_again_without_blaming_the_account(rig: Any) -> None:
    for n in range(8):
        await rig.push(rig.body(f"p{n}", "return_changed", return_id=f"R{n}"))
    await rig.drain()
    assert rig.intake._readers.blocked_until(rig.clock.now()) == {}
    for n in range(8):
        rig.market.put(f"R{n}", state="requested", **SHOWN)
    await rig.advance(timedelta(minutes=2))
    assert len(rig.facts("return.requested")) == 8


async def test_a_poll_asked_for_while_one_is_under_way_reads_anew(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    source = rig.intake._readers.get("toy-a").source
    poll = source.poll

    async def slow(cursor: Any, since: Any) -> Page:
        page = await poll(cursor, since)
        began.set()
        await go_on.wait()
        return page

    monkeypatch.setattr(source, "poll", slow)
    await rig.intake.polls.ask(["toy-a"])
    rig.intake.kick()
    await began.wait()
    rig.market.put("R1", state="requested", **SHOWN)
    asked = asyncio.create_task(rig.intake.poll_now("toy-a"))
    await asyncio.sleep(0)
    go_on.set()
    await asked
    assert rig.facts("return.requested"), "what was there when it was asked for is seen"


async def test_a_poll_that_waits_for_its_report_does_not_stop_the_account_s_other_reads(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waits(*_: Any) -> Any:
        raise NotYetThere("the report is not ready")

    monkeypatch.setattr(rig.intake._readers.get("toy-a").source, "poll", waits)
    for _ in range(8):
        await rig.intake.polls.ask(["toy-a"])
        await rig.drain()
    assert (await rig.rows("SELECT attempts FROM polls WHERE account = 'toy-a'"))[0]["attempts"] >= 8
    rig.market.put("R1", state="requested", **SHOWN)
    await rig.push(rig.body("p1", "return_changed", return_id="R1"))
    await rig.drain()
    assert rig.facts("return.requested")


async def test_the_breaker_of_one_account_does_not_stop_another(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_ref: str) -> Any:
        raise TimeoutError

    rig.market.put("R1", state="requested", **SHOWN)
    monkeypatch.setattr(rig.intake._readers.get("toy-b").source, "fetch", broken)
    for n in range(12):
        await rig.push(rig.body(f"b{n}", "return_changed", return_id=f"R{n}"), "toy-b")
    await rig.push(rig.body("a", "return_changed", return_id="R1"))
    await rig.drain()
    assert set(rig.intake._readers.blocked_until(rig.clock.now())) == {"toy-b"}
    assert [fact.account for fact in rig.facts("return.requested")] == ["toy-a"]
    untried = await rig.rows("SELECT count(*) AS n FROM fetches WHERE account = 'toy-b' AND attempts = 0")
    assert untried[0]["n"] > 0, "an open breaker costs no attempts"
    monkeypatch.undo()
    for n in range(12):
        rig.market.put(f"R{n}", state="requested", **SHOWN)
    await rig.advance(timedelta(minutes=3))
    assert len({f.external_id for f in rig.facts("return.requested") if f.account == "toy-b"}) == 12


async def test_how_long_polls_have_failed_is_told_from_when_they_should_have_been_whole(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise TimeoutError

    async def away() -> float | None:
        await rig.metrics.exposition()
        labels = {"marketplace": "toy", "way": "poll"}
        return rig.metrics.registry.get_sample_value("amends_source_away_seconds", labels)

    await rig.drain()
    monkeypatch.setattr(rig.intake._readers.get("toy-b").source, "poll", broken)
    assert await away() == 0.0
    await rig.advance(timedelta(minutes=10))
    assert await away() == 0.0, "just due"
    for minutes in (10, 20):
        await rig.advance(timedelta(minutes=minutes))
    assert await away() == 30 * 60.0, "the worst of the accounts"
    monkeypatch.undo()
    await rig.advance(timedelta(minutes=10))
    assert await away() == 0.0


async def test_a_records_bug_keeps_both_sides_and_replay_gives_the_facts(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a bug of ours")

    records = rig.config.registry.records("toy")
    rig.market.put("R1", state="requested", **SHOWN)
    monkeypatch.setattr(records, "facts", broken)
    await rig.push(rig.body("p1", "return_changed", return_id="R1"))
    await rig.drain()
    monkeypatch.undo()
    rig.market.put("R1", state="shipped")
    await rig.push(rig.body("p2", "return_changed", return_id="R1"))
    await rig.drain()
    assert [f.kind for f in rig.facts() if f.case_kind] == ["return.shipped"]
    async with rig.http.post("/v1/admin/deliveries/replay", json={"outcome": "failed"}) as response:
        assert (await response.json())["outcomes"] == {"accepted": 1}
    await rig.drain()
    assert {f.kind for f in rig.facts() if f.case_kind} == {"return.requested", "return.shipped"}


async def test_a_lost_lease_keeps_nothing(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.market.put("R1", state="requested", **SHOWN)
    source = rig.intake._readers.get("toy-a").source
    fetch = source.fetch

    async def overtaken(ref: str) -> Any:
        async with rig.intake.database.transaction() as tx:
            await tx.run("UPDATE fetches SET owner = 'another', lease_until = 0")
        monkeypatch.setattr(source, "fetch", fetch)
        return await fetch(ref)

    monkeypatch.setattr(source, "fetch", overtaken)
    await rig.push(rig.body("p1", "return_changed", return_id="R1"))
    await rig.drain()
    assert len(rig.facts("return.requested")) == 1
    assert len(await rig.rows("SELECT * FROM deliveries WHERE source = 'fetch'")) == 1


async def test_each_source_is_polled_at_start_and_then_at_its_pace(rig: Any) -> None:
    assert {row["account"] for row in await rig.rows("SELECT account FROM polls WHERE since IS NOT NULL")} == {
        "toy-a",
        "toy-b",
    }
    rig.market.put("R1", state="requested", **SHOWN)
    await rig.advance(timedelta(minutes=9))
    assert rig.facts() == []
    await rig.advance(timedelta(minutes=2))
    assert sorted((f.account, f.kind, f.source) for f in rig.facts()) == [
        ("toy-a", "return.requested", "poll"),
        ("toy-b", "return.requested", "poll"),
    ]
    [since] = {row["since"] for row in await rig.rows("SELECT since FROM polls")}
    assert since == to_micros(rig.clock.now())


async def test_the_sandbox_polls_one_account_now(rig: Any) -> None:
    rig.market.put("R1", state="requested", **SHOWN)
    async with rig.http.post("/sandbox/poll", json={"account": "toy-b"}) as response:
        assert response.status == 200, await response.text()
    assert [fact.account for fact in rig.facts("return.requested")] == ["toy-b"]
    async with rig.http.post("/sandbox/poll", json={"account": "nobody"}) as response:
        assert response.status == 404


async def test_a_poll_goes_on_at_its_page_after_a_fault_and_a_restart(rig: Any) -> None:
    for n in range(120):
        rig.market.put(f"R{n}", state="requested", **SHOWN)
    await _poll_with(rig, faults_after=1)
    [poll] = await rig.rows("SELECT cursor, attempts, why FROM polls WHERE account = 'toy-a'")
    assert (poll["cursor"], poll["attempts"], poll["why"]) == ('{"page":2}', 1, "HTTP 500")
    assert len(rig.facts("return.requested")) == 50
    await rig.restart()
    await rig.drain()
    found = {f.external_id for f in rig.facts("return.requested") if f.account == "toy-a"}
    assert len(found) == 70, "the pages that were kept are not read again"
    assert await rig.rows("SELECT cursor FROM polls WHERE account = 'toy-a'") == [{"cursor": None}]


async def _poll_with(rig: Any, faults_after: int) -> None:
    source = rig.intake._readers.get("toy-a").source
    poll, pages = source.poll, 0

    async def failing(cursor: Any, since: Any) -> Page:
        nonlocal pages
        pages += 1
        if pages > faults_after:
            rig.market.faults.append(500)
        found: Page = await poll(cursor, since)
        return found

    source.poll = failing
    async with rig.http.post("/sandbox/poll", json={"account": "toy-a"}) as response:
        assert response.status == 200


async def test_references_of_a_page_are_fetched(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.market.put("R1", state="requested", **SHOWN)

    async def only_refs(_cursor: Any, _since: Any) -> Page:
        return Page(refs=("return:R1",))

    monkeypatch.setattr(rig.intake._readers.get("toy-a").source, "poll", only_refs)
    await rig.intake.poll_now("toy-a")
    assert [fact.source for fact in rig.facts("return.requested")] == ["fetch"]


async def test_a_read_that_began_before_the_kept_one_is_dropped_where_there_is_no_revision(rig: Any) -> None:
    comparer = rig.intake.fetches._comparer
    entry = rig.config.accounts["toy-a"]
    body = {"id": "R9", "state": "requested", "version": "1", "at": "2026-01-05T09:00:00Z", "reason": "late", **SHOWN}
    now = rig.clock.now()
    for state, began in (("shipped", now), ("requested", now - timedelta(seconds=5))):
        async with rig.intake.database.transaction() as tx:
            record = Record("return:R9", {**body, "state": state})
            taken = await comparer.take(tx, entry, "poll", [record], began, now)
        comparer.tell(taken)
    [kept] = await rig.rows("SELECT version, body FROM records WHERE ref = 'return:R9'")
    assert kept["version"] == 1 and '"shipped"' in kept["body"]
    assert rig.counted("stale_record") == 1


async def test_an_account_taken_out_of_the_file_is_neither_read_nor_taken(rig: Any) -> None:
    import dataclasses

    rig.intake.config = dataclasses.replace(rig.config, accounts={"toy-b": rig.config.accounts["toy-b"]})
    assert (await rig.push(rig.body("p1")))[0] == 404
    before = rig.market.reads
    await rig.advance(timedelta(minutes=11))
    assert rig.market.reads - before == 1
