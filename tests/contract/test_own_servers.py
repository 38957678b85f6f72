"""The servers tests start for themselves where none is found: real ones, on ports of their own, gone afterwards."""

import asyncio
import multiprocessing
import os
from pathlib import Path

import aio_pika
import asyncpg
import pytest

from tests.support import servers, services
from tests.support.servers import Server

pytestmark = pytest.mark.slow
NOWHERE = {
    "AMENDS_TEST_POSTGRES_URL": "postgresql://postgres@127.0.0.1:1/x",
    "AMENDS_TEST_AMQP_URL": "amqp://127.0.0.1:1/",
}


def _gone(server: Server) -> bool:
    return not Path(server.folder).exists() and not any(map(servers.alive, (server.group, *server.helpers)))


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


@pytest.mark.pg
@pytest.mark.parametrize("source", ["debian_postgres", "wheel_postgres"])
def test_a_postgres_of_our_own(source: str) -> None:
    binaries = getattr(servers, source)()
    if binaries is None:
        assert source == "debian_postgres", "the wheel is a requirement of the tests"
        return
    server = servers.start_postgres(binaries)
    try:
        url = services.new_database(server.url)
        assert int(services.apart(_version(url)).split(".")[0]) >= 15
        services.drop_database(server.url, url)
    finally:
        servers.stop(server)
    assert _gone(server)


@pytest.mark.rabbit
def test_a_rabbit_of_our_own() -> None:
    server = servers.start_rabbit()
    try:
        url = services.new_vhost(server)
        assert url is not None
        services.apart(_round_trip(url))
        services.drop_vhost(server, url)
        with pytest.raises(aio_pika.exceptions.AMQPError):
            services.apart(_round_trip(url))
    finally:
        servers.stop(server)
    assert _gone(server)


async def _round_trip(url: str) -> None:
    connection = await aio_pika.connect(url)
    async with connection, await connection.channel() as channel:
        queue = await channel.declare_queue("there", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"and back"), "there")
        message = await queue.get(timeout=5)
        assert message.body == b"and back"
        await message.ack()


def _use(run: str, started: "multiprocessing.Queue[Server]", leave: "multiprocessing.synchronize.Event") -> None:
    with services.shared("postgres", servers.start_postgres, run) as server:
        started.put(server)
        leave.wait(60)


@pytest.mark.pg
def test_workers_share_one_server_and_the_last_one_out_stops_it() -> None:
    context = multiprocessing.get_context("spawn")
    started: multiprocessing.Queue[Server] = context.Queue()
    leaves = [context.Event() for _ in range(3)]
    run = f"workers-{os.getpid()}"
    workers = [context.Process(target=_use, args=(run, started, leave)) for leave in leaves]
    for worker in workers:
        worker.start()
    found = {started.get(timeout=60).url for _ in workers}
    assert len(found) == 1
    for leave, worker in zip(leaves[:2], workers[:2], strict=True):
        leave.set()
        worker.join(60)
    assert services.apart(_version(found.pop()))
    leaves[2].set()
    workers[2].join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]


def test_a_server_that_was_named_and_does_not_answer_is_said_in_one_sentence() -> None:
    for found in (services.postgres(NOWHERE), services.rabbit(NOWHERE)):
        with pytest.raises(servers.NoService, match=r"AMENDS_TEST_\w+_URL: no "), found:
            pass


def test_work_apart_leaves_the_callers_loop_alone() -> None:
    async def outer() -> str:
        return await asyncio.to_thread(services.apart, _inner())

    async def _inner() -> str:
        return "inner"

    assert asyncio.run(outer()) == "inner"
