"""What a person does: actions, answers to tasks, approvals. Refused ones raise Stop and leave nothing behind."""

from datetime import timedelta
from typing import Any

from services.policy.core import actions, axes, errands, ladder, money, results
from services.policy.core.orders import is_claim
from services.policy.core.rows import candidates, carry_out, choose
from services.policy.core.tasks import DONE, close_for_errand, close_task
from services.policy.core.working import Stop, Working
from shared.domain.case import OpenErrand, OpenTask
from shared.domain.errands import ACTS

_FREE_TEXT_LIFE = timedelta(days=7)


def perform(work: Working) -> None:
    """One action of an operator, to its end."""
    action = work.action or ""
    if action not in actions.ACTION_NAMES:
        raise Stop("unknown_action", 409, "no such action")
    needed = actions.SCOPES.get(action)
    if needed is not None and needed not in work.scopes:
        raise Stop("needs_scope", 403, f"this needs a key with scope {needed}")
    special = {"contact": _contact, "approve": _approve, "reject": _reject, actions.TASK_ANSWER: _answer}.get(action)
    if special is not None:
        special(work)
        return
    _by_rows(work, action)


def _by_rows(work: Working, action: str) -> None:
    _must_be_open(work)
    if action == "refund" and (live := errands.live_act(work, "refund")) is not None:
        if live.withdrawing:
            raise errands.being_withdrawn(live)
        work.answer |= {"answered": live.id, "waits_for_approval": live.status == "awaiting_approval"}
        return
    rows = candidates(work)
    if rows or (action in actions.SCOPES and work.params):
        work.params = _checked(work, action)
    if not rows:
        raise Stop("not_allowed", 409, "not possible in this state")
    _reason_given(work, action)
    _contact_first(work, action)
    if action in ACTS and money.capability(work, action) == "none" and action != "confirm_receipt":
        raise Stop("no_capability", 409, "this marketplace offers no way to do it")
    _note(work, action)
    axes.move(work, work.fact)
    row = choose(work, rows)
    if row is None:
        raise Stop("not_allowed", 409, "its conditions do not hold now")
    carry_out(work, row)


def _checked(work: Working, action: str) -> dict[str, Any]:
    actions.named(action, work.own_params, work.terms.params.get(action, ()))
    return actions.check(action, work.params)


def _must_be_open(work: Working) -> None:
    if not work.is_open:
        raise Stop("case_closed", 409, "the case is resolved")


def _reason_given(work: Working, action: str) -> None:
    """The operator's why, for the audit."""
    under_claim = is_claim(work.before.kind, work.facts) or bool(work.order.open_claims)
    if action == "close" or (action == "refund" and under_claim):
        reason = work.fact.data.get("reason")
        if not isinstance(reason, str) or not reason.strip():
            raise Stop("reason_required", 422, "a reason is required for this action")


def overridden(work: Working, rule: str) -> bool:
    """The operator passes a rule over, with a reason; his words stand in the log."""
    given = work.fact.data.get("override") or work.params.get("override")
    return isinstance(given, dict) and given.get("rule") == rule and bool(str(given.get("reason") or "").strip())


def must_contact_first(work: Working, action: str) -> bool:
    wanted = action in actions.CONTACT_FIRST and work.before.kind in ("return", "dispute")
    return wanted and not work.contacted


def _contact_first(work: Working, action: str) -> None:
    if must_contact_first(work, action) and not overridden(work, "contact_first"):
        raise Stop("contact_first", 409, "the buyer has not been contacted yet (R000-04)")


def _note(work: Working, action: str) -> None:
    """What the operator found out about the goods, or offers, becomes a typed fact of the case."""
    noted = {"confirm_receipt": ("condition", "condition"), "inspect": ("result", "result")}
    noted |= {"propose": ("amount", "offered"), "ship_replacement": ("tracking", "tracking_number")}
    source, field = noted.get(action, ("", ""))
    if work.params.get(source) is not None:
        work.put(field, work.params[source])


def _contact(work: Working) -> None:
    _must_be_open(work)
    params = _checked(work, "contact")
    if work.terms.closed:
        raise Stop("account_closed", 409, "the account is closed")
    purpose = params.get("purpose", errands.FREE_TEXT)
    if "purpose" in params:
        _purpose_allowed(work, purpose)
    variables: dict[str, Any] = params.get("variables", {})
    if "purpose" in params:
        known, missing = errands.variables(work, purpose, variables)
        if missing:
            raise Stop("missing_variables", 422, f"not known: {', '.join(missing)}")
        variables = known
    rows = candidates(work)
    row = choose(work, rows)
    if rows and row is None:
        raise Stop("not_allowed", 409, "its conditions do not hold now")
    work.answer["answered"] = errands.message(
        work,
        purpose,
        variables,
        true_in=None,
        not_after=work.now + _FREE_TEXT_LIFE,
        text=params.get("text"),
        attachments=tuple(params.get("attachments", ())),
    )
    if row is not None:
        carry_out(work, row)


def _purpose_allowed(work: Working, purpose: str) -> None:
    allowed = work.terms.purposes
    if allowed and purpose not in allowed:
        raise Stop("unknown_purpose", 422, "no such message purpose on this marketplace")
    phases = allowed.get(purpose, ())
    if phases and work.phase not in phases:
        raise Stop("purpose_not_allowed", 409, f"not allowed in phase {work.phase}")


def _waiting(work: Working) -> OpenErrand:
    _checked(work, "approve")
    errand = work.errands.get(work.params["act_id"])
    if errand is None or errand.status != "awaiting_approval":
        raise Stop("not_waiting", 409, "no such act waits for approval")
    return errand


def _approve(work: Working) -> None:
    """Agreeing is deciding now: the rails are tested again."""
    errand = _waiting(work)
    if errand.money is not None and money.above_limit(work, errand.money) and "approve" not in work.scopes:
        raise Stop("needs_scope", 403, "this sum needs a key with scope approve")
    keep_item = errand.params.get("keep_item") is True or errand.keep_item
    money.rails(work, errand.name, errand.money, keep_item=keep_item)
    close_for_errand(work, errand.id, "approved")
    errands.send(work, errand)
    work.answer["answered"] = errand.id
    ladder.approved(work, errand.id, yes=True)
    _follow(work)


def _reject(work: Working) -> None:
    errand = _waiting(work)
    errands.withdraw(work, errand, "rejected")
    work.answer["answered"] = errand.id
    ladder.approved(work, errand.id, yes=False)
    _follow(work)


def _follow(work: Working) -> None:
    """A playbook may answer approvals and rejections with rows of its own."""
    row = choose(work, candidates(work))
    if row is not None:
        carry_out(work, row)


def _answer(work: Working) -> None:
    task = work.tasks.get(str(work.params.get("task_id", "")))
    if task is None:
        raise Stop("task_not_open", 409, "no such open task on this case")
    answer = work.params.get("answer")
    if answer not in task.allowed:
        raise Stop("bad_answer", 422, f"answer must be one of: {', '.join(task.allowed)}")
    given = work.params.get("params")
    work.own_params = own = dict(given) if isinstance(given, dict) else {}
    if task.errand_id is not None and answer in ("approve", "reject"):
        work.action, work.params = answer, {"act_id": task.errand_id}
        perform(work)
        return
    close_task(work, task.id, f"answered: {answer}")
    if task.errand_id is not None and answer in ("sent", "not_sent", "send_again", "drop"):
        _settle(work, task, answer)
    elif answer != DONE:
        prepared = (task.prepared or {}).get("params", {}) if (task.prepared or {}).get("act") == answer else {}
        work.action, work.params = answer, {**prepared, **own}
        perform(work)


def _settle(work: Working, task: OpenTask, answer: results.Answered) -> None:
    """A person's word about an errand counts at once, here and at the notifier."""
    errand_id = task.errand_id or ""
    results.resolve(work, errand_id, answer, work.fact.actor or "operator")
    errand = work.errands.get(errand_id)
    if errand is None:
        return
    if answer == "sent":
        results.sent(work, errand)
    elif answer == "send_again":
        results.send_again(work, errand)
    else:
        results.not_sent(work, errand)
