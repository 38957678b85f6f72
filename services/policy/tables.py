"""Policy's tables. Every key leads with the account; moments are microseconds UTC, documents JSON text (docs/house.md)."""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, text

from shared.store.parked import parked_table
from shared.store.partitions import partition_tables
from shared.store.relay import feed_table

metadata = MetaData()

ORPHAN_CASE = ""
"""`case_log.case_id` of a fact that was applied to no case (order-level news without a case, orphans)."""


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


orders = Table(
    "orders",
    metadata,
    Column("account", Text, primary_key=True),
    Column("order_id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("first_seen_at", BigInteger, nullable=False),
    Column("waiting_since_at", BigInteger),
    _partial("orders_waiting", "waiting_since_at", where="waiting_since_at IS NOT NULL"),
    Index("orders_known", "first_seen_at", "account"),
)
"""`version` rises with each write; `waiting_since_at` is when the oldest fact without a case was observed."""

refs = Table(
    "refs",
    metadata,
    Column("account", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
)
"""Which order a marketplace's reference (`name=value`) belongs to."""

cases = Table(
    "cases",
    metadata,
    Column("account", Text, nullable=False),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("marketplace", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("outcome", Text),
    Column("playbook_hash", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("next_due_at", BigInteger),
    Column("deadline_at", BigInteger),
    Column("at_risk_minor", BigInteger),
    Column("at_risk_currency", Text),
    Column("document", Text, nullable=False),
    Index("cases_identity", "external_id", "account", "kind", unique=True),
    Index("cases_order", "order_id", "account"),
    _partial("cases_due", "next_due_at", "deadline_at", where="next_due_at IS NOT NULL"),
    Index("cases_by_deadline", text("COALESCE(deadline_at, 9223372036854775807)"), "id"),
    Index("cases_by_risk", text("COALESCE(at_risk_minor, -1)"), "id"),
    _partial("cases_deadline", "deadline_at", "next_due_at", where="deadline_at IS NOT NULL"),
    Index("cases_updated", "updated_at", "id"),
    _partial("cases_disputes", "account", "opened_at", where="kind = 'dispute'"),
)
"""`next_due_at` is NULL for closed cases and for those taken out of the due index because they failed."""

case_log = Table(
    "case_log",
    metadata,
    Column("account", Text, primary_key=True),
    Column("fact_id", Text, primary_key=True),
    Column("case_id", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("fact_hash", Text, nullable=False),
    Column("fact", Text, nullable=False),
    Column("order_seen", Text),
    Column("terms_hash", Text),
    Column("playbook_hash", Text),
    Column("decided_at", BigInteger, nullable=False),
    Column("decision", Text),
    Column("result_hash", Text),
    Index("case_log_case", "case_id", "seq"),
)
"""One row per (fact, case). `order_seen` is the order the decision looked at; `decision` is the Decision without its
case and order, `result_hash` the SHA-256 of the whole Decision's bytes: replay starts at the first row and must meet each."""

tasks = Table(
    "tasks",
    metadata,
    Column("account", Text, nullable=False),
    Column("id", Text, primary_key=True),
    Column("case_id", Text),
    Column("order_id", Text),
    Column("marketplace", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("closed_by", Text),
    Column("answer", Text),
    Column("document", Text, nullable=False),
    _partial("tasks_open", "due_at", "id", where="status = 'open'"),
    Index("tasks_case", "case_id"),
)
"""`status`: open, done (answered by a person), closed (no longer needed)."""

evidence = Table(
    "evidence",
    metadata,
    Column("account", Text, nullable=False),
    Column("id", Text, primary_key=True),
    Column("case_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("supplied_by", Text, nullable=False),
    Column("sha256", Text),
    Column("size", BigInteger),
    Column("content_type", Text),
    Column("url", Text),
    Column("text", Text),
    Column("added_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("evidence_case", "case_id"),
)


outbound = feed_table("outbound", metadata, per_account=False)
case_events = feed_table("case_events", metadata, Column("key", Text, nullable=False), per_account=False)

playbooks = Table(
    "playbooks",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("marketplace", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("playbooks_version", "marketplace", "kind", "version", unique=True),
)

terms = Table(
    "terms",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("account", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer),
    Column("body", Text),
    Column("created_at", BigInteger, nullable=False),
)

parked = parked_table(metadata)
partitions, replicas = partition_tables(metadata)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("labels", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Gauges kept in the transactions that change them; `shard` is the partition, so that replicas do not queue up here."""

deadlines = Table(
    "deadlines",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", Integer, primary_key=True),
    Column("cases", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
)
"""Open cases by the hour (since 1970) of their deadline, and the sum of their microseconds past it; kept like `counters`."""
