"""Decides every stored case again from its log and compares bytes: what the core, as it is now, would have done otherwise."""

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from services.policy import store, terms
from services.policy.core.decision import CORE_REV
from services.policy.core.opening import blank
from services.policy.core.replay import Recorded, replay
from services.policy.playbooks import Playbooks
from shared.clock import from_micros
from shared.domain.case import Case
from shared.domain.facts import decode_fact, encode
from shared.domain.playbook import Terms
from shared.store.session import Database, Tx
from shared.store.session import Row as RowMapping

_AT_ONCE = 200
_LOG = (
    "SELECT case_id, fact, order_seen, terms_hash, playbook_hash, decided_at, result_hash FROM case_log "
    "WHERE {cases} ORDER BY case_id, seq"
)


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """`seq` of the first decision that comes out otherwise; None: the log is right and the stored case is not its end."""

    case_id: str
    seq: int | None = None
    fact_id: str | None = None
    state: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    core_rev: int
    cases: int
    decisions: int
    differing: tuple[Differing, ...]

    @property
    def ok(self) -> bool:
        return not self.differing


async def rehearse(database: Database) -> Report:
    """Reads only. Cases of an older `core_rev` may differ; of the present one they must not."""
    playbooks, kept = Playbooks({}), dict[str, Terms]()
    cases = decisions = 0
    differing: list[Differing] = []
    async with database.reading() as tx:
        async for found in _batches(tx):
            rows = await tx.rows(_LOG.format(cases=tx.any_of("case_id", "ids")), ids=[case.id for case in found])
            await playbooks.need(tx, {row["playbook_hash"] for row in rows})
            kept |= await terms.read(tx, sorted({row["terms_hash"] for row in rows} - kept.keys()))
            by_case = {key: list(group) for key, group in groupby(rows, lambda row: row["case_id"])}
            for case in found:
                log = [_recorded(row, playbooks, kept) for row in by_case.get(case.id, ())]
                cases, decisions = cases + 1, decisions + len(log)
                differing += _compared(case, log)
    return Report(core_rev=CORE_REV, cases=cases, decisions=decisions, differing=tuple(differing))


async def _batches(tx: Tx) -> AsyncIterator[list[Case]]:
    after = ""
    while True:
        sql = "SELECT id, document FROM cases WHERE id > :after ORDER BY id LIMIT :limit"
        rows: Sequence[RowMapping] = await tx.rows(sql, after=after, limit=_AT_ONCE)
        if not rows:
            return
        yield [store.read_case(row["document"]) for row in rows]
        after = rows[-1]["id"]


def _recorded(row: RowMapping, playbooks: Playbooks, kept: dict[str, Terms]) -> Recorded:
    return Recorded(
        fact=decode_fact(row["fact"].encode()),
        order=store.read_order(row["order_seen"]),
        terms=kept[row["terms_hash"]],
        playbook=playbooks.of(row["playbook_hash"]),
        decided_at=from_micros(row["decided_at"]),
        result_hash=row["result_hash"],
    )


def _compared(stored: Case, log: list[Recorded]) -> list[Differing]:
    """At most one: after the first difference the rest is another story."""
    if not log:
        return [Differing(case_id=stored.id)]
    case = _start(stored, log[0])
    for order_id, rows in groupby(log, lambda row: row.order.order_id):
        # A case whose order became known later moved to it; the log rows name the order each was decided under.
        case, found = replay(msgspec.structs.replace(case, order_id=order_id), rows)
        if found:
            first = found[0]
            state = first.got.case.state if first.got else None
            return [Differing(case_id=stored.id, seq=first.seq, fact_id=first.fact_id, state=state)]
    same: Any = encode(msgspec.structs.replace(case, order_id=stored.order_id)) == encode(stored)
    return [] if same else [Differing(case_id=stored.id)]


def _start(stored: Case, first: Recorded) -> Case:
    case = blank(
        first.playbook,
        id=stored.id,
        account=stored.account,
        marketplace=stored.marketplace,
        external_id=stored.external_id,
        order_id=first.order.order_id,
        now=first.decided_at,
    )
    return msgspec.structs.replace(case, linked=stored.linked)
