"""What a decision brought about as rows of the tables: case, order, log, tasks and what is published. Pure."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from services.policy.core.decision import Decision
from services.policy.tables import ORPHAN_CASE
from shared import ids
from shared.clock import to_micros
from shared.domain.case import Case, OpenTask
from shared.domain.errands import Conversation
from shared.domain.facts import Fact, encode
from shared.domain.money import Money, from_minor, money_in
from shared.domain.order import Order

Row = dict[str, Any]

FACT = "amends.fact.v1"
ERRAND_PLANNED = "amends.errand.planned.v1"
ERRAND_WITHDRAWN = "amends.errand.withdrawn.v1"
ERRAND_RESOLVED = "amends.errand.resolved.v1"
CONVERSATION = "amends.conversation.v1"
CASE = "amends.case.v1"

_SOON = timedelta(hours=24)
_CASE, _ORDER = b'{"case":', b',"order":'


def text(value: Any) -> str:
    return encode(value).decode()


def micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def fact_hash(fact: Fact) -> str:
    """Over what is said, not over when or how it reached us."""
    plain = msgspec.structs.replace(fact, observed_at=fact.occurred_at, source="hand")
    return ids.content_hash(encode(plain))


def at_risk(case: Case) -> Money | None:
    """The amount asked less what has been refunded; None when resolved or nothing is left."""
    asked = money_in(case.facts, "amount") if case.is_open else None
    if asked is None:
        return None
    back = money_in(case.facts, "refunded")
    if back is None or back.currency != asked.currency:
        return asked if asked.minor > 0 else None
    left = asked.minor - back.minor
    return from_minor(left, asked.currency) if left > 0 else None


def case_row(case: Case, document: str, *, stuck: bool) -> Row:
    """`document`: the case as JSON. `stuck`: it failed; out of the due index until it is dealt with."""
    risk = at_risk(case)
    return {
        "account": case.account,
        "id": case.id,
        "kind": case.kind,
        "external_id": case.external_id,
        "marketplace": case.marketplace,
        "order_id": case.order_id,
        "state": case.state,
        "phase": case.phase,
        "outcome": case.outcome,
        "playbook_hash": case.playbook_hash,
        "seq": case.seq,
        "opened_at": to_micros(case.opened_at),
        "updated_at": to_micros(case.updated_at),
        "closed_at": micros(case.closed_at),
        "next_due_at": None if stuck else micros(case.next_due_at),
        "deadline_at": micros(case.deadline_at),
        "at_risk_minor": risk and risk.minor,
        "at_risk_currency": risk and risk.currency,
        "document": document,
    }


_FOR_GOOD = ("account", "kind", "external_id", "marketplace", "opened_at")


def changed(row: Row) -> Row:
    """Of a case's row what may be another than when it was opened."""
    return {name: value for name, value in row.items() if name not in _FOR_GOOD}


def order_row(order: Order, version: int, first_seen_at: int) -> Row:
    waiting = min((to_micros(fact.observed_at) for fact in order.waiting), default=None)
    return {
        "account": order.account,
        "order_id": order.order_id,
        "version": version,
        "document": text(order),
        "first_seen_at": first_seen_at,
        "waiting_since_at": waiting,
    }


def log_row(fact: Fact, seen: Order, terms_hash: str, decision: Decision, written: "Written", now: datetime) -> Row:
    order_seen = written.order if decision.order is seen else text(seen)
    return {
        **order_log_row(fact, now),
        "case_id": decision.case.id,
        "seq": decision.case.seq,
        "order_seen": order_seen,
        "terms_hash": terms_hash,
        "playbook_hash": decision.case.playbook_hash,
        "decision": written.rest,
        "result_hash": written.hash,
    }


class Written(NamedTuple):
    """A decision as JSON text, in its parts."""

    case: str
    order: str
    rest: str
    """Without the rows after it, which replay computes again."""
    errands: tuple[str, ...]
    hash: str
    """SHA-256 of the whole."""


def write_down(decision: Decision) -> Written:
    """Each part is encoded once and goes into the whole as it is; what is left of that behind case and order is cut out."""
    case, order = encode(decision.case), encode(decision.order)
    errands = [encode(errand) for errand in decision.errands]
    whole = encode(
        msgspec.structs.replace(
            decision, case=msgspec.Raw(case), order=msgspec.Raw(order), errands=tuple(map(msgspec.Raw, errands))
        )
    )
    rest = len(_CASE) + len(case) + len(_ORDER) + len(order) + len(b",")
    texts = tuple(errand.decode() for errand in errands)
    return Written(case.decode(), order.decode(), "{" + whole[rest:].decode(), texts, ids.content_hash(whole))


def order_log_row(fact: Fact, now: datetime) -> Row:
    """A fact that was applied to no case: kept, so that a repeat is known as one."""
    return {
        "account": fact.account,
        "fact_id": fact.id,
        "case_id": ORPHAN_CASE,
        "seq": 0,
        "fact_hash": fact_hash(fact),
        "fact": text(fact),
        "order_seen": None,
        "terms_hash": None,
        "playbook_hash": None,
        "decided_at": to_micros(now),
        "decision": None,
        "result_hash": None,
    }


def task_row(task: OpenTask, *, account: str, marketplace: str, order_id: str | None, case_id: str | None) -> Row:
    return {
        "account": account,
        "id": task.id,
        "case_id": case_id,
        "order_id": order_id,
        "marketplace": marketplace,
        "kind": task.kind,
        "reason": task.reason,
        "status": "open",
        "due_at": to_micros(task.due_at),
        "opened_at": to_micros(task.opened_at),
        "closed_at": None,
        "closed_by": None,
        "answer": None,
        "document": text(task),
    }


def own_task(kind: str, reason: str, account: str, since: datetime, now: datetime, *origin: str) -> OpenTask:
    """A task of the service itself (`conflict`, `orphan`). The same `since` and origin give the same id: opened once."""
    return OpenTask(
        id=ids.derived_id("task", account, since, kind, *origin),
        kind=kind,
        reason=reason,
        due_at=now + _SOON,
        allowed=("done",),
        opened_at=now,
    )


def parked_task(fact: Fact, fault: str, now: datetime) -> OpenTask:
    why = f"a {fact.kind} could not be applied ({fault}); it is parked"
    return own_task("conflict", why, fact.account, fact.observed_at, now, fact.id)


def outbound_rows(decision: Decision, written: Written, partition: int, now: datetime) -> list[Row]:
    """Errands, withdrawals and resolutions, each under an id that the same decision gives again."""
    case = decision.case
    told = zip(decision.errands, written.errands, strict=True)
    rows = [_row(e.id, ERRAND_PLANNED, e.order_id, body, partition, now) for e, body in told]
    for n, withdrawal in enumerate(decision.withdrawals):
        name = ids.digest(case.id, str(case.seq), "withdrawn", str(n), withdrawal.errand_id)
        rows.append(_event(name, ERRAND_WITHDRAWN, withdrawal.order_id, withdrawal, partition, now))
    for n, resolution in enumerate(decision.resolutions):
        name = ids.digest(case.id, str(case.seq), "resolved", str(n), resolution.errand_id)
        rows.append(_event(name, ERRAND_RESOLVED, resolution.order_id, resolution, partition, now))
    return rows


def conversation_row(order: Order, version: int, partition: int, now: datetime) -> Row:
    said = Conversation(
        account=order.account,
        order_id=order.order_id,
        buyer=order.buyer,
        seq=version,
        last_buyer_message_at=order.last_buyer_message_at,
        window_until=order.window_until,
        closed_chats=order.closed_chats,
        opted_out=order.opted_out,
    )
    name = ids.digest(order.account, order.order_id, "conversation", str(version))
    return _event(name, CONVERSATION, order.order_id, said, partition, now)


def case_event_row(decision: Decision, what: str, body: Row, partition: int, now: datetime) -> Row:
    """For anybody else to bind to: `case.<kind>.<what>`, what = opened, moved, updated, closed."""
    case = decision.case
    name = ids.digest(case.id, str(case.seq), "case")
    moved = {"case": body, "what": what, "from_state": decision.from_state, "to_state": decision.to_state}
    row = _event(name, CASE, case.id, {**moved, "fact_id": decision.fact_id}, partition, now)
    return {**row, "key": f"case.{case.kind}.{what}"}


def _event(id: str, type: str, subject: str, data: Any, partition: int, now: datetime) -> Row:
    return _row(id, type, subject, text(data), partition, now)


def _row(id: str, type: str, subject: str, body: str, partition: int, now: datetime) -> Row:
    return {
        "id": id,
        "partition": partition,
        "type": type,
        "subject": subject,
        "body": body,
        "created_at": to_micros(now),
    }
