"""Bugs of the notifier: what leaves twice, too late, or without anybody being told."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.notifier import handlers as takes
from services.notifier import protocol
from services.notifier import store as errands
from services.notifier.claims import Work
from services.notifier.ledger import Ledger
from services.notifier.outcomes import Outcomes
from shared.clock import to_micros
from shared.ports import InDoubt, NotSent
from tests.simulation.seeding import bug
from tests.simulation.stage import Stage
from tests.support import seeded
from tests.support.seeded import instead


@bug
def retried_after_a_time_out(_: Stage) -> Iterator[None]:
    real = protocol.after_attempt

    def after_attempt(life: Any, attempt: Any, ability: Any, now: Any) -> Any:
        return real(life, NotSent(attempt.why, 0.0) if isinstance(attempt, InDoubt) else attempt, "blind", now)

    with instead(protocol, "after_attempt", after_attempt):
        yield


@bug
def crash_taken_for_not_sent(_: Stage) -> Iterator[None]:
    with seeded.crash_taken_for_not_sent():
        yield


@bug
def sending_not_committed_before_the_call(_: Stage) -> Iterator[None]:
    """The claim is only a lease: after a crash it is as if nothing had left."""
    real = Work.lease

    def lease(self: Any, owner: str, until: int, now: Any) -> None:
        before = self.row["status"]
        real(self, owner, until, now)
        if self.do == "send":
            later = to_micros(now + timedelta(seconds=30))
            self.row |= {"status": before, "next_at": later}

    with instead(Work, "lease", lease):
        yield


@bug
def no_fence(_: Stage) -> Iterator[None]:
    """Whoever comes back with an outcome writes it, whoever has dealt with the errand meanwhile."""
    real = Outcomes._record

    async def record(self: Any, works: Any) -> Any:
        async with self._database.reading() as tx:
            standing = await errands.standing(tx, [work.key for work in works])
        for work in works:
            if work.key in standing:
                work.row["fence"] = standing[work.key][0]
        return await real(self, works)

    with instead(Outcomes, "_record", record):
        yield


@bug
def withdrawal_ignored(_: Stage) -> Iterator[None]:
    with instead(takes._Batch, "_withdraw", lambda self, order: None):
        yield


@bug
def early_withdrawal_forgotten(_: Stage) -> Iterator[None]:
    """Of an errand that is not known yet: answered, and nothing is kept of it."""

    async def put_tombstones(*_: Any) -> None:
        return None

    with instead(errands, "put_tombstones", put_tombstones):
        yield


@bug
def not_after_ignored(_: Stage) -> Iterator[None]:
    with instead(protocol, "expired", lambda life, now: False), instead(protocol, "expiry", lambda errand: None):
        yield


@bug
def money_repeated_without_reading(_: Stage) -> Iterator[None]:
    with instead(protocol, "resolves_by_reading", lambda life, ability: False):
        yield


@bug
def one_reading_is_enough(_: Stage) -> Iterator[None]:
    real = protocol.after_look_up

    def after_look_up(life: Any, found: Any, ability: Any, now: Any) -> Any:
        return real(replace(life, look_ups=1), found, ability, now)

    with instead(protocol, "after_look_up", after_look_up):
        yield


@bug
def a_no_settles_an_earlier_doubt(_: Stage) -> Iterator[None]:
    """The product had it until the simulation found it."""
    real = protocol.after_attempt

    def after_attempt(life: Any, attempt: Any, ability: Any, now: Any) -> Any:
        return real(replace(life, doubted=False), attempt, ability, now)

    with instead(protocol, "after_attempt", after_attempt):
        yield


@bug
def result_not_told(_: Stage) -> Iterator[None]:
    """What was sent is not reported to policy."""
    real = Ledger.tell

    def tell(self: Any, row: Any, report: Any) -> None:
        if report.status != "sent":
            real(self, row, report)

    with instead(Ledger, "tell", tell):
        yield
