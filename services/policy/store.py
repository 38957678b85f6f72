"""All SQL of policy that carries a batch: finding, locking and writing orders, cases and their log."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Table

from services.policy import tables
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


class Found(NamedTuple):
    """Where things are that facts speak of, without a lock: to be checked again under the order's."""

    cases: list[RowMapping]
    """Columns `id, account, kind, external_id, order_id`."""
    refs: dict[Key, str]
    """(account, `name=value`) -> order id."""
    orders: set[Key]
    """Those that are there."""


async def places(
    tx: Tx, ids: Collection[str], identities: Iterable[Identity], refs: Iterable[Key], orders: Iterable[Key]
) -> Found:
    """One statement for all of it."""
    named, known, told_of = sorted(set(identities)), sorted(set(refs)), sorted(set(orders))
    parts, told = list[str](), dict[str, Any]()
    if ids:
        parts.append(f"{_PLACE} WHERE {tx.any_of('id', 'ids')}")
        told["ids"] = sorted(ids)
    if named:
        parts.append(f"{_PLACE} WHERE {tx.among(('account', 'kind', 'external_id'), 'identity')}")
        told |= tx.tuples("identity", named, 3)
    if known:
        where = tx.among(("account", "ref"), "ref")
        parts.append(f"SELECT NULL AS id, account, ref AS kind, NULL AS external_id, order_id FROM refs WHERE {where}")
        told |= tx.tuples("ref", known)
    if told_of:
        where = tx.among(("account", "order_id"), "order")
        parts.append(
            f"SELECT NULL AS id, account, NULL AS kind, NULL AS external_id, order_id FROM orders WHERE {where}"
        )
        told |= tx.tuples("order", told_of)
    rows = await tx.peek(" UNION ALL ".join(parts), **told) if parts else []
    of_orders = [row for row in rows if row["id"] is None]
    return Found(
        [row for row in rows if row["id"] is not None],
        {(row["account"], row["kind"]): row["order_id"] for row in of_orders if row["kind"] is not None},
        {(row["account"], row["order_id"]) for row in of_orders if row["kind"] is None},
    )


async def lock_orders(tx: Tx, keys: Iterable[Key], *, skip: bool = False) -> Sequence[RowMapping]:
    """The rows of these orders, locked in (account, order id) order; with `skip` only those nobody holds."""
    if not (wanted := sorted(set(keys))):
        return []
    sql = (
        f"SELECT account, order_id, version, document, first_seen_at, waiting_since_at FROM orders "
        f"WHERE {tx.among(('account', 'order_id'), 'key')} ORDER BY account, order_id{tx.locked(skip=skip)}"
    )
    return await tx.rows(sql, **tx.tuples("key", wanted))


Applied = dict[Key, dict[str, str]]
"""(account, fact id) -> {case id: content hash} of facts already in the log."""


async def beneath(tx: Tx, keys: Iterable[Key], ids: list[str], facts: Iterable[Key]) -> tuple[list[Case], Applied]:
    """Of these orders, which are locked, the open cases and the named ones, open or not; and what is known of the facts."""
    orders, told = sorted(set(keys)), sorted(set(facts))
    parts, values = list[str](), dict[str, Any]()
    if orders:
        on_order = tx.among(("account", "order_id"), "key")
        wanted = f"{on_order} AND (phase <> 'resolved' OR {tx.any_of('id', 'ids')})"
        parts.append(f"SELECT account, id, order_id, document, NULL AS hash FROM cases WHERE {wanted}")
        values |= {**tx.tuples("key", orders), "ids": ids}
    if told:
        known = tx.among(("account", "fact_id"), "fact")
        parts.append(f"SELECT account, fact_id AS id, case_id, NULL, fact_hash FROM case_log WHERE {known}")
        values |= tx.tuples("fact", told)
    found, applied = list[Case](), Applied()
    for row in await tx.rows(" UNION ALL ".join(parts), **values) if parts else []:
        if row["hash"] is None:
            # A resolved case goes over into another order by its row alone.
            found.append(msgspec.structs.replace(read_case(row["document"]), order_id=row["order_id"]))
        else:
            applied.setdefault((row["account"], row["id"]), {})[row["order_id"]] = row["hash"]
    return sorted(found, key=lambda case: (case.account, case.order_id, case.id)), applied


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
    await tx.later(
        tables.counters,
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
