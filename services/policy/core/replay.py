"""Replay: the log's facts decided again must give the bytes that were recorded."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from services.policy.core.decide import decide
from services.policy.core.decision import Decision, View
from shared.domain.case import Case
from shared.domain.facts import Fact, encode
from shared.domain.order import Order
from shared.domain.playbook import Playbook, Terms
from shared.ids import content_hash


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A log row: what the decision looked at and the SHA-256 of what it was. `order` already holds the fact."""

    fact: Fact
    order: Order
    terms: Terms
    playbook: Playbook
    decided_at: datetime
    result_hash: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """`seq` of the case at which replay and record part; `got` is None where the action is refused now."""

    seq: int
    fact_id: str
    got: Decision | None


def result_hash(decision: Decision) -> str:
    return content_hash(encode(decision))


def replay(start: Case, rows: Iterable[Recorded]) -> tuple[Case, list[Difference]]:
    """Folds the rows from the blank case on. Returns the case after them and where the bytes differ (none: equal)."""
    case, found = start, []
    for row in rows:
        view = View(case=case, order=row.order, terms=row.terms)
        answer = decide(row.playbook, view, row.fact, row.decided_at)
        decision = answer if isinstance(answer, Decision) else None
        if decision is None or result_hash(decision) != row.result_hash:
            found.append(Difference(seq=case.seq + 1, fact_id=row.fact.id, got=decision))
        case = decision.case if decision is not None else case
    return case, found
