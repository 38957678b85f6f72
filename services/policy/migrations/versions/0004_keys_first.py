"""An index that finds by a key leads with the key, not with the account.

PostgreSQL plans a statement once, often while the table is empty. Of two indexes that lead with the account it may then
take the wrong one, and read all rows of the account for each key until the plan is made anew.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '3s'")
        op.execute("SET LOCAL statement_timeout = 0")
    _anew("cases_identity", "cases", "external_id", "account", "kind", unique=True)
    _anew("cases_order", "cases", "order_id", "account")
    _anew("orders_known", "orders", "first_seen_at", "account")


def downgrade() -> None:
    _anew("cases_identity", "cases", "account", "kind", "external_id", unique=True)
    _anew("cases_order", "cases", "account", "order_id")
    _anew("orders_known", "orders", "account", "first_seen_at")


def _anew(name: str, table: str, *columns: str, unique: bool = False) -> None:
    op.drop_index(name, table)
    op.create_index(name, table, list(columns), unique=unique)
