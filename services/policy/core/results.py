"""What became of an errand, as the notifier or the marketplace tells it; and which observed facts confirm an act."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import msgspec

from services.policy.core import axes, evidence
from services.policy.core.errands import drop, withdraw
from services.policy.core.orders import refund_money
from services.policy.core.tasks import DONE, close_for_errand, open_task, soonest
from services.policy.core.working import Working
from shared.domain.case import OpenErrand
from shared.domain.errands import Resolution

_SKEW = timedelta(minutes=5)
"""A marketplace's clock may lag so much behind ours when its fact confirms our act."""
_OBSERVED = ("push", "poll", "fetch")
_IN_HAND = ("awaiting_approval", "planned", "held")

Answered = Literal["sent", "not_sent", "send_again", "drop"]


def concerned(work: Working) -> OpenErrand | None:
    """The errand that a `message.*` or `act.*` fact tells of; None for one that is over or was never ours."""
    return work.errands.get(str(work.fact.data.get("errand_id", "")))


def apply(work: Working) -> bool:
    """Takes a `message.*` or `act.*` fact in. False: of an errand that is over or was never ours."""
    errand = concerned(work)
    status = work.fact.kind.partition(".")[2]
    if errand is None:
        return False
    handle = _HANDLERS.get(status)
    if handle is not None:
        handle(work, errand)
    return True


def unsent(work: Working) -> None:
    """Nothing stays silently unsent: where no row answers a failure, a person is asked."""
    kind, _, status = work.fact.kind.partition(".")
    if status not in ("refused", "failed", "expired") or not (work.is_open or kind == "act"):
        return
    name, why = work.fact.data.get("name", kind), work.fact.data.get("why", "")
    reason = f"{name} {status}" + (f": {why}" if why else "")
    open_task(work, "answer_needed", reason, soonest(work), (DONE,), true_in=(work.state,))


def _held(work: Working, errand: OpenErrand) -> None:
    """Held until a time it goes by itself; held by a rule that names none it waits for a person."""
    verdict, task = work.fact.data.get("verdict"), None
    close_for_errand(work, errand.id, "held anew", kinds=("message_blocked",))
    if verdict is not None and work.fact.data.get("until") is None and not errand.withdrawing:
        why = work.fact.data.get("why", "")
        reason = f"{errand.name} is held by a rule" + (f": {why}" if why else "")
        allowed, prepared = ("send_again", "drop"), {**_words(work), "verdict": verdict, "why": why}
        due = soonest(work)
        task = open_task(work, "message_blocked", reason, due, allowed, errand_id=errand.id, prepared=prepared)
    _set(work, errand, "held", task)


def _set(work: Working, errand: OpenErrand, status: str, task: str | None = None) -> None:
    """The errand's status; its money on the order and the money axis are in doubt exactly while it is."""
    withdrawing = errand.withdrawing and status != "sent"
    work.errands[errand.id] = msgspec.structs.replace(errand, status=status, task_id=task, withdrawing=withdrawing)
    doubtful = status == "in_doubt"
    if errand.money is not None:
        work.reserve(errand.id, errand.money, in_doubt=doubtful)
    if doubtful and errand.name == "refund":
        work.money = "in_doubt"
    elif errand.status == "in_doubt" and work.money == "in_doubt":
        work.money = axes.settled(work)


def sent(work: Working, errand: OpenErrand) -> None:
    """A message sent is over; an act stays open until an observed fact confirms it."""
    if errand.what == "message":
        drop(work, errand.id, "sent")
        return
    work.acted_at = work.now
    evidence.given(work, errand)
    _left_over(work, errand)
    if errand.confirmed:
        drop(work, errand.id, "confirmed")
        return
    close_for_errand(work, errand.id, "sent")
    _set(work, errand, "sent")


def _left_over(work: Working, errand: OpenErrand) -> None:
    """What the marketplace's API could not take is a task of its own, whatever state the case goes on to."""
    prepared = work.fact.data.get("prepared")
    if isinstance(prepared, dict):
        reason = f"Do by hand what {errand.name} could not bring along"
        open_task(work, "assisted_act", reason, soonest(work), (DONE,), prepared=prepared)


def not_sent(work: Working, errand: OpenErrand) -> None:
    drop(work, errand.id, "not sent")
    if errand.status == "in_doubt" and errand.money is not None and work.money == "in_doubt":
        work.money = axes.settled(work)


def _confirmed(work: Working, errand: OpenErrand) -> None:
    """The act is over; a refund is not until the money itself has been seen to go."""
    if errand.name == "refund":
        sent(work, errand)
        return
    drop(work, errand.id, "confirmed")
    work.acted_at = work.acted_at or work.now


def _too_late(work: Working, errand: OpenErrand) -> None:
    """It had gone already. What a fact has confirmed meanwhile is over."""
    if errand.confirmed:
        drop(work, errand.id, "confirmed")
        return
    status = "sending" if errand.status in _IN_HAND else errand.status
    work.errands[errand.id] = msgspec.structs.replace(errand, withdrawing=False, status=status)


def send_again(work: Working, errand: OpenErrand) -> None:
    """A person has looked: it was not sent, and is to be."""
    _set(work, errand, "planned")


def _assisted(work: Working, errand: OpenErrand) -> None:
    close_for_errand(work, errand.id, "to be done by hand")
    kind = "assisted_message" if errand.what == "message" else "assisted_act"
    told = work.fact.data.get("prepared")
    prepared = {**_words(work), **(told if isinstance(told, dict) else {})} or None
    reason = f"Do by hand: {errand.name}"
    task = open_task(
        work, kind, reason, soonest(work), ("sent", "not_sent"), errand_id=errand.id, prepared=prepared
    )  # fmt: skip
    _set(work, errand, "assisted", task)


def _words(work: Working) -> dict[str, Any]:
    """What the message says in the buyer's language, and the verdict on it: the person need only copy or mend it."""
    data = work.fact.data
    return {name: data[name] for name in ("text", "subject", "locale", "verdict") if data.get(name) is not None}


def _in_doubt(work: Working, errand: OpenErrand) -> None:
    if errand.confirmed:
        _observed(work, errand)
        return
    prepared: dict[str, Any] = {"name": errand.name, "why": work.fact.data.get("why", "")}
    reason = f"It is not known whether {errand.name} was sent: look it up"
    allowed = ("sent", "not_sent", "send_again")
    task = open_task(work, "in_doubt", reason, soonest(work), allowed, errand_id=errand.id, prepared=prepared)
    _set(work, errand, "in_doubt", task)


def _blocked(work: Working, errand: OpenErrand) -> None:
    drop(work, errand.id, "blocked")
    if not work.is_open:
        return
    prepared = {**_words(work), "verdict": work.fact.data.get("verdict"), "why": work.fact.data.get("why", "")}
    reason = f"{errand.name} breaks the marketplace's rules and was not sent"
    open_task(
        work, "message_blocked", reason, soonest(work), ("contact", "drop"),
        true_in=(work.state,), errand_id=errand.id, prepared=prepared,
    )  # fmt: skip


_HANDLERS: dict[str, Callable[[Working, OpenErrand], None]] = {
    "held": _held,
    "sent": sent,
    "confirmed": _confirmed,
    "assisted": _assisted,
    "in_doubt": _in_doubt,
    "blocked": _blocked,
    "too_late": _too_late,
    "refused": not_sent,
    "failed": not_sent,
    "expired": not_sent,
    "suppressed": not_sent,
    "withdrawn": not_sent,
}


def confirm(work: Working) -> None:
    """An observed fact settles the acts it is the outcome of; one not yet sent is no longer needed.

    What the seller's own side says (evidence laid up here) or the buyer did himself observes nothing of ours.
    """
    if work.fact.source not in _OBSERVED or work.fact.data.get("supplied_by") == "buyer":
        return
    for errand in list(work.errands.values()):
        if errand.what != "act" or work.fact.kind not in axes.CONFIRMS.get(errand.name, ()):
            continue
        if errand.name == "refund" and not _same_refund(work, errand):
            continue
        if errand.status != "sent" and len(errand.params.get("files", ())) > 1:
            continue  # one picture seen there does not tell of the others
        if errand.status in _IN_HAND:
            _done_meanwhile(work, errand)
        elif errand.status in ("assisted", "in_doubt"):
            _observed(work, errand)
        else:
            drop(work, errand.id, "confirmed")
    if work.money == "in_doubt" and not any(errand.status == "in_doubt" for errand in work.errands.values()):
        work.money = axes.settled(work)


def _done_meanwhile(work: Working, errand: OpenErrand) -> None:
    """It may have left already, or the marketplace was first: called back for that, yet told of as done."""
    same = errand.name != "refund" or refund_money(work.fact) == errand.money
    withdraw(work, errand, "already done", do="confirm" if same else "withdraw")
    if errand.id in work.errands:
        work.errands[errand.id] = msgspec.structs.replace(work.errands[errand.id], confirmed=True)


def _observed(work: Working, errand: OpenErrand) -> None:
    resolve(work, errand.id, "sent", "observed")
    work.acted_at = work.now
    drop(work, errand.id, "confirmed")


def _same_refund(work: Working, errand: OpenErrand) -> bool:
    told = refund_money(work.fact)
    return told == errand.money or work.fact.occurred_at >= errand.planned_at - _SKEW


def resolve(work: Working, errand_id: str, answer: Answered, by: str) -> None:
    """Tells the notifier what a person (or a fact) said about an errand."""
    case = work.before
    work.resolutions.append(
        Resolution(
            errand_id=errand_id,
            account=case.account,
            order_id=case.order_id,
            case_id=case.id,
            answer=answer,
            by=by,
        )
    )
    work.effect("resolve", answer, id=errand_id)
