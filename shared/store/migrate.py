"""Brings a service's database to the head of its migrations, or says that it is not there.

Revisions are alembic's (`<folder>/versions/*.py`); no `env.py` is needed. The version table lies beside the service's
own tables: in its SQLite file, or in its schema on PostgreSQL.
"""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from shared.errors import ConfigurationError
from shared.store.session import Database

_LOCK = 4_723_001
"""Advisory lock: of several replicas one migrates, the others wait for it."""

_log = structlog.get_logger(__name__)


async def upgrade(database: Database, folder: Path) -> None:
    """To head, in one transaction. A SQLite file with data is copied first, beside it: `<name>.<revision>.bak`."""
    script = _script(folder)
    here = await _revision(database)
    head = script.get_current_head()
    if here == head:
        return
    _refuse_unknown(script, here, folder)
    if here is not None and database.path is not None:
        await asyncio.to_thread(_copy, database.path, here)
    await database.run_sync(_upgrade, script, database.schema)
    _log.info("database_migrated", service=folder.parent.name, before=here, after=head)


async def check(database: Database, folder: Path) -> None:
    """Raises ConfigurationError unless the database is at head."""
    script = _script(folder)
    here = await _revision(database)
    _refuse_unknown(script, here, folder)
    if here != script.get_current_head():
        found = f"at {here}" if here else "empty"
        raise ConfigurationError(
            [f"{folder.parent.name}: the database is {found}, needed is {script.get_current_head()}: amends db upgrade"]
        )


def _script(folder: Path) -> ScriptDirectory:
    """Read anew when a revision came or went: readiness asks again and again."""
    return _script_as_of(folder, (folder / "versions").stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _script_as_of(folder: Path, _changed: int) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(folder))


def _config(folder: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _refuse_unknown(script: ScriptDirectory, here: str | None, folder: Path) -> None:
    if here is not None and here not in {revision.revision for revision in script.walk_revisions()}:
        raise ConfigurationError([f"{folder.parent.name}: the database is at {here}, which this release does not know"])


async def _revision(database: Database) -> str | None:
    """None before the first migration."""
    async with database.reading() as tx:
        known = "to_regclass('alembic_version') IS NOT NULL"
        if not tx.postgres:
            known = "EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'alembic_version')"
        there = await tx.row(f"SELECT {known} AS known")
        row = await tx.row("SELECT version_num FROM alembic_version") if there and there["known"] else None
    return str(row["version_num"]) if row else None


def _upgrade(connection: Connection, script: ScriptDirectory, schema: str | None) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SET LOCAL statement_timeout = '0'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        if schema is not None:
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))

    def to_head(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(_config(Path(script.dir)), script, fn=to_head) as environment:
        environment.configure(connection=connection, version_table_schema=schema)
        environment.run_migrations()


def _copy(path: Path, revision: str) -> None:
    """With its write-ahead log folded in by SQLite itself."""
    target = path.with_name(f"{path.name}.{revision}.bak")
    beside = target.with_suffix(".tmp")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(beside)) as copy:
        source.backup(copy)
    shutil.move(beside, target)
