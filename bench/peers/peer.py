"""What the peers have in common towards the harness. Standard library and asyncpg only, as the contract asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.contestant import BOTH, Command, Env, Kind, Server, answers, number

_SCHEMA = Path(__file__).with_name("schema.sql")
_INTAKE = ("--workers", "1", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


@dataclass(frozen=True)
class Peer:
    """A contestant whose intake is an ASGI app under uvicorn and whose workers say by a file that they are up."""

    name: str
    kind: Kind = "idiomatic"
    workers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Per worker the arguments of Python: `-m module ...`."""
    servers: frozenset[Server] = BOTH

    def processes(self, env: Env) -> list[Command]:
        told = environ(env)
        intake = ["-m", "uvicorn", f"bench.peers.{self.name}.intake:app", "--port", str(env.ports[0]), *_INTAKE]
        commands = {"intake": intake, **self.workers}
        return [Command(name, [str(env.python), *args], told) for name, args in commands.items()]

    async def prepare(self, env: Env) -> None:
        if "postgres" not in self.servers:
            return
        connection = await asyncpg.connect(env.postgres)
        try:
            await connection.execute(_SCHEMA.read_text())
        finally:
            await connection.close()

    async def ready(self, env: Env) -> bool:
        up = all((env.folder / f"ready-{name}").exists() for name in self.workers)
        return up and await answers(env.ports[0])

    def webhook_urls(self, env: Env) -> Sequence[str]:
        return [f"http://127.0.0.1:{env.ports[0]}/webhooks/generic/shop"]

    async def recorded(self, env: Env) -> int:
        return await number(env.postgres, "SELECT count(*) FROM messages WHERE status = 'sent'")

    async def clean(self, env: Env) -> None:
        """Nothing is left outside what the harness removes."""


def environ(env: Env) -> dict[str, str]:
    return {
        "DATABASE_URL": env.postgres,
        "AMQP_URL": env.amqp,
        "SINK_URL": env.sink,
        "SIGNING_SECRET": env.secret,
        "READY_FOLDER": str(env.folder),
    }
