"""Clocks at scale: deadlines counted by hour, an index that leads a backlog by its deadlines, tables vacuumed in time.

A fired clock leaves a dead entry in every index of its case. The looks at the due index clear its left edge themselves;
the rest waits for a vacuum, which by default comes after a fifth of a table: for millions of rows that is too late.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_HOUR = 3_600_000_000
_HOT = {
    "cases": "autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02",
    "orders": "autovacuum_vacuum_scale_factor = 0.05",
    "outbound": "autovacuum_vacuum_scale_factor = 0.05",
    "case_events": "autovacuum_vacuum_scale_factor = 0.05",
    "counters": "fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500",
    "deadlines": "fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500",
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '3s'")
        op.execute("SET LOCAL statement_timeout = 0")
    _deadlines()
    op.drop_index("cases_deadline", "cases")
    _cases_deadline("deadline_at", "next_due_at")
    if op.get_bind().dialect.name == "postgresql":
        for table, settings in _HOT.items():
            op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, settings in _HOT.items():
            names = ", ".join(setting.partition(" = ")[0].strip() for setting in settings.split(","))
            op.execute(f"ALTER TABLE {table} RESET ({names})")
    op.drop_index("cases_deadline", "cases")
    _cases_deadline("deadline_at")
    op.drop_table("deadlines")


def _cases_deadline(*columns: str) -> None:
    op.create_index(
        "cases_deadline",
        "cases",
        list(columns),
        postgresql_where=sa.text("deadline_at IS NOT NULL"),
        sqlite_where=sa.text("deadline_at IS NOT NULL"),
    )


def _deadlines() -> None:
    op.create_table(
        "deadlines",
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("cases", sa.BigInteger, nullable=False),
        sa.Column("micros", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hour", "shard"),
    )
    op.execute(
        f"INSERT INTO deadlines (hour, shard, cases, micros) SELECT deadline_at / {_HOUR}, 0, count(*), "
        f"sum(deadline_at % {_HOUR}) FROM cases WHERE deadline_at IS NOT NULL GROUP BY deadline_at / {_HOUR}"
    )
