"""The webhook walk: proven, stored, answered; repeats, conflicts, what cannot be read. On both stores, over a socket."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from services.intake import store
from services.intake.settings import Settings

pytestmark = pytest.mark.asyncio


async def test_a_genuine_push_is_stored_with_its_bytes_and_its_fact_published(rig: Any) -> None:
    body = rig.body("p1", extra={"kept": True})
    assert (await rig.push(body))[0] == 200
    await rig.drain()
    [delivery] = await rig.rows("SELECT * FROM deliveries")
    [raw] = await rig.rows("SELECT * FROM raw")
    assert delivery["outcome"] == "accepted" and delivery["dedupe_key"] == "p1" and delivery["source"] == "push"
    assert bytes(raw["body"]) == body
    assert "x-toy-signature" not in raw["headers"] and "authorization" not in raw["headers"]
    [fact] = rig.facts()
    assert (fact.kind, fact.order_id, fact.account, fact.source) == ("order.shipped", "T-100", "toy-a", "push")
    assert fact.observed_at == rig.clock.now()
    assert rig.counted("accepted") == 1


@pytest.mark.parametrize(
    ("topic", "data", "outcome", "kinds"),
    [
        ("buyer_wrote", {"text": "Hello"}, "accepted", ["message.received"]),
        ("ping", {}, "ignored", []),
        ("moon_phase", {}, "unmapped", ["case.updated"]),
        ("buyer_wrote", {"text": 7}, "unreadable", []),
    ],
)
async def test_every_outcome_is_kept_and_answered_2xx(
    rig: Any, topic: str, data: dict[str, Any], outcome: str, kinds: list[str]
) -> None:
    status, _ = await rig.push(rig.body("p1", topic, **data))
    await rig.drain()
    assert status == 200
    assert await rig.outcomes() == [outcome]
    assert [fact.kind for fact in rig.facts()] == kinds
    assert rig.counted(outcome) == 1


async def test_a_reply_may_depend_on_what_came_and_on_when(rig: Any) -> None:
    status, body = await rig.push(rig.body("p1", "ping"))
    assert (status, json.loads(body)) == (200, {"pong": "2026-01-05T10:00:00Z"})
    assert json.loads((await rig.push(rig.body("p2")))[1]) == {"ok": True}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"x"', b"7", b"\xff\xfe{", b"\xef\xbb\xbf{}", b"{} {}", b"{'a': 1}", b"[" * 100_000,
        b'{"id": "a", "id": "b"}', b'{"id": NaN}', b'{"id": ' + b"9" * 5000 + b"}", b'{"id": "\\ud800"}',
        b'{"id": "x\\u0000y"}', b'{"id": {}, "topic": []}',
    ],
)  # fmt: skip
async def test_authentic_but_unreadable_is_kept_word_for_word_and_answered_2xx(rig: Any, body: bytes) -> None:
    status, _ = await rig.push(body)
    assert status == 200
    [row] = await rig.rows("SELECT d.outcome, d.why, r.body FROM deliveries d JOIN raw r ON r.delivery_id = d.id")
    assert row["outcome"] == "unreadable" and row["why"].startswith("$") and bytes(row["body"]) == body
    assert (await rig.push(body))[0] == 200
    assert await rig.outcomes() == ["unreadable"]


async def test_a_parser_that_breaks_keeps_the_delivery_as_failed(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(rig.config.registry.webhooks("toy"), "parse", broken)
    assert (await rig.push(rig.body("p1")))[0] == 200
    [row] = await rig.rows("SELECT outcome, code, why FROM deliveries")
    assert row == {"outcome": "failed", "code": "KeyError", "why": "KeyError"}


async def test_repeats_are_answered_and_counted_but_leave_no_trace_also_after_a_restart(rig: Any) -> None:
    body = rig.body("p1")
    assert [(await rig.push(body))[0] for _ in range(3)] == [200, 200, 200]
    assert rig.counted("duplicate") == 2
    await rig.drain()
    await rig.restart()
    assert (await rig.push(body))[0] == 200
    await rig.drain()
    assert await rig.outcomes() == ["accepted"]
    assert rig.facts() == []
    assert (await rig.rows("SELECT value FROM counters WHERE name = 'duplicate'")) == [{"value": 3}]


async def test_repeats_at_the_same_time_are_one(rig: Any) -> None:
    bodies = [rig.body(f"p{n % 10}") for n in range(100)]
    answers = await asyncio.gather(*(rig.push(body) for body in bodies))
    await rig.drain()
    assert {status for status, _ in answers} == {200}
    assert Counter(await rig.outcomes()) == {"accepted": 10}
    assert len(rig.facts()) == 10
    assert (rig.counted("accepted"), rig.counted("duplicate")) == (10, 90)


async def test_the_same_id_with_other_content_is_kept_as_a_conflict_and_never_applied(rig: Any) -> None:
    first, other = rig.body("p1"), rig.body("p1", order="T-999")
    assert (await rig.push(first))[0] == 200
    assert [(await rig.push(other))[0] for _ in range(2)] == [200, 200]
    await rig.drain()
    assert sorted(await rig.outcomes()) == ["accepted", "conflict"]
    applied = [fact for fact in rig.facts() if fact.raw_code != "delivery_conflict"]
    assert [fact.order_id for fact in applied] == ["T-100"]
    bodies = {bytes(row["body"]) for row in await rig.rows("SELECT body FROM raw")}
    assert bodies == {first, other}


async def test_policy_is_told_of_a_conflict_once(rig: Any) -> None:
    await rig.push(rig.body("p1"))
    for _ in range(2):
        await rig.push(rig.body("p1", order="T-999"))
    await rig.drain()
    [notice] = [fact for fact in rig.facts() if fact.raw_code == "delivery_conflict"]
    [kept] = await rig.rows("SELECT id, facts FROM deliveries WHERE outcome = 'conflict'")
    assert (notice.kind, notice.order_id, notice.refs, notice.source) == ("case.updated", "T-999", {}, "push")
    assert notice.data == {"delivery_id": kept["id"]} and kept["facts"] == 1


async def test_conflicts_within_one_group_are_found(rig: Any) -> None:
    answers = await asyncio.gather(*(rig.push(rig.body("p1", order=f"T-{n % 2}")) for n in range(20)))
    assert {status for status, _ in answers} == {200}
    assert sorted(await rig.outcomes()) == ["accepted", "conflict"]


async def test_two_accounts_may_use_the_same_ids(rig: Any) -> None:
    for account in ("toy-a", "toy-b"):
        assert (await rig.push(rig.body("p1"), account))[0] == 200
    await rig.drain()
    assert {(fact.account, fact.id) for fact in rig.facts()} == {(f.account, f.id) for f in rig.facts()}
    assert len({fact.id for fact in rig.facts()}) == 2


async def test_what_is_not_genuine_leaves_nothing(rig: Any) -> None:
    body = rig.body("p1")
    altered = body.replace(b"T-100", b"T-101")
    good = rig.metrics.registry.get_sample_value("amends_delivery_ack_seconds_count")
    for headers, sent, secret in (
        ({}, body, "another"),
        ({}, body, "push-secret-b"),
        ({"X-Toy-Signature": ""}, body, None),
        ({"X-Toy-Signature": "garbage"}, body, None),
    ):
        status, answer = await rig.push(sent, secret=secret, **headers)
        assert (status, json.loads(answer)) == (401, {"ok": False})
    async with rig.http.post("/webhooks/toy/toy-a", data=altered, headers=_signed(body)) as response:
        assert response.status == 401
    spaced = json.dumps(json.loads(body), indent=1).encode()
    async with rig.http.post("/webhooks/toy/toy-a", data=spaced, headers=_signed(body)) as response:
        assert response.status == 401
    assert await rig.outcomes() == []
    assert rig.counted("refused") == 6
    assert rig.metrics.registry.get_sample_value("amends_delivery_ack_seconds_count") == good


def _signed(body: bytes) -> list[tuple[str, str]]:
    import hmac

    return [("X-Toy-Signature", hmac.new(b"push-secret-a", body, "sha256").hexdigest())]


async def test_a_signature_sent_twice_proves_nothing(rig: Any) -> None:
    body = rig.body("p1")
    async with rig.http.post("/webhooks/toy/toy-a", data=body, headers=_signed(body) * 2) as response:
        assert response.status == 401
    assert await rig.outcomes() == []


async def test_an_unknown_account_looks_like_a_bad_signature_but_for_its_status(rig: Any) -> None:
    body = rig.body("p1")
    refused = await rig.push(body, "toy-a", secret="wrong")
    unknown = await rig.push(body, "nobody", secret="wrong")
    assert (refused[0], unknown[0]) == (401, 404)
    assert refused[1] == unknown[1]
    assert (await rig.push(body, "nobody", secret="push-secret-a"))[0] == 404
    assert await rig.outcomes() == []
    async with rig.http.post("/webhooks/nothing/here", data=body) as response:
        assert response.status == 404
        assert (await response.json(content_type="application/problem+json"))["code"] == "not_found"


async def test_both_secrets_are_taken_while_they_rotate(start: Any) -> None:
    rig = await start(old_secret="the-old-one")
    assert (await rig.push(rig.body("p1"), secret="the-old-one"))[0] == 200
    assert (await rig.push(rig.body("p2")))[0] == 200
    rig.old_secret = None
    async with rig.http.post("/v1/admin/reload") as response:
        assert response.status == 200, await response.text()
    assert (await rig.push(rig.body("p3"), secret="the-old-one"))[0] == 401
    assert (await rig.push(rig.body("p4")))[0] == 200


async def test_a_probe_is_answered_by_the_facet_and_other_methods_are_refused(rig: Any) -> None:
    signed = {"X-Toy-Signature": _signed(b"are-you-there")[0][1]}
    async with rig.http.get("/webhooks/toy/toy-a?challenge=are-you-there", headers=signed) as response:
        assert (response.status, await response.text()) == (200, "are-you-there")
    async with rig.http.get("/webhooks/toy/toy-a?challenge=other", headers=signed) as response:
        assert response.status == 401
    async with rig.http.put("/webhooks/toy/toy-a", data=b"") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, POST")
    assert await rig.outcomes() == []


async def test_a_group_is_one_transaction_and_a_row_the_database_refuses_is_split_out(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    put = store.put

    async def refusing(tx: Any, group: Any, partitions: int) -> Any:
        groups.append(len(group))
        if any(d.key == "p7" and d.facts for d in group):
            await tx.run("INSERT INTO counters (account, name, value) VALUES (NULL, 'x', 1)")
        return await put(tx, group, partitions)

    monkeypatch.setattr(store, "put", refusing)
    answers = await asyncio.gather(*(rig.push(rig.body(f"p{n}")) for n in range(30)))
    await rig.drain()
    assert {status for status, _ in answers} == {200}
    assert Counter(await rig.outcomes()) == {"accepted": 29, "failed": 1}
    assert max(groups) > 1, "concurrent requests share a transaction"
    assert len(rig.facts()) == 29
    [row] = await rig.rows("SELECT dedupe_key, code FROM deliveries WHERE outcome = 'failed'")
    assert row == {"dedupe_key": "p7", "code": "refused_row"}


async def test_a_store_that_is_away_or_in_doubt_is_503_and_the_retry_is_taken_once(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    async def away(*_: Any) -> Any:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(store, "put", away)
    async with rig.http.post("/webhooks/toy/toy-a", data=rig.body("p1"), headers=_signed(rig.body("p1"))) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
    assert await rig.outcomes() == []
    monkeypatch.setattr(store, "put", put)
    assert (await rig.push(rig.body("p1")))[0] == 200
    await rig.drain()
    assert len(rig.facts()) == 1


async def test_committed_but_never_handed_over_is_published_by_the_sweeper(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_rows: Any) -> None:
        raise RuntimeError("dies between commit and hand-over")

    monkeypatch.setattr(rig.intake.relay, "hand_over", failing)
    assert (await rig.push(rig.body("p1")))[0] == 200
    monkeypatch.undo()
    await rig.drain()
    assert [fact.kind for fact in rig.facts()] == ["order.shipped"]


async def test_facts_of_a_run_that_had_no_bus_are_published_after_the_restart(start: Any) -> None:
    rig = await start(listening=False)
    assert (await rig.push(rig.body("p1")))[0] == 200
    assert await rig.intake.busy()
    rig.listening = True
    await rig.restart()
    await rig.drain()
    assert [fact.kind for fact in rig.facts()] == ["order.shipped"]
    assert not await rig.intake.busy()


async def test_too_many_at_once_are_told_to_come_again(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await start(settings=Settings(waiting_limit=5))
    gate, put = asyncio.Event(), store.put

    async def slow(*args: Any) -> Any:
        await gate.wait()
        return await put(*args)

    monkeypatch.setattr(store, "put", slow)
    sent = [asyncio.create_task(rig.push(rig.body(f"p{n}"))) for n in range(20)]
    done, _ = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result()[0] for task in done} == {503}
    gate.set()
    answers = Counter([status for status, _ in await asyncio.gather(*sent)])
    assert set(answers) == {200, 503}
    assert len(await rig.outcomes()) == answers[200]


async def test_the_database_names_a_refused_row_and_nothing_else(rig: Any) -> None:
    with pytest.raises(Exception) as refused:
        async with rig.intake.database.transaction() as tx:
            await tx.run("INSERT INTO counters (account, name, value) VALUES ('a', :name, 1)", name="nul\x00")
    assert store.refuses_rows(refused.value)
    with pytest.raises(IntegrityError) as twice:
        async with rig.intake.database.transaction() as tx:
            for _ in range(2):
                await tx.run("INSERT INTO counters (account, name, value) VALUES ('a', 'b', 1)")
    assert store.refuses_rows(twice.value)
    with pytest.raises(Exception) as wrong:
        async with rig.intake.database.transaction() as tx:
            await tx.run("INSERT INTO nowhere (a) VALUES (1)")
    assert not store.refuses_rows(wrong.value)
