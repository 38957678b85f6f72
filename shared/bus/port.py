"""The bus as services see it. Two ends: `embedded` (in this process) and `rabbit`; one behaviour suite holds both.

A published event is confirmed once losing it is no longer our publisher's matter: RabbitMQ has it on disk, or, embedded,
every consumer bound to it has acknowledged. So an unconfirmed row is always safe to publish again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec

FACTS = "amends.facts"
OUTBOUND = "amends.outbound"
CASES = "amends.cases"


class Event(msgspec.Struct, frozen=True):
    """CloudEvents 1.0 with JSON data. `id` is the receiver's dedupe key; `data` is encoded JSON."""

    id: str
    type: str
    """For example `amends.fact.v1`, `amends.errand.planned.v1`: the suffix is the major version of the data."""
    source: str
    subject: str
    time: datetime
    data: bytes


class BusUnavailable(Exception):
    """The broker is away, did not confirm in time, or nobody listens where somebody must: publish again later."""


class Unreadable(Exception):
    """A message that is no event we understand. It goes to the parked table, with its bytes."""


@dataclass(frozen=True, slots=True)
class Unread:
    body: bytes
    why: str


class Batch(Protocol):
    """A prefix of one queue's deliveries: all events are dealt with and committed, then `ack` once."""

    @property
    def events(self) -> Sequence[Event]: ...
    @property
    def unread(self) -> Sequence[Unread]: ...
    async def ack(self) -> None: ...
    async def give_back(self) -> None:
        """Nothing was committed: the events come again (to us or another)."""
        ...


class Subscription(Protocol):
    async def take(self, limit: int) -> Batch:
        """Waits for at least one event, then takes what is there, up to `limit` events. BusUnavailable when cut off."""
        ...

    async def close(self) -> None: ...


class Bus(Protocol):
    async def start(self) -> None:
        """Connects and declares the topology. BusUnavailable with one clear sentence when it cannot."""
        ...

    async def stop(self) -> None: ...

    async def publish(self, exchange: str, key: str, events: Sequence[Event], *, mandatory: bool = True) -> None:
        """Returns once confirmed. One call is one AMQP message (at most 200 events, 256 kB). Raises BusUnavailable."""
        ...

    async def subscribe(self, queue: str) -> Subscription: ...

    async def waiting(self, exchange: str) -> int:
        """Messages that lie in the exchange's queues and were handed to nobody yet, also where nobody consumes."""
        ...

    @property
    def healthy(self) -> bool: ...

    @property
    def idle(self) -> bool:
        """Nothing published here is still waiting for its consumers (embedded only; rabbit: nothing unconfirmed)."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where events of one kind go: exchange, routing key prefix, and whether somebody must listen."""

    exchange: str
    mandatory: bool = True
    partitioned: bool = True


ROUTES = {FACTS: Route(FACTS), OUTBOUND: Route(OUTBOUND), CASES: Route(CASES, mandatory=False, partitioned=False)}


def queue_of(exchange: str, partition: int) -> str:
    """`policy.facts.3`, `notifier.outbound.0`."""
    owner = {FACTS: "policy.facts", OUTBOUND: "notifier.outbound"}[exchange]
    return f"{owner}.{partition}"


@dataclass(frozen=True, slots=True)
class Topology:
    """What is declared. `prefix` keeps test runs apart; the vhost comes with the URL."""

    partitions: int = 8
    prefix: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    """Further queues on `amends.cases`: name (`console.cases`) -> topic pattern (`case.#`)."""
