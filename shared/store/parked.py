"""What could not be handled waits here for a person, with its bytes. One table `parked` in each service's database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from shared import ids
from shared.bus import envelope
from shared.bus.port import Event, Unread
from shared.clock import format_time, from_micros, to_micros
from shared.store.session import Row as RowMapping
from shared.store.session import Tx

_COLUMNS = "id, account, subject, type, why, attempts, parked_at, retried_at"
_WHY = 2000
UNREAD = "unread"


class _Owner(msgspec.Struct):
    account: str = ""


def parked_table(metadata: MetaData) -> Table:
    """`retried_at` is NULL while it waits. Moments are microseconds, `body` is the event as it was on the wire."""
    table = Table(
        "parked",
        metadata,
        Column("id", Text, primary_key=True),
        Column("account", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("why", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("parked_at", BigInteger, nullable=False),
        Column("retried_at", BigInteger),
    )
    Index("parked_waiting", table.c.parked_at, table.c.id, postgresql_where=table.c.retried_at.is_(None))
    return table


async def park(
    tx: Tx, table: Table, item: Event | Unread, fault: Exception, now: datetime, *, attempts: int = 5
) -> str:
    """Its id. The same item again waits again, with the newer reason and its attempts added up."""
    row = {
        "id": _storable(item.id) if isinstance(item, Event) else ids.content_hash(item.body),
        "account": _storable(_account(item)),
        "subject": _storable(item.subject) if isinstance(item, Event) else "",
        "type": item.type if isinstance(item, Event) else UNREAD,
        "why": _storable(f"{type(fault).__name__}: {fault}")[:_WHY],
        "attempts": attempts,
        "body": envelope.encode([item])[1] if isinstance(item, Event) else item.body,
        "parked_at": to_micros(now),
        "retried_at": None,
    }
    if not await tx.insert(table, [row], on_conflict="nothing", returning=["id"]):
        await tx.run(
            "UPDATE parked SET why = :why, attempts = attempts + :attempts, parked_at = :parked_at, retried_at = NULL"
            " WHERE id = :id",
            **{name: row[name] for name in ("why", "attempts", "parked_at", "id")},
        )
    return str(row["id"])


async def waiting(
    tx: Tx,
    *,
    after: tuple[int, str] = (0, ""),
    limit: int = 50,
    account: str | None = None,
    accounts: frozenset[str] | None = None,
) -> Sequence[RowMapping]:
    """Those not yet retried, oldest first, without their bodies; `after` is (parked_at, id) of the last one seen.

    `accounts`: only theirs (None: all).
    """
    where = ["retried_at IS NULL", "(parked_at, id) > (:since, :id)"]
    params: dict[str, Any] = {}
    if account is not None:
        where.append("account = :account")
        params["account"] = account
    if accounts is not None:
        where.append(tx.any_of("account", "accounts"))
        params["accounts"] = sorted(accounts)
    sql = f"SELECT {_COLUMNS} FROM parked WHERE {' AND '.join(where)} ORDER BY parked_at, id LIMIT :limit"
    return await tx.rows(sql, since=after[0], id=after[1], limit=limit, **params)


def shown(row: Mapping[Any, Any], service: str) -> dict[str, Any]:
    """As the API lists it; with its content as text where `row` has it."""
    told = {name: row[name] for name in ("id", "account", "subject", "type", "why", "attempts")}
    times = {name: row[name] for name in ("parked_at", "retried_at")}
    told |= {name: None if at is None else format_time(from_micros(at)) for name, at in times.items()}
    body = {"body": bytes(row["body"]).decode("utf-8", "replace")} if "body" in row else {}
    return {"service": service, **told, **body}


async def body_of(tx: Tx, id: str) -> RowMapping | None:
    return await tx.row(f"SELECT {_COLUMNS}, body FROM parked WHERE id = :id", id=id)


async def retry(tx: Tx, id: str, now: datetime) -> Event | Unread | None:
    """Takes it out of the waiting ones and answers what is to be handled, in this same transaction; None: not waiting.

    Unread bytes are read once more: after an upgrade they may be an event.
    """
    row = await tx.row(f"SELECT type, body FROM parked WHERE id = :id AND retried_at IS NULL{tx.locked()}", id=id)
    if row is None:
        return None
    await tx.run("UPDATE parked SET retried_at = :now WHERE id = :id", id=id, now=to_micros(now))
    events, unread = envelope.decode(envelope.SINGLE, bytes(row["body"]))
    return events[0] if events else unread[0]


def _account(item: Event | Unread) -> str:
    if isinstance(item, Unread):
        return ""
    try:
        return msgspec.json.decode(item.data, type=_Owner).account
    except msgspec.MsgspecError:
        return ""


def _storable(text: str) -> str:
    """What cannot be parked would hold up its queue for good: the bytes in `body` stay as they were."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
