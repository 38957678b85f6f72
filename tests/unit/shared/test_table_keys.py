"""What holds for the tables of every service."""

import pytest
from sqlalchemy import Table

from services.intake.tables import metadata as intake
from services.notifier.tables import metadata as notifier
from services.policy.tables import metadata as policy

TABLES = [table for metadata in (intake, policy, notifier) for table in metadata.tables.values()]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_of_a_table_one_index_at_most_leads_with_the_account(table: Table) -> None:
    """Of two PostgreSQL may take the wrong one, and read all rows of an account for each key (docs/performance.md)."""
    whole = [index for index in table.indexes if index.dialect_options["postgresql"]["where"] is None]
    leads = [
        next(iter(table.primary_key.columns)).name,
        *(next(iter(index.columns)).name for index in whole if index.columns),
    ]
    assert leads.count("account") <= 1
