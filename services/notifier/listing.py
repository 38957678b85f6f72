"""What the HTTP API shows of errands and attempts: the queries and the JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.clock import format_time, from_micros
from shared.domain.errands import STATUSES, Errand
from shared.domain.facts import encode
from shared.errors import Invalid
from shared.store.session import Tx

_FILTERS = ("case_id", "order_id", "status", "account")
_COLUMNS = (
    "id, account, case_id, order_id, name, locale, status, subject, body, channel, verdict, attempts, sent_at, provider_id,"
    " why, next_at, prepared, template_hash, created_at"
)
OUTCOMES = {None: "under_way", "sent": "sent", "refused": "refused", "not_sent": "not_sent", "in_doubt": "in_doubt"}
_errand = msgspec.json.Decoder(Errand)


async def messages(
    tx: Tx, wanted: Mapping[str, str | None], accounts: frozenset[str] | None, after: Sequence[Any] | None, limit: int
) -> list[dict[str, Any]]:
    """Oldest first, one more than `limit` where there is more. `accounts` None: all. Raises Invalid."""
    status = wanted.get("status")
    if status is not None and status not in STATUSES:
        raise Invalid(f"status must be one of {', '.join(STATUSES)}")
    params: dict[str, Any] = {name: wanted[name] for name in _FILTERS if wanted.get(name) is not None}
    where = ["what = 'message'", *(f"{name} = :{name}" for name in params)]
    if accounts is not None:
        where.append(tx.any_of("account", "accounts"))
        params["accounts"] = sorted(accounts)
    if after is not None:
        where.append("(created_at, id) > (:since, :after)")
        params |= {"since": int(after[0]), "after": str(after[1])}
    sql = f"SELECT {_COLUMNS} FROM errands WHERE {' AND '.join(where)} ORDER BY created_at, id LIMIT :limit"
    return [dict(row) for row in await tx.rows(sql, **params, limit=limit + 1)]


async def message(tx: Tx, id_: str) -> dict[str, Any] | None:
    row = await tx.row(f"SELECT {_COLUMNS} FROM errands WHERE what = 'message' AND id = :id", id=id_)
    return dict(row) if row is not None else None


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Message as interfaces.md has it, and what explains its status."""
    return {
        "id": row["id"],
        "case_id": row["case_id"],
        "purpose": row["name"],
        "locale": row["locale"],
        "status": row["status"],
        "subject": row["subject"],
        "body": row["body"],
        "channel": row["channel"],
        "verdict": msgspec.json.decode(row["verdict"]) if row["verdict"] else None,
        "attempts": row["attempts"],
        "sent_at": _time(row["sent_at"]),
        "provider_id": row["provider_id"],
        "account": row["account"],
        "order_id": row["order_id"],
        "created_at": _time(row["created_at"]),
        "why": row["why"],
        "until": _time(row["next_at"]) if row["status"] == "held" else None,
        "prepared": msgspec.json.decode(row["prepared"]) if row["prepared"] else None,
        "template_hash": row["template_hash"],
    }


async def calls(tx: Tx, after: int, limit: int) -> list[dict[str, Any]]:
    """One row per attempt that was made, in order. What a person was given to do was no call."""
    rows = await tx.rows(
        "SELECT a.n, a.at, a.attempt, a.outcome, e.account, e.marketplace, e.what, e.name, e.case_id, e.order_id, e.id,"
        " e.body, e.document FROM attempts a JOIN errands e ON e.account = a.account AND e.id = a.errand_id"
        " WHERE a.n > :after AND (a.outcome IS NULL OR a.outcome <> 'assisted') ORDER BY a.n LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [dict(row) for row in rows]


def call_shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": _time(row["at"]),
        "account": row["account"],
        "marketplace": row["marketplace"],
        "kind": row["what"],
        "name": row["name"],
        "case_id": row["case_id"],
        "order_id": row["order_id"],
        "idempotency_key": row["id"],
        "body": row["body"] if row["what"] == "message" else _asked(row),
        "attempt": row["attempt"],
        "outcome": OUTCOMES.get(row["outcome"], row["outcome"]),
    }


def _asked(row: Mapping[str, Any]) -> Any:
    """An act's body: its parameters, and the money it moves."""
    errand = _errand.decode(row["document"])
    money = {"money": errand.money} if errand.money else {}
    return msgspec.json.decode(encode({**errand.params, **money}))


def _time(micros: int | None) -> str | None:
    return format_time(from_micros(micros)) if micros is not None else None
