"""A marketplace outside our system whose own log is the oracle: what reached it, under which key, how often."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web


@dataclass
class Oracle:
    """Receives the generic marketplace's messages and acts and remembers idempotency keys, as the seller's system would."""

    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Every request, repeats under one key included: (idempotency key, body)."""
    port: int = 0
    log: Path | None = None
    """Where each request is added before it is answered: `{key, effect, body}`, one a line."""
    then: Callable[[str, dict[str, Any]], None] | None = None
    """Called after each request that had an effect: what the marketplace does next."""

    async def __aenter__(self) -> "Oracle":
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._take)
        self._known: set[str] = set()
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def _take(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        body = msgspec.json.decode(await request.read())
        effect = key not in self._known
        self._known.add(key)
        self.received.append((key, body))
        if self.log is not None:
            with self.log.open("ab") as log:
                log.write(msgspec.json.encode({"key": key, "effect": effect, "body": body}) + b"\n")
        if effect and self.then is not None:
            self.then(key, body)
        return web.json_response({"id": f"p-{key[-12:]}"})

    def effects(self) -> dict[str, dict[str, Any]]:
        """What happened in the world: one effect per key."""
        return dict(self.received)

    def said_twice(self) -> list[tuple[str, str]]:
        """(case, purpose) pairs that reached the buyer more than once, as distinct effects with the same text."""
        texts = Counter(
            (body["data"]["case_id"], body["data"]["purpose"], body["data"]["text"])
            for body in self.effects().values()
            if body["type"] == "message.send"
        )
        return [(case, purpose) for (case, purpose, _text), n in texts.items() if n > 1]
