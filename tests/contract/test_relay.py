"""The relay on both ends of the store: nothing committed stays unpublished, order holds while all is well."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from shared.bus.consume import Consumer
from shared.bus.embedded import EmbeddedBus
from shared.bus.envelope import MAX_BYTES, MAX_EVENTS
from shared.bus.port import CASES, FACTS, OUTBOUND, BusUnavailable, Event, Topology, Unread, queue_of
from shared.bus.rabbit import RabbitBus
from shared.clock import TestClock, to_micros
from shared.store import relay as relay_module
from shared.store.relay import HELD, Feed, Relay
from shared.store.session import Database
from tests.support.waiting import until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
METADATA = MetaData()


def feed_table(name: str, *more: Column[Any]) -> Table:
    return Table(
        name,
        METADATA,
        Column("account", Text, primary_key=True),
        Column("id", Text, primary_key=True),
        Column("type", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("published_at", BigInteger),
        *more,
    )


FACTS_TABLE = feed_table("facts", Column("partition", Integer, nullable=False))
CASES_TABLE = feed_table("case_events", Column("key", Text, nullable=False))
FACT_FEED = Feed(FACTS_TABLE, FACTS, "/amends/intake")
CASE_FEED = Feed(CASES_TABLE, CASES, "/amends/policy", key_column="key")


class Recorder:
    """A bus that only notes what is published; it can be away, slow, or fail for some ids."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, list[Event]]] = []
        self.away = False
        self.open = asyncio.Event()
        self.open.set()
        self.under_way = self.most_under_way = 0

    async def publish(self, exchange: str, key: str, events: Sequence[Event], *, mandatory: bool = True) -> None:
        if self.away:
            raise BusUnavailable("the broker is away")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
            await asyncio.sleep(0)
            if self.away:
                raise BusUnavailable("the broker went away")
            self.messages.append((exchange, key, list(events)))
        finally:
            self.under_way -= 1

    def ids(self, key: str | None = None) -> list[str]:
        return [e.id for _, k, events in self.messages for e in events if key in (None, k)]


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[Database]:
    await database.run_sync(METADATA.create_all)
    yield database


@pytest.fixture
def clock() -> TestClock:
    return TestClock(NOON)


def facts(*numbers: int, body: str = '{"a":1}', at: datetime = NOON) -> list[dict[str, Any]]:
    return [
        {
            "account": "ae-main", "id": f"f{n:05}", "type": "amends.fact.v1", "subject": f"order-{n % 4}", "body": body,
            "created_at": to_micros(at) + n, "published_at": None, "partition": n % 4,
        }
        for n in numbers
    ]  # fmt: skip


async def commit(database: Database, rows: list[dict[str, Any]], table: Table = FACTS_TABLE) -> list[dict[str, Any]]:
    async with database.transaction() as tx:
        await tx.insert(table, rows)
    return rows


async def running(database: Database, bus: Any, clock: TestClock, *feeds: Feed) -> Relay:
    relay = Relay(database, bus, feeds or (FACT_FEED,), clock)
    await relay.start()
    await until(lambda: not relay.busy)
    return relay


@pytest.mark.asyncio
async def test_rows_go_straight_from_memory_and_are_marked(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    relay.hand_over(await commit(store, facts(1)))
    await until(lambda: bus.ids() == ["f00001"])
    ((exchange, key, (event,)),) = bus.messages
    assert (exchange, key) == (FACTS, "1")
    assert event == Event("f00001", "amends.fact.v1", "/amends/intake", "order-1", event.time, b'{"a":1}')
    assert event.time == NOON + timedelta(microseconds=1)
    await until(lambda: not relay.busy)
    assert await relay.pending() == 0
    async with store.reading() as tx:
        row = await tx.row("SELECT published_at FROM facts")
    assert row is not None
    assert row["published_at"] == to_micros(NOON)
    await relay.stop()


@pytest.mark.asyncio
async def test_many_rows_travel_in_few_messages_in_order(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    rows = await commit(store, facts(*range(2000)))
    relay.hand_over(rows)
    await until(lambda: not relay.busy)
    for partition in range(4):
        assert bus.ids(str(partition)) == [row["id"] for row in rows if row["partition"] == partition]
    assert len(bus.messages) == 12
    assert max(len(events) for _, _, events in bus.messages) == MAX_EVENTS
    assert bus.most_under_way > 4, "publishes are pipelined"
    assert await relay.pending() == 0
    await relay.stop()


@pytest.mark.asyncio
async def test_a_feed_that_nobody_waits_for_gathers_what_comes_soon_after_the_first(
    store: Database, clock: TestClock
) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock, replace(FACT_FEED, gather=0.2))
    for n in (0, 4, 8, 1):
        relay.hand_over(await commit(store, facts(n)))
    await until(lambda: bus.ids() == ["f00000", "f00001"], what="a lone one of each key goes at once")
    await until(lambda: not relay.busy)
    assert [len(events) for _, _, events in bus.messages] == [1, 1, 2]
    assert bus.ids("0") == ["f00000", "f00004", "f00008"]
    await relay.stop()


@pytest.mark.asyncio
async def test_what_gathers_is_sent_when_asked_for_and_before_a_stop(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock, replace(FACT_FEED, gather=60.0))
    relay.hand_over(await commit(store, facts(0)))
    await until(lambda: not relay.busy)
    relay.hand_over(await commit(store, facts(4)))
    assert bus.ids() == ["f00000"] and relay.busy
    relay.kick()
    await until(lambda: not relay.busy)
    assert bus.ids() == ["f00000", "f00004"]
    relay.hand_over(await commit(store, facts(8)))
    await relay.stop()
    assert bus.ids() == ["f00000", "f00004", "f00008"]
    assert await relay.pending() == 0


@pytest.mark.asyncio
async def test_a_message_stays_under_its_size_unless_one_event_is_larger(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    relay.hand_over(await commit(store, facts(*range(0, 40, 4), body=f'"{"x" * 100_000}"')))
    relay.hand_over(await commit(store, facts(400, body=f'"{"y" * (MAX_BYTES + 10)}"')))
    await until(lambda: not relay.busy)
    assert [len(events) for _, _, events in bus.messages] == [2, 2, 2, 2, 2, 1]
    await relay.stop()


@pytest.mark.asyncio
async def test_what_a_crash_left_is_found_at_start(store: Database, clock: TestClock) -> None:
    await commit(store, facts(*range(30)))
    bus = Recorder()
    relay = await running(store, bus, clock)
    assert sorted(bus.ids()) == [f"f{n:05}" for n in range(30)]
    assert await relay.pending() == 0
    await relay.stop()


@pytest.mark.asyncio
async def test_rows_never_handed_over_are_swept_when_the_clock_runs_and_when_it_stands(
    store: Database, clock: TestClock
) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    await commit(store, facts(1))
    clock.advance(timedelta(seconds=1))
    relay.kick()
    await until(lambda: bus.ids() == ["f00001"], what="a standing clock does not hide rows")
    await commit(store, facts(2))
    clock.advance(timedelta(seconds=5))
    relay.kick()
    await until(lambda: bus.ids() == ["f00001", "f00002"])
    await relay.stop()


@pytest.mark.asyncio
async def test_while_the_bus_is_away_rows_wait_in_the_table(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    bus.away = True
    for start in range(0, 300, 50):
        relay.hand_over(await commit(store, facts(*range(start, start + 50))))
    await until(lambda: not relay.healthy)
    assert await relay.pending() == 300
    clock.advance(timedelta(seconds=30))
    assert 29 < await relay.oldest_unpublished_seconds() <= 30
    bus.away = False
    relay.kick()
    await until(lambda: not relay.busy and relay.healthy)
    assert sorted(bus.ids()) == [f"f{n:05}" for n in range(300)]
    for partition in range(4):
        assert bus.ids(str(partition)) == sorted(bus.ids(str(partition)))
    assert await relay.pending() == 0
    assert await relay.oldest_unpublished_seconds() == 0
    await relay.stop()


@pytest.mark.asyncio
async def test_a_refusal_in_the_midst_loses_nothing(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    bus.open.clear()
    relay.hand_over(await commit(store, facts(*range(1600))))
    await until(lambda: bus.under_way == 8)
    bus.away = True
    bus.open.set()
    await until(lambda: not relay.healthy)
    bus.away = False
    relay.kick()
    await until(lambda: not relay.busy)
    assert set(bus.ids()) == {f"f{n:05}" for n in range(1600)}
    assert await relay.pending() == 0
    await relay.stop()


@pytest.mark.asyncio
async def test_memory_is_bounded_and_the_table_takes_over(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    bus.open.clear()
    rows = facts(*range(HELD + 500))
    for start in range(0, len(rows), 1000):
        relay.hand_over(await commit(store, rows[start : start + 1000]))
    assert sum(len(desk.held) for desk in relay._desks.values()) <= HELD
    bus.open.set()
    relay.kick()
    await until(lambda: not relay.busy)
    assert set(bus.ids()) == {row["id"] for row in rows}
    assert await relay.pending() == 0
    await relay.stop()


@pytest.mark.asyncio
async def test_rows_under_way_are_not_swept_as_well(
    store: Database, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_SWEEP_EVERY", 60.0)  # no sweep between the commit and the handing over
    bus = Recorder()
    relay = await running(store, bus, clock)
    bus.open.clear()
    relay.hand_over(await commit(store, facts(*range(100))))
    monkeypatch.setattr(relay_module, "_SWEEP_EVERY", 0.01)
    for _ in range(20):
        clock.advance(timedelta(seconds=10))
        relay.kick()
        await asyncio.sleep(0.02)
    bus.open.set()
    await until(lambda: not relay.busy)
    assert sorted(bus.ids()) == [f"f{n:05}" for n in range(100)]
    await relay.stop()


@pytest.mark.asyncio
async def test_several_feeds_and_keys_of_cases(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock, FACT_FEED, CASE_FEED)
    row = {**facts(1)[0], "id": "c1", "type": "amends.case.v1", "key": "case.dispute.opened"}
    del row["partition"]
    relay.hand_over(await commit(store, [row], CASES_TABLE), CASES_TABLE)
    relay.hand_over(await commit(store, facts(2)), FACTS_TABLE)
    await until(lambda: not relay.busy)
    assert sorted((exchange, key) for exchange, key, _ in bus.messages) == [
        (CASES, "case.dispute.opened"),
        (FACTS, "2"),
    ]
    with pytest.raises(ValueError, match="several feeds"):
        relay.hand_over([])
    await relay.stop()


@pytest.mark.asyncio
async def test_resync_publishes_again_from_a_moment_on(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await running(store, bus, clock)
    relay.hand_over(await commit(store, facts(1, 2)))
    relay.hand_over(await commit(store, facts(3, at=NOON + timedelta(hours=1))))
    await until(lambda: not relay.busy)
    assert await relay.resync(NOON + timedelta(minutes=1)) == 1
    await until(lambda: not relay.busy)
    assert bus.ids().count("f00003") == 2
    assert bus.ids().count("f00001") == 1
    assert await relay.resync() == 3
    await until(lambda: not relay.busy)
    assert bus.ids().count("f00001") == 2
    await relay.stop()


@pytest.fixture
def slow_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is confirmed after the first marking is not marked before somebody kicks."""
    monkeypatch.setattr(relay_module, "_MARK_EVERY", 3600.0)


async def confirmed_unmarked(store: Database, bus: Recorder, clock: TestClock) -> Relay:
    """A relay that has published f00001 (marked) and f00002 (not yet)."""
    relay = await running(store, bus, clock)
    relay.hand_over(await commit(store, facts(1)))
    await until(lambda: not relay.busy)
    relay.hand_over(await commit(store, facts(2)))
    await until(lambda: "f00002" in bus.ids())
    assert relay.busy
    assert await relay.pending() == 1
    return relay


@pytest.mark.asyncio
@pytest.mark.usefixtures("slow_marks")
async def test_resync_publishes_also_what_was_confirmed_and_not_yet_marked(store: Database, clock: TestClock) -> None:
    bus = Recorder()
    relay = await confirmed_unmarked(store, bus, clock)
    assert await relay.resync() == 2
    await until(lambda: not relay.busy)
    assert sorted(bus.ids()) == ["f00001", "f00001", "f00002", "f00002"]
    assert await relay.pending() == 0
    await relay.stop()


@pytest.mark.asyncio
async def test_resync_neither_waits_for_a_hanging_sweep_nor_is_undone_by_it(store: Database, clock: TestClock) -> None:
    """A sweep that nobody consumes has its rows in hand: `resync` answers, and what it wants again goes again."""
    bus = Recorder()
    relay = await running(store, bus, clock)
    relay.hand_over(await commit(store, facts(1)))
    await until(lambda: not relay.busy)
    bus.open.clear()
    await commit(store, facts(2))
    clock.advance(timedelta(seconds=5))
    relay.kick()
    await until(lambda: bus.under_way == 1, what="the sweep hangs in the broker")
    assert await asyncio.wait_for(relay.resync(), 30) == 1
    bus.open.set()
    await until(lambda: sorted(bus.ids()) == ["f00001", "f00001", "f00002", "f00002"], what=f"{bus.ids()}")
    await until(lambda: not relay.busy)
    assert await relay.pending() == 0
    await relay.stop()


@pytest.mark.asyncio
@pytest.mark.usefixtures("slow_marks")
async def test_a_row_wanted_once_more_before_it_is_marked_is_published_once_more(
    store: Database, clock: TestClock
) -> None:
    bus = Recorder()
    relay = await confirmed_unmarked(store, bus, clock)
    relay.hand_over(facts(2))
    await until(lambda: bus.ids().count("f00002") == 2)
    relay.kick()
    await until(lambda: not relay.busy)
    assert await relay.pending() == 0
    await relay.stop()


@pytest.mark.asyncio
@pytest.mark.usefixtures("slow_marks")
async def test_marks_go_together_and_a_stop_leaves_none_out(store: Database, clock: TestClock) -> None:
    bus, updates = Recorder(), list[str]()
    relay = await confirmed_unmarked(store, bus, clock)
    for n in range(3, 30):
        relay.hand_over(await commit(store, facts(n)))
        await asyncio.sleep(0)
    await until(lambda: len(bus.ids()) == 29)
    store.watch(lambda sql: updates.append(sql) if sql.startswith("UPDATE") else None)
    await relay.stop()
    assert len(updates) == 1
    assert await relay.pending() == 0


@pytest.mark.asyncio
async def test_stop_is_quick_and_keeps_what_was_not_confirmed(
    store: Database, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_DRAIN", 0.1)
    bus = Recorder()
    relay = await running(store, bus, clock)
    bus.open.clear()
    relay.hand_over(await commit(store, facts(*range(50))))
    await until(lambda: bus.under_way > 0)
    await asyncio.wait_for(relay.stop(), 30)
    assert await relay.pending() == 50
    successor = Recorder()
    relay = await running(store, successor, clock)
    assert sorted(successor.ids()) == [f"f{n:05}" for n in range(50)]
    await relay.stop()


@pytest.mark.asyncio
async def test_stop_does_not_wait_for_a_bus_that_answers_the_sweeper_never(
    store: Database, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_DRAIN", 0.1)
    await commit(store, facts(*range(50)))
    bus = Recorder()
    bus.open.clear()
    relay = Relay(store, bus, [FACT_FEED], clock)  # type: ignore[arg-type]
    await relay.start()
    await until(lambda: bus.under_way > 0)
    await asyncio.wait_for(relay.stop(), 30)
    assert await relay.pending() == 50


@pytest.mark.asyncio
async def test_two_replicas_sweeping_share_the_rows(store: Database, clock: TestClock) -> None:
    await commit(store, facts(*range(3000)))
    one, two = Recorder(), Recorder()
    relays = [Relay(store, bus, [FACT_FEED], clock) for bus in (one, two)]  # type: ignore[list-item]
    for relay in relays:
        await relay.start()
    await until(lambda: not any(relay.busy for relay in relays))
    assert set(one.ids()) | set(two.ids()) == {f"f{n:05}" for n in range(3000)}
    if store.postgres:
        assert not set(one.ids()) & set(two.ids()), "rows one replica holds are left alone by the other"
    for relay in relays:
        await relay.stop()


@pytest.mark.asyncio
async def test_rows_handed_over_inside_a_handler_count_as_published_only_once_consumed(
    store: Database, clock: TestClock
) -> None:
    """Policy commits errands, hands them over and acknowledges its facts: the errands must survive a crash right then."""
    bus = EmbeddedBus(Topology(partitions=4))
    await bus.start()
    relay = await running(store, bus, clock, Feed(FACTS_TABLE, OUTBOUND, "/amends/policy"))
    handled = asyncio.Event()

    async def handle(batch: list[Event]) -> None:
        relay.hand_over(await commit(store, facts(1)))
        await asyncio.sleep(0.05)
        handled.set()

    async def park(item: Event | Unread, fault: Exception) -> None:
        raise AssertionError(item) from fault

    policy = Consumer(bus, [queue_of(FACTS, 0)], handle, park)
    await policy.start()
    await bus.publish(FACTS, "0", [Event("x", "amends.fact.v1", "/x", "o", NOON, b"{}")])
    await handled.wait()
    await asyncio.sleep(0.1)
    assert await relay.pending() == 1
    notifier = await bus.subscribe(queue_of(OUTBOUND, 1))
    await (await notifier.take(1)).ack()
    await until(lambda: not relay.busy)
    assert await relay.pending() == 0
    await policy.stop()
    await relay.stop()
    await bus.stop()


@pytest.mark.rabbit
@pytest.mark.asyncio
async def test_from_rows_to_a_consumer_through_the_broker(
    store: Database, clock: TestClock, amqp_url: str, amqp_topology: Topology
) -> None:
    bus = RabbitBus(amqp_url, amqp_topology)
    await bus.start()
    seen: list[str] = []

    async def handle(batch: list[Event]) -> None:
        seen.extend(e.id for e in batch)

    async def park(item: Event | Unread, fault: Exception) -> None:
        raise AssertionError(item) from fault

    consumer = Consumer(bus, [queue_of(FACTS, n) for n in range(2)], handle, park)
    await consumer.start()
    relay = await running(store, bus, clock)
    for start in range(0, 1000, 100):
        relay.hand_over(await commit(store, facts(*range(start, start + 100))))
    await until(lambda: len(seen) >= 1000)
    assert sorted(seen) == [f"f{n:05}" for n in range(1000)]
    await until(lambda: not relay.busy)
    assert await relay.pending() == 0
    await consumer.stop()
    await relay.stop()
    await bus.stop()
