"""FastStream's end of RabbitMQ: durable quorum queues, confirms (the channel's default), acknowledged after the work."""

from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

FACTS = RabbitQueue("facts", durable=True, queue_type=QueueType.QUORUM)
LETTERS = RabbitQueue("letters", durable=True, queue_type=QueueType.QUORUM)
PREFETCH = 50


def broker(url: str) -> RabbitBroker:
    return RabbitBroker(url, default_channel=Channel(prefetch_count=PREFETCH))
