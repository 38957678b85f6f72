"""Which parameters each operator's action takes, and whether they are sound (422 otherwise)."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from services.policy.core.working import Stop
from shared.domain.errands import ACTIONS
from shared.domain.money import money_in

CLOSE_REASONS = ("outside_policy", "refund_without_return", "mutual_agreement", "other")
REMEDIES = ("part_refund", "exchange", "resend", "return_refund", "coupon")
CONDITIONS = ("ok", "damaged", "wrong", "incomplete", "empty")
RESULTS = ("ok", "faulty", "wrong", "incomplete")
TASK_ANSWER = "answer"
"""Answering a task comes as an action of this name: `{task_id, answer, params}`."""
ACTION_NAMES = frozenset({*ACTIONS, TASK_ANSWER})
CONTACT_FIRST = frozenset({"authorise", "decline", "refund", "propose", "close", "cancel"})
"""Decisions the buyer hears of before they are made (R000-04), unless the operator says otherwise."""
SCOPES = {"represent": "represent", "appeal": "represent"}
MOST_FILES = 10
"""Pieces of evidence in one act: its calls have to end within one lease."""
_LONG_TEXT = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")

Params = dict[str, Any]
PARAMS: dict[str, tuple[str, ...]] = {
    "contact": ("text", "purpose", "variables", "attachments"),
    "decline": ("reason", "comment"),
    "refund": ("amount", "keep_item"),
    "propose": ("remedy", "amount"),
    "close": ("reason", "comment"),
    "confirm_receipt": ("condition",),
    "inspect": ("result", "note"),
    "submit_evidence": ("text", "evidence_ids"),
    "represent": ("text",),
    "appeal": ("cause", "handling_plan", "prevention_plan"),
    "escalate": ("text",),
    "ship_replacement": ("carrier", "tracking"),
    "approve": ("act_id",),
    "reject": ("act_id",),
}
"""What each action takes everywhere. Further ones are the marketplace's own, named by its manifest."""
_ANYWHERE = "override"


def named(action: str, params: Params, own: Iterable[str]) -> None:
    """Raises Stop (422) for parameters that neither every marketplace takes nor this one (`own`)."""
    known = {*PARAMS.get(action, ()), *own, _ANYWHERE}
    unknown = sorted(set(params) - known)
    if unknown:
        raise _bad(f"{action} takes no {', '.join(name[:80] for name in unknown[:5])} here")


def check(action: str, params: Params) -> Params:
    """The parameters with defaults written out. Raises Stop (422) naming what is wrong."""
    handler = _CHECKS.get(action)
    return handler(params) if handler else params


def _bad(detail: str) -> Stop:
    return Stop("bad_params", 422, detail)


def _text(params: Params, name: str, *, required: bool = True, least: int = 1) -> None:
    given = params.get(name)
    if given is None and not required:
        return
    if not isinstance(given, str) or len(given.strip()) < least:
        raise _bad(f"{name} must be text" + (f" of at least {least} characters" if least > 1 else ""))


def _one_of(params: Params, name: str, allowed: tuple[str, ...], *, required: bool = True) -> None:
    given = params.get(name)
    if given is None and not required:
        return
    if given not in allowed:
        raise _bad(f"{name} must be one of: {', '.join(allowed)}")


def _amount(params: Params, *, required: bool) -> None:
    if params.get("amount") is None:
        if required:
            raise _bad("amount is needed")
        return
    if money_in(params, "amount") is None:
        raise _bad("amount must be {value, currency} with no more decimals than the currency has")


def _bool(params: Params, name: str) -> None:
    if not isinstance(params.get(name, False), bool):
        raise _bad(f"{name} must be true or false")


def _contact(params: Params) -> Params:
    if ("text" in params) == ("purpose" in params):
        raise _bad("contact takes either text or purpose")
    _text(params, "text" if "text" in params else "purpose")
    variables, attached = params.get("variables", {}), params.get("attachments", [])
    if not isinstance(variables, dict):
        raise _bad("variables must be an object")
    if not isinstance(attached, list) or not all(isinstance(a, str) and _SHA256.fullmatch(a) for a in attached):
        raise _bad("attachments must be a list of SHA-256 values")
    return params


def _decline(params: Params) -> Params:
    if "rejection_reason_id" not in params:
        _text(params, "reason")
    _text(params, "comment", required=False)
    return params


def _refund(params: Params) -> Params:
    _amount(params, required=False)
    _bool(params, "keep_item")
    return params


def _propose(params: Params) -> Params:
    params = {"remedy": "part_refund", **params}
    _one_of(params, "remedy", REMEDIES)
    _amount(params, required=params["remedy"] == "part_refund")
    return params


def _close(params: Params) -> Params:
    _one_of(params, "reason", CLOSE_REASONS)
    _text(params, "comment")
    return params


def _confirm_receipt(params: Params) -> Params:
    _one_of(params, "condition", CONDITIONS, required=False)
    return params


def _inspect(params: Params) -> Params:
    _one_of(params, "result", RESULTS)
    _text(params, "note", required=False)
    return params


def _evidence(params: Params) -> Params:
    ids = params.get("evidence_ids", [])
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise _bad("evidence_ids must be a list of ids")
    if len(ids) > MOST_FILES:
        raise _bad(f"at most {MOST_FILES} pieces of evidence at once")
    _text(params, "text", required=not ids)
    return params


def _represent(params: Params) -> Params:
    _text(params, "text", least=_LONG_TEXT)
    return params


def _appeal(params: Params) -> Params:
    """The three plans together are the appeal's text."""
    names = ("cause", "handling_plan", "prevention_plan")
    for name in names:
        _text(params, name)
    if sum(len(params[name].strip()) for name in names) < _LONG_TEXT:
        raise _bad(f"an appeal has at least {_LONG_TEXT} characters")
    return params


def _escalate(params: Params) -> Params:
    _text(params, "text", required=False)
    return params


def _ship(params: Params) -> Params:
    _text(params, "carrier")
    _text(params, "tracking")
    return params


def _act_id(params: Params) -> Params:
    _text(params, "act_id")
    return params


_CHECKS: dict[str, Callable[[Params], Params]] = {
    "contact": _contact,
    "decline": _decline,
    "refund": _refund,
    "propose": _propose,
    "close": _close,
    "confirm_receipt": _confirm_receipt,
    "inspect": _inspect,
    "submit_evidence": _evidence,
    "represent": _represent,
    "appeal": _appeal,
    "escalate": _escalate,
    "ship_replacement": _ship,
    "approve": _act_id,
    "reject": _act_id,
}
