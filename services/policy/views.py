"""What the API and the case events show: cases, timelines, tasks. Shapes are fixed in docs/interfaces."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.policy.rows import at_risk
from shared.clock import format_time, from_micros
from shared.domain.case import Case, Clock
from shared.domain.order import Order

Json = dict[str, Any]


def case_json(case: Case, order: Order, links: Iterable[str] = ()) -> Json:
    """Without `allowed`: what is shown where nobody is there to act (case events)."""
    risk = at_risk(case)
    return {
        "id": case.id,
        "account": case.account,
        "marketplace": case.marketplace,
        "kind": case.kind,
        "external_id": case.external_id,
        "order_id": case.order_id,
        "playbook": case.playbook,
        "playbook_version": case.playbook_version,
        "state": case.state,
        "phase": case.phase,
        "outcome": case.outcome,
        "liability": case.liability,
        "goods": case.goods,
        "money": case.money,
        "reason": case.facts.get("reason"),
        "amount": case.facts.get("amount"),
        "buyer": {"locale": order.buyer.locale},
        "opened_at": format_time(case.opened_at),
        "updated_at": format_time(case.updated_at),
        "closed_at": format_time(case.closed_at) if case.closed_at else None,
        "deadlines": _deadlines(case),
        "money_at_risk": {"value": risk.value, "currency": risk.currency} if risk else None,
        "seq": case.seq,
        "refs": {**order.refs, **case.refs},
        "links": sorted({*links, *case.linked} - {case.id}),
    }


def _deadlines(case: Case) -> list[Json]:
    """Earliest first, with what was planned when each was armed; none of a resolved case."""
    clocks = case.clocks.values() if case.is_open else ()
    return [_deadline(clock) for clock in sorted(clocks, key=lambda clock: (clock.due_at, clock.name))]


def _deadline(clock: Clock) -> Json:
    planned = clock.planned if clock.act_at is not None and not clock.acted else None
    return {
        "name": clock.name,
        "due_at": format_time(clock.due_at),
        "origin": clock.origin,
        "act_at": format_time(clock.act_at) if clock.act_at is not None and planned else None,
        "planned": {"do": planned.do, "params": planned.params} if planned else None,
    }


def deadline(found: Json) -> Json:
    """`act_at` is null only where nothing is planned."""
    at = format_time(found["act_at"]) if found["act_at"] and found["planned"] else None
    return {**found, "due_at": format_time(found["due_at"]), "act_at": at}


def timeline_row(row: Mapping[Any, Any], playbook: str, version: str) -> Json:
    fact = msgspec.json.decode(row["fact"])
    decision = msgspec.json.decode(row["decision"])
    tried = [{"rule": r["rule"], "guard": r["guard"], **_why(r)} for r in decision.get("rejected", ())]
    return {
        "seq": row["seq"],
        "occurred_at": fact["occurred_at"],
        "observed_at": fact["observed_at"],
        "decided_at": format_time(from_micros(row["decided_at"])),
        "fact": {
            "id": fact["id"],
            "kind": fact["kind"],
            "raw_code": fact.get("raw_code"),
            "source": fact["source"],
            "data": fact.get("data", {}),
        },
        "from_state": decision["from_state"] or None,
        "to_state": decision["to_state"],
        "no_op": decision.get("no_op", False),
        "why": {
            "rule": decision.get("rule"),
            "matched": decision.get("matched"),
            "rejected": tried,
            "playbook": playbook,
            "version": version,
        },
        "effects": decision.get("effects", []),
        "actor": fact.get("actor"),
    }


def _why(rejected: Mapping[str, Any]) -> Json:
    return {"why": rejected["why"]} if "why" in rejected else {}


def task_json(row: Mapping[Any, Any]) -> Json:
    document = msgspec.json.decode(row["document"])
    shown = {
        "id": row["id"],
        "case_id": row["case_id"],
        "order_id": row["order_id"],
        "account": row["account"],
        "marketplace": row["marketplace"],
        "kind": row["kind"],
        "due_at": format_time(from_micros(row["due_at"])),
        "opened_at": format_time(from_micros(row["opened_at"])),
        "reason": row["reason"],
        "allowed": document.get("allowed", []),
        "status": row["status"],
        "answer": row["answer"],
    }
    extra = {name: document[name] for name in ("prepared", "errand_id") if document.get(name) is not None}
    return {**shown, **extra}
