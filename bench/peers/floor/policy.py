"""The middle: no case and no transition, only the planned message, stored once and passed on."""

import asyncpg
import msgspec
import uvloop

from bench.peers.floor.batches import FACTS, LANES, LETTERS, Event, Link, link
from bench.peers.work import Settings, now

_PLAN = """
    INSERT INTO messages (id, order_id, purpose, status, planned_at)
    SELECT id, order_id, 'acknowledge_request', 'planned', $3
    FROM unnest($1::text[], $2::text[]) AS given (id, order_id) ORDER BY id ON CONFLICT DO NOTHING
"""


class Data(msgspec.Struct):
    order_id: str


class Webhook(msgspec.Struct):
    data: Data


_webhook = msgspec.json.Decoder(Webhook)


async def plan(pool: asyncpg.Pool, rabbit: Link, events: list[Event]) -> None:
    orders = [_webhook.decode(event.body).data.order_id for event in events]
    await pool.execute(_PLAN, [event.id for event in events], orders, now())
    letters = zip(events, orders, strict=True)
    asked = [Event(event.id, msgspec.Raw(msgspec.json.encode(order))) for event, order in letters]
    await rabbit.publish(LETTERS, asked)


async def main() -> None:
    settings = Settings.from_environ()
    async with (
        asyncpg.create_pool(settings.database, min_size=LANES, max_size=LANES) as pool,
        link(settings.amqp) as rabbit,
    ):
        settings.announce("policy")
        await rabbit.consume(FACTS, lambda events: plan(pool, rabbit, events))


if __name__ == "__main__":
    uvloop.run(main())
