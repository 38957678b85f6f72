"""The tables of the first release.

Revision ID: 0001
Revises: none
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _deliveries()
    _raw()
    _facts()
    _fetches()
    _records()
    _polls()
    _counters()


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("dedupe_key", sa.Text, nullable=False),
        sa.Column("marketplace", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("why", sa.Text),
        sa.Column("ref", sa.Text),
        sa.Column("facts", sa.Integer, nullable=False),
        sa.Column("replayed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("account", "id"),
    )
    op.create_index("deliveries_once", "deliveries", ["account", "dedupe_key"], unique=True)
    op.create_index("deliveries_by_time", "deliveries", ["received_at", "id"])
    attention = sa.text("outcome IN ('failed', 'unreadable', 'unmapped', 'conflict')")
    op.create_index(
        "deliveries_for_attention", "deliveries", ["outcome", "received_at"],
        postgresql_where=attention, sqlite_where=attention,
    )  # fmt: skip


def _raw() -> None:
    op.create_table(
        "raw",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "delivery_id"),
    )
    op.create_index("raw_by_age", "raw", ["received_at"])


def _facts() -> None:
    op.create_table(
        "facts",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("published_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("account", "id"),
    )
    op.create_index(
        "facts_unpublished",
        "facts",
        ["created_at"],
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )


def _fetches() -> None:
    op.create_table(
        "fetches",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_wanted_at", sa.BigInteger, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("why", sa.Text),
        sa.PrimaryKeyConstraint("account", "ref"),
    )
    op.create_index(
        "fetches_open",
        "fetches",
        ["next_at"],
        postgresql_where=sa.text("done < wanted"),
        sqlite_where=sa.text("done < wanted"),
    )


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger),
        sa.Column("read_began_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("account", "ref"),
    )


def _polls() -> None:
    op.create_table(
        "polls",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("since", sa.BigInteger),
        sa.Column("began_at", sa.BigInteger),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("why", sa.Text),
        sa.PrimaryKeyConstraint("account"),
    )


def _counters() -> None:
    op.create_table(
        "counters",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "name"),
    )
