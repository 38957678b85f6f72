"""Due errands are found account by account: one with a long backlog does not stand before the others.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_DUE = sa.text("next_at IS NOT NULL")


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '3s'")
        op.execute("SET LOCAL statement_timeout = 0")
    op.drop_index("errands_due", "errands")
    _errands_due("account", "next_at", "id")


def downgrade() -> None:
    op.drop_index("errands_due", "errands")
    _errands_due("next_at", "id")


def _errands_due(*columns: str) -> None:
    op.create_index("errands_due", "errands", list(columns), postgresql_where=_DUE, sqlite_where=_DUE)
