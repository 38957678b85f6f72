"""Letters out: marked `sending` in one statement, called at once, recorded `sent` in one statement. No template."""

import asyncio

import aiohttp
import asyncpg
import msgspec
import uvloop

from bench.peers.floor.batches import LANES, LETTERS, Event, link
from bench.peers.work import Settings, letter, now

_TAKE = """
    UPDATE messages SET status = 'sending', body = $2 WHERE id = ANY($1::text[]) AND status = 'planned'
    RETURNING id, order_id
"""
_RECORD = "UPDATE messages SET status = 'sent', sent_at = $2 WHERE id = ANY($1::text[])"
_CALLS = 64
_TEXT = (
    "We have received your request and are looking into it now. We are sorry for the trouble and will answer you here."
)


class Notifier:
    def __init__(self, sink: str, pool: asyncpg.Pool, http: aiohttp.ClientSession) -> None:
        self._sink, self._pool, self._http = sink, pool, http

    async def send(self, events: list[Event]) -> None:
        taken = await self._pool.fetch(_TAKE, [event.id for event in events], _TEXT)
        sent = await asyncio.gather(*(self._call(row["id"], row["order_id"]) for row in taken))
        await self._pool.execute(_RECORD, [id_ for id_ in sent if id_ is not None], now())

    async def _call(self, id_: str, order_id: str) -> str | None:
        """The id when it was taken; what was not stays `sending`."""
        said = msgspec.json.encode(letter(id_, order_id, "acknowledge_request", _TEXT))
        headers = {"Idempotency-Key": id_, "Content-Type": "application/json"}
        try:
            async with self._http.post(self._sink, data=said, headers=headers) as answer:
                return id_ if answer.status < 300 else None
        except aiohttp.ClientError:
            return None


async def main() -> None:
    settings = Settings.from_environ()
    connector = aiohttp.TCPConnector(limit=_CALLS)
    async with (
        asyncpg.create_pool(settings.database, min_size=LANES, max_size=LANES) as pool,
        aiohttp.ClientSession(connector=connector) as http,
        link(settings.amqp) as rabbit,
    ):
        settings.announce("notifier")
        await rabbit.consume(LETTERS, Notifier(settings.sink, pool, http).send)


if __name__ == "__main__":
    uvloop.run(main())
