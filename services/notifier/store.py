"""All SQL of the notifier. Each function does one thing for a whole batch."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.notifier import tables
from services.notifier.composer import MOST_SAID
from services.notifier.ledger import BY_OUTCOME, COUNTED, Row, changed
from shared.accounts import AccountEntry
from shared.store.session import Tx

_SELDOM = frozenset(("why", "next_at", "not_after", "sent_at", "provider_id", "prepared", "withdrawn"))
"""What says nothing of a new errand that is claimed at once; all of a batch's values go over the wire otherwise."""
Key = tuple[str, str]
"""(account, errand id) or (account, order id)."""


async def errands(tx: Tx, keys: Iterable[Key], *, locked: bool = True) -> dict[Key, Row]:
    if not (wanted := sorted(set(keys))):
        return {}
    lock, mine = tx.locked() if locked else "", tx.among(("account", "id"), "key")
    rows = await tx.rows(f"SELECT * FROM errands WHERE {mine} ORDER BY account, id{lock}", **tx.tuples("key", wanted))
    return {(row["account"], row["id"]): dict(row) for row in rows}


async def put_tombstones(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    await tx.insert(tables.tombstones, rows, on_conflict="nothing")


async def put_conversations(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> list[Key]:
    """One of an order; newer ones only, by `seq`. Answers those that were taken."""
    fresh = {(r["account"], r["order_id"]): dict(r) for r in rows}
    if not fresh:
        return []
    put = await tx.insert(
        tables.conversations, list(fresh.values()), on_conflict="nothing", returning=["account", "order_id"]
    )
    taken = [(row["account"], row["order_id"]) for row in put]
    for key in taken:
        fresh.pop(key)
    if fresh:
        mine = tx.among(("account", "order_id"), "key")
        sql = f"SELECT account, order_id, seq FROM conversations WHERE {mine} ORDER BY account, order_id{tx.locked()}"
        for row in await tx.rows(sql, **tx.tuples("key", sorted(fresh))):
            key = (row["account"], row["order_id"])
            if key in fresh and fresh[key]["seq"] <= row["seq"]:
                fresh.pop(key)
    await tx.update(tables.conversations, ("account", "order_id"), list(fresh.values()))
    return taken + list(fresh)


_WAITS = "status = 'held' AND (approved OR verdict IS NULL OR verdict NOT LIKE '%\"action\":\"hold\"%')"


async def release_held(tx: Tx, orders: Iterable[Key], now: int, buyers: Iterable[str] = ()) -> None:
    """Something of the conversation, or of what a buyer has been told, changed: what waits there is looked at again. Not what
    waits for a person."""
    release = f"UPDATE errands SET next_at = :now WHERE {_WAITS}"
    if wanted := sorted(set(orders)):
        mine = tx.among(("account", "order_id"), "key")
        await tx.later(tables.errands, f"{release} AND {mine}", now=now, **tx.tuples("key", wanted))
    if of := [(buyer,) for buyer in sorted(set(buyers))]:
        mine = tx.among(("buyer_key",), "buyer")
        await tx.later(tables.errands, f"{release} AND {mine}", now=now, **tx.tuples("buyer", of, 1))


@dataclass(slots=True)
class Known:
    """What the tables say about the errands of one batch."""

    now: int = 0
    """The database's own time, microseconds."""
    errands: set[Key] = field(default_factory=set)
    dead: dict[Key, str] = field(default_factory=dict)
    """Tombstones: why."""
    talks: dict[Key, str] = field(default_factory=dict)
    """Conversations by (account, order id), as documents."""
    said: dict[Key, list[str]] = field(default_factory=dict)
    """The last messages by (account, order id), oldest first."""
    earlier: list[Row] = field(default_factory=list)
    """Messages that count against caps, of the same buyers: `id, buyer_key, name, order_id, slot_day, slot_at, status`."""


async def known(
    tx: Tx, ids: Iterable[Key], orders: Iterable[Key], buyers: Iterable[str], since: int, told: Iterable[Key] = ()
) -> Known:
    """One statement for all of it. `since`: from when on earlier messages matter. `told`: orders whose last messages do.

    Buyers' turns are waited for first: of two that ask what one has been told at once, the second knows of the first's.
    """
    buyers = sorted(set(buyers))
    await tx.in_turn(buyers)
    sql = (
        f"SELECT 'now' AS what, '' AS account, '' AS id, NULL AS said, NULL AS order_id, NULL AS day, {tx.micros_now()} AS at"
        " UNION ALL SELECT 'errand', account, id, NULL, NULL, NULL, NULL FROM errands"
        f" WHERE {tx.among(('account', 'id'), 'id')}"
        " UNION ALL SELECT 'dead', account, errand_id, why, NULL, NULL, NULL FROM tombstones"
        f" WHERE {tx.among(('account', 'errand_id'), 'id')}"
        " UNION ALL SELECT 'talk', account, order_id, document, NULL, NULL, NULL FROM conversations"
        f" WHERE {tx.among(('account', 'order_id'), 'order')}"
        " UNION ALL SELECT 'said', account, order_id, body, id, NULL, created_at FROM errands"
        f" WHERE {tx.among(('account', 'order_id'), 'told')} AND what = 'message' AND body IS NOT NULL"
        f" AND {tx.any_of('status', 'counted')}"
        " UNION ALL SELECT status, buyer_key, id, name, order_id, slot_day, slot_at FROM errands"
        f" WHERE {tx.among(('buyer_key',), 'buyer')} AND slot_at >= :since AND {tx.any_of('status', 'counted')}"
    )
    said = {
        **tx.tuples("id", sorted(set(ids))), **tx.tuples("order", sorted(set(orders))), **tx.tuples("told", sorted(set(told))),
        **tx.tuples("buyer", [(buyer,) for buyer in buyers], 1),
    }  # fmt: skip
    return _sorted_out(await tx.rows(sql, **said, since=since, counted=list(COUNTED)))


def _sorted_out(rows: Iterable[Mapping[str, Any]]) -> Known:
    found = Known()
    said: dict[Key, list[tuple[int, str, str]]] = {}
    for row in rows:
        key = (row["account"], row["id"])
        match row["what"]:
            case "now":
                found.now = int(row["at"])
            case "errand":
                found.errands.add(key)
            case "dead":
                found.dead[key] = row["said"]
            case "talk":
                found.talks[key] = row["said"]
            case "said":
                said.setdefault(key, []).append((row["at"], row["order_id"], row["said"]))
            case status:
                whose = {"buyer_key": row["account"], "id": row["id"], "order_id": row["order_id"], "name": row["said"]}
                found.earlier.append({"status": status, **whose, "slot_day": row["day"], "slot_at": row["at"]})
    found.said = {order: [text for *_, text in sorted(told)[-MOST_SAID:]] for order, told in said.items()}
    return found


async def put_errands(tx: Tx, rows: Sequence[Row]) -> set[Key]:
    """Answers the keys of those that were new."""
    if all(row[name] is None for name in _SELDOM for row in rows):
        rows = [{name: value for name, value in row.items() if name not in _SELDOM} for row in rows]
    put = await tx.insert(tables.errands, rows, on_conflict="nothing", returning=["account", "id"])
    return {(row["account"], row["id"]) for row in put}


async def save(tx: Tx, rows: Iterable[Row]) -> None:
    await tx.update(tables.errands, ("account", "id"), changed(rows))


async def save_outcomes(tx: Tx, rows: Iterable[Row]) -> None:
    await tx.update(tables.errands, ("account", "id"), changed(rows, BY_OUTCOME))


async def put_results(tx: Tx, rows: Sequence[Row]) -> None:
    await tx.insert(tables.results, rows, on_conflict="nothing")


# dispatch


async def due(tx: Tx, account: str, now: int, limit: int) -> list[Row]:
    """Due by the clock, longest due first, locked; those another replica holds are left to it."""
    rows = await tx.rows(
        "SELECT * FROM errands WHERE account = :account AND next_at <= :now"
        f" ORDER BY next_at, id LIMIT :limit{tx.locked(skip=True)}",
        now=now,
        account=account,
        limit=limit,
    )
    return [dict(row) for row in rows]


async def standing(tx: Tx, keys: Iterable[Key]) -> dict[Key, tuple[int, str | None]]:
    """Fence and withdrawal of errands that are being sent, locked: nothing else of a row changes without its fence."""
    mine = tx.among(("account", "id"), "key")
    sql = f"SELECT account, id, fence, withdrawn FROM errands WHERE {mine} ORDER BY account, id{tx.locked()}"
    rows = await tx.rows(sql, **tx.tuples("key", sorted(set(keys))))
    return {(row["account"], row["id"]): (row["fence"], row["withdrawn"]) for row in rows}


async def abandoned(tx: Tx, accounts: Sequence[str], *, all_of_them: bool, limit: int = 200) -> list[Row]:
    """Left in `sending`: by a lease that is over, or (one process, at start) whatever the lease says."""
    over = "" if all_of_them else f" AND lease_until < {tx.micros_now()}"
    rows = await tx.rows(
        f"SELECT * FROM errands WHERE status = 'sending' AND {tx.any_of('account', 'accounts')}{over}"
        f" ORDER BY account, id LIMIT :limit{tx.locked(skip=True)}",
        accounts=list(accounts),
        limit=limit,
    )
    return [dict(row) for row in rows]


async def begin_attempts(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    await tx.insert(tables.attempts, rows, on_conflict="nothing")


async def end_attempts(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Columns account, errand_id, attempt, ended_at, outcome, why."""
    await tx.update(tables.attempts, ("account", "errand_id", "attempt"), rows)


async def next_moments(tx: Tx, accounts: Sequence[str]) -> list[tuple[str, int]]:
    """The earliest due moment of each account that has one."""
    rows = await tx.rows(
        "SELECT account, min(next_at) AS at FROM errands"
        f" WHERE next_at IS NOT NULL AND {tx.any_of('account', 'accounts')} GROUP BY account",
        accounts=list(accounts),
    )
    return [(row["account"], row["at"]) for row in rows]


async def breakers(tx: Tx) -> Sequence[Mapping[str, Any]]:
    return await tx.rows("SELECT account, failures, opened, open_until, why FROM breakers")


async def breakers_open(tx: Tx, accounts: Mapping[str, AccountEntry]) -> dict[tuple[str, ...], float]:
    """Marketplace -> how many of these accounts have a breaker that opened and has not proven whole since."""
    rows = await tx.rows("SELECT account FROM breakers WHERE open_until IS NOT NULL")
    found = Counter(accounts[row["account"]].account.marketplace for row in rows if row["account"] in accounts)
    return {(marketplace,): count for marketplace, count in found.items()}


async def save_breakers(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    await tx.insert(tables.breakers, rows, on_conflict="nothing")
    await tx.update(tables.breakers, ("account",), rows)
