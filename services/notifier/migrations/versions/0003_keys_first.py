"""An index that finds by a key leads with the key, not with the account.

PostgreSQL plans a statement once, often while the table is empty. Of two indexes that lead with the account it may then
take the wrong one, and read all rows of the account for each key until the plan is made anew.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '3s'")
        op.execute("SET LOCAL statement_timeout = 0")
    _anew("errands_by_order", "errands", "order_id", "account", "created_at")


def downgrade() -> None:
    _anew("errands_by_order", "errands", "account", "order_id", "created_at")


def _anew(name: str, table: str, *columns: str) -> None:
    op.drop_index(name, table)
    op.create_index(name, table, list(columns))
