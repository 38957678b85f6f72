"""One process, `amends up`: SQLite files (synchronous FULL), in-process bus."""

import asyncio
import sqlite3
import sys
from collections.abc import Sequence

from bench.contestant import Command, Env, Kind, Server, answers
from bench.ours import accounts

_TOLD = "SELECT count(*) FROM cases WHERE seq >= 2"


class Embedded:
    """Recorded as with the three services: policy knows that the message was sent."""

    name = "embedded"
    kind: Kind = "ours"
    servers: frozenset[Server] = frozenset()

    def processes(self, env: Env) -> Sequence[Command]:
        args = (sys.executable, "-m", "amends", "up", "--port", str(env.ports[0]), "--data", str(env.folder / "data"))
        config = ("--config", str(env.folder / "accounts.yaml"))
        return [Command("embedded", args + config, {"AMENDS_LOG_FORMAT": "json"})]

    async def prepare(self, env: Env) -> None:
        accounts.write(env)

    async def ready(self, env: Env) -> bool:
        return await answers(env.ports[0], "/readyz", 200)

    def webhook_urls(self, env: Env) -> Sequence[str]:
        return accounts.urls(env.ports[0])

    async def recorded(self, env: Env) -> int:
        return await asyncio.to_thread(_told, env)

    async def clean(self, env: Env) -> None:
        pass


def _told(env: Env) -> int:
    connection = sqlite3.connect(f"file:{env.folder / 'data' / 'policy.db'}?mode=ro", uri=True, timeout=30)
    try:
        return int(connection.execute(_TOLD).fetchone()[0])
    finally:
        connection.close()
