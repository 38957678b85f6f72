"""Connections to RabbitMQ, and everything that can go wrong with them as one exception with one sentence."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from yarl import URL

from shared.bus.port import BusUnavailable
from shared.clock import monotonic

CONFIRM = 5.0
CONNECT = 10.0
_HEARTBEAT = 15
_PAUSE = 0.3


class Link:
    """One connection, opened when it is needed and again after it was lost."""

    def __init__(self, url: str, name: str, where: str) -> None:
        parsed = URL(url)
        self._url = parsed if "heartbeat" in parsed.query else parsed.update_query(heartbeat=_HEARTBEAT)
        self._name, self._where = name, where
        self._lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._not_before, self._why = 0.0, ""

    @property
    def is_open(self) -> bool:
        return self._connection is not None and self._connection.connected.is_set()

    async def connection(self) -> AbstractConnection:
        """Who waited while another one's attempt failed is told the same, and does not try again at once."""
        async with self._lock:
            if self._connection is None or not self._connection.connected.is_set():
                await self.close()
                if monotonic() < self._not_before:
                    raise BusUnavailable(self._why)
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> AbstractConnection:
        _hush()
        try:
            async with faults(f"no connection to the broker at {self._where}", CONNECT):
                return await aio_pika.connect(self._url, client_properties={"connection_name": self._name})
        except BusUnavailable as fault:
            self._not_before, self._why = monotonic() + _PAUSE, str(fault)
            raise

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await quietly(connection)


class Unroutable(BusUnavailable):
    """No queue is bound where somebody must listen."""


@asynccontextmanager
async def faults(what: str, seconds: float) -> AsyncIterator[None]:
    """Everything that can go wrong with a broker, as one exception with one sentence."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except PublishError as fault:
        raise Unroutable("no queue is bound for this event") from fault
    except ChannelPreconditionFailed as fault:
        raise BusUnavailable(
            f"{what}: it exists with other settings ({fault}); delete it or use another virtual host"
        ) from fault
    except (AuthenticationError, ProbableAuthenticationError, InvalidFrameError) as fault:
        raise BusUnavailable(f"{what}: user, password or virtual host is refused") from fault
    except TimeoutError as fault:
        raise BusUnavailable(f"{what}: no answer in time") from fault
    except (AMQPError, ChannelInvalidStateError, OSError) as fault:
        raise BusUnavailable(f"{what}: {type(fault).__name__} {fault}".rstrip()) from fault
    except asyncio.CancelledError as fault:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BusUnavailable(f"{what}: the connection was lost") from fault


async def quietly(closing: AbstractChannel | AbstractConnection) -> None:
    """Closes; that it is already gone, or does not answer, no longer matters."""
    with suppress(BusUnavailable):
        async with faults("closing", CONFIRM):
            await closing.close()


def without_password(url: str) -> str:
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port or (5671 if parsed.scheme == 'amqps' else 5672)}{parsed.path}"


def _hush() -> None:
    """The client libraries report every attempt of an outage; we report the outage, once."""
    for name in ("aiormq", "aio_pika"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
