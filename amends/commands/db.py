"""`amends db`: the databases of the three services, brought to head or compared with it."""

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from shared.errors import ConfigurationError, Refusal

if TYPE_CHECKING:
    from shared.settings import Process
    from shared.store.session import Database

T = TypeVar("T")
Work = Callable[["Database", Path], Awaitable[T]]
"""Takes a service's database and the folder of its migrations."""
app = typer.Typer(help="The databases of the three services.", no_args_is_help=True)
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the SQLite files (default: ./var).")]


@app.command()
def upgrade(data: Data = None) -> None:
    """Brings each to the head of its migrations. A SQLite file with data is copied first."""
    from shared.store.migrate import upgrade as to_head

    _each(data, to_head, create=True)


@app.command()
def check(data: Data = None) -> None:
    """Exit 2 unless each is at head."""
    from shared.store.migrate import check as at_head

    _each(data, at_head, create=False)


def on_database(process: "Process", service: str, work: Work[T], *, create: bool = False) -> T:
    """Raises ConfigurationError, or Refusal with one clear sentence when the database is away or in use."""
    from amends.loop import run

    url = process.database_url(service)
    if url.startswith("sqlite") and not create and not Path(url.partition("///")[2]).exists():
        raise ConfigurationError([f"{service}: there is no database yet: amends db upgrade"])
    with _sole(process, url):
        return run(_with(url, service, work))


async def _with(url: str, service: str, work: Work[T]) -> T:
    from amends.outages import outage
    from shared.store.session import Database

    database = Database(url, pool=1)
    try:
        return await work(database, migrations_of(service))
    except Exception as fault:
        line = outage(fault)
        if line is None:
            raise
        raise Refusal(f"{service}: {line}", code="failed") from None
    finally:
        await database.close()


def _each(data: Path | None, work: Work[None], *, create: bool) -> None:
    from shared.settings import SERVICES, Process

    process = Process.from_env(os.environ, data_dir=data)
    faults: list[str] = []
    for service in SERVICES:
        try:
            on_database(process, service, work, create=create)
            print(f"{service} is at head")
        except ConfigurationError as fault:
            faults += [line for line in fault.faults if line not in faults]
    if faults:
        raise ConfigurationError(faults)


def migrations_of(service: str) -> Path:
    spec = find_spec(f"services.{service}")
    assert spec is not None and spec.submodule_search_locations  # noqa: S101
    return Path(next(iter(spec.submodule_search_locations))) / "migrations"


@contextmanager
def _sole(process: "Process", url: str) -> Iterator[None]:
    """SQLite files are opened only when no amends runs on them."""
    if not url.startswith("sqlite"):
        yield
        return
    from amends.data_lock import DataLock

    with DataLock(process.data_dir):
        yield
