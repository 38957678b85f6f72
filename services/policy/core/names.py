"""The flat, typed names that guards, clocks and parameters may use (docs/playbooks.md), and their values."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from services.policy.core.working import Working
from shared.clock import format_time, parse_time
from shared.domain.case import FIELDS
from shared.domain.facts import KINDS
from shared.domain.money import Money, from_minor, money_in
from shared.domain.playbook import EvidenceItem, Playbook

KEEP_ITEM = "keep_item_refund_below"
APPROVE_ABOVE = "approve_refund_above"
TIMES = {kind.replace(".", "_") + "_at": kind for kind in sorted(KINDS)}
_PREFIXES = ("setting_", "param_", "ladder_left_")
_SCALARS = (str, bool, int)


def moment(work: Working, name: str) -> datetime | None:
    """A time field of the case or the order; None where it is not known or is no time.

    Where a playbook has the field `latest_delivery` and the case was told none, it is the order's.
    """
    if name in ("placed_at", "shipped_at", "delivered_at"):
        found: datetime | None = getattr(work.order, name)
        return found
    value = work.facts.get(name)
    if value is None and name == "latest_delivery":
        return work.order.latest_delivery
    if not isinstance(value, str):
        return None
    try:
        return parse_time(value)
    except ValueError:
        return None


def terms_minor(work: Working, setting: str) -> int | None:
    """A money setting in the case's currency; None where it is not set in that currency."""
    return work.terms.money.get(setting, {}).get(work.currency or "")


def in_case_currency(work: Working, minor: int | None) -> int | None:
    """An amount of the order; None where the case is in another currency and the two cannot be compared."""
    return minor if work.order.currency == work.currency else None


def reason(work: Working) -> str:
    return str(work.facts.get("reason", ""))


def rungs_left(work: Working, name: str) -> bool:
    """Whether the ladder fits the case's reason and still has a rung."""
    ladder = work.playbook.ladders.get(name)
    if ladder is None or (ladder.reasons and reason(work) not in ladder.reasons):
        return False
    return work.ladder.get(name, 0) < len(ladder.rungs)


def missing_evidence(work: Working) -> list[EvidenceItem]:
    """Items of the evidence list for the case's reason that are not there yet."""
    listed = work.playbook.evidence
    items = listed.get(reason(work), listed.get("default", ()))
    there = work.facts.get("evidence", [])
    return [item for item in items if item.what not in there]


def handed_in(work: Working, params: dict[str, Any]) -> dict[str, Any]:
    """What `submit_evidence` carries: the operator's choice, else all of our side that was not handed in before.

    Raises KeyError naming an id that is no evidence of this case.
    """
    kept: dict[str, Any] = work.facts.get("evidence_files", {})
    ids = params.get("evidence_ids")
    if ids is None and work.action != "submit_evidence":
        gone = work.facts.get("evidence_given", [])
        ids = [id for id, file in kept.items() if file["supplied_by"] != "buyer" and id not in gone]
    if not ids:
        return params
    wanted = list(dict.fromkeys(ids))
    told = ("what", "sha256", "content_type")
    files = [{"evidence_id": id, **{name: kept[id][name] for name in told}} for id in wanted]
    return {**params, "evidence_ids": wanted, "files": files}


def _same_currency(work: Working) -> bool:
    data = work.params if work.by_operator else work.fact.data
    told = [found for name in data if (found := money_in(data, name)) is not None]
    return all(found.currency == work.currency for found in told)


def _live(what: str) -> Callable[[Working], int]:
    return lambda work: sum(1 for errand in work.errands.values() if errand.what == what)


_FIXED: dict[str, tuple[str, Callable[[Working], Any]]] = {
    "goods": ("text", lambda w: w.goods),
    "money": ("text", lambda w: w.money),
    "phase": ("text", lambda w: w.phase),
    "state": ("text", lambda w: w.state),
    "kind": ("text", lambda w: w.before.kind),
    "contacted": ("bool", lambda w: w.contacted),
    "open_acts": ("int", _live("act")),
    "open_messages": ("int", _live("message")),
    "in_doubt": ("bool", lambda w: any(e.status == "in_doubt" for e in w.errands.values())),
    "evidence_missing": ("int", lambda w: sum(1 for item in missing_evidence(w) if item.required)),
    "paid_minor": ("int", lambda w: in_case_currency(w, w.order.paid_minor)),
    "order_refunded_minor": ("int", lambda w: in_case_currency(w, w.order.refunded_minor)),
    "refundable_minor": ("int", lambda w: in_case_currency(w, w.order.refundable_minor)),
    "open_claims": ("int", lambda w: sum(1 for id in w.order.open_claims if id != w.before.id)),
    "placed_at": ("time", lambda w: w.order.placed_at),
    "shipped_at": ("time", lambda w: w.order.shipped_at),
    "delivered_at": ("time", lambda w: w.order.delivered_at),
    "currency": ("text", lambda w: w.currency),
    "keep_item_below_minor": ("int", lambda w: terms_minor(w, KEEP_ITEM)),
    "approve_above_minor": ("int", lambda w: terms_minor(w, APPROVE_ABOVE)),
    "raw_code": ("text", lambda w: w.fact.raw_code),
    "fact_kind": ("text", lambda w: w.fact.kind),
    "same_currency": ("bool", _same_currency),
    "has_approve": ("bool", lambda w: "approve" in w.scopes),
    "has_represent": ("bool", lambda w: "represent" in w.scopes),
    "now": ("time", lambda w: w.now),
}
SUPPLIED: dict[str, Callable[[Working], Any]] = {
    "order_id": lambda w: w.before.order_id,
    "external_id": lambda w: w.before.external_id,
    "buyer_name": lambda w: w.order.buyer.name,
    "buyer_id": lambda w: w.order.buyer.id,
    "shop": lambda w: w.terms.shop or None,
    "marketplace": lambda w: w.before.marketplace,
    "state": lambda w: w.state,
    "refundable": lambda w: _in_currency(w, in_case_currency(w, w.order.refundable_minor)),
    "order_paid": lambda w: _in_currency(w, in_case_currency(w, w.order.paid_minor)),
    "keep_item_below": lambda w: _in_currency(w, terms_minor(w, KEEP_ITEM)),
    "now": lambda w: format_time(w.now),
}
"""What a message or an act may name beside the case's fields, in JSON form."""


def _in_currency(work: Working, minor: int | None) -> dict[str, str] | None:
    currency = work.currency
    return None if minor is None or currency is None or minor < 0 else as_json(from_minor(minor, currency))


def as_json(money: Money) -> dict[str, str]:
    return {"value": money.value, "currency": money.currency}


def types(playbook: Playbook, settings: dict[str, str]) -> dict[str, str]:
    """Every name a guard of this playbook may use -> text, int, bool, time; `param_*` are `any`."""
    known = {"state_entered_at": "time", **dict.fromkeys(TIMES, "time")}
    for name, kind in {**FIELDS, **playbook.fields}.items():
        known[f"{name}_minor" if kind == "money" else name] = "int" if kind == "money" else kind
    known |= {name: kind for name, (kind, _) in _FIXED.items()}
    known |= {f"setting_{name}": kind for name, kind in settings.items()}
    return known | {f"ladder_left_{name}": "bool" for name in playbook.ladders}


def for_guard(work: Working, name: str) -> Any:
    """The value of a guard's name as CEL takes it: text, int, bool, aware datetime or None."""
    fixed = _FIXED.get(name)
    if fixed is not None:
        return fixed[1](work)
    if name.startswith(_PREFIXES):
        return _prefixed(work, name)
    kind = _kind(work, name)
    if kind == "time":
        return moment(work, name)
    if kind is None and name.endswith("_minor"):
        return _minor(money_in(work.facts, name.removesuffix("_minor")))
    value = work.facts.get(name)
    return value if isinstance(value, _SCALARS) else None


def _kind(work: Working, name: str) -> str | None:
    if name in TIMES or name == "state_entered_at":
        return "time"
    return FIELDS.get(name) or work.playbook.fields.get(name)


def _minor(money: Money | None) -> int | None:
    return None if money is None else money.minor


def _prefixed(work: Working, name: str) -> Any:
    prefix, rest = next((p, name.removeprefix(p)) for p in _PREFIXES if name.startswith(p))
    if prefix == "ladder_left_":
        return rungs_left(work, rest)
    if prefix == "setting_":
        value = work.terms.settings.get(rest)
    elif rest.endswith("_minor"):
        return _minor(money_in(work.params, rest.removesuffix("_minor")))
    else:
        value = work.params.get(rest)
    return value if isinstance(value, _SCALARS) else None


def value(work: Working, name: str) -> Any:
    """A name's value in JSON form, for acts and messages; None where it is not known."""
    supplied = SUPPLIED.get(name)
    if supplied is not None:
        return supplied(work)
    if name.startswith("param_"):
        return work.params.get(name.removeprefix("param_"))
    if name.startswith("setting_"):
        return work.terms.settings.get(name.removeprefix("setting_"))
    if name in ("placed_at", "shipped_at", "delivered_at"):
        at = moment(work, name)
        return None if at is None else format_time(at)
    if name.startswith("due_") and (clock := work.clocks.get(name.removeprefix("due_"))) is not None:
        return format_time(clock.due_at)
    return work.facts.get(name)


def looked_up(work: Working, given: Any) -> Any:
    """A literal, or the value of "$name"."""
    return value(work, given[1:]) if isinstance(given, str) and given.startswith("$") else given


def suppliable(playbook: Playbook, settings: frozenset[str]) -> frozenset[str]:
    """Names `value` may ever have something for: what the checker holds message variables and parameters against."""
    return frozenset(
        {*FIELDS, *playbook.fields, *SUPPLIED, *TIMES, "state_entered_at", "placed_at", "shipped_at", "delivered_at"}
        | {f"due_{name}" for name in playbook.clocks}
        | {f"setting_{name}" for name in settings}
    )
