"""What is declared on the broker. docs/broker.md says why; the embedded bus has the same queues."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.bus.port import CASES, FACTS, OUTBOUND, ROUTES, Topology, queue_of

DEAD = "amends.dead"
DELIVERY_LIMIT = 10
"""The broker's own limit, a second net: attempts are counted by `consume`, which gives up at 5."""


@dataclass(frozen=True, slots=True)
class Queue:
    """`binding` is a topic pattern on `exchange`; names carry no prefix yet."""

    name: str
    exchange: str
    binding: str


def queues(topology: Topology) -> Iterator[Queue]:
    for exchange in (FACTS, OUTBOUND):
        for partition in range(topology.partitions):
            yield Queue(queue_of(exchange, partition), exchange, str(partition))
    for name, pattern in topology.extra.items():
        yield Queue(name, CASES, pattern)


def find(topology: Topology, name: str) -> Queue:
    """The queue of that name; partitions above the number exist too while they are being drained."""
    for queue in queues(topology):
        if queue.name == name:
            return queue
    for exchange in (FACTS, OUTBOUND):
        _, _, number = name.rpartition(".")
        if number.isdigit() and name == queue_of(exchange, int(number)):
            return Queue(name, exchange, number)
    raise KeyError(f"no queue is called {name}")


def dead_queue(queue: str) -> str:
    """Each consuming service has its own dead letters: `amends.dead.policy` for `policy.facts.3`."""
    return f"{DEAD}.{queue.partition('.')[0]}"


def is_dead(queue: str) -> bool:
    return queue.startswith(f"{DEAD}.")


def routing_key(topology: Topology, exchange: str, key: str) -> str:
    """A partition above the number (rows older than a change of the number) goes to the one it now falls on."""
    if not ROUTES[exchange].partitioned:
        return key
    return str(int(key) % topology.partitions)


def queue_arguments(prefix: str, queue: str) -> dict[str, Any]:
    """Means the same on RabbitMQ 3.10 to 4.3."""
    return {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": f"{prefix}{DEAD}",
        "x-dead-letter-routing-key": dead_queue(queue),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def dead_arguments() -> dict[str, Any]:
    """Dead letters wait for us however often a reader fails: from 4.0 on the default limit would drop them."""
    return {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 1_000_000}


def matches(pattern: str, key: str) -> bool:
    """AMQP topic match: `*` is one word, `#` any number of words."""
    return _match(pattern.split("."), key.split("."))


def _match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_match(pattern[1:], words[n:]) for n in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])
