"""Rows of a few kilobytes are stored as they are: compressing each one cost more than all else of its insert.

PostgreSQL squeezes a row of more than 2 kB, which most rows of the log are just above; from 8 kB on it still does.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = ("case_log", "cases")


def upgrade() -> None:
    _each("SET (toast_tuple_target = 8160)")


def downgrade() -> None:
    _each("RESET (toast_tuple_target)")


def _each(change: str) -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} {change}")
