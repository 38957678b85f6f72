"""Real PostgreSQL and RabbitMQ for tests: named by the environment, else found on the standard ports, else started.

Nothing is ever skipped: what cannot be had ends the run with one sentence (`NoService`). What a run creates (databases,
virtual hosts, queues) it removes; a server that is not ours is never stopped.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import asyncpg

from shared.bus.port import Topology
from shared.bus.topology import DEAD, ROUTES, dead_queue, queues
from tests.support import servers
from tests.support.servers import NoService, Server

T = TypeVar("T")
LOCAL_POSTGRES = (
    "postgresql://postgres@127.0.0.1:5432/postgres",
    "postgresql://postgres:postgres@127.0.0.1:5432/postgres",
)
OWN = "AMENDS_TEST_OWN_SERVERS"
"""Set: what answers on the standard ports is left alone, the run starts its own."""
LOCAL_AMQP = "amqp://guest:guest@127.0.0.1:5672/"


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end on a loop and thread of its own: the test's loop is left alone."""
    outcome: list[T] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return outcome[0]


@contextlib.contextmanager
def postgres(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """URL of a server on which databases may be created."""
    named = environ.get("AMENDS_TEST_POSTGRES_URL")
    if named:
        if not _may_create(named):
            raise NoService("AMENDS_TEST_POSTGRES_URL: no databases can be created there")
        yield named
        return
    local = None if environ.get(OWN) else next((url for url in LOCAL_POSTGRES if _may_create(url)), None)
    if local is not None:
        yield local
        return
    with shared("postgres", servers.start_postgres) as server:
        yield server.url


@contextlib.contextmanager
def rabbit(environ: Mapping[str, str] = os.environ) -> Iterator[Server]:
    """A broker; `group` 0 when it is not ours."""
    named = environ.get("AMENDS_TEST_AMQP_URL")
    url = named or LOCAL_AMQP
    if (named or not environ.get(OWN)) and _lets_in(url):
        yield Server(url, 0, "")
        return
    if named:
        raise NoService("AMENDS_TEST_AMQP_URL: no broker lets us in there")
    with shared("rabbit", servers.start_rabbit) as server:
        yield server


@contextlib.contextmanager
def shared(name: str, start: Callable[[], Server], run: str | None = None) -> Iterator[Server]:
    """One server for all workers of a test run: the first starts it, the last one out stops it."""
    run = run or os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    path = Path(tempfile.gettempdir()) / f"amends-test-{os.getuid()}-{run}-{name}.json"
    with _locked(path) as kept:
        server = servers.from_json(kept["server"]) if kept else start()
        kept.update(server=server.as_json(), users=kept.get("users", 0) + 1)
    try:
        yield server
    finally:
        with _locked(path) as kept:
            kept["users"] -= 1
            if not kept["users"]:
                kept.clear()
                servers.stop(server)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[dict[str, Any]]:
    """The file's JSON, written back at the end; an empty one is removed together with its lock."""
    lock = path.with_suffix(".lock")
    with _held(lock):
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        try:
            yield kept
        finally:
            if kept:
                path.write_text(json.dumps(kept))
            else:
                path.unlink(missing_ok=True)
                lock.unlink()


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[None]:
    """A lock file may be removed by its holder: who waited for the removed one begins again."""
    while True:
        with lock.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if lock.exists() and lock.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                yield
                return


def new_database(server_url: str) -> str:
    """Creates an empty database; its URL."""
    name = f"amends_test_{os.getpid()}_{secrets.token_hex(4)}"
    apart(_execute(server_url, f'CREATE DATABASE "{name}"'))
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def drop_database(server_url: str, url: str) -> None:
    apart(_execute(server_url, f'DROP DATABASE IF EXISTS "{urlsplit(url).path[1:]}" WITH (FORCE)'))


def new_vhost(server: Server) -> str | None:
    """Creates a virtual host and answers its URL; None where we may not (prefixes keep tests apart there too)."""
    name = f"amends-test-{os.getpid()}-{secrets.token_hex(4)}"
    if not control(server, "add_vhost", name):
        return None
    user = urlsplit(server.url).username or "guest"
    if not control(server, "set_permissions", "-p", name, user, ".*", ".*", ".*"):
        control(server, "delete_vhost", name)
        return None
    return urlunsplit(urlsplit(server.url)._replace(path=f"/{name}"))


def drop_vhost(server: Server, url: str) -> None:
    control(server, "delete_vhost", urlsplit(url).path[1:])


def control(server: Server, *command: str) -> bool:
    """`rabbitmqctl` of this broker; whether it did what was asked. False as well where we may not."""
    tool = server.environ.get("CTL") or shutil.which("rabbitmqctl")
    local = urlsplit(server.url).hostname in ("127.0.0.1", "localhost", "::1")
    if tool is None or not local or not (server.group or os.geteuid() == 0):
        return False
    environ = {**os.environ, **server.environ}
    done = subprocess.run([tool, "-q", *command], env=environ, capture_output=True, timeout=60, check=False)
    return done.returncode == 0


async def delete_topology(url: str, topology: Topology) -> None:
    """Removes what `topology` declares, whatever is in it."""
    connection = await aio_pika.connect(url)
    async with connection, await connection.channel() as channel:
        wanted = list(queues(topology))
        for name in {q.name for q in wanted} | {dead_queue(q.name) for q in wanted}:
            await channel.queue_delete(topology.prefix + name)
        for name in (*ROUTES, DEAD):
            await channel.exchange_delete(topology.prefix + name)


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _may_create(url: str) -> bool:
    name = f"amends_probe_{os.getpid()}_{secrets.token_hex(4)}"
    try:
        apart(_execute(url, f'CREATE DATABASE "{name}"'))
        apart(_execute(url, f'DROP DATABASE "{name}"'))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        return False
    return True


def _lets_in(url: str) -> bool:
    async def knock() -> None:
        await (await aio_pika.connect(url, timeout=5)).close()

    try:
        apart(knock())
    except (OSError, TimeoutError, aio_pika.exceptions.AMQPError):
        return False
    return True
