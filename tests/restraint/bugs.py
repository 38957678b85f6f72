"""Bugs seeded into the product: each replaces one function for as long as it is open, and must be found out by the oracle."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.notifier import governor, handlers, ledger, protocol, render
from services.notifier.claims import Claim
from services.notifier.composer import Composer
from services.notifier.governor import Go
from services.notifier.ledger import Ledger
from services.notifier.planner import Planner
from services.notifier.protocol import Next, Report
from shared.clock import to_micros
from shared.ports import InDoubt, NotSent
from tests.restraint import laws, memory, run
from tests.support.seeded import crash_taken_for_not_sent, instead

LIVES = 1500
"""Within so many each must be caught."""
Seeded = Callable[[], Iterator[None]]
BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {}
SEEDS: dict[str, int] = {}
"""The first life in which it is caught."""


def bug(seed: int) -> Callable[[Seeded], None]:
    def keep(seeded: Seeded) -> None:
        BUGS[seeded.__name__], SEEDS[seeded.__name__] = contextmanager(seeded), seed

    return keep


def caught(name: str, first: int = 0, lives: int = LIVES) -> str | None:
    """What the oracle says of the first life in which it finds the bug out. No bug here blocks: what the rules on texts block
    too much of is theirs."""
    laws._Remembering.written.clear()
    try:
        with BUGS[name]():
            return next(
                (f"seed {seed}: {found[0]}" for seed in range(first, first + lives) if (found := _told(seed))),
                None,
            )
    finally:
        laws._Remembering.written.clear()


def _told(seed: int) -> list[str]:
    return [fault for fault in run.one(seed)[2] if "blocked for nothing" not in fault]


# caps


@bug(0)
def no_cap_a_day() -> Iterator[None]:
    real = governor._capped

    def capped(order_id: str, purpose: str, limits: Any, *rest: Any) -> Any:
        return real(order_id, purpose, replace(limits, per_day=None), *rest)

    with instead(governor, "_capped", capped):
        yield


@bug(0)
def day_of_the_server() -> Iterator[None]:
    real = governor._day
    with instead(governor, "_day", lambda zone, now: real(ZoneInfo("UTC"), now)):
        yield


@bug(12)
def counted_from_the_plan() -> Iterator[None]:
    """A message that waited before it left counts for the moment it was planned. The product had it."""
    real = Planner._takes_its_place

    def takes_its_place(self: Any, row: Any, errand: Any, day: str) -> None:
        before = row["slot_at"]
        real(self, row, errand, day)
        row["slot_at"] = before or row["slot_at"]

    with instead(Planner, "_takes_its_place", takes_its_place):
        yield


@bug(4)
def in_doubt_does_not_count() -> Iterator[None]:
    with instead(memory, "COUNTED", tuple(status for status in ledger.COUNTED if status != "in_doubt")):
        yield


@bug(8)
def purposes_are_not_told_apart() -> Iterator[None]:
    real = governor._capped
    with instead(governor, "_capped", lambda order_id, purpose, *rest: real(order_id, "", *rest)):
        yield


# quiet hours


@bug(0)
def quiet_hours_of_the_seller() -> Iterator[None]:
    real = governor.zone_of
    with instead(governor, "zone_of", lambda *names: real(names[-1])):
        yield


@bug(4)
def nights_end_at_midnight() -> Iterator[None]:
    """Quiet hours over midnight are none before it."""

    def is_quiet(quiet: Any, zone: Any, moment: Any) -> bool:
        return bool(quiet[0] <= moment.astimezone(zone).time() < quiet[1] or moment.astimezone(zone).time() < quiet[1])

    with instead(governor, "_is_quiet", is_quiet):
        yield


@bug(3)
def the_first_moment_is_let_out() -> Iterator[None]:
    real = governor._is_quiet
    with instead(governor, "_is_quiet", lambda q, z, m: real(q, z, m) and m.astimezone(z).time() != q[0]):
        yield


@bug(80)
def once_an_hour_is_twice_it_spins() -> Iterator[None]:
    """The end of the quiet hours where clocks go back over it is looked for in the past. The product had it."""

    def shows(day: Any, wall: Any, zone: Any) -> Iterator[datetime]:
        yield datetime.combine(day, wall, zone).astimezone(UTC)

    def quiet_until(quiet: Any, zone: Any, now: Any) -> Any:
        if not governor._is_quiet(quiet, zone, now):
            return None
        local = now.astimezone(zone)
        day = local.date() + timedelta(days=local.time() >= quiet[1])
        return max(*shows(day, quiet[1], zone), now + timedelta(microseconds=1))

    with instead(governor, "_quiet_until", quiet_until):
        yield


@bug(12)
def repeated_whatever_the_hour() -> Iterator[None]:
    """A message in doubt goes again under its key without being asked about. The product had it."""
    with instead(Planner, "repeat", lambda self, row, errand, ledger: True):
        yield


@bug(0)
def asked_only_when_planned() -> Iterator[None]:
    with instead(Planner, "govern", _let_go(Planner.govern)):
        yield


def _let_go(real: Any) -> Any:
    def govern(self: Any, row: Any, errand: Any, ledger: Any) -> Any:
        if row["next_at"] is None:
            return real(self, row, errand, ledger)
        row |= {"slot_day": row["slot_day"] or "2026-01-01", "slot_at": row["slot_at"] or to_micros(self._now)}
        return True

    return govern


# windows, silence, withdrawals


@bug(3)
def the_window_never_closes() -> Iterator[None]:
    with instead(governor, "_window", lambda *_: None):
        yield


@bug(3)
def silence_not_kept() -> Iterator[None]:
    real = governor.may_leave

    def may_leave(order_id: Any, urgent: Any, limits: Any, talk: Any, *rest: Any) -> Any:
        return real(order_id, urgent, limits, talk and msgspec.structs.replace(talk, opted_out=False), *rest)

    with instead(governor, "may_leave", may_leave):
        yield


@bug(0)
def withdrawal_ignored() -> Iterator[None]:
    with instead(handlers._Batch, "_withdraw", lambda self, order: None):
        yield


@bug(0)
def early_withdrawal_forgotten() -> Iterator[None]:
    with instead(handlers._Batch, "_bury", lambda self, order, key: None):
        yield


@bug(0)
def sent_after_its_time() -> Iterator[None]:
    with instead(protocol, "expired", lambda life, now: False), instead(protocol, "expiry", lambda errand: None):
        yield


# twice


@bug(0)
def a_repeated_plan_is_a_new_one() -> Iterator[None]:
    real = handlers._Batch._plan

    def plan(self: Any, errand: Any) -> None:
        self._there = set()
        real(self, errand)

    with instead(handlers._Batch, "_plan", plan):
        yield


@bug(13)
def a_crash_is_taken_for_not_sent() -> Iterator[None]:
    with crash_taken_for_not_sent():
        yield


@bug(0)
def a_time_out_is_taken_for_not_sent() -> Iterator[None]:
    real = protocol.after_attempt

    def after_attempt(life: Any, attempt: Any, ability: Any, now: Any) -> Any:
        return real(life, NotSent("again", 0.0) if isinstance(attempt, InDoubt) else attempt, ability, now)

    with instead(protocol, "after_attempt", after_attempt):
        yield


# texts


@bug(0)
def a_missing_value_is_a_blank() -> Iterator[None]:
    real = Composer.write

    def write(self: Any, errand: Any, account: Any, earlier: Any = ()) -> Any:
        written = real(self, errand, account, earlier)
        if written.fault is None:
            return written
        fair = real(self, _spoken(errand), account, earlier)
        return replace(fair, body=f"Hello, about your order {errand.order_id}: ")

    with instead(Composer, "write", write):
        yield


def _spoken(errand: Any) -> Any:
    return msgspec.structs.replace(errand, name="free_text", text=f"Hello ({errand.order_id})")


@bug(80)
def blanks_in_lists() -> Iterator[None]:
    """The product had it."""
    with instead(render, "_list", lambda value: [render._text(one) for one in value]):
        yield


@bug(0)
def the_verdict_is_not_asked() -> Iterator[None]:
    with instead(Planner, "_judged", _unjudged):
        yield


def _unjudged(self: Any, row: Any, errand: Any, written: Any, ledger: Any) -> None:
    if written.fault is None:
        self.govern(row, errand, ledger)
        return
    ledger.apply(row, Next("blocked", why=written.fault, reports=(Report("blocked", {"why": written.fault}),)))


@bug(1)
def nobody_need_agree() -> Iterator[None]:
    real = Planner._judged

    def judged(self: Any, row: Any, errand: Any, written: Any, ledger: Any) -> None:
        if written.verdict is not None and written.verdict.action == "hold":
            self.govern(row, errand, ledger)
        else:
            real(self, row, errand, written, ledger)

    with instead(Planner, "_judged", judged):
        yield


@bug(63)
def what_was_said_before_does_not_count() -> Iterator[None]:
    real = Composer.write
    with instead(Composer, "write", lambda self, errand, account, earlier=(): real(self, errand, account)):
        yield


# holds


@bug(80)
def a_place_that_becomes_free_wakes_nobody() -> Iterator[None]:
    """The product had it."""
    real = Ledger.apply

    def apply(self: Any, row: Any, next_: Any) -> None:
        real(self, row, next_)
        self.freed.clear()
        self.freed_buyers.clear()

    with instead(Ledger, "apply", apply):
        yield


@bug(100)
def a_persons_word_is_forgotten() -> Iterator[None]:
    """Who agreed is asked again when the message has had to wait. The product had it."""
    real = Ledger.apply

    def apply(self: Any, row: Any, next_: Any) -> None:
        real(self, row, next_)
        row["approved"] = bool(next_.approved)

    with instead(Ledger, "apply", apply):
        yield


@bug(0)
def an_answer_is_not_governed() -> Iterator[None]:
    """Agreed to by a person, it leaves at any hour."""
    real = Claim._fresh

    def fresh(self: Any, row: Any, errand: Any, dead: Any) -> Any:
        if row["approved"]:
            with instead(governor, "may_leave", lambda *_: Go("2026-01-01")):
                return real(self, row, errand, dead)
        return real(self, row, errand, dead)

    with instead(Claim, "_fresh", fresh):
        yield
