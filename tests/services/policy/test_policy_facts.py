"""Facts through the throat: opened, repeated, out of order, waiting, orphaned, merged, parked."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from services.policy import deadlines, rows, tables
from services.policy.core.load import load
from services.policy.metrics import counters, recount
from services.policy.operators import Operators
from services.policy.retry import Parked
from shared.auth import Principal
from shared.clock import to_micros
from shared.domain.errands import Conversation
from shared.domain.facts import decode_fact
from shared.domain.order import Order
from tests.services.policy.policy_rig import Rig, days

pytestmark = pytest.mark.asyncio


async def agrees(rig: Rig) -> None:
    """Counters kept in the transactions equal the tables; each case's log is gapless."""
    async with rig.database.reading() as tx:
        assert await counters(tx) == await recount(tx)
        assert await deadlines.counted(tx) == await deadlines.recount(tx)
    for case in await rig.cases():
        seqs = [seq for seq, _ in await rig.timeline(case.id)]
        assert seqs == list(range(1, case.seq + 1))


async def test_a_request_opens_a_case_with_clock_log_and_message(rig: Rig) -> None:
    await rig.take(
        rig.fact("return.requested", data={"reason": "damaged", "amount": {"value": "9.00", "currency": "USD"}})
    )
    case = await rig.case()
    assert (case.state, case.phase, case.seq) == ("deciding", "awaiting_seller", 1)
    assert case.clocks["answer"].due_at == rig.clock.now() + days(2)
    (row,) = await rig.rows("SELECT next_due_at, deadline_at, at_risk_minor, at_risk_currency FROM cases")
    assert (row["at_risk_minor"], row["at_risk_currency"]) == (900, "USD")
    assert row["next_due_at"] is not None
    types = [row["type"] for row in await rig.rows("SELECT type FROM outbound")]
    assert "amends.conversation.v1" not in types, "nothing was heard on the thread yet: there is nothing to tell of it"
    (event,) = await rig.rows("SELECT key FROM case_events")
    assert event["key"] == "case.return.opened"
    await agrees(rig)


async def test_a_repeat_leaves_no_trace_within_a_batch_nor_later(rig: Rig) -> None:
    fact = rig.fact("return.requested")
    await rig.take(fact, fact)
    await rig.take(fact)
    assert (await rig.case()).seq == 1
    assert await rig.rows("SELECT id FROM tasks") == []


async def test_the_same_id_with_other_content_is_loud_and_not_applied(rig: Rig) -> None:
    fact = rig.fact("return.requested", data={"reason": "damaged"})
    await rig.take(fact)
    await rig.take(msgspec.structs.replace(fact, data={"reason": "late"}))
    assert (await rig.case()).facts["reason"] == "damaged"
    (task,) = await rig.rows("SELECT kind, case_id FROM tasks")
    assert task == {"kind": "conflict", "case_id": (await rig.case()).id}
    await agrees(rig)


async def test_news_before_its_case_waits_and_is_applied_when_the_case_opens(rig: Rig) -> None:
    await rig.take(rig.fact("return.authorised"))
    assert await rig.cases() == []
    assert len((await rig.order()).waiting) == 1
    rig.clock.advance(timedelta(minutes=1))
    await rig.take(rig.fact("return.requested"))
    case = await rig.case()
    assert case.state == "returning"
    assert (await rig.order()).waiting == ()
    assert await rig.timeline(case.id) == [(1, "return.requested"), (2, "return.authorised")]
    await agrees(rig)


async def test_what_finds_no_case_in_24_hours_is_an_orphan_task_once(rig: Rig) -> None:
    fact = rig.fact("return.received")
    await rig.take(fact)
    rig.clock.advance(timedelta(hours=23, minutes=59))
    await rig.settle()
    assert await rig.rows("SELECT id FROM tasks") == []
    rig.clock.advance(timedelta(minutes=1))
    await rig.settle()
    await rig.take(fact)
    await rig.settle()
    (task,) = await rig.rows("SELECT kind, order_id FROM tasks")
    assert task == {"kind": "orphan", "order_id": "O-1"}
    assert (await rig.order()).waiting == ()
    await agrees(rig)


async def test_a_refund_counted_already_waits_for_no_case_when_another_source_tells_it_again(rig: Rig) -> None:
    back = {"refunded": {"value": "9.00", "currency": "USD"}}
    await rig.take(rig.fact("return.requested"))
    await rig.take(rig.fact("refund.issued", refs={"refund_id": "O-1:900"}, data=back))
    await rig.take(rig.fact("return.cancelled"))
    assert not (await rig.case()).is_open
    unnamed: dict[str, Any] = {"case_kind": None, "external_id": None, "data": back}
    again = rig.fact("refund.issued", key="again", refs={"refund_id": "O-1:900"}, **unnamed)
    await rig.take(again)
    other = rig.fact("refund.issued", key="other", refs={"refund_id": "O-1:100"}, **unnamed)
    await rig.take(other)
    order = await rig.order()
    assert [fact.id for fact in order.waiting] == [other.id]
    assert order.refunded_minor == 1800
    await agrees(rig)


async def test_a_refund_that_names_no_case_goes_to_the_one_whose_refund_is_on_its_way(rig: Rig) -> None:
    back = {"paid": {"value": "20.00", "currency": "USD"}, "amount": {"value": "5.00", "currency": "USD"}}
    await rig.take(rig.fact("return.requested", data=back), rig.fact("return.requested", external_id="R-2", data=back))
    unnamed: dict[str, Any] = {"case_kind": None, "external_id": None, "data": {"refunded": back["amount"]}}
    await rig.take(rig.fact("refund.issued", key="early", refs={"refund_id": "1"}, **unnamed))
    assert len((await rig.order()).waiting) == 1, "which of the two it is of cannot be told"
    second = next(case for case in await rig.cases() if case.external_id == "R-2")
    body = {"action": "refund", "params": {"keep_item": True}, "reason": "a small thing"}
    await Operators(rig.policy).act(Principal("ann", frozenset({"act", "approve"})), second.id, body, "k")
    await rig.take(rig.fact("refund.issued", key="late", refs={"refund_id": "2"}, **unnamed))
    assert {case.external_id: case.money for case in await rig.cases()} == {"R-1": "none", "R-2": "refunded"}
    await agrees(rig)


CARE = """
playbook: order_care
marketplace: generic
version: "test-1"
opens_on: {message.received: {to: written}}
clocks: {answer: {hours: 48, deadline: false, source: "a test", read: 2026-11-21}}
states:
  written:
    phase: awaiting_seller
    clocks: [answer]
    moves: {timer.elapsed:answer: {to: done}}
    otherwise: record
  done: {phase: resolved, outcome: completed}
everywhere: {refund.issued: {to: null}, case.closed: {to: done}, order.cancelled: {to: null}}
"""


async def test_a_buyers_message_opens_a_case_only_where_nobody_attends_to_the_order(rig: Rig) -> None:
    playbooks = rig.policy.world.playbooks
    fresh = {**playbooks.current, ("generic", "order_care"): load(CARE, "care.yaml")}
    await playbooks.adopt(rig.database, fresh, rig.clock.now())
    unnamed: dict[str, Any] = {"case_kind": None, "external_id": None}
    await rig.take(rig.fact("return.requested"))
    await rig.take(rig.fact("message.received", key="1", **unnamed))
    assert [case.kind for case in await rig.cases()] == ["return"]
    await rig.take(rig.fact("message.received", key="2", **{**unnamed, "order_id": "O-2"}))
    assert [(case.kind, case.order_id) for case in await rig.cases()] == [("order_care", "O-2"), ("return", "O-1")]
    await agrees(rig)


async def test_what_names_no_order_and_finds_no_case_in_24_hours_is_an_orphan_task_too(rig: Rig) -> None:
    fact = rig.fact("return.received", order_id=None)
    await rig.take(fact)
    rig.clock.advance(timedelta(hours=24))
    await rig.settle()
    await rig.take(fact)
    (task,) = await rig.rows("SELECT kind FROM tasks")
    assert task == {"kind": "orphan"}
    assert await rig.rows("SELECT order_id FROM orders WHERE waiting_since_at IS NOT NULL") == []
    await agrees(rig)


@pytest.mark.parametrize("kinds", [("return.received", "return.requested"), ("return.requested", "return.received")])
@pytest.mark.parametrize("together", [True, False])
async def test_what_names_the_case_alone_finds_it_beside_what_names_the_order(
    rig: Rig, kinds: tuple[str, str], together: bool
) -> None:
    """In one batch and in two, in either order: one case, both applied, nothing waits."""
    facts = [rig.fact(kind, order_id=None if kind == "return.received" else "O-1") for kind in kinds]
    for batch in [facts] if together else [facts[:1], facts[1:]]:
        await rig.take(*batch)
    case = await rig.case()
    assert (case.order_id, {kind for _, kind in await rig.timeline(case.id)}) == ("O-1", set(kinds))
    assert [row["order_id"] for row in await rig.rows("SELECT order_id FROM orders")] == ["O-1"]
    await agrees(rig)


async def test_provisional_orders_that_turn_out_to_be_one_are_joined_in_a_chain(rig: Rig) -> None:
    """A ticket and a parcel, each alone at first; then both named together; then with the order."""
    await rig.take(rig.fact("return.received", order_id=None, case_kind=None, external_id=None, refs={"ticket": "1"}))
    await rig.take(rig.fact("return.inspected", order_id=None, case_kind=None, external_id=None, refs={"parcel": "2"}))
    both = rig.fact(
        "return.authorised", order_id=None, case_kind=None, external_id=None, refs={"ticket": "1", "parcel": "2"}
    )
    await rig.take(both, rig.fact("return.requested", refs={"parcel": "2"}))
    case = await rig.case()
    assert [row["order_id"] for row in await rig.rows("SELECT order_id FROM orders")] == ["O-1"]
    told = {kind for _, kind in await rig.timeline(case.id)} | {fact.kind for fact in (await rig.order()).waiting}
    assert told == {"return.received", "return.inspected", "return.authorised", "return.requested"}
    await agrees(rig)


async def test_news_that_missed_its_case_finds_it_at_the_last_try(rig: Rig) -> None:
    """Two replicas at once may each not see the other's: what waits alone is held against the cases once more."""
    await rig.take(rig.fact("return.requested"))
    late = rig.fact("return.received", order_id=None)
    order = Order(account=late.account, order_id="ref:return=R-1", waiting=(late,))
    async with rig.database.transaction() as tx:
        await tx.insert(tables.orders, [rows.order_row(order, 1, to_micros(rig.clock.now()))])
        await tx.insert(tables.refs, [{"account": late.account, "ref": "return=R-1", "order_id": order.order_id}])
    rig.clock.advance(timedelta(hours=24))
    await rig.settle()
    case = await rig.case()
    assert "return.received" in {kind for _, kind in await rig.timeline(case.id)}
    assert [row["order_id"] for row in await rig.rows("SELECT order_id FROM orders")] == ["O-1"]


async def test_order_news_without_a_case_is_kept_on_the_order_and_known_as_repeated(rig: Rig) -> None:
    placed = rig.fact(
        "order.placed", case_kind=None, external_id=None, data={"paid": {"value": "20.00", "currency": "USD"}}
    )
    await rig.take(placed)
    await rig.take(rig.fact("return.requested"))
    await rig.take(placed)
    case = await rig.case()
    assert (await rig.order()).paid_minor == 2000
    assert [kind for _, kind in await rig.timeline(case.id)] == ["return.requested"]


async def test_order_news_is_offered_to_every_open_case(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"), rig.fact("return.requested", external_id="R-2"))
    await rig.take(rig.fact("delivery.delivered", case_kind=None, external_id=None))
    for case in await rig.cases():
        assert [kind for _, kind in await rig.timeline(case.id)] == ["return.requested", "delivery.delivered"]
    assert (await rig.order()).delivered_at == rig.clock.now()


async def test_a_fact_is_found_by_a_reference_of_an_open_case(rig: Rig) -> None:
    await rig.take(
        rig.fact("return.requested", refs={"rma": "A"}),
        rig.fact("return.requested", external_id="R-2", refs={"rma": "B"}),
    )
    await rig.take(rig.fact("return.received", case_kind=None, external_id=None, refs={"rma": "B"}))
    assert {case.external_id: case.state for case in await rig.cases()} == {"R-1": "deciding", "R-2": "inspecting"}


async def test_facts_without_an_order_wait_under_their_reference_and_are_merged(rig: Rig) -> None:
    await rig.take(rig.fact("return.received", order_id=None, case_kind=None, external_id=None, refs={"rma": "A"}))
    await rig.take(rig.fact("return.requested", refs={"rma": "A"}))
    case = await rig.case()
    assert (case.order_id, case.state) == ("O-1", "inspecting")
    assert [row["order_id"] for row in await rig.rows("SELECT order_id FROM orders")] == ["O-1"]
    await agrees(rig)


async def test_a_case_opened_without_its_order_moves_to_it_when_it_is_known(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested", order_id=None))
    provisional = await rig.case()
    rig.clock.advance(timedelta(minutes=1))
    await rig.take(rig.fact("return.received"))
    case = await rig.case()
    assert provisional.id == case.id
    assert (case.order_id, case.state, case.seq) == ("O-1", "inspecting", 2)
    assert (await rig.order()).open_cases == (case.id,)
    await agrees(rig)


async def test_a_linked_case_opens_beside_its_own(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    await rig.take(rig.fact("dispute.opened"))
    cases = {case.kind: case for case in await rig.cases()}
    assert cases["claim"].state == "answering"
    assert cases["claim"].order_id == cases["return"].order_id
    assert cases["claim"].linked == (cases["return"].id,)
    assert (await rig.order()).open_claims == (cases["claim"].id,)
    await rig.take(rig.fact("dispute.resolved", case_kind="claim", data={"winner": "seller"}))
    assert (await rig.order()).open_claims == ()
    await agrees(rig)


async def test_what_the_marketplace_says_of_writing_to_the_buyer_goes_to_the_notifier(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    until = rig.clock.now() + days(1)
    for n, said in enumerate(({"window_until": until.isoformat()}, {"closed_chat": "chat-7"}, {"opted_out": True})):
        await rig.take(rig.fact("message.received", key=str(n), data=said))
    await rig.take(rig.fact("message.received", key="again", data={"opted_out": True}))
    found = await rig.rows("SELECT body FROM outbound WHERE type = 'amends.conversation.v1'")
    talks = sorted((msgspec.json.decode(row["body"], type=Conversation) for row in found), key=lambda talk: talk.seq)
    assert [talk.opted_out for talk in talks][-1] and not talks[0].opted_out and talks[0].window_until == until
    assert (talks[-1].window_until, talks[-1].closed_chats) == (until, ("chat-7",))
    assert len(talks) == len({talk.seq for talk in talks}) == 3, "each is said when it changes, and only then"


async def test_what_raises_alone_is_parked_and_the_others_go_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.policy import walk

    real = walk.decide

    def fragile(playbook: Any, view: Any, fact: Any, now: Any) -> Any:
        if fact.raw_code == "poison":
            raise RuntimeError("a bug of ours")
        return real(playbook, view, fact, now)

    monkeypatch.setattr(walk, "decide", fragile)
    await rig.take(rig.fact("return.requested"), rig.fact("return.requested", order_id="O-2", external_id="R-2"))
    poison = rig.fact("return.received", raw_code="poison")
    with capture_logs():  # a trace drawn on the terminal takes longer than a transaction may stand still
        await rig.take(poison, rig.fact("return.received", order_id="O-2", external_id="R-2"))
    states = {case.external_id: case.state for case in await rig.cases()}
    assert states == {"R-1": "deciding", "R-2": "inspecting"}
    (parked,) = await rig.rows("SELECT id, subject, type FROM parked WHERE retried_at IS NULL")
    assert parked["id"] == poison.id
    due = {
        row["external_id"]: row["next_due_at"] for row in await rig.rows("SELECT external_id, next_due_at FROM cases")
    }
    assert due["R-1"] is None
    assert due["R-2"] is not None
    await rig.take(poison)
    (task,) = await rig.rows("SELECT kind FROM tasks WHERE status = 'open'")
    assert task["kind"] == "conflict"
    await agrees(rig)
    monkeypatch.setattr(walk, "decide", real)
    admin = Principal("root", frozenset({"admin"}))
    await Parked(rig.policy).retry(admin, poison.id)
    assert {case.state for case in await rig.cases()} == {"inspecting"}
    assert await rig.rows("SELECT id FROM cases WHERE next_due_at IS NULL") == []
    assert await rig.rows("SELECT id FROM tasks WHERE status = 'open'") == []
    assert await rig.rows("SELECT id FROM parked WHERE retried_at IS NULL") == []
    await agrees(rig)


async def test_a_case_whose_opening_raises_at_its_end_is_opened_by_the_next_that_names_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.policy import walk

    real, failed = walk.what, list[str]()

    def fragile(decision: Any) -> str:
        if not failed:
            failed.append(decision.case.id)
            raise RuntimeError("a bug of ours, once the case is in the batch")
        return real(decision)

    monkeypatch.setattr(walk, "what", fragile)
    poison = rig.fact("return.requested")
    with capture_logs():
        await rig.take(poison, rig.fact("return.requested", data={"comment": "asked once more"}))
    (case,) = await rig.cases()
    assert case.external_id == "R-1" and case.id not in failed
    (parked,) = await rig.rows("SELECT id FROM parked WHERE retried_at IS NULL")
    assert parked["id"] == poison.id
    await agrees(rig)


async def test_any_order_of_arrival_in_any_batches_ends_the_same(rig: Rig) -> None:
    facts = [
        rig.fact(kind, external_id=f"R-{n}", order_id=f"O-{n % 3}", key=str(n))
        for n in range(9)
        for kind in ("return.requested", "return.received")
    ]
    chance = random.Random(7)
    deliveries = facts * 2
    chance.shuffle(deliveries)
    for start in range(0, len(deliveries), 5):
        await rig.take(*deliveries[start : start + 5])
    assert {case.external_id: case.state for case in await rig.cases()} == {f"R-{n}": "inspecting" for n in range(9)}
    await agrees(rig)


async def test_two_replicas_on_the_same_orders_apply_everything_once(rig: Rig) -> None:
    facts = [
        rig.fact(kind, external_id=f"R-{n}", order_id=f"O-{n % 5}", key=str(n), refs={"rma": str(n)})
        for n in range(30)
        for kind in ("return.requested", "return.authorised", "return.received")
    ]

    async def replica(seed: int) -> None:
        mine = list(facts)
        random.Random(seed).shuffle(mine)
        for start in range(0, len(mine), 12):
            await rig.take(*mine[start : start + 12])

    await asyncio.gather(*(replica(seed) for seed in range(4)))
    cases = await rig.cases()
    assert len(cases) == 30
    assert {case.seq for case in cases} == {3}
    logged = [decode_fact(row["fact"].encode()).id for row in await rig.rows("SELECT fact FROM case_log")]
    assert sorted(logged) == sorted(fact.id for fact in facts)
    await agrees(rig)


async def test_the_notifier_hears_of_a_thread_whenever_it_changes(rig: Rig) -> None:
    async def told() -> list[dict[str, Any]]:
        found = await rig.rows("SELECT body FROM outbound WHERE type = 'amends.conversation.v1'")
        return sorted((msgspec.json.decode(row["body"]) for row in found), key=lambda body: body["seq"])

    message = rig.fact("message.received", case_kind=None, external_id=None, data={"buyer_name": "Ada"})
    await rig.take(message)
    assert await told() == []
    await rig.take(rig.fact("return.requested"))
    (first,) = await told()
    assert (first["buyer"], first["order_id"]) == ({"name": "Ada"}, "O-1")
    rig.clock.advance(timedelta(hours=1))
    await rig.take(rig.fact("message.received", case_kind=None, external_id=None))
    later = (await told())[-1]
    assert later["seq"] > first["seq"]
    assert later["last_buyer_message_at"] > first["last_buyer_message_at"]
    await rig.take(rig.fact("return.authorised"))
    assert len(await told()) == 2


async def test_money_at_risk_falls_with_what_is_refunded(rig: Rig) -> None:
    asked = {"amount": {"value": "9.00", "currency": "USD"}, "paid": {"value": "20.00", "currency": "USD"}}
    await rig.take(rig.fact("return.requested", data=asked))
    await rig.take(rig.fact("return.received"))
    await rig.take(rig.fact("refund.issued", data={"refunded": {"value": "9.00", "currency": "USD"}}))
    case = await rig.case()
    assert (case.state, case.outcome, case.money) == ("refunded", "refunded", "refunded")
    assert (await rig.order()).refunded_minor == 900
    async with rig.database.reading() as tx:
        counted = await counters(tx)
    assert "money_at_risk" not in counted
    assert counted["cases"] == {("generic", "return", "resolved"): 1}
    await agrees(rig)


@pytest.mark.parametrize(("code", "kind"), [("fetch_gave_up", "orphan"), ("delivery_conflict", "conflict")])
async def test_intakes_alarm_becomes_a_task_of_the_case_and_moves_nothing(rig: Rig, code: str, kind: str) -> None:
    await rig.take(rig.fact("return.requested"))
    case, order = await rig.case(), await rig.order()
    alarm = rig.fact("case.updated", key="alarm", raw_code=code, refs={"ref": "issue:7"})
    alarm = msgspec.structs.replace(alarm, case_kind=None, external_id=None, source="fetch")
    await rig.take(alarm)
    await rig.take(alarm)
    (task,) = await rig.rows("SELECT kind, case_id, order_id, status, reason FROM tasks")
    assert (task["kind"], task["case_id"], task["order_id"]) == (kind, case.id, "O-1")
    assert task["status"] == "open" and "issue:7" in task["reason"]
    assert await rig.case() == case and await rig.order() == order
    await agrees(rig)


@pytest.mark.parametrize("order_id", ["O-7", None])
async def test_intakes_alarm_without_a_case_is_a_task_at_once(rig: Rig, order_id: str | None) -> None:
    alarm = rig.fact("case.updated", order_id=order_id, raw_code="fetch_gave_up", refs={"ref": "issue:7"})
    await rig.take(msgspec.structs.replace(alarm, case_kind=None, external_id=None, source="fetch"))
    (task,) = await rig.rows("SELECT kind, case_id FROM tasks")
    assert task == {"kind": "orphan", "case_id": None}
    rig.clock.advance(days(2))
    await rig.settle()
    assert len(await rig.rows("SELECT id FROM tasks")) == 1, "it does not wait on the order to become another"
    await agrees(rig)
