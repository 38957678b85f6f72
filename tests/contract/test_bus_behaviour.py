# allow: size (one behaviour suite, read as a whole)
"""What both ends of the bus promise: embedded and RabbitMQ run the same tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aio_pika
import pytest
import pytest_asyncio

from shared.bus.consume import Consumer, DeadLetter
from shared.bus.embedded import EmbeddedBus, Mischief
from shared.bus.port import CASES, FACTS, OUTBOUND, Bus, BusUnavailable, Event, Topology, Unread, Unreadable, queue_of
from shared.bus.rabbit import RabbitBus
from tests.support.waiting import until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUEUE = queue_of(FACTS, 0)


def event(name: str, type_: str = "amends.fact.v1", data: bytes = b'{"account":"ae-main"}') -> Event:
    return Event(id=name, type=type_, source="/amends/intake", subject="order-1", time=NOON, data=data)


def events(*names: str) -> list[Event]:
    return [event(name) for name in names]


@pytest.fixture(params=["embedded", pytest.param("rabbit", marks=pytest.mark.rabbit)])
def topology(request: pytest.FixtureRequest) -> Topology:
    if request.param == "embedded":
        return Topology(partitions=2)
    found: Topology = request.getfixturevalue("amqp_topology")
    return found


@pytest_asyncio.fixture
async def bus(topology: Topology, request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made: Bus
    made = (
        RabbitBus(request.getfixturevalue("amqp_url"), topology, watch_every=0.2)
        if topology.prefix
        else EmbeddedBus(topology)
    )
    await made.start()
    yield made
    await made.stop()


class Handler:
    """Keeps what was handled and parked; poisonous ids raise, `away` makes the database vanish for a while."""

    def __init__(self, *poison: str) -> None:
        self.poison = set(poison)
        self.handled: list[str] = []
        self.parked: list[tuple[Event | Unread, Exception]] = []
        self.attempts: dict[str, int] = {}
        self.away = False

    async def handle(self, batch: list[Event]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise ConnectionRefusedError("database")
        for one in batch:
            self.attempts[one.id] = self.attempts.get(one.id, 0) + 1
        if self.poison & {one.id for one in batch}:
            raise ValueError("cannot be handled")
        self.handled += [one.id for one in batch]

    async def park(self, item: Event | Unread, fault: Exception) -> None:
        if self.away:
            raise ConnectionRefusedError("database")
        self.parked.append((item, fault))

    def consumer(self, bus: Bus, *queues: str, dead: str | None = None, limit: int = 500) -> Consumer:
        return Consumer(bus, queues or (QUEUE,), self.handle, self.park, dead=dead, limit=limit)


async def publish_soon(bus: Bus, *batches: list[Event], exchange: str = FACTS, key: str = "0") -> asyncio.Task[None]:
    """Publishes one message after the other without waiting for consumers (embedded confirms after the ack)."""

    async def one(batch: list[Event]) -> None:
        await bus.publish(exchange, key, batch)

    async def all_() -> None:
        await asyncio.gather(*(one(batch) for batch in batches))

    task = asyncio.create_task(all_())
    await asyncio.sleep(0)
    return task


@pytest.mark.asyncio
async def test_an_event_arrives_as_it_was_sent(bus: Bus) -> None:
    sent = event("e1", data='{"text":"Größe 尺码 \\u0041","n":1.50}'.encode())
    publishing = await publish_soon(bus, [sent])
    subscription = await bus.subscribe(QUEUE)
    batch = await subscription.take(10)
    assert list(batch.events) == [sent]
    assert not batch.unread
    await batch.ack()
    await publishing
    await until(lambda: bus.idle)
    await subscription.close()


@pytest.mark.asyncio
async def test_one_call_is_one_message_and_a_batch_is_a_prefix_in_order(bus: Bus) -> None:
    publishing = await publish_soon(bus, events("a", "b", "c"), events("d"), events("e", "f"))
    subscription = await bus.subscribe(QUEUE)
    seen: list[list[str]] = []
    while sum(map(len, seen)) < 6:
        batch = await subscription.take(4)
        seen.append([e.id for e in batch.events])
        await batch.ack()
    assert [name for part in seen for name in part] == list("abcdef")
    assert all(len(part) <= 4 for part in seen)
    await publishing
    await subscription.close()


@pytest.mark.asyncio
async def test_a_message_larger_than_the_limit_still_comes_whole(bus: Bus) -> None:
    publishing = await publish_soon(bus, events(*map(str, range(50))))
    subscription = await bus.subscribe(QUEUE)
    batch = await subscription.take(10)
    assert len(batch.events) == 50
    await batch.ack()
    await publishing
    await subscription.close()


@pytest.mark.asyncio
async def test_what_is_given_back_comes_again_first_and_in_order(bus: Bus) -> None:
    publishing = await publish_soon(bus, events("a", "b"), events("c"), events("d"))
    subscription = await bus.subscribe(QUEUE)
    batch = await subscription.take(2)
    assert [e.id for e in batch.events] == ["a", "b"]
    await batch.give_back()
    seen: list[str] = []
    while len(seen) < 4:
        batch = await subscription.take(100)
        seen += [e.id for e in batch.events]
        await batch.ack()
    assert seen == ["a", "b", "c", "d"]
    await publishing
    await subscription.close()


@pytest.mark.asyncio
async def test_what_a_lost_consumer_held_goes_to_the_next_one(bus: Bus) -> None:
    publishing = await publish_soon(bus, events("a"), events("b"), events("c"))
    first = await bus.subscribe(QUEUE)
    await (await first.take(1)).ack()
    held = await first.take(1)
    assert [e.id for e in held.events] == ["b"]
    await first.close()
    second = await bus.subscribe(QUEUE)
    seen: list[str] = []
    while len(seen) < 2:
        batch = await second.take(100)
        seen += [e.id for e in batch.events]
        await batch.ack()
    assert seen == ["b", "c"]
    await publishing
    await second.close()


@pytest.mark.asyncio
async def test_one_ack_is_for_all_messages_of_the_batch_and_for_no_later_one(bus: Bus) -> None:
    publishing = await publish_soon(bus, events("a"), events("b"), events("c"), events("d"))
    first = await bus.subscribe(QUEUE)
    taken = 0
    while taken < 3:
        batch = await first.take(3 - taken)
        taken += len(batch.events)
        await batch.ack()
    await first.close()
    second = await bus.subscribe(QUEUE)
    batch = await second.take(100)
    assert [e.id for e in batch.events] == ["d"]
    await batch.ack()
    await asyncio.wait_for(publishing, 10)
    await second.close()


@pytest.mark.asyncio
async def test_embedded_an_event_is_confirmed_only_when_it_was_acknowledged() -> None:
    """Nothing else keeps it: until then its row has to stay unpublished."""
    bus = EmbeddedBus(Topology(partitions=1))
    await bus.start()
    publishing = await publish_soon(bus, events("a"))
    subscription = await bus.subscribe(QUEUE)
    batch = await subscription.take(1)
    await asyncio.sleep(0.01)
    assert not publishing.done()
    assert not bus.idle
    await batch.give_back()
    batch = await subscription.take(1)
    await batch.ack()
    await asyncio.wait_for(publishing, 1)
    assert bus.idle
    left = await publish_soon(bus, events("b"))
    await bus.stop()
    with pytest.raises(BusUnavailable):
        await left


@pytest.mark.asyncio
async def test_embedded_what_a_handler_published_holds_back_its_own_confirmation() -> None:
    bus = EmbeddedBus(Topology(partitions=1))
    await bus.start()
    publishing = await publish_soon(bus, events("fact"))
    facts, outbound = await bus.subscribe(queue_of(FACTS, 0)), await bus.subscribe(queue_of(OUTBOUND, 0))
    batch = await facts.take(1)
    await bus.publish(OUTBOUND, "0", [event("errand", "amends.errand.planned.v1")])
    await batch.ack()
    await asyncio.sleep(0.01)
    assert not publishing.done(), "the errand is nowhere but in memory: the fact must be published again after a crash"
    await (await outbound.take(1)).ack()
    await asyncio.wait_for(publishing, 1)
    await bus.stop()


@pytest.mark.asyncio
async def test_a_late_ack_of_a_closed_subscription_acknowledges_nothing(bus: Bus) -> None:
    publishing = await publish_soon(bus, events("a"))
    first = await bus.subscribe(QUEUE)
    held = await first.take(1)
    await first.close()
    with contextlib.suppress(BusUnavailable):
        await held.ack()
    second = await bus.subscribe(QUEUE)
    batch = await second.take(1)
    assert [e.id for e in batch.events] == ["a"]
    await batch.ack()
    await publishing
    await second.close()


@pytest.mark.asyncio
async def test_take_ends_when_the_subscription_is_closed(bus: Bus) -> None:
    subscription = await bus.subscribe(QUEUE)
    taking = asyncio.create_task(subscription.take(1))
    await asyncio.sleep(0.01)
    await subscription.close()
    with pytest.raises(BusUnavailable):
        await asyncio.wait_for(taking, 5)


@pytest.mark.asyncio
async def test_partitions_and_exchanges_keep_apart(bus: Bus) -> None:
    handler, other = Handler(), Handler()
    here = handler.consumer(bus, queue_of(FACTS, 1))
    there = other.consumer(bus, queue_of(OUTBOUND, 1))
    await here.start()
    await there.start()
    await bus.publish(FACTS, "1", events("fact"))
    await bus.publish(OUTBOUND, "1", [event("errand", "amends.errand.planned.v1")])
    await until(lambda: bool(handler.handled and other.handled))
    assert (handler.handled, other.handled) == (["fact"], ["errand"])
    await here.stop()
    await there.stop()


@pytest.mark.asyncio
async def test_a_partition_above_the_number_falls_on_one_that_exists(bus: Bus) -> None:
    handler = Handler()
    consumer = handler.consumer(bus, queue_of(FACTS, 1))
    await consumer.start()
    await bus.publish(FACTS, "7", events("old"))
    await until(lambda: handler.handled == ["old"])
    await consumer.stop()


@pytest.mark.asyncio
async def test_nobody_bound_where_somebody_must_listen_is_unavailable(bus: Bus) -> None:
    with pytest.raises(BusUnavailable):
        await bus.publish(CASES, "case.dispute.opened", [event("c", "amends.case.v1")], mandatory=True)
    await bus.publish(CASES, "case.dispute.opened", [event("c", "amends.case.v1")], mandatory=False)


@pytest.mark.asyncio
async def test_events_wait_for_a_consumer_that_comes_later(bus: Bus) -> None:
    publishing = await publish_soon(bus, events("early"))
    handler = Handler()
    consumer = handler.consumer(bus)
    await consumer.start()
    await asyncio.wait_for(publishing, 10)
    await until(lambda: handler.handled == ["early"])
    await consumer.stop()


@pytest.mark.asyncio
async def test_after_stop_publishing_is_unavailable(bus: Bus) -> None:
    await bus.stop()
    with pytest.raises(BusUnavailable):
        await bus.publish(FACTS, "0", events("late"))


@pytest.mark.asyncio
async def test_the_poisonous_event_is_parked_alone_and_order_is_kept(bus: Bus) -> None:
    names = [f"e{n:03}" for n in range(40)]
    handler = Handler("e007", "e031")
    publishing = await publish_soon(bus, events(*names[:25]), events(*names[25:]))
    consumer = handler.consumer(bus)
    await consumer.start()
    await until(lambda: len(handler.handled) == 38)
    assert handler.handled == [n for n in names if n not in handler.poison]
    assert [(item.id, type(fault)) for item, fault in handler.parked if isinstance(item, Event)] == [
        ("e007", ValueError),
        ("e031", ValueError),
    ]
    assert all(handler.attempts[name] >= 5 for name in handler.poison)
    await asyncio.wait_for(publishing, 10)
    assert consumer.healthy
    await consumer.stop()


@pytest.mark.asyncio
async def test_a_lone_poisonous_event_is_tried_five_times(bus: Bus) -> None:
    handler = Handler("bad")
    consumer = handler.consumer(bus)
    await consumer.start()
    await publish_soon(bus, events("bad"))
    await until(lambda: bool(handler.parked))
    assert handler.attempts == {"bad": 5}
    await consumer.stop()


@pytest.mark.asyncio
async def test_unread_events_are_parked_with_their_bytes_and_the_others_handled(bus: Bus) -> None:
    handler = Handler()
    consumer = handler.consumer(bus)
    await consumer.start()
    await bus.publish(FACTS, "0", [event("a"), event("future", "amends.fact.v9"), event("b")])
    await until(lambda: bool(handler.parked))
    ((item, fault),) = handler.parked
    assert handler.handled == ["a", "b"]
    assert isinstance(item, Unread)
    assert b'"future"' in item.body
    assert isinstance(fault, Unreadable)
    assert "major version" in str(fault)
    await consumer.stop()


@pytest.mark.asyncio
async def test_while_the_database_is_away_the_batch_waits_and_nothing_is_parked(bus: Bus) -> None:
    handler = Handler()
    handler.away = True
    consumer = handler.consumer(bus)
    await consumer.start()
    publishing = await publish_soon(bus, events("a", "b"))
    await until(lambda: not consumer.healthy and consumer.busy)
    handler.away = False
    consumer.kick()
    await asyncio.wait_for(publishing, 10)
    await until(lambda: handler.handled == ["a", "b"] and consumer.healthy)
    assert not handler.parked
    await consumer.stop()


@pytest.mark.asyncio
async def test_stopping_while_the_database_is_away_gives_the_batch_back(bus: Bus) -> None:
    handler = Handler()
    handler.away = True
    consumer = handler.consumer(bus)
    await consumer.start()
    publishing = await publish_soon(bus, events("a"))
    await until(lambda: consumer.busy)
    await asyncio.wait_for(consumer.stop(), 5)
    handler.away = False
    another = handler.consumer(bus)
    await another.start()
    await until(lambda: handler.handled == ["a"])
    await asyncio.wait_for(publishing, 10)
    await another.stop()


@pytest.mark.asyncio
async def test_stop_finishes_what_is_in_hand(bus: Bus) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def handle(batch: list[Event]) -> None:
        entered.set()
        await leave.wait()
        done.extend(e.id for e in batch)

    consumer = Consumer(bus, [QUEUE], handle, Handler().park)
    await consumer.start()
    publishing = await publish_soon(bus, events("a"))
    await asyncio.wait_for(entered.wait(), 10)
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    leave.set()
    await asyncio.wait_for(stopping, 5)
    await asyncio.wait_for(publishing, 5)
    assert done == ["a"]


@pytest.mark.asyncio
async def test_a_loop_that_dies_is_noticed_and_begun_anew(bus: Bus) -> None:
    handler = Handler()
    consumer = handler.consumer(bus)
    await consumer.start()
    await until(lambda: consumer.healthy)
    for task in asyncio.all_tasks():
        if task.get_name() == f"consume {QUEUE}":
            task.cancel()
    await until(lambda: not consumer.healthy)
    publishing = await publish_soon(bus, events("after"))
    await until(lambda: handler.handled == ["after"])
    await publishing
    assert consumer.healthy
    await consumer.stop()


@pytest.mark.asyncio
async def test_queues_are_taken_up_and_let_go_between_two_batches(bus: Bus) -> None:
    handler, other = Handler(), Handler()
    consumer = handler.consumer(bus, queue_of(FACTS, 0), queue_of(FACTS, 1))
    await consumer.start()
    await bus.publish(FACTS, "1", events("mine"))
    await until(lambda: handler.handled == ["mine"])
    await consumer.assign([queue_of(FACTS, 0)])
    successor = other.consumer(bus, queue_of(FACTS, 1))
    await successor.start()
    await bus.publish(FACTS, "1", events("yours"))
    await until(lambda: other.handled == ["yours"])
    assert handler.handled == ["mine"]
    await consumer.assign([queue_of(FACTS, 0), queue_of(FACTS, 1)])
    await until(lambda: consumer.healthy)
    await consumer.stop()
    await successor.stop()


@pytest.mark.asyncio
async def test_only_one_of_two_consumers_of_a_queue_is_served(bus: Bus) -> None:
    first, second = Handler(), Handler()
    one, two = first.consumer(bus), second.consumer(bus)
    await one.start()
    await until(lambda: one.healthy)
    await two.start()
    await until(lambda: two.healthy)
    for n in range(5):
        await bus.publish(FACTS, "0", events(f"e{n}"))
    await until(lambda: len(first.handled) == 5)
    assert second.handled == []
    await one.stop()
    await bus.publish(FACTS, "0", events("next"))
    await until(lambda: second.handled == ["next"])
    await two.stop()


@pytest.mark.asyncio
async def test_consumers_that_publish_to_each_other_do_not_lock_up(bus: Bus) -> None:
    """Policy answers notifier and notifier answers policy, each from inside its handler."""
    rounds: list[str] = []

    async def policy(batch: list[Event]) -> None:
        for one in batch:
            rounds.append(one.id)
            if len(rounds) < 10:
                await bus.publish(OUTBOUND, "0", [event(one.id + "p", "amends.errand.planned.v1")])

    async def notifier(batch: list[Event]) -> None:
        for one in batch:
            await bus.publish(FACTS, "0", [event(one.id + "n")])

    park = Handler().park
    here = Consumer(bus, [queue_of(FACTS, 0)], policy, park)
    there = Consumer(bus, [queue_of(OUTBOUND, 0)], notifier, park)
    await here.start()
    await there.start()
    await asyncio.wait_for(bus.publish(FACTS, "0", events("e")), 20)
    await until(lambda: len(rounds) == 10)
    await until(lambda: bus.idle)
    await here.stop()
    await there.stop()


@pytest.mark.asyncio
async def test_dead_letters_are_parked(bus: Bus) -> None:
    """Delivered ten times and more and never dealt with: our own verdict never came, so the broker gives it up."""
    publishing = await publish_soon(bus, events("killer"))
    handler = Handler()
    for _ in range(14):
        subscription = await bus.subscribe(QUEUE)
        try:
            await asyncio.wait_for(subscription.take(1), 0.5)
        except TimeoutError:
            break
        finally:
            await subscription.close()
    else:
        pytest.fail("still delivered after 14 times")
    consumer = handler.consumer(bus, dead="amends.dead.policy")
    await consumer.start()
    await until(lambda: bool(handler.parked))
    ((item, fault),) = handler.parked
    assert isinstance(item, Event)
    assert item.id == "killer"
    assert isinstance(fault, DeadLetter)
    await asyncio.wait_for(publishing, 10)
    await consumer.stop()


@pytest.mark.asyncio
async def test_mischief_duplicates_and_reorders_but_loses_nothing() -> None:
    bus = EmbeddedBus(Topology(partitions=1), Mischief(seed=7, duplicate=0.3, reorder=0.3))
    await bus.start()
    handler = Handler()
    names = [f"e{n}" for n in range(200)]
    publishing = await publish_soon(bus, *[events(name) for name in names])
    consumer = handler.consumer(bus, limit=10)
    await consumer.start()
    await asyncio.wait_for(publishing, 10)
    await until(lambda: bus.idle)
    assert set(handler.handled) == set(names)
    assert len(handler.handled) > len(names)
    first_seen = list(dict.fromkeys(handler.handled))
    assert first_seen != names
    await consumer.stop()
    await bus.stop()


@pytest.mark.rabbit
@pytest.mark.asyncio
async def test_a_foreign_message_is_parked_as_it_came(amqp_url: str, amqp_topology: Topology) -> None:
    bus = RabbitBus(amqp_url, amqp_topology)
    await bus.start()
    handler = Handler()
    consumer = handler.consumer(bus)
    await consumer.start()
    async with await aio_pika.connect(amqp_url) as connection, await connection.channel() as channel:
        exchange = await channel.declare_exchange(amqp_topology.prefix + FACTS, "topic", durable=True)
        await exchange.publish(aio_pika.Message(b"\xff not json", content_type="text/plain"), "0")
    await bus.publish(FACTS, "0", events("fine"))
    await until(lambda: handler.handled == ["fine"])
    assert [item.body for item, _ in handler.parked if isinstance(item, Unread)] == [b"\xff not json"]
    await consumer.stop()
    await bus.stop()
