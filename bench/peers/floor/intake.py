"""Webhooks in: bare ASGI, verified, committed in groups, published, answered. No linger: a group is what is waiting."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import msgspec

from bench.peers.floor.batches import FACTS, LANES, Event, Link, link
from bench.peers.work import NotGenuine, Settings, now, verify

_STORE = """
    INSERT INTO deliveries (id, body, received_at)
    SELECT id, body, $3 FROM unnest($1::text[], $2::bytea[]) AS given (id, body) ORDER BY id ON CONFLICT DO NOTHING
"""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
settings = Settings.from_environ()


class Writer:
    """Coalesces concurrent deliveries; each is answered after its own commit and confirm."""

    def __init__(self, pool: asyncpg.Pool, rabbit: Link) -> None:
        self._pool, self._rabbit = pool, rabbit
        self._waiting: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def write(self, id_: str, body: bytes) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((id_, body, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._commit(group)

    async def _commit(self, group: list[tuple[str, bytes, "asyncio.Future[None]"]]) -> None:
        ids, bodies, waiting = zip(*group, strict=True)
        try:
            await self._pool.execute(_STORE, ids, bodies, now())
            await self._rabbit.publish(FACTS, [Event(id_, msgspec.Raw(body)) for id_, body, _ in group])
        except Exception as fault:
            for future in waiting:
                future.set_exception(fault)
            return
        for future in waiting:
            future.set_result(None)


class Intake:
    """The ASGI app."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["method"] == "POST":
            await _answer(send, await self._take(scope, receive))
        else:
            await _answer(send, 404)

    async def _take(self, scope: Scope, receive: Receive) -> int:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name.startswith(b"webhook-")}
        try:
            await self._writer.write(verify(settings.secret, headers, body), body)
        except NotGenuine:
            return 401
        except (asyncpg.PostgresError, OSError):
            return 503
        return 202

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(
                asyncpg.create_pool(settings.database, min_size=LANES, max_size=LANES)
            )
            self._writer = Writer(pool, await stack.enter_async_context(link(settings.amqp)))
            lanes = [asyncio.create_task(self._writer.run()) for _ in range(LANES)]
            await send({"type": "lifespan.startup.complete"})
            await receive()
            for lane in lanes:
                lane.cancel()
        await send({"type": "lifespan.shutdown.complete"})


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


app = Intake()
