"""May this message leave now? Caps, quiet hours and windows, in the buyer's zone. Pure.

Whoever is told to wait is told why and, where it can be known, until when. Acts are not asked: they have deadlines.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from services.notifier.rulebook import RuleBook
from shared.domain.errands import Conversation


@dataclass(frozen=True, slots=True)
class Sent:
    """An earlier message to the same buyer that left, or is sure to."""

    order_id: str
    day: str
    at: datetime
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one account: the marketplace's book, overlaid by the account's own settings."""

    book: RuleBook
    per_day: int | None
    quiet: tuple[time, time] | None


@dataclass(frozen=True, slots=True)
class Go:
    day: str
    """The calendar day in the buyer's zone it counts for."""


@dataclass(frozen=True, slots=True)
class Wait:
    why: str
    until: datetime | None
    """None: until something happens (the buyer writes)."""


@dataclass(frozen=True, slots=True)
class Stop:
    status: Literal["blocked", "assisted"]
    why: str


Answer = Go | Wait | Stop


@lru_cache(maxsize=1024)
def zone_of(*names: str | None) -> ZoneInfo:
    """The first that is a known zone, else UTC."""
    for name in filter(None, names):
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):
            continue
    return ZoneInfo("UTC")


def may_leave(
    order_id: str,
    urgent: bool,
    limits: Limits,
    conversation: Conversation | None,
    last_buyer_message_at: datetime | None,
    earlier: Iterable[Sent],
    zone: ZoneInfo,
    now: datetime,
    purpose: str = "",
) -> Answer:
    """`earlier`: to the same buyer, this message itself not among them. `purpose`: empty for an operator's own words."""
    if conversation is not None and conversation.opted_out:
        return Stop("blocked", "the buyer does not want messages")
    spoke = _latest(last_buyer_message_at, conversation.last_buyer_message_at if conversation else None)
    closed = _window(limits.book, conversation, spoke, now)
    if closed is not None:
        return closed
    if limits.quiet and not urgent and (until := _quiet_until(limits.quiet, zone, now)):
        return Wait("quiet hours", until)
    return _capped(order_id, purpose, limits, spoke, list(earlier), zone, now)


def _window(book: RuleBook, talk: Conversation | None, spoke: datetime | None, now: datetime) -> Answer | None:
    windows = book.windows
    if windows is None:
        return None
    if windows.after_buyer_message and spoke and now - spoke <= windows.after_buyer_message:
        return None
    until = talk.window_until if talk else None
    if until is not None and now <= until:
        return None
    if until is None and not windows.closed_by_default:
        return None
    why = "the conversation is closed until the buyer writes"
    return Wait(why, None) if windows.otherwise == "hold" else _stopped(windows.otherwise, why)


def _stopped(otherwise: Literal["assisted", "block"], why: str) -> Stop:
    return Stop("assisted" if otherwise == "assisted" else "blocked", why)


def _quiet_until(quiet: tuple[time, time], zone: ZoneInfo, now: datetime) -> datetime | None:
    """The end of the quiet hours `now` lies in, None when it lies in none."""
    if not _is_quiet(quiet, zone, now):
        return None
    ends = _shows(now.astimezone(zone).date(), quiet[1], zone)
    return min(end for end in ends if end > now and not _is_quiet(quiet, zone, end))


def _is_quiet(quiet: tuple[time, time], zone: ZoneInfo, moment: datetime) -> bool:
    start, end = quiet
    clock = moment.astimezone(zone).time()
    return start <= clock < end if start < end else clock >= start or clock < end


def _shows(day: date, wall: time, zone: ZoneInfo) -> Iterator[datetime]:
    """When a clock there shows this time, on that day and the next: twice where clocks go back over it. Where they go forward
    over it, it is taken for what it would be without the change."""
    for on in (day, day + timedelta(days=1)):
        for fold in (0, 1):
            yield datetime.combine(on, wall, zone).replace(fold=fold).astimezone(UTC)


def _capped(
    order_id: str,
    purpose: str,
    limits: Limits,
    spoke: datetime | None,
    earlier: list[Sent],
    zone: ZoneInfo,
    now: datetime,
) -> Answer:
    day, tomorrow = _day(zone, now)
    if limits.per_day is not None and sum(s.day == day for s in earlier) >= limits.per_day:
        return Wait(f"{limits.per_day} messages a day to one buyer", tomorrow)
    unanswered = [s for s in earlier if s.order_id == order_id and (spoke is None or s.at > spoke)]
    book, same = limits.book, sum(s.purpose == purpose for s in unanswered) if purpose else 0
    if book.unanswered is not None and len(unanswered) >= book.unanswered:
        return Wait(f"{book.unanswered} messages without an answer", None)
    if book.unanswered_per_purpose is not None and purpose and same >= book.unanswered_per_purpose:
        return Wait(f"{book.unanswered_per_purpose} messages of this purpose without an answer", None)
    if book.per_day_unanswered is not None and sum(s.day == day for s in unanswered) >= book.per_day_unanswered:
        return Wait(f"{book.per_day_unanswered} messages a day without an answer", tomorrow)
    return Go(day)


def day_of(zone: ZoneInfo, now: datetime) -> str:
    return _day(zone, now)[0]


@lru_cache(maxsize=256)
def _day(zone: ZoneInfo, now: datetime) -> tuple[str, datetime]:
    """The calendar day there, and when the next one begins; `now` is one moment for a whole batch."""
    today = now.astimezone(zone).date()
    return today.isoformat(), datetime.combine(today + timedelta(days=1), time(0), zone).astimezone(UTC)


def _latest(*moments: datetime | None) -> datetime | None:
    return max((m for m in moments if m is not None), default=None)
