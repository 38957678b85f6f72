"""RabbitMQ only: connections cut and mended, queues deleted, other settings, a broker that does not answer."""

import asyncio
from datetime import UTC, datetime

import aio_pika
import pytest

from shared.bus import open_bus
from shared.bus.consume import Consumer
from shared.bus.port import CASES, FACTS, Bus, BusUnavailable, Event, Topology, Unread, queue_of
from shared.bus.rabbit import RabbitBus
from shared.errors import ConfigurationError
from tests.support.proxy import Proxy
from tests.support.waiting import until

pytestmark = pytest.mark.rabbit
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUEUE = queue_of(FACTS, 0)


def event(name: str) -> Event:
    return Event(name, "amends.fact.v1", "/amends/intake", "order-1", NOON, b'{"account":"a"}')


async def publish_until_confirmed(bus: Bus, name: str) -> None:
    while True:
        try:
            await bus.publish(FACTS, "0", [event(name)])
        except BusUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


def collector(bus: Bus) -> tuple[Consumer, list[str]]:
    seen: list[str] = []

    async def handle(batch: list[Event]) -> None:
        seen.extend(e.id for e in batch)

    async def park(item: Event | Unread, fault: Exception) -> None:
        raise AssertionError(f"nothing should be parked: {item} {fault}")

    return Consumer(bus, [QUEUE], handle, park), seen


@pytest.mark.asyncio
async def test_all_connections_cut_and_mended_lose_nothing(amqp_url: str, amqp_topology: Topology) -> None:
    async with Proxy(amqp_url, 5672) as proxy:
        bus = RabbitBus(proxy.url, amqp_topology, watch_every=0.2)
        await bus.start()
        consumer, seen = collector(bus)
        await consumer.start()
        for n in range(6):
            await publish_until_confirmed(bus, f"before{n}")
            await proxy.cut()
            await until(lambda: not bus.healthy or not consumer.healthy, what="the cut is noticed")
            with pytest.raises(BusUnavailable):
                await bus.publish(FACTS, "0", [event("nowhere")])
            await proxy.mend()
            await publish_until_confirmed(bus, f"after{n}")
            await until(lambda: bus.healthy and consumer.healthy, what="both connections are back")
        wanted = {f"{when}{n}" for when in ("before", "after") for n in range(6)}
        await until(lambda: wanted <= set(seen), what="all confirmed events arrive")
        await consumer.stop()
        await bus.stop()


@pytest.mark.asyncio
async def test_a_cut_between_commit_and_ack_delivers_again(amqp_url: str, amqp_topology: Topology) -> None:
    async with Proxy(amqp_url, 5672) as proxy:
        bus = RabbitBus(proxy.url, amqp_topology, watch_every=0.2)
        await bus.start()
        await bus.publish(FACTS, "0", [event("a")])
        subscription = await bus.subscribe(QUEUE)
        batch = await subscription.take(1)
        await proxy.cut()
        await until(lambda: not bus.healthy or not subscription.is_open)
        with pytest.raises(BusUnavailable):
            await batch.ack()
        await proxy.mend()
        consumer, seen = collector(bus)
        await consumer.start()
        await until(lambda: seen == ["a"])
        await consumer.stop()
        await bus.stop()


@pytest.mark.asyncio
async def test_a_broker_that_no_longer_answers_ends_publishing_in_time(amqp_url: str, amqp_topology: Topology) -> None:
    async with Proxy(amqp_url, 5672) as proxy:
        bus = RabbitBus(proxy.url, amqp_topology, watch_every=60)
        await bus.start()
        proxy.freeze()
        began = asyncio.get_running_loop().time()
        with pytest.raises(BusUnavailable, match="no answer in time"):
            await bus.publish(FACTS, "0", [event("a")])
        assert 4 < asyncio.get_running_loop().time() - began < 9
        assert bus.idle
        proxy.thaw()
        await publish_until_confirmed(bus, "b")
        await bus.stop()


@pytest.mark.asyncio
async def test_a_publisher_that_is_cancelled_does_not_break_the_next(amqp_url: str, amqp_topology: Topology) -> None:
    async with Proxy(amqp_url, 5672) as proxy:
        bus = RabbitBus(proxy.url, amqp_topology, watch_every=60)
        await bus.start()
        proxy.freeze()
        publishing = asyncio.create_task(bus.publish(FACTS, "0", [event("a")]))
        await until(lambda: not bus.idle)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        proxy.thaw()
        await publish_until_confirmed(bus, "b")
        assert bus.idle
        await bus.stop()


@pytest.mark.asyncio
async def test_deleted_queues_are_declared_anew_and_consumed(amqp_url: str, amqp_topology: Topology) -> None:
    bus = RabbitBus(amqp_url, amqp_topology, watch_every=0.2)
    await bus.start()
    consumer, seen = collector(bus)
    await consumer.start()
    await until(lambda: consumer.healthy)
    async with await aio_pika.connect(amqp_url) as connection, await connection.channel() as channel:
        await channel.queue_delete(amqp_topology.prefix + QUEUE)
    await publish_until_confirmed(bus, "after")
    await until(lambda: seen == ["after"])
    await consumer.stop()
    await bus.stop()


@pytest.mark.asyncio
async def test_a_consumer_the_broker_forgot_is_noticed(amqp_url: str, amqp_topology: Topology) -> None:
    """The channel stays open and says nothing: what robust clients did not notice."""
    bus = RabbitBus(amqp_url, amqp_topology, watch_every=0.2)
    await bus.start()
    consumer, seen = collector(bus)
    await consumer.start()
    await until(lambda: consumer.healthy)
    (subscription,) = bus._subscriptions
    underlay = await subscription._channel.get_underlay_channel()
    for tag in list(underlay.consumers):
        await underlay.basic_cancel(tag)
    await bus.publish(FACTS, "0", [event("a")])
    await until(lambda: seen == ["a"], what="the watchdog begins the consumer anew")
    await consumer.stop()
    await bus.stop()


@pytest.mark.asyncio
async def test_a_killed_channel_is_opened_again(amqp_url: str, amqp_topology: Topology) -> None:
    bus = RabbitBus(amqp_url, amqp_topology, watch_every=0.2)
    await bus.start()
    consumer, seen = collector(bus)
    await consumer.start()
    await until(lambda: consumer.healthy)
    (subscription,) = bus._subscriptions
    underlay = await subscription._channel.get_underlay_channel()
    await underlay.basic_ack(4711)  # an unknown delivery tag: the broker closes the channel
    await until(lambda: not subscription.is_open)
    await bus.publish(FACTS, "0", [event("a")])
    await until(lambda: seen == ["a"])
    await consumer.stop()
    await bus.stop()


@pytest.mark.asyncio
async def test_a_queue_with_other_settings_is_one_clear_message(amqp_url: str, amqp_topology: Topology) -> None:
    async with await aio_pika.connect(amqp_url) as connection, await connection.channel() as channel:
        await channel.declare_queue(amqp_topology.prefix + QUEUE, durable=True)
    with pytest.raises(BusUnavailable, match="other settings"):
        await RabbitBus(amqp_url, amqp_topology).start()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqp://guest:secret-word@127.0.0.1:1/", "no connection to the broker at 127.0.0.1:1/"),
        ("amqp://guest:secret-word@127.0.0.1/", "user, password or virtual host"),
        ("amqp://guest:guest@127.0.0.1/there-is-no-such-vhost", "user, password or virtual host"),
    ],
)
async def test_a_start_that_cannot_be_says_why_without_the_password(
    amqp_url: str, amqp_topology: Topology, url: str, words: str
) -> None:
    port = aio_pika.connection.URL(amqp_url).port or 5672
    bus = RabbitBus(url.replace("127.0.0.1/", f"127.0.0.1:{port}/"), amqp_topology)
    with pytest.raises(BusUnavailable) as caught:
        await bus.start()
    await bus.stop()
    assert words in str(caught.value)
    assert "secret-word" not in str(caught.value)


@pytest.mark.asyncio
async def test_anybody_may_bind_to_cases(amqp_url: str, amqp_topology: Topology) -> None:
    topology = Topology(1, amqp_topology.prefix, {"console.cases": "case.dispute.#"})
    bus = RabbitBus(amqp_url, topology)
    await bus.start()
    try:
        case = Event("c", "amends.case.v1", "/amends/policy", "case_1", NOON, b"{}")
        await bus.publish(CASES, "case.refund.opened", [case], mandatory=False)
        await bus.publish(CASES, "case.dispute.opened", [case], mandatory=True)
        subscription = await bus.subscribe("console.cases")
        assert [e.id for e in (await subscription.take(10)).events] == ["c"]
    finally:
        await bus.stop()
        async with await aio_pika.connect(amqp_url) as connection, await connection.channel() as channel:
            for queue in ("console.cases", "amends.dead.console"):
                await channel.queue_delete(topology.prefix + queue)


def test_the_url_names_the_end() -> None:
    assert type(open_bus("embedded://", Topology())).__name__ == "EmbeddedBus"
    assert isinstance(open_bus("amqps://host/", Topology()), RabbitBus)
    with pytest.raises(ConfigurationError, match="AMENDS_BROKER_URL"):
        open_bus("kafka://host", Topology())
