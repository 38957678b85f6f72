"""Hand-written SQL on asyncpg: at most two statements a transaction, none built at run time."""

from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec

from bench.peers.work import ACCOUNT, Move, decide, letter, now, render, variables

_POOL = 10
_ACCEPT = "INSERT INTO deliveries (id, body, received_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_LOCK = """
    SELECT id, state, due_at, seq, EXISTS (SELECT FROM case_log WHERE delivery_id = $4) AS known
    FROM cases WHERE account = $1 AND kind = $2 AND external_id = $3 FOR UPDATE
"""
_CREATE = """
    WITH written AS (
        INSERT INTO cases (id, order_id, state, due_at, seq, updated_at, account, kind, external_id)
        VALUES ($1, $2, $3, $4, $5, $6, $13, $14, $15)
    ), logged AS (
        INSERT INTO case_log (delivery_id, case_id, seq, kind, from_state, to_state, data, applied_at)
        VALUES ($7, $1, $5, $8, $9, $3, $10, $6)
    )
    INSERT INTO messages (id, case_id, order_id, purpose, variables, status, planned_at)
    SELECT $7, $1, $2, $11, $12, 'planned', $6 WHERE $11::text IS NOT NULL
"""
_MOVE = """
    WITH written AS (
        UPDATE cases SET state = $3, due_at = $4, seq = $5, updated_at = $6 WHERE id = $1
    ), logged AS (
        INSERT INTO case_log (delivery_id, case_id, seq, kind, from_state, to_state, data, applied_at)
        VALUES ($7, $1, $5, $8, $9, $3, $10, $6)
    )
    INSERT INTO messages (id, case_id, order_id, purpose, variables, status, planned_at)
    SELECT $7, $1, $2, $11, $12, 'planned', $6 WHERE $11::text IS NOT NULL
"""
_PLANNED = "SELECT id, order_id, purpose, variables FROM messages WHERE id = $1 AND status = 'planned'"
_TAKE = "UPDATE messages SET status = 'sending', body = $2 WHERE id = $1 AND status = 'planned'"
_RECORD = "UPDATE messages SET status = 'sent', sent_at = $2 WHERE id = $1"


class Event(msgspec.Struct):
    id: str
    type: str
    data: dict[str, Any]


class Letter(msgspec.Struct):
    """All the notifier needs, so that it reads nothing."""

    id: str
    order_id: str
    purpose: str
    variables: dict[str, Any]


class Store:
    """Open with `async with Store(dsn)`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> "Store":
        self._pool = await asyncpg.create_pool(self._dsn, min_size=_POOL, max_size=_POOL)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def accept(self, id_: str, body: bytes) -> None:
        await self._pool.execute(_ACCEPT, id_, body, now())

    async def advance(self, event: Event) -> Letter | None:
        """Once more where another created the same case, or applied the same delivery, at the same moment."""
        try:
            return await self._advance(event)
        except asyncpg.UniqueViolationError:
            return await self._advance(event)

    async def _advance(self, event: Event) -> Letter | None:
        identity = (ACCOUNT, event.data["kind"], event.data["external_id"])
        async with self._pool.acquire() as connection, connection.transaction():
            case = await connection.fetchrow(_LOCK, *identity, event.id)
            if case is not None and case["known"]:
                planned = await connection.fetchrow(_PLANNED, event.id)
                return planned and Letter(*planned[:3], msgspec.json.decode(planned[3]))
            move = decide(case["state"] if case else "", event.type)
            values = _values(event, case, move, now())
            await (connection.execute(_MOVE, *values) if case else connection.execute(_CREATE, *values, *identity))
        if move is None or move.purpose is None:
            return None
        return Letter(event.id, event.data["order_id"], move.purpose, variables(event.data))

    async def take(self, asked: Letter) -> dict[str, Any] | None:
        """Marked `sending` before anything leaves; None: another attempt took it already."""
        text = render(asked.purpose, asked.variables)
        if await self._pool.execute(_TAKE, asked.id, text) == "UPDATE 0":
            return None
        return letter(asked.id, asked.order_id, asked.purpose, text)

    async def record(self, id_: str) -> None:
        await self._pool.execute(_RECORD, id_, now())


def _values(event: Event, case: asyncpg.Record | None, move: Move | None, at: datetime) -> tuple[Any, ...]:
    """Parameters 1 to 12 of `_CREATE` and `_MOVE`."""
    data = event.data
    id_, state, seq, due_at = (
        (case["id"], case["state"], case["seq"], case["due_at"]) if case else (uuid4(), "", 0, None)
    )
    after, due = (move.state, move.due(at)) if move else (state, due_at)
    purpose, said = (move.purpose, msgspec.json.encode(variables(data)).decode()) if move else (None, None)
    told = msgspec.json.encode(data).decode()
    return id_, data["order_id"], after, due, seq + 1, at, event.id, event.type, state, told, purpose, said
