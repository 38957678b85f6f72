"""May this message leave now? Caps, quiet hours and windows, in the buyer's zone. Pure.

Whoever is told to wait is told why and, where it can be known, until when. Acts are not asked: they have deadlines.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
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
) -> Answer:
    if conversation is not None and conversation.opted_out:
        return Stop("blocked", "the buyer does not want messages")
    spoke = _latest(last_buyer_message_at, conversation.last_buyer_message_at if conversation else None)
    closed = _window(limits.book, conversation, spoke, now)
    if closed is not None:
        return closed
    if limits.quiet and not urgent and (until := _quiet_until(limits.quiet, zone, now)):
        return Wait("quiet hours", until)
    return _capped(order_id, limits, spoke, list(earlier), zone, now)


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
    start, end = quiet
    local = now.astimezone(zone)
    clock = local.time().replace(tzinfo=None)
    inside = start <= clock < end if start < end else clock >= start or clock < end
    if not inside:
        return None
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    return max(datetime.combine(day, end, zone).astimezone(UTC), now + timedelta(microseconds=1))


def _capped(
    order_id: str, limits: Limits, spoke: datetime | None, earlier: list[Sent], zone: ZoneInfo, now: datetime
) -> Answer:
    day, tomorrow = _day(zone, now)
    if limits.per_day is not None and sum(s.day == day for s in earlier) >= limits.per_day:
        return Wait(f"{limits.per_day} messages a day to one buyer", tomorrow)
    unanswered = [s for s in earlier if s.order_id == order_id and (spoke is None or s.at > spoke)]
    book = limits.book
    if book.unanswered is not None and len(unanswered) >= book.unanswered:
        return Wait(f"{book.unanswered} messages without an answer", None)
    if book.per_day_unanswered is not None and sum(s.day == day for s in unanswered) >= book.per_day_unanswered:
        return Wait(f"{book.per_day_unanswered} messages a day without an answer", tomorrow)
    return Go(day)


@lru_cache(maxsize=256)
def _day(zone: ZoneInfo, now: datetime) -> tuple[str, datetime]:
    """The calendar day there, and when the next one begins; `now` is one moment for a whole batch."""
    today = now.astimezone(zone).date()
    return today.isoformat(), datetime.combine(today + timedelta(days=1), time(0), zone).astimezone(UTC)


def _latest(*moments: datetime | None) -> datetime | None:
    return max((m for m in moments if m is not None), default=None)
