"""What the bench asks of a contestant, ours and peers alike.

The work of one case: a signed webhook of the `generic` marketplace → durable → transition in PostgreSQL → message rendered
→ sink called → recorded. The harness makes a database and a virtual host of the contestant's own, starts its processes,
loads it, reads what it recorded and ends it; nothing of one round is left for the next.

A peer is a folder `bench/peers/<name>/` with a `contestant.py` that offers `contestant`. That module is imported by the
harness itself, so it may import the standard library, `asyncpg` and this module, never the peer's own packages.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import asyncpg

Kind = Literal["ours", "idiomatic", "tuned", "floor", "bare"]
"""`bare`: answers genuine webhooks and stores nothing; only measured for its answer time."""
Server = Literal["postgres", "rabbit"]
BOTH: frozenset[Server] = frozenset(("postgres", "rabbit"))
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Env:
    """What one contestant is given for one round."""

    folder: Path
    """Empty, its own, removed after the round."""
    postgres: str
    """`postgresql://…` of an empty database of its own; durability as PostgreSQL ships it (synchronous_commit on)."""
    amqp: str
    """`amqp://…` of an empty virtual host of its own."""
    sink: str
    """URL to which each message is posted: JSON whose `order_id` is the webhook's, header `Idempotency-Key`; answers 200
    `{"id": …}`."""
    secret: str
    """`whsec_…`: signs the webhooks."""
    ports: tuple[int, int, int]
    """Free ones, for processes that listen."""
    python: Path
    """The interpreter that has the peers' packages."""


@dataclass(frozen=True, slots=True)
class Command:
    """One process: run in the checkout's root, with `environ` over a clean environment; SIGTERM ends it."""

    name: str
    args: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


class Contestant(Protocol):
    """All methods may be called in each round anew, with another `env`."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def servers(self) -> frozenset[Server]:
        """Whose CPU seconds are counted as its own."""
        ...

    def processes(self, env: Env) -> Sequence[Command]:
        """Started together, after `prepare`."""
        ...

    async def prepare(self, env: Env) -> None:
        """Tables, queues, files: before any process runs."""
        ...

    async def ready(self, env: Env) -> bool:
        """All of it can take work now; asked again and again until True."""
        ...

    def webhook_urls(self, env: Env) -> Sequence[str]:
        """Where webhooks are posted, in turn; all on one host and port."""
        ...

    async def recorded(self, env: Env) -> int:
        """Cases whose notification is recorded as sent, read from the database. Asked when the sink has seen them all."""
        ...

    async def clean(self, env: Env) -> None:
        """After its processes have ended; database, virtual host and folder are removed by the harness."""
        ...


async def number(dsn: str, sql: str) -> int:
    """The one number a query answers, over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(sql))
    finally:
        await connection.close()


async def answers(port: int, path: str = "/", status: int | None = None) -> bool:
    """Something speaks HTTP on this port; with `status`, answers `path` with it."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        line = await asyncio.wait_for(reader.readline(), 5)
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()
    said = line.split()
    return len(said) > 1 and said[0].startswith(b"HTTP/") and status in (None, int(said[1]))
