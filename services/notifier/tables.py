"""notifier's tables. Moments are microseconds UTC (`*_at`), documents JSON text; every key leads with the account.

`lease_until` alone is the database's real time; every other moment is the injected clock's.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, PrimaryKeyConstraint, Table, Text, text

from shared.store.parked import parked_table
from shared.store.partitions import partition_tables
from shared.store.relay import feed_table

metadata = MetaData()
_DUE = text("next_at IS NOT NULL")

errands = Table(
    "errands",
    metadata,
    Column("account", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("marketplace", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("case_id", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("subject", Text),
    Column("body", Text),
    Column("locale", Text),
    Column("template_hash", Text),
    Column("verdict", Text),
    Column("channel", Text, nullable=False),
    Column("why", Text),
    Column("attempts", Integer, nullable=False),
    Column("look_ups", Integer, nullable=False),
    Column("look_faults", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("next_at", BigInteger),
    Column("not_after", BigInteger),
    Column("first_sending_at", BigInteger),
    Column("sent_at", BigInteger),
    Column("lease_owner", Text),
    Column("lease_until", BigInteger),
    Column("fence", Integer, nullable=False),
    Column("provider_id", Text),
    Column("prepared", Text),
    Column("withdrawn", Text),
    Column("approved", Boolean, nullable=False),
    Column("buyer_key", Text, nullable=False),
    Column("slot_day", Text),
    Column("slot_at", BigInteger),
    Column("reported", Text, nullable=False),
    PrimaryKeyConstraint("account", "id"),
    Index("errands_due", "account", "next_at", "id", postgresql_where=_DUE, sqlite_where=_DUE),
    Index("errands_sending", "lease_until", postgresql_where=text("status = 'sending'"), sqlite_where=text("status = 'sending'")),
    Index("errands_by_case", "case_id", "created_at"),
    Index("errands_by_order", "order_id", "account", "created_at"),
    Index("errands_by_buyer", "buyer_key", "slot_day"),
    Index("errands_listed", "created_at", "id"),
)  # fmt: skip
"""`next_at`: when something is due by the clock (try, release, look-up, expiry); NULL: nothing. `slot_day`: the calendar day
in the buyer's zone a message counts for. `withdrawn`: heard of while it could no longer be stopped. `reported`: JSON, kind ->
how often told. `approved`: a person let it pass the holding rules, or answered that it may be sent again."""

attempts = Table(
    "attempts",
    metadata,
    Column("n", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("account", Text, nullable=False),
    Column("errand_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("outcome", Text),
    Column("why", Text),
    Index("attempts_once", "account", "errand_id", "attempt", unique=True),
)
"""One row per attempt; `outcome` is NULL while it is under way: sent, refused, not_sent, in_doubt, assisted."""

conversations = Table(
    "conversations",
    metadata,
    Column("account", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    PrimaryKeyConstraint("account", "order_id"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("account", Text, nullable=False),
    Column("errand_id", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "errand_id"),
)
"""Withdrawals of errands not heard of yet: a later plan under this id never leaves."""

results = feed_table("results", metadata)
"""The feed of facts back to policy."""

breakers = Table(
    "breakers",
    metadata,
    Column("account", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("opened", Integer, nullable=False),
    Column("open_until", BigInteger),
    Column("why", Text),
)

parked = parked_table(metadata)
partitions, replicas = partition_tables(metadata)
