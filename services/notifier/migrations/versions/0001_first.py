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
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '3s'")
    _attempts()
    _breakers()
    _conversations()
    _errands()
    _parked()
    _partitions()
    _replicas()
    _results()
    _tombstones()


def downgrade() -> None:
    op.drop_table("tombstones")
    op.drop_table("results")
    op.drop_table("replicas")
    op.drop_table("partitions")
    op.drop_table("parked")
    op.drop_table("errands")
    op.drop_table("conversations")
    op.drop_table("breakers")
    op.drop_table("attempts")


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("errand_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("outcome", sa.Text()),
        sa.Column("why", sa.Text()),
        sa.PrimaryKeyConstraint("n"),
    )
    op.create_index("attempts_once", "attempts", ["account", "errand_id", "attempt"], unique=True)


def _breakers() -> None:
    op.create_table(
        "breakers",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.BigInteger()),
        sa.Column("why", sa.Text()),
        sa.PrimaryKeyConstraint("account"),
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account", "order_id"),
    )


def _errands() -> None:
    op.create_table(
        "errands",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("marketplace", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("body", sa.Text()),
        sa.Column("locale", sa.Text()),
        sa.Column("template_hash", sa.Text()),
        sa.Column("verdict", sa.Text()),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("why", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("look_ups", sa.Integer(), nullable=False),
        sa.Column("look_faults", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("not_after", sa.BigInteger()),
        sa.Column("first_sending_at", sa.BigInteger()),
        sa.Column("sent_at", sa.BigInteger()),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("provider_id", sa.Text()),
        sa.Column("prepared", sa.Text()),
        sa.Column("withdrawn", sa.Text()),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("buyer_key", sa.Text(), nullable=False),
        sa.Column("slot_day", sa.Text()),
        sa.Column("slot_at", sa.BigInteger()),
        sa.Column("reported", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account", "id"),
    )
    op.create_index("errands_by_buyer", "errands", ["buyer_key", "slot_day"])
    op.create_index("errands_by_case", "errands", ["case_id", "created_at"])
    op.create_index("errands_by_order", "errands", ["account", "order_id", "created_at"])
    op.create_index(
        "errands_due",
        "errands",
        ["next_at", "id"],
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index("errands_listed", "errands", ["created_at", "id"])
    op.create_index(
        "errands_sending",
        "errands",
        ["lease_until"],
        postgresql_where=sa.text("status = 'sending'"),
        sqlite_where=sa.text("status = 'sending'"),
    )


def _parked() -> None:
    op.create_table(
        "parked",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("parked_at", sa.BigInteger(), nullable=False),
        sa.Column("retried_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("parked_waiting", "parked", ["parked_at", "id"], postgresql_where=sa.text("retried_at IS NULL"))


def _partitions() -> None:
    op.create_table(
        "partitions",
        sa.Column("n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("owner", sa.Text()),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("n"),
    )


def _replicas() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("account", "id"),
    )
    op.create_index(
        "results_unpublished",
        "results",
        ["created_at"],
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )


def _tombstones() -> None:
    op.create_table(
        "tombstones",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("errand_id", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "errand_id"),
    )
