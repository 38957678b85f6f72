"""What leaves: planning messages and acts under the guard rails, and withdrawing what is no longer true."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.policy.core import money
from services.policy.core.guards import holds
from services.policy.core.names import handed_in, looked_up, value
from services.policy.core.tasks import DONE, close_for_errand, open_task, soonest
from services.policy.core.working import Stop, Working
from shared.domain.case import FIELDS, OpenErrand
from shared.domain.errands import MONEY_ACTS, Errand, Withdrawal
from shared.domain.money import Money
from shared.domain.playbook import Do, Tell

FREE_TEXT = "free_text"
_MESSAGE_LIFE = timedelta(days=7)
_MONEY_LIFE = timedelta(hours=24)
_GONE = ("sending", "sent", "in_doubt")
"""Statuses from which an errand cannot be called back."""
_COMMON = ("order_id", "buyer_name", "shop")


def tell(work: Working, wanted: Tell, rule: str, *, urgent: bool = False, extra: dict[str, Any] | None = None) -> None:
    """Plans a playbook's message. Not allowed now: noted only. A variable missing: a task, never a blank."""
    if not holds(work, rule, wanted.when):
        return
    why = _muted(work, wanted.purpose)
    if why:
        work.effect("skip", wanted.purpose, why=why)
        return
    params, missing = _variables(work, wanted, extra or {})
    if missing:
        what = f"{wanted.purpose} cannot be written: {', '.join(missing)} not known"
        open_task(work, "answer_needed", what, soonest(work), ("contact", DONE), true_in=(work.state,))
        return
    true_in = None if wanted.always else (wanted.true_in or (work.state,))
    not_after = _clock_due(work, wanted.not_after) or work.now + _MESSAGE_LIFE
    message(work, wanted.purpose, params, true_in=true_in, not_after=not_after, urgent=urgent or wanted.urgent)


def _muted(work: Working, purpose: str) -> str:
    """Why this purpose is not written now; empty when it may be."""
    allowed = work.terms.purposes
    if work.terms.closed:
        return "the account is closed"
    if allowed and purpose not in allowed:
        return "not allowed on this marketplace"
    if phases := allowed.get(purpose, ()):
        return "" if work.phase in phases else f"not allowed in phase {work.phase}"
    return ""


def variables(work: Working, purpose: str, own: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A message's variables as an operator gives them, the rest from the case; and the names still missing."""
    return _variables(work, Tell(purpose=purpose), own)


def _variables(work: Working, wanted: Tell, extra: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    needs = work.terms.variables.get(wanted.purpose)
    if needs is None:
        sources = {name: name for name in (*_COMMON, *FIELDS, *work.playbook.fields)} | wanted.variables
        required = set(wanted.variables)
    else:
        sources = {name: wanted.variables.get(name, need.source) for name, need in needs.items()}
        required = {name for name, need in needs.items() if need.required}
    found = {name: value(work, source) for name, source in sources.items()} | extra
    params = {name: known for name, known in found.items() if known is not None}
    return params, sorted(required - set(params))


def message(
    work: Working,
    purpose: str,
    params: dict[str, Any],
    *,
    true_in: tuple[str, ...] | None,
    not_after: datetime,
    urgent: bool = False,
    text: str | None = None,
    attachments: tuple[str, ...] = (),
) -> str:
    """Plans a message; the one already waiting for the same purpose is enough. Returns its id."""
    for errand in work.errands.values():
        same = errand.what == "message" and errand.name == purpose != FREE_TEXT and errand.params == params
        if same and not errand.withdrawing:
            return errand.id
    known = OpenErrand(
        id=work.new_id("msg"), what="message", name=purpose, status="planned", planned_at=work.now, true_in=true_in
    )
    work.errands[known.id] = msgspec.structs.replace(known, params=params)
    work.contacted = True
    made = _errand(work, known.id, "message", purpose, params, not_after, urgent)
    work.planned.append(msgspec.structs.replace(made, text=text, attachments=attachments))
    work.effect("plan_message", purpose, id=known.id)
    return known.id


def _errand(
    work: Working, id: str, what: Any, name: str, params: dict[str, Any], not_after: datetime | None, urgent: bool
) -> Errand:
    case, order = work.before, work.order
    return Errand(
        id=id,
        what=what,
        name=name,
        account=case.account,
        marketplace=case.marketplace,
        order_id=case.order_id,
        case_id=case.id,
        case_kind=case.kind,
        phase=work.phase,
        created_at=work.now,
        params=params,
        locale=order.buyer.locale or work.terms.locale,
        buyer=order.buyer,
        refs={**order.refs, **work.refs, "external_id": case.external_id},
        capability="api" if what == "message" else money.capability(work, name),
        not_after=not_after,
        urgent=urgent,
        last_buyer_message_at=order.last_buyer_message_at,
    )


def act(work: Working, wanted: Do, rule: str, *, urgent: bool = False) -> None:
    """Plans a playbook's act as far as capability, goods, ceiling and autonomy let it; otherwise a person is asked."""
    if not holds(work, rule, wanted.when):
        return
    params, missing = _params(work, wanted)
    if missing:
        _ask_instead(work, wanted, params, f"{', '.join(missing)} not known")
        return
    keep_item = wanted.keep_item or params.get("keep_item") is True
    live = live_act(work, wanted.act)
    if live is not None and not live.withdrawing:
        _same_evidence(work, live)
        work.answer["answered"] = live.id if work.by_operator else None
        work.effect("skip", wanted.act, id=live.id, why="one is on its way")
        return
    try:
        if live is not None:
            raise being_withdrawn(live)
        params = _with_evidence(work, wanted.act, params)
        sum_, params = money.amount(work, wanted.act, params)
        money.rails(work, wanted.act, sum_, keep_item=keep_item)
    except Stop as stop:
        if work.action == wanted.act:
            raise
        _ask_instead(work, wanted, params, stop.answer.detail or stop.answer.code)
        return
    if (standing := _standing_offer(work, wanted.act, params)) is not None:
        work.answer["answered"] = standing.id if work.by_operator else None
        work.effect("skip", wanted.act, id=standing.id, why="this very offer stands")
        return
    _plan(work, wanted, params, sum_, keep_item=keep_item, urgent=urgent)


def _params(work: Working, wanted: Do) -> tuple[dict[str, Any], list[str]]:
    """The row's parameters with "$name" looked up; an operator's own are laid over for the act he asked for."""
    own = work.params if work.action == wanted.act else {}
    found, missing = {}, []
    for name, given in wanted.params.items():
        if name in own:
            continue
        found[name] = looked_up(work, given)
        if given is not None and found[name] is None:
            missing.append(name)
    return {**found, **own}, sorted(missing)


def _same_evidence(work: Working, live: OpenErrand) -> None:
    """Other evidence than what is on its way must not be taken for it."""
    names = ("text", "evidence_ids")
    if work.action == "submit_evidence" and any(work.params.get(name) != live.params.get(name) for name in names):
        raise Stop("on_its_way", 409, "other evidence is on its way: hand this in once that has arrived")


def _standing_offer(work: Working, name: str, params: dict[str, Any]) -> OpenErrand | None:
    """The same offer, made before and not answered yet: made again, the buyer would be told of it twice."""
    made = (e for e in work.errands.values() if e.what == "act" and e.name == name == "propose" and e.status == "sent")
    return next((errand for errand in made if errand.params == params), None)


def _with_evidence(work: Working, name: str, params: dict[str, Any]) -> dict[str, Any]:
    if name != "submit_evidence":
        return params
    try:
        return handed_in(work, params)
    except KeyError as unknown:
        raise Stop("unknown_evidence", 422, f"{str(unknown.args[0])[:80]} is no evidence of this case") from None


def _attachments(params: dict[str, Any]) -> tuple[str, ...]:
    """The files among what is handed in; an address or a text has no content type."""
    return tuple(dict.fromkeys(f["sha256"] for f in params.get("files", ()) if f["content_type"]))


def live_act(work: Working, name: str) -> OpenErrand | None:
    """One of the same name that is not over: money is never on its way twice, nor an act asked for twice.

    One that is being called back may have left already: it counts until the notifier has answered.
    """
    settled = () if name == "refund" else ("sent",)
    for errand in work.errands.values():
        if errand.what == "act" and errand.name == name and errand.status not in settled:
            return errand
    return None


def being_withdrawn(live: OpenErrand) -> Stop:
    return Stop("being_withdrawn", 409, f"an earlier {live.name} is being called back and may have left already")


def _ask_instead(work: Working, wanted: Do, params: dict[str, Any], why: str) -> None:
    prepared = {"act": wanted.act, "params": {name: v for name, v in params.items() if v is not None}}
    reason = f"{wanted.act} was planned but cannot be done: {why}"
    allowed = (wanted.act, DONE)
    open_task(work, "answer_needed", reason, soonest(work), allowed, true_in=(work.state,), prepared=prepared)


def _plan(
    work: Working, wanted: Do, params: dict[str, Any], sum_: Money | None, *, keep_item: bool, urgent: bool
) -> None:
    name = wanted.act
    autonomy = "auto" if work.action == name else wanted.autonomy or work.playbook.autonomy.get(name, "approve")
    if autonomy == "person":
        reason = f"{name} is for a person to decide"
        prepared = {"act": name, "params": params}
        open_task(work, "answer_needed", reason, soonest(work), (name, DONE), true_in=(work.state,), prepared=prepared)
        return
    errand = OpenErrand(
        id=work.new_id("act"),
        what="act",
        name=name,
        status="planned",
        planned_at=work.now,
        true_in=(work.state,),
        params=params,
        money=sum_,
        keep_item=keep_item,
    )
    if autonomy == "approve" or money.needs_approval(work, name, sum_, keep_item=keep_item):
        _wait_for_approval(work, errand)
    else:
        send(work, errand, not_after=_clock_due(work, wanted.not_after), urgent=urgent)
    if work.action == name:
        work.answer["answered"] = errand.id


def _wait_for_approval(work: Working, errand: OpenErrand) -> None:
    prepared = {"act": errand.name, "params": errand.params}
    reason = f"Approve {errand.name}" + (f" of {errand.money.value} {errand.money.currency}" if errand.money else "")
    allowed = ("approve", "reject")
    task = open_task(work, "approve_act", reason, soonest(work), allowed, errand_id=errand.id, prepared=prepared)
    work.errands[errand.id] = msgspec.structs.replace(errand, status="awaiting_approval", task_id=task)
    work.effect("ask_approval", errand.name, id=errand.id)
    if work.by_operator:
        work.answer["waits_for_approval"] = True


def send(work: Working, errand: OpenErrand, *, not_after: datetime | None = None, urgent: bool = False) -> None:
    """The act goes to the notifier; its money is reserved on the order from here on."""
    work.errands[errand.id] = msgspec.structs.replace(errand, status="planned", task_id=None)
    if errand.money is not None:
        work.reserve(errand.id, errand.money)
    last = not_after or act_limit(work, errand.name)
    made = _errand(work, errand.id, "act", errand.name, errand.params, last, urgent)
    attached = _attachments(errand.params) if errand.name == "submit_evidence" else ()
    work.planned.append(msgspec.structs.replace(made, money=errand.money, attachments=attached))
    work.effect("plan_act", errand.name, id=errand.id, due_at=last)


def act_limit(work: Working, name: str) -> datetime:
    """When an act has grown too old to start: the next deadline, else 24 h for money and 7 days for the rest."""
    ahead = [clock.due_at for clock in work.clocks.values() if clock.deadline and clock.due_at > work.now]
    life = _MONEY_LIFE if name in MONEY_ACTS else _MESSAGE_LIFE
    return min([*ahead, work.now + _MESSAGE_LIFE]) if ahead else work.now + life


def _clock_due(work: Working, name: str | None) -> datetime | None:
    clock = work.clocks.get(name or "")
    return None if clock is None else clock.due_at


def withdraw(work: Working, errand: OpenErrand, why: str, *, do: str = "withdraw") -> None:
    """What waits for approval is dropped at once; the rest is live until the notifier answers. `do`: as the log has it."""
    if errand.status == "awaiting_approval":
        drop(work, errand.id, why)
        work.effect("withdraw", errand.name, id=errand.id, why=why)
        return
    if errand.withdrawing or errand.status in _GONE:
        return
    case = work.before
    work.errands[errand.id] = msgspec.structs.replace(errand, withdrawing=True)
    work.withdrawals.append(
        Withdrawal(
            errand_id=errand.id,
            account=case.account,
            order_id=case.order_id,
            case_id=case.id,
            what=errand.what,
            name=errand.name,
            why=why,
        )
    )
    work.effect(do, errand.name, id=errand.id, why=why)


def withdraw_untrue(work: Working) -> None:
    """Calls back what belongs to states the case has left."""
    for errand in list(work.errands.values()):
        if errand.true_in is not None and work.state not in errand.true_in:
            withdraw(work, errand, "no longer true")


def drop(work: Working, errand_id: str, why: str) -> None:
    """The errand is over: its money is free again, its tasks are closed."""
    work.errands.pop(errand_id, None)
    work.release(errand_id)
    close_for_errand(work, errand_id, why)
