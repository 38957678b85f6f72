"""What a fact says, taken over into the case: typed facts, references, revision. And whether it says anything new."""

from collections.abc import Mapping
from typing import Any

from services.policy.core import evidence
from services.policy.core.axes import move
from services.policy.core.names import as_json
from services.policy.core.orders import as_time
from services.policy.core.results import confirm
from services.policy.core.rows import news_mark
from services.policy.core.tasks import conflict
from services.policy.core.working import Working
from shared.clock import format_time
from shared.domain.case import FIELDS, FieldType
from shared.domain.facts import ORDER_LEVEL, encode
from shared.domain.money import money_in
from shared.ids import digest

_KEPT = 4
"""Digests kept per fact kind: as far back as news is recognised as told before."""


def concerns_case(work: Working) -> bool:
    """Whether the fact speaks of this very case, so that its revision is the case's."""
    fact, case = work.fact, work.before
    if fact.kind in ORDER_LEVEL and case.kind not in ("order_care", "cancellation"):
        return False
    return fact.external_id in (None, case.external_id) and fact.case_kind in (None, case.kind)


def is_of_another_order(work: Working) -> bool:
    """It names this very case and another order than the case's: which of the two is meant cannot be told."""
    fact, case = work.fact, work.before
    named = (fact.case_kind, fact.external_id) == (case.kind, case.external_id)
    return named and fact.order_id not in (None, case.order_id)


def is_stale(work: Working) -> bool:
    """Older than what the case has seen: recorded, never moves it back."""
    told, known = work.fact.revision, work.revision
    return told is not None and known is not None and told < known and concerns_case(work)


def is_repeat(work: Working) -> bool:
    """The same news in another delivery. Notes the news otherwise."""
    fact = work.fact
    said = [fact.occurred_at, fact.raw_code, fact.external_id, fact.revision, fact.refs, fact.data]
    mark = digest(fact.kind, encode(said).decode())[:16]
    known = work.seen.get(fact.kind, ())
    if mark in known:
        return True
    work.seen[fact.kind] = (*known, mark)[-_KEPT:]
    return False


def take_over(work: Working) -> None:
    """Axes, typed facts, references, revision, evidence, and the acts that this fact confirms."""
    fact = work.fact
    stamp(work)
    if concerns_case(work):
        work.refs |= fact.refs
        if fact.revision is not None:
            work.revision = fact.revision
    for name in sorted(fact.data):
        kind = work.playbook.fields.get(name) or FIELDS.get(name)
        if kind is not None:
            _take(work, name, kind)
    if fact.kind == "evidence.submitted":
        evidence.note(work)
    move(work, fact)
    confirm(work)


def stamp(work: Working) -> None:
    """Leaves the fact's time as `<kind>_at`."""
    work.put(work.fact.kind.replace(".", "_") + "_at", format_time(work.fact.occurred_at))


def _take(work: Working, name: str, kind: FieldType) -> None:
    if work.fact.kind == "refund.issued" and name == "refunded":
        return
    given = work.fact.data[name]
    if given is None:
        return
    typed = _typed(work.fact.data, name, kind)
    if typed is None:
        work.effect("ignore", name, why=f"not {kind}")
        return
    if name == "amount" and _in_another_currency(work.facts.get(name), typed):
        work.effect("ignore", name, why="another currency than the case's")
        conflict(work, f"The amount was told in {typed['currency']}, another currency than the case's")
        return
    work.put(name, typed)
    if name == "due_at":
        work.facts["due_from"] = news_mark(work)


def _in_another_currency(known: Any, told: Any) -> bool:
    return known is not None and known["currency"] != told["currency"]


_PYTHON: dict[str, type] = {"text": str, "bool": bool, "int": int}


def _typed(data: dict[str, Any], name: str, kind: FieldType) -> Any:
    """The value in JSON form, or None for one of another type."""
    given = data[name]
    if kind == "money":
        money = money_in(data, name)
        return None if money is None else as_json(money)
    if kind == "time":
        moment = as_time(given)
        return None if moment is None else format_time(moment)
    wanted = _PYTHON[kind]
    return given if isinstance(given, wanted) and isinstance(given, bool) == (kind == "bool") else None


def unfit(data: dict[str, Any], fields: Mapping[str, FieldType]) -> list[str]:
    """Typed facts that are not of their type, by name; `fields` are the playbook's own."""
    types = {**FIELDS, **fields}
    told = [name for name in sorted(data) if name in types and data[name] is not None]
    return [name for name in told if _typed(data, name, types[name]) is None]
