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
    _case_events()
    _case_log()
    _cases()
    _counters()
    _evidence()
    _idempotency()
    _orders()
    _outbound()
    _parked()
    _partitions()
    _playbooks()
    _refs()
    _replicas()
    _tasks()
    _terms()


def downgrade() -> None:
    op.drop_table("terms")
    op.drop_table("tasks")
    op.drop_table("replicas")
    op.drop_table("refs")
    op.drop_table("playbooks")
    op.drop_table("partitions")
    op.drop_table("parked")
    op.drop_table("outbound")
    op.drop_table("orders")
    op.drop_table("idempotency")
    op.drop_table("evidence")
    op.drop_table("counters")
    op.drop_table("cases")
    op.drop_table("case_log")
    op.drop_table("case_events")


def _case_events() -> None:
    op.create_table(
        "case_events",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("published_at", sa.BigInteger),
        sa.Column("key", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "case_events_unpublished",
        "case_events",
        ["created_at"],
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )


def _case_log() -> None:
    op.create_table(
        "case_log",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("fact_id", sa.Text, nullable=False),
        sa.Column("case_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("fact_hash", sa.Text, nullable=False),
        sa.Column("fact", sa.Text, nullable=False),
        sa.Column("order_seen", sa.Text),
        sa.Column("terms_hash", sa.Text),
        sa.Column("playbook_hash", sa.Text),
        sa.Column("decided_at", sa.BigInteger, nullable=False),
        sa.Column("decision", sa.Text),
        sa.Column("result_hash", sa.Text),
        sa.PrimaryKeyConstraint("account", "fact_id", "case_id"),
    )
    op.create_index("case_log_case", "case_log", ["case_id", "seq"])


def _cases() -> None:
    op.create_table(
        "cases",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.Column("marketplace", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("playbook_hash", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("next_due_at", sa.BigInteger),
        sa.Column("deadline_at", sa.BigInteger),
        sa.Column("at_risk_minor", sa.BigInteger),
        sa.Column("at_risk_currency", sa.Text),
        sa.Column("document", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "cases_deadline",
        "cases",
        ["deadline_at"],
        postgresql_where=sa.text("deadline_at IS NOT NULL"),
        sqlite_where=sa.text("deadline_at IS NOT NULL"),
    )
    op.create_index(
        "cases_disputes",
        "cases",
        ["account", "opened_at"],
        postgresql_where=sa.text("kind = 'dispute'"),
        sqlite_where=sa.text("kind = 'dispute'"),
    )
    op.create_index(
        "cases_due",
        "cases",
        ["next_due_at", "deadline_at"],
        postgresql_where=sa.text("next_due_at IS NOT NULL"),
        sqlite_where=sa.text("next_due_at IS NOT NULL"),
    )
    op.create_index("cases_identity", "cases", ["account", "kind", "external_id"], unique=True)
    op.create_index("cases_order", "cases", ["account", "order_id"])
    op.create_index("cases_updated", "cases", ["updated_at", "id"])
    op.create_index("cases_by_deadline", "cases", [sa.text("COALESCE(deadline_at, 9223372036854775807)"), "id"])
    op.create_index("cases_by_risk", "cases", [sa.text("COALESCE(at_risk_minor, -1)"), "id"])


def _counters() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", "shard"),
    )


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("case_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("supplied_by", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("content_type", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("added_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("evidence_case", "evidence", ["case_id"])


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "key", "principal"),
    )


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("waiting_since_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("account", "order_id"),
    )
    op.create_index("orders_known", "orders", ["account", "first_seen_at"])
    op.create_index(
        "orders_waiting",
        "orders",
        ["waiting_since_at"],
        postgresql_where=sa.text("waiting_since_at IS NOT NULL"),
        sqlite_where=sa.text("waiting_since_at IS NOT NULL"),
    )


def _outbound() -> None:
    op.create_table(
        "outbound",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("published_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "outbound_unpublished",
        "outbound",
        ["created_at"],
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )


def _parked() -> None:
    op.create_table(
        "parked",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("parked_at", sa.BigInteger, nullable=False),
        sa.Column("retried_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("parked_waiting", "parked", ["parked_at", "id"], postgresql_where=sa.text("retried_at IS NULL"))


def _partitions() -> None:
    op.create_table(
        "partitions",
        sa.Column("n", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("n"),
    )


def _playbooks() -> None:
    op.create_table(
        "playbooks",
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("marketplace", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("playbooks_version", "playbooks", ["marketplace", "kind", "version"], unique=True)


def _refs() -> None:
    op.create_table(
        "refs",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("account", "ref"),
    )


def _replicas() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("case_id", sa.Text),
        sa.Column("order_id", sa.Text),
        sa.Column("marketplace", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("closed_by", sa.Text),
        sa.Column("answer", sa.Text),
        sa.Column("document", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("tasks_case", "tasks", ["case_id"])
    op.create_index(
        "tasks_open",
        "tasks",
        ["due_at", "id"],
        postgresql_where=sa.text("status = 'open'"),
        sqlite_where=sa.text("status = 'open'"),
    )


def _terms() -> None:
    op.create_table(
        "terms",
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
