"""TaskIQ's end of RabbitMQ: a queue and a broker per service; a message is acknowledged when its task is done (the default).

The broker's queues are durable quorum queues, its messages persistent and confirmed, by its own defaults.
"""

from typing import Annotated

import aiohttp
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Queue

from bench.peers.events import Event
from bench.peers.orm import advance, record, settings, take

PREFETCH = 20

facts = AioPikaBroker(settings.amqp, qos=PREFETCH).with_queues(Queue(name="facts"))
letters = AioPikaBroker(settings.amqp, qos=PREFETCH).with_queues(Queue(name="letters"))


@facts.task
async def on_fact(event: Event) -> None:
    message_id = await advance(event)
    if message_id is not None:
        await on_letter.kiq(message_id)


@letters.task
async def on_letter(message_id: str, context: Annotated[Context, TaskiqDepends()]) -> None:
    said = await take(message_id)
    if said is None:
        return
    http: aiohttp.ClientSession = context.state.http
    async with http.post(settings.sink, json=said, headers={"Idempotency-Key": message_id}) as answer:
        answer.raise_for_status()
    await record(message_id)


@facts.on_event(TaskiqEvents.WORKER_STARTUP)
async def start_policy(_: TaskiqState) -> None:
    await letters.startup()
    settings.announce("policy")


@facts.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop_policy(_: TaskiqState) -> None:
    await letters.shutdown()


@letters.on_event(TaskiqEvents.WORKER_STARTUP)
async def start_notifier(state: TaskiqState) -> None:
    state.http = aiohttp.ClientSession()
    settings.announce("notifier")


@letters.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop_notifier(state: TaskiqState) -> None:
    await state.http.close()
