"""Fixtures every room may use. Real servers come from `tests.support.services`; nothing is skipped."""

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
import structlog

from shared.bus.port import Topology
from shared.store.session import Database
from tests.support import forking, services
from tests.support.servers import NoService, Server

T = TypeVar("T")
REAL = {"bench", "contract", "crash", "deploy", "flow"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests against real processes and servers may run once more: a shared machine holds some of them up.

    The closing lines name and count each such run (`RERUN`); everything else must pass at once.
    """
    for item in items:
        room = item.path.relative_to(Path(__file__).parent).parts[0]
        if room in REAL or any(item.get_closest_marker(name) for name in ("pg", "rabbit", "crash")):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))


def pytest_unconfigure() -> None:
    forking.end()


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command run in this process sets where logs go, to a stream that is closed when its test ends."""
    kept, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    yield
    structlog.configure(**kept)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server on which this run may create databases."""
    with _or_fail(services.postgres()) as url:
        yield url


@pytest.fixture(scope="session")
def new_database(postgres_server: str) -> Iterator[Callable[[], str]]:
    """Makes an empty PostgreSQL database and answers its URL; all are dropped at the end of the run."""
    made: list[str] = []

    def make() -> str:
        made.append(services.new_database(postgres_server))
        return made[-1]

    yield make
    for url in made:
        services.drop_database(postgres_server, url)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database of this test's own."""
    url = services.new_database(postgres_server)
    yield url
    services.drop_database(postgres_server, url)


@pytest.fixture(scope="session")
def amqp_server() -> Iterator[Server]:
    with _or_fail(services.rabbit()) as server:
        yield server


@pytest.fixture(scope="session")
def new_amqp_url(amqp_server: Server) -> Iterator[Callable[[], str]]:
    """Makes an empty virtual host and answers its URL (the server's own one where we may not make any)."""
    made: list[str] = []

    def make() -> str:
        url = services.new_vhost(amqp_server)
        if url is not None:
            made.append(url)
        return url or amqp_server.url

    yield make
    for url in made:
        services.drop_vhost(amqp_server, url)


@pytest.fixture(scope="session")
def amqp_url(new_amqp_url: Callable[[], str]) -> str:
    """A virtual host of this run's own; use it with `amqp_topology`."""
    return new_amqp_url()


@pytest.fixture
def amqp_topology(amqp_url: str) -> Iterator[Topology]:
    """Two partitions under a prefix of this test's own, removed after it."""
    topology = Topology(partitions=2, prefix=f"t{secrets.token_hex(4)}.")
    yield topology
    services.apart(services.delete_topology(amqp_url, topology))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.pg)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each test that asks runs on both ends."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database on both ends."""
    made = Database(database_url)
    yield made
    await made.close()


@contextmanager
def _or_fail(found: AbstractContextManager[T]) -> Iterator[T]:
    """A missing server is one sentence, not a trace."""
    try:
        server = found.__enter__()
    except NoService as fault:
        pytest.fail(str(fault), pytrace=False)
    try:
        yield server
    finally:
        found.__exit__(None, None, None)
