"""Ladders: ordered remedies for a reason, offered one after the other."""

from services.policy.core import clocks, errands, money
from services.policy.core.guards import holds
from services.policy.core.names import as_json, rungs_left, terms_minor, value
from services.policy.core.tasks import DONE, open_task, soonest
from services.policy.core.working import Working
from shared.domain.case import Clock
from shared.domain.money import Money, from_minor, money_in
from shared.domain.playbook import Do, Rung
from shared.durations import parse_duration

PREFIX = "ladder_"
"""The wait for an answer to a rung of `x` is a reminder clock `ladder_x`."""
_WAITING = "ladder_waiting"
_OFFERED = "ladder_offered"
"""Sums of rungs that were offered, whatever was offered in between."""
_MONEY = ("part_refund", "coupon")


def offer(work: Working, name: str, rule: str) -> None:
    """Offers the next rung that fits; none left: a person is asked. Never while an earlier offer is still to be made."""
    if _waits(work, name):
        return
    found = _next(work, name, rule)
    if found is None:
        reason = f"Nothing is left to offer on ladder {name}"
        open_task(work, "answer_needed", reason, soonest(work), (DONE,), true_in=(work.state,))
        return
    index, rung = found
    work.ladder[name] = index + 1
    sum_ = _sum(work, rung)
    if rung.remedy in _MONEY and sum_ is None:
        reason = f"The {rung.remedy} of ladder {name} cannot be worked out"
        open_task(work, "answer_needed", reason, soonest(work), ("propose", DONE), true_in=(work.state,))
        return
    _propose(work, name, index, rung, sum_, rule)
    _wait(work, name, rung)


def _waits(work: Working, name: str) -> bool:
    """An earlier offer has not gone yet: no rung is used up behind it, the ladder comes back after that one's wait."""
    live, ladder = errands.live_act(work, "propose"), work.playbook.ladders.get(name)
    if live is None or ladder is None:
        return False
    work.effect("skip", "propose", id=live.id, why="an earlier offer is on its way")
    last = min(max(work.ladder.get(name, 0) - 1, 0), len(ladder.rungs) - 1)
    _wait(work, name, ladder.rungs[last])
    return True


def _wait(work: Working, name: str, rung: Rung) -> None:
    """For the buyer's answer."""
    clocks.start(
        work,
        Clock(
            name=PREFIX + name,
            due_at=work.now + parse_duration(rung.wait),
            generation=0,
            origin="rule",
            deadline=False,
            late="fire",
            armed_at=work.now,
        ),
    )


def _next(work: Working, name: str, rule: str) -> tuple[int, Rung] | None:
    if not rungs_left(work, name):
        return None
    rungs = work.playbook.ladders[name].rungs
    for index in range(work.ladder.get(name, 0), len(rungs)):
        if holds(work, f"{rule}/{name}#{index + 1}", rungs[index].when) and not _offered(work, rungs[index]):
            return index, rungs[index]
    work.ladder[name] = len(rungs)
    return None


def _offered(work: Working, rung: Rung) -> bool:
    """The same remedy of the same sum: under a ceiling two rungs may come to one, and it is told once."""
    sum_ = _sum(work, rung)
    return sum_ is not None and [rung.remedy, as_json(sum_)] in work.facts.get(_OFFERED, [])


def _sum(work: Working, rung: Rung) -> Money | None:
    """The rung's share of what is asked (else paid), under its ceiling and under what is refundable."""
    asked = money_in(work.facts, "amount")
    base = asked.minor if asked else work.order.paid_minor
    if rung.percent is None or base is None or work.currency is None:
        return None
    caps = [terms_minor(work, rung.ceiling) if rung.ceiling else None, money.ceiling_minor(work)]
    minor = min([base * rung.percent // 100, *(cap for cap in caps if cap is not None)])
    return from_minor(minor, work.currency) if minor > 0 else None


def _propose(work: Working, name: str, index: int, rung: Rung, sum_: Money | None, rule: str) -> None:
    told_only = money.capability(work, "propose") == "none"
    if sum_ is not None:
        work.put("offered", as_json(sum_))
        work.facts[_OFFERED] = [*work.facts.get(_OFFERED, []), [rung.remedy, as_json(sum_)]]
    if "remedy" in work.playbook.fields and (told_only or rung.tell is None):
        work.put("remedy", rung.remedy)
    if told_only:
        _only_tell(work, name, rung, rule)
        return
    unlimited = bool(rung.ceiling) and terms_minor(work, rung.ceiling or "") is None
    params = {"remedy": rung.remedy} | ({"amount": as_json(sum_)} if sum_ else {})
    before = set(work.errands)
    errands.act(work, Do(act="propose", params=params, autonomy="approve" if unlimited else rung.autonomy), rule)
    for errand in [e for id, e in work.errands.items() if id not in before and e.name == "propose"]:
        if errand.status == "awaiting_approval":
            work.facts[_WAITING] = {**work.facts.get(_WAITING, {}), errand.id: [name, index]}
        else:
            _tell(work, rung, rule)


def _only_tell(work: Working, name: str, rung: Rung, rule: str) -> None:
    """Where nothing can be proposed the message is the offer; one that a person has to agree to lies ready for him."""
    if rung.tell is None or rung.autonomy not in ("approve", "person"):
        _tell(work, rung, rule)
        return
    reason = f"Offer the buyer the next remedy of ladder {name}: {rung.remedy}"
    own = {name: known for name, field in rung.tell.variables.items() if (known := value(work, field)) is not None}
    prepared = {"act": "contact", "params": {"purpose": rung.tell.purpose, "variables": own}}
    open_task(work, "answer_needed", reason, soonest(work), ("contact", DONE), true_in=(work.state,), prepared=prepared)


def approved(work: Working, errand_id: str, *, yes: bool) -> None:
    """A rung that waited for approval is told of only now; a rejected one never."""
    waiting = dict(work.facts.get(_WAITING, {}))
    name, index = waiting.pop(errand_id, (None, 0))
    if name is None:
        return
    work.facts[_WAITING] = waiting
    ladder = work.playbook.ladders.get(name)
    if yes and ladder is not None and index < len(ladder.rungs):
        _tell(work, ladder.rungs[index], f"ladder/{name}#{index + 1}")


def _tell(work: Working, rung: Rung, rule: str) -> None:
    if rung.tell is not None:
        errands.tell(work, rung.tell, rule)
