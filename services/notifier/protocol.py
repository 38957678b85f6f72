"""What follows from one attempt, one look-up, one answer of a person: the protocol of the ambiguous send. Pure.

unknown is a state. keyed: the same key again inside its window. readable: two empty readings 60 s apart before another
try. blind: a person decides. Money is never sent again without a reading that says it is not there.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain.errands import MONEY_ACTS, Errand
from shared.ports import Assisted, Attempt, Done, Found, InDoubt, NotSent, Refused

Ability = Literal["keyed", "readable", "blind"]
KEY_WINDOW = timedelta(hours=24)
"""For so long after the first attempt a key is taken to be remembered."""
BETWEEN_LOOKS = timedelta(seconds=60)
LOOK_BACK = timedelta(minutes=2)
MOST_ATTEMPTS = 30
_MOST_AFTER_DOUBT = 5
_MOST_LOOK_FAULTS = 5
_WAITS = (5, 15, 60, 300, 900, 3600)
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Life:
    """Where an errand stands, as far as the protocol cares."""

    errand: Errand
    attempts: int = 0
    look_ups: int = 0
    look_faults: int = 0
    first_sending_at: datetime | None = None
    withdrawn: str | None = None
    approved: bool = False
    doubted: bool = False
    """This attempt repeats, under its key, one that may have been taken."""

    @property
    def moves_money(self) -> bool:
        return self.errand.what == "act" and (self.errand.name in MONEY_ACTS or self.errand.money is not None)


@dataclass(frozen=True, slots=True)
class Report:
    """A fact for policy: `message.<status>` or `act.<status>`."""

    status: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Next:
    """The errand's new standing. `next_at` None: nothing is due. Counts None: as before."""

    status: str
    outcome: str | None = None
    why: str | None = None
    next_at: datetime | None = None
    reports: tuple[Report, ...] = ()
    provider_id: str | None = None
    prepared: dict[str, Any] | None = None
    look_ups: int = 0
    look_faults: int = 0
    approved: bool = False


def after_attempt(life: Life, attempt: Attempt, ability: Ability, now: datetime) -> Next:
    if life.doubted and isinstance(attempt, Refused | NotSent):
        return _as_open_as_before(life, attempt, ability, now)
    match attempt:
        case Done(provider_id=provider_id, left=left):
            return _sent(life, provider_id, "sent", left)
        case Refused(why=why):
            if life.withdrawn is not None:
                return replace(_withdrawn(life.withdrawn), outcome="refused")
            told = "failed" if life.errand.what == "message" else "refused"
            return Next("failed", "refused", why, reports=(Report(told, {"why": why}),))
        case NotSent(why=why, retry_after=after):
            return replace(_again(life, why, after, now), outcome="not_sent")
        case InDoubt(why=why):
            return replace(_in_doubt(life, ability, why, now), outcome="in_doubt")
        case Assisted(text=text, link=link, checklist=checklist):
            return assisted(text, link, checklist)


def _as_open_as_before(life: Life, attempt: Refused | NotSent, ability: Ability, now: datetime) -> Next:
    """This attempt did nothing; whether the earlier one did is not known for that."""
    if isinstance(attempt, Refused):
        return replace(person(f"{attempt.why}, but it may have been sent before"), outcome="refused")
    return replace(_in_doubt(life, ability, attempt.why, now, attempt.retry_after), outcome="not_sent")


def never_begun(life: Life, why: str) -> Next:
    """It cannot be done as it was decided, and nothing of it has left."""
    if life.doubted:
        return replace(person(f"{why}, but it may have been sent before"), outcome="not_sent")
    if life.withdrawn is not None:
        return _withdrawn(life.withdrawn)
    return Next("failed", "not_sent", why, reports=(Report("failed", {"why": why}),))


def assisted(text: str, link: str | None, checklist: tuple[str, ...], why: str | None = None) -> Next:
    prepared = _told(text, link, checklist)
    return Next("assisted", "assisted", why, reports=(Report("assisted", {"prepared": prepared}),), prepared=prepared)


def _told(text: str, link: str | None, checklist: tuple[str, ...]) -> dict[str, Any]:
    return {"text": text, "link": link, "checklist": list(checklist)}


def after_look_up(life: Life, found: Found | str, ability: Ability, now: datetime) -> Next:
    """`found` as text: the reading itself failed, and why. A keyed channel that cannot tell now never will."""
    if isinstance(found, Found) and found.there is None and ability == "readable":
        found = "the marketplace cannot tell"
    if isinstance(found, str):
        faults = life.look_faults + 1
        if faults >= _MOST_LOOK_FAULTS:
            return person(f"it may have been sent, and cannot be read back: {found}")
        return Next(
            "in_doubt", why=found, next_at=now + BETWEEN_LOOKS * faults, look_ups=life.look_ups, look_faults=faults
        )
    if found.there is None:
        return person("it may have been sent, and the marketplace cannot tell")
    if found.there:
        return _sent(life, found.provider_id, "sent", found.left)
    if life.look_ups == 0:
        return Next("in_doubt", why="not there yet", next_at=now + BETWEEN_LOOKS, look_ups=1)
    if life.attempts >= _MOST_AFTER_DOUBT:
        return person(f"not there after {life.attempts} attempts")
    return _again(life, "read back twice: it is not there", 0.0, now)


def expired(life: Life, now: datetime) -> bool:
    return life.errand.not_after is not None and now > life.errand.not_after


def expiry(errand: Errand) -> datetime | None:
    """The first moment at which it may no longer be started."""
    return errand.not_after + _MOMENT if errand.not_after is not None else None


def too_late(errand: Errand) -> Next:
    why = "its time was over before it could be started"
    return Next("suppressed", why=why, reports=(Report("expired", {"why": why}),))


def withdraw(status: str, life: Life, why: str) -> Next | None:
    """A withdrawal heard of in this status. None: nothing to answer now (noted, answered once the end is known)."""
    if status in ("planned", "held", "assisted", "blocked", "failed"):
        return _withdrawn(why)
    if status == "sent":
        return Next("sent", reports=(Report("too_late", {"why": "it had left already"}),))
    return None


def resolve(status: str, life: Life, answer: str, by: str, now: datetime) -> Next | None:
    """What a person said. None: it changes nothing in this status."""
    if status not in ("assisted", "in_doubt", "blocked", "held", "failed"):
        return None
    if life.withdrawn is not None and answer != "sent":
        return _withdrawn(life.withdrawn)
    if answer == "drop":
        return _withdrawn(f"dropped by {by}")
    if answer == "sent" and status in ("assisted", "in_doubt"):
        sent = _sent(life, None, "sent")
        return replace(sent, outcome=None, why=f"confirmed by {by}")
    if answer == "not_sent" and status in ("assisted", "in_doubt"):
        why = f"not sent, says {by}"
        return Next("failed", why=why, reports=(Report("withdrawn", {"why": why}),))
    if answer == "send_again" and status in ("in_doubt", "held", "failed"):
        return Next("planned", why=f"to be sent, says {by}", next_at=now, approved=True)
    return None


def _sent(life: Life, provider_id: str | None, outcome: str, left: Assisted | None = None) -> Next:
    data: dict[str, Any] = {"provider_id": provider_id} if provider_id else {}
    if left is not None:
        data["prepared"] = _told(left.text, left.link, left.checklist)
    reports = [Report("sent", data)]
    if life.withdrawn is not None:
        reports.append(Report("too_late", {"why": "it had left already"}))
    return Next("sent", outcome, reports=tuple(reports), provider_id=provider_id)


def _withdrawn(why: str) -> Next:
    return Next("suppressed", why=why, reports=(Report("withdrawn", {"why": why}),))


def _again(life: Life, why: str, after: float | None, now: datetime) -> Next:
    """Surely nothing has happened: it is planned once more, unless it is no longer wanted or useful."""
    if life.withdrawn is not None:
        return _withdrawn(life.withdrawn)
    if expired(life, now):
        return too_late(life.errand)
    if life.attempts >= MOST_ATTEMPTS:
        return Next("failed", why=why, reports=(Report("failed", {"why": f"{why} ({life.attempts} attempts)"}),))
    wait = _wait(life.attempts) if after is None else timedelta(seconds=after)
    limit = expiry(life.errand)
    return Next("planned", why=why, next_at=min(now + wait, limit) if limit else now + wait, approved=life.approved)


def _wait(attempts: int) -> timedelta:
    return timedelta(seconds=_WAITS[min(max(attempts, 1), len(_WAITS)) - 1])


def _in_doubt(life: Life, ability: Ability, why: str, now: datetime, after: float | None = None) -> Next:
    if ability == "readable" or (ability == "keyed" and life.moves_money):
        return Next("in_doubt", why=why, next_at=now)
    if ability == "keyed":
        again = now + (_wait(life.attempts) if after is None else timedelta(seconds=after))
        started = life.first_sending_at or now
        in_time = life.errand.not_after is None or again <= life.errand.not_after
        if life.withdrawn is None and in_time and again - started < KEY_WINDOW and life.attempts < MOST_ATTEMPTS:
            return Next("in_doubt", why=why, next_at=again)
    return person(f"{why}: it may have been sent")


def put_off(life: Life, why: str, until: datetime | None, now: datetime) -> Next:
    """A message in doubt that must not be repeated before `until` (None: nobody knows when), whatever its key."""
    limit = life.errand.not_after
    if until is None or until - (life.first_sending_at or now) >= KEY_WINDOW or (limit is not None and until > limit):
        return person(f"{why}: it may have been sent")
    return Next("in_doubt", why=why, next_at=until)


def person(why: str) -> Next:
    return Next("in_doubt", why=why, reports=(Report("in_doubt", {"why": why}),))


def resolves_by_reading(life: Life, ability: Ability) -> bool:
    """Whether a doubt that is due is looked up (else: the same key again)."""
    return ability != "keyed" or life.moves_money
