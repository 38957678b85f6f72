"""All SQL of policy that carries a batch: finding, locking and writing orders, cases and their log."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Table

from shared.domain.case import Case
from shared.domain.order import Order
from shared.store.session import Row as RowMapping
from shared.store.session import Tx

Key = tuple[str, str]
"""(account, order id): what is locked."""
Identity = tuple[str, str, str]
"""(account, kind, external id)."""

_case = msgspec.json.Decoder(Case)
_order = msgspec.json.Decoder(Order)
_PLACE = "SELECT id, account, kind, external_id, order_id FROM cases"


def read_case(document: str) -> Case:
    return _case.decode(document)


def read_order(document: str) -> Order:
    return _order.decode(document)


async def places_by_id(tx: Tx, ids: list[str]) -> Sequence[RowMapping]:
    """Where these cases are: no lock, to be checked again under the order's."""
    return await tx.rows(f"{_PLACE} WHERE {tx.any_of('id', 'ids')}", ids=ids) if ids else []


async def places_by_identity(tx: Tx, identities: Iterable[Identity]) -> Sequence[RowMapping]:
    if not (wanted := sorted(set(identities))):
        return []
    where = tx.among(("account", "kind", "external_id"), "identity")
    return await tx.rows(f"{_PLACE} WHERE {where}", **tx.tuples("identity", wanted, 3))


async def orders_of_refs(tx: Tx, refs: Iterable[Key]) -> dict[Key, str]:
    """(account, `name=value`) -> order id."""
    if not (wanted := sorted(set(refs))):
        return {}
    sql = f"SELECT account, ref, order_id FROM refs WHERE {tx.among(('account', 'ref'), 'ref')}"
    return {(row["account"], row["ref"]): row["order_id"] for row in await tx.rows(sql, **tx.tuples("ref", wanted))}


async def lock_orders(tx: Tx, keys: Iterable[Key], *, skip: bool = False) -> Sequence[RowMapping]:
    """The rows of these orders, locked in (account, order id) order; with `skip` only those nobody holds."""
    if not (wanted := sorted(set(keys))):
        return []
    sql = (
        f"SELECT account, order_id, version, document, first_seen_at, waiting_since_at FROM orders "
        f"WHERE {tx.among(('account', 'order_id'), 'key')} ORDER BY account, order_id{tx.locked(skip=skip)}"
    )
    return await tx.rows(sql, **tx.tuples("key", wanted))


async def cases_of(tx: Tx, keys: Iterable[Key], ids: list[str]) -> list[Case]:
    """The open cases of these orders and the named ones, whether open or not. Their orders are locked."""
    if not (wanted := sorted(set(keys))):
        return []
    on_order = tx.among(("account", "order_id"), "key")
    sql = f"SELECT order_id, document FROM cases WHERE {on_order} AND (phase <> 'resolved' OR {tx.any_of('id', 'ids')})"
    rows = await tx.rows(sql, **tx.tuples("key", wanted), ids=ids)
    # A resolved case goes over into another order by its row alone.
    found = [msgspec.structs.replace(read_case(row["document"]), order_id=row["order_id"]) for row in rows]
    return sorted(found, key=lambda case: (case.account, case.order_id, case.id))


async def known_facts(tx: Tx, facts: Iterable[Key]) -> dict[Key, dict[str, str]]:
    """(account, fact id) -> {case id: content hash} of those already applied."""
    wanted = sorted(set(facts))
    sql = f"SELECT account, fact_id, case_id, fact_hash FROM case_log WHERE {tx.among(('account', 'fact_id'), 'fact')}"
    found: dict[Key, dict[str, str]] = {}
    for row in await tx.rows(sql, **tx.tuples("fact", wanted)) if wanted else []:
        found.setdefault((row["account"], row["fact_id"]), {})[row["case_id"]] = row["fact_hash"]
    return found


async def count(tx: Tx, deltas: dict[tuple[str, str], int], shard: int) -> None:
    """Adds to the counters, in key order, so that two transactions never wait for each other crosswise."""
    wanted = sorted((name, labels, delta) for (name, labels), delta in deltas.items() if delta)
    if not wanted:
        return
    names, labels, told = (list(column) for column in zip(*wanted, strict=True))
    if tx.postgres:
        arrays = "unnest(CAST(:names AS text[]), CAST(:labels AS text[]), CAST(:deltas AS bigint[]))"
        source = f"SELECT name, labels, :shard, delta FROM {arrays} AS t (name, labels, delta)"
        params: dict[str, Any] = {"names": names, "labels": labels, "deltas": told}
    else:
        fields = [f"json_extract(value, '$[{n}]')" for n in range(3)]
        source = f"SELECT {fields[0]}, {fields[1]}, :shard, {fields[2]} FROM json_each(:rows) WHERE true"
        params = {"rows": wanted}
    await tx.run(
        f"INSERT INTO counters (name, labels, shard, value) {source} "
        "ON CONFLICT (name, labels, shard) DO UPDATE SET value = counters.value + excluded.value",
        shard=shard, **params,
    )  # fmt: skip


async def put(tx: Tx, table: Table, rows: Sequence[dict[str, Any]]) -> list[RowMapping]:
    """Content-addressed rows: what is there already is the same."""
    return await tx.insert(table, rows, on_conflict="nothing")


async def case_document(tx: Tx, case_id: str) -> Case | None:
    row = await tx.row("SELECT document FROM cases WHERE id = :id", id=case_id)
    return read_case(row["document"]) if row else None


async def order_document(tx: Tx, account: str, order_id: str) -> Order | None:
    row = await tx.row(
        "SELECT document FROM orders WHERE account = :account AND order_id = :order_id",
        account=account, order_id=order_id,
    )  # fmt: skip
    return read_order(row["document"]) if row else None


async def delete_order(tx: Tx, key: Key) -> None:
    await tx.run(
        "DELETE FROM orders WHERE account = :account AND order_id = :order_id", account=key[0], order_id=key[1]
    )


async def siblings(tx: Tx, keys: Iterable[Key]) -> dict[Key, list[str]]:
    """All cases of these orders, open or not."""
    found: dict[Key, list[str]] = {}
    if wanted := sorted(set(keys)):
        where = tx.among(("account", "order_id"), "key")
        for row in await tx.rows(f"SELECT id, account, order_id FROM cases WHERE {where}", **tx.tuples("key", wanted)):
            found.setdefault((row["account"], row["order_id"]), []).append(row["id"])
    return found
