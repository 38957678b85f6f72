"""Facts in, cases moved, letters asked for."""

from faststream import AckPolicy, FastStream

from bench.peers.events import Event
from bench.peers.faststream.queues import FACTS, LETTERS, broker
from bench.peers.orm import advance, settings

rabbit = broker(settings.amqp)
app = FastStream(rabbit)


@rabbit.subscriber(FACTS, ack_policy=AckPolicy.NACK_ON_ERROR)
async def on_fact(event: Event) -> None:
    message_id = await advance(event)
    if message_id is not None:
        await rabbit.publish(message_id, queue=LETTERS, persist=True)


@app.after_startup
async def announce() -> None:
    await rabbit.declare_queue(LETTERS)
    settings.announce("policy")
