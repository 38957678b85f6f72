"""intake's tables. Moments are microseconds UTC (`*_at`), documents JSON text; every key leads with the account."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from shared.store.relay import feed_table

metadata = MetaData()
_ATTENTION = text("outcome IN ('failed', 'unreadable', 'unmapped', 'conflict')")

deliveries = Table(
    "deliveries",
    metadata,
    Column("account", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("dedupe_key", Text, nullable=False),
    Column("marketplace", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("code", Text),
    Column("why", Text),
    Column("ref", Text),
    Column("facts", Integer, nullable=False),
    Column("replayed_at", BigInteger),
    PrimaryKeyConstraint("account", "id"),
    Index("deliveries_once", "dedupe_key", "account", unique=True),
    Index("deliveries_by_time", "received_at", "id"),
    Index("deliveries_for_attention", "outcome", "received_at", postgresql_where=_ATTENTION, sqlite_where=_ATTENTION),
)
"""One row per delivery that was proven genuine. `source`: push, fetch or poll."""

raw = Table(
    "raw",
    metadata,
    Column("account", Text, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "delivery_id"),
    Index("raw_by_age", "received_at"),
)
"""A delivery's bytes as they came, for 30 days. Headers that prove or carry a secret are not kept."""

facts = feed_table("facts", metadata, Column("delivery_id", Text, nullable=False))
"""The feed: what is published to `amends.facts`."""

fetches = Table(
    "fetches",
    metadata,
    Column("account", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("order_id", Text),
    Column("wanted", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_wanted_at", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("owner", Text),
    Column("lease_until", BigInteger, nullable=False),
    Column("why", Text),
    PrimaryKeyConstraint("account", "ref"),
    Index("fetches_open", "next_at", postgresql_where=text("done < wanted"), sqlite_where=text("done < wanted")),
)
"""One row per reference ever asked for. Asking raises `wanted`; it is read while `done < wanted`. `lease_until` is real
(the database's) time, `next_at` the injected clock's."""

records = Table(
    "records",
    metadata,
    Column("account", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("hash", Text, nullable=False),
    Column("revision", BigInteger),
    Column("read_began_at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("account", "ref"),
)
"""The last record of each reference. `version` counts how often it was seen changed."""

polls = Table(
    "polls",
    metadata,
    Column("account", Text, nullable=False),
    Column("cursor", Text),
    Column("since", BigInteger),
    Column("began_at", BigInteger),
    Column("next_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", BigInteger, nullable=False),
    Column("why", Text),
    PrimaryKeyConstraint("account"),
)
"""Where each account's source stands: `since` is when the last whole poll began, `cursor` the page to go on with."""

listeners = Table(
    "listeners",
    metadata,
    Column("account", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    PrimaryKeyConstraint("account"),
)
"""Which replica keeps the account's connection open. `lease_until` is real (the database's) time."""

counters = Table(
    "counters",
    metadata,
    Column("account", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "name"),
)
"""What leaves no row of its own, counted in the transaction that saw it: `duplicate`, `stale_record`."""
