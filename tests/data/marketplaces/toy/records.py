"""A return of the toy market -> facts: what its state has become since it was read last."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.clock import parse_time
from shared.domain.facts import Draft
from shared.domain.money import Money
from shared.ports import Account

_KINDS = {
    "requested": "return.requested",
    "authorised": "return.authorised",
    "shipped": "return.shipped",
    "received": "return.received",
    "refunded": "refund.issued",
    "withdrawn": "return.cancelled",
}


def facts(
    record: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Sequence[Draft]:
    """At first sight also the request itself, whatever the state is by now."""
    states = [record["state"]] if previous is None or previous["state"] != record["state"] else []
    if previous is None and states != ["requested"]:
        states.insert(0, "requested")
    return [_draft(record, state) for state in states] or [_draft(record, None)]


def _draft(record: Mapping[str, Any], state: str | None) -> Draft:
    money = Money.of(record["amount"], record["currency"])
    amount = {"value": money.value, "currency": money.currency}
    data: dict[str, Any] = {"reason": record["reason"], "amount": amount, "return_required": True}
    if state == "refunded":
        data["refunded"] = amount
    if state == "requested":
        data |= {"paid": amount, "due_at": record["answer_by"]}
    return Draft(
        kind=_KINDS.get(state, "case.updated") if state else "case.updated",
        occurred_at=parse_time(record["at"]),
        order_id=record["order"],
        case_kind="return",
        external_id=record["id"],
        refs={"return_id": record["id"]},
        raw_code=record["state"],
        revision=int(record["version"]),
        data=data,
    )
