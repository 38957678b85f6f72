"""The servers a bench runs on: its own PostgreSQL and RabbitMQ, so that no other work's CPU is counted, or named ones.

Durability is as both ship it: fsync and synchronous_commit on, persistent messages, quorum or durable queues, confirms.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from bench import cpu
from bench.contestant import Server
from tests.support import servers, services

_SETTINGS = {"max_wal_size": "8GB", "max_connections": "200", "shared_buffers": "512MB"}
"""Of our own PostgreSQL: room for the write-ahead log of a whole run, for all peers alike."""


@dataclass(frozen=True)
class Ground:
    """Where databases and virtual hosts are made."""

    postgres: str
    rabbit: servers.Server

    def pids(self, counted: frozenset[Server]) -> list[int]:
        """Roots of the trees of the servers named."""
        urls = {"postgres": (self.postgres, 5432), "rabbit": (self.rabbit.url, 5672)}
        return [cpu.listener(urlsplit(urls[name][0]).port or urls[name][1]) for name in sorted(counted)]

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[tuple[str, str]]:
        """An empty database and an empty virtual host, gone at the end."""
        database, host = await asyncio.gather(
            asyncio.to_thread(services.new_database, self.postgres), asyncio.to_thread(services.new_vhost, self.rabbit)
        )
        if host is None:
            raise servers.NoService("the bench makes virtual hosts: it needs rabbitmqctl of the broker at hand")
        try:
            yield database, host
        finally:
            await asyncio.gather(
                asyncio.to_thread(services.drop_database, self.postgres, database),
                asyncio.to_thread(services.drop_vhost, self.rabbit, host),
            )

    async def settle(self) -> None:
        """What the last contestant left to write is written now, not on the next one's account."""
        connection = await asyncpg.connect(self.postgres)
        try:
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()


@contextlib.contextmanager
def ground(postgres: str | None = None, amqp: str | None = None) -> Iterator[Ground]:
    """Own servers where none is named; stopped at the end."""
    with contextlib.ExitStack() as stack:
        if postgres is None:
            postgres = stack.enter_context(_running(lambda: servers.start_postgres(settings=_SETTINGS))).url
        rabbit = servers.Server(amqp, 0, "") if amqp else stack.enter_context(_running(servers.start_rabbit))
        yield Ground(postgres, rabbit)


@contextlib.contextmanager
def _running(start: Callable[[], servers.Server]) -> Iterator[servers.Server]:
    server = start()
    try:
        yield server
    finally:
        servers.stop(server)
