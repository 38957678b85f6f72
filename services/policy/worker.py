"""policy's loops: facts off the bus (the consumer's own), and due clocks and orphans, each in rounds."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.policy import answers, due
from services.policy.agenda import Agenda
from services.policy.handlers import Policy
from services.policy.settings import Settings
from services.policy.store import Key
from shared.clock import monotonic, pause, to_micros
from shared.store.session import is_transient

_log = structlog.get_logger(__name__)


_FORGET_EVERY, _FORGET_AFTER = 3600.0, 60.0
"""Real seconds between two rounds that let old answers go; the first comes a while after the start, which has better to do."""
_ORPHANS_EVERY = 5.0
"""Real seconds between two looks for facts that found no case; they have waited for a day."""


class ClockApart(Exception):
    """Nothing fires while our clock and the database's disagree."""


class Worker:
    """`start` and `stop` once each; `kick` when time was moved or there is work."""

    def __init__(
        self,
        policy: Policy,
        settings: Settings,
        clock_fault: Callable[[], Awaitable[str | None]],
        mine: Callable[[Key], bool] = lambda _: True,
    ) -> None:
        """`clock_fault`: why our clock is not to be trusted; None when it is. `mine`: which orders' clocks come first."""
        self._policy, self._settings, self._clock_fault = policy, settings, clock_fault
        self._agenda = Agenda(policy.database, policy.clock, mine)
        policy.expect = self._expect
        self._checked, self._ahead = -settings.check_skew_every, 0.0
        self._settled, self._forgot = -_ORPHANS_EVERY, monotonic() - _FORGET_EVERY + _FORGET_AFTER
        self._asked, self._stop = False, asyncio.Event()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.running = False
        """A round is under way."""
        self.held_up = False
        """The clock is wrong or the database is away: nothing fires."""

    async def start(self) -> None:
        self._stop.clear()
        self._task = asyncio.create_task(self._run(), name="policy due")

    async def stop(self) -> None:
        """What is under way is finished."""
        self._stop.set()
        self._woken.set()
        if self._task is not None:
            await self._task

    def kick(self) -> None:
        self._asked = True
        self._woken.set()

    def _expect(self, at: int) -> None:
        """A commit of this process set a clock (microseconds): before what we sleep for, we are woken."""
        if self._agenda.expect(at):
            self._woken.set()

    async def _run(self) -> None:
        while not self._stop.is_set():
            self._woken.clear()
            done, wait = 0, 0.0
            try:
                self.running = True
                await self._check_clock()
                done = await self._round()
                wait = min(self._settings.idle, self._agenda.rest())
                self.held_up = False
            except ClockApart as fault:
                self.held_up, wait = True, self._settings.after_fault
                _log.warning("clock_apart", why=str(fault))
            except Exception as fault:
                self.held_up, wait = True, self._settings.after_fault
                if is_transient(fault):
                    _log.warning("due_round_waits", fault=type(fault).__name__)
                else:
                    _log.exception("due_round_failed")
            finally:
                self.running = False
            if not done and not self._stop.is_set():
                await pause(wait, self._woken)

    async def _round(self) -> int:
        asked, self._asked = self._asked, False
        if asked:
            self._agenda.forget(everything=True)
        done = await due.fire(self._policy, self._agenda)
        if asked or monotonic() > self._settled + _ORPHANS_EVERY:
            done += await due.settle_orphans(self._policy)
            self._settled = monotonic()
        if not done and monotonic() > self._forgot + _FORGET_EVERY and not await answers.forget(self._policy.database):
            self._forgot = monotonic()
        return done

    async def _check_clock(self) -> None:
        """Now and then, and at once when our clock was set: what a jump makes due does not fire before it is looked at."""
        ahead = to_micros(self._policy.clock.now()) / 1e6 - monotonic()
        was_set = abs(ahead - self._ahead) > self._settings.skew / 2
        if monotonic() < self._checked + self._settings.check_skew_every and not self.held_up and not was_set:
            return
        why = await self._clock_fault()
        if why:
            raise ClockApart(why)
        self._checked, self._ahead = monotonic(), ahead
