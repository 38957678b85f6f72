"""Answers kept by (account, Idempotency-Key, principal): the same request again gets the same answer, for a month."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from services.policy import rows, tables
from services.policy.views import Json
from shared import crashpoints
from shared.errors import Invalid, NotFound
from shared.store.session import Database, Tx

KEPT_FOR = timedelta(days=30)
"""Of the database's time: a test clock that is moved makes no key older."""
AT_ONCE = 1000
Mine = tuple[str, str, str]
"""Account, key, principal."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Json


async def once(tx: Tx, mine: Mine, fingerprint: str, work: Callable[[], Awaitable[Reply]]) -> Reply:
    """Does `work` and keeps its answer, or gives the one that is kept. Raises Invalid for a key used for something else."""
    claim = {**_named(mine), "fingerprint": fingerprint, "created_at": 0}
    if not await tx.insert(tables.idempotency, [claim], on_conflict="nothing", returning=("key",)):
        return await _kept(tx, mine, fingerprint)
    reply = await work()
    await tx.run(
        f"UPDATE idempotency SET status = :status, body = :body, created_at = {tx.micros_now()} "
        "WHERE account = :account AND key = :key AND principal = :principal",
        status=reply.status, body=rows.text(reply.body), **_named(mine),
    )  # fmt: skip
    crashpoints.hit("policy.action_decided")
    return reply


async def forget(database: Database) -> int:
    """Lets go of answers past their time. Answers how many, at most `AT_ONCE`."""
    async with database.transaction() as tx:
        age = KEPT_FOR // timedelta(microseconds=1)
        return await tx.run(
            "DELETE FROM idempotency WHERE (account, key, principal) IN (SELECT account, key, principal FROM idempotency "
            f"WHERE created_at < {tx.micros_now()} - {age} LIMIT {AT_ONCE}{tx.locked(skip=True)})"
        )


async def _kept(tx: Tx, mine: Mine, fingerprint: str) -> Reply:
    row = await tx.row(
        "SELECT fingerprint, status, body FROM idempotency "
        "WHERE account = :account AND key = :key AND principal = :principal", **_named(mine),
    )  # fmt: skip
    if row is None:
        raise NotFound("there is no answer kept for this key")
    if row["fingerprint"] != fingerprint:
        raise used_before()
    return Reply(row["status"], msgspec.json.decode(row["body"]))


def used_before() -> Invalid:
    return Invalid("this Idempotency-Key was used for another request", code="key_reused")


def _named(mine: Mine) -> dict[str, str]:
    return dict(zip(("account", "key", "principal"), mine, strict=True))
