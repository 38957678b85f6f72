"""The migrations lead to exactly the tables the code uses, on both ends."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from services.intake.tables import metadata
from services.intake.wiring import MIGRATIONS
from shared.store import migrate
from shared.store.session import Database


@pytest.mark.asyncio
async def test_migrated_is_what_the_tables_say(store_url: str) -> None:
    database = Database(store_url)
    await migrate.upgrade(database, MIGRATIONS)
    await migrate.upgrade(database, MIGRATIONS)
    await migrate.check(database, MIGRATIONS)

    def differences(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert await database.run_sync(differences) == []
    await database.close()
