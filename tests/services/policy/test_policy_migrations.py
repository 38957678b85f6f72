"""The migrations lead to exactly the tables the code uses, on PostgreSQL, and back."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from services.policy.tables import metadata
from shared.store import migrate
from shared.store.session import Database
from tests.services.policy.conftest import MIGRATIONS

pytestmark = [pytest.mark.asyncio, pytest.mark.pg]


async def test_migrated_is_what_the_tables_say(postgres_url: str) -> None:
    database = Database(postgres_url)
    await migrate.upgrade(database, MIGRATIONS)
    await migrate.upgrade(database, MIGRATIONS)
    await migrate.check(database, MIGRATIONS)

    def differences(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert await database.run_sync(differences) == []
    async with database.reading() as tx:
        where = await tx.rows("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%WHERE%'")
    partial = {row["indexname"] for row in where}
    assert {"cases_due", "tasks_open", "outbound_unpublished", "case_events_unpublished", "orders_waiting"} <= partial
    await database.close()
