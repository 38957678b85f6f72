"""FastStream without what costs per message: no type casting, no logging; bodies are bytes both ways; a deep prefetch."""

from faststream.message import StreamMessage
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

FACTS = RabbitQueue("facts", durable=True, queue_type=QueueType.QUORUM)
LETTERS = RabbitQueue("letters", durable=True, queue_type=QueueType.QUORUM)
PREFETCH = 200


async def raw(message: StreamMessage[object]) -> bytes:
    return message.body


def broker(url: str) -> RabbitBroker:
    return RabbitBroker(
        url, default_channel=Channel(prefetch_count=PREFETCH), logger=None, apply_types=False, decoder=raw
    )
