"""intake's loops: the writer of pushed deliveries, fetches, polls, and the daily clearing of old bytes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from services.intake.fetches import Fetches
from services.intake.handlers import Writer
from services.intake.listening import Listening
from services.intake.polls import Polls
from services.intake.settings import Settings
from services.intake.telling import log
from shared.clock import Clock, pause, to_micros
from shared.store.session import Database, is_away

_IDLE = 1.0
_COUNT_EVERY = 1.0
_PATIENCE = 10.0
_CLEARED_AT_ONCE = 1000
_CLEAR_EVERY = timedelta(hours=1)


class Worker:
    """`start` and `stop` once each; `kick` when time was moved or there is work."""

    def __init__(
        self, database: Database, writer: Writer, fetches: Fetches, polls: Polls, listening: Listening, clock: Clock,
        settings: Settings, count_backlog: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        """`count_backlog`: called about once a second, whatever else there is to do."""
        self._database, self._writer, self._fetches, self._polls = database, writer, fetches, polls
        self._listening, self._clock, self._settings = listening, clock, settings
        self._count_backlog = count_backlog
        self._kicks: list[asyncio.Event] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._cleared_at: datetime | None = None

    async def start(self) -> None:
        if not self._database.postgres:
            await self._fetches.release_all()
        await self._listening.begin()
        await self._polls.begin()
        rounds = (self._read_round, self._clear_round, self._listening.round)
        self._stopped = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._writer.run()),
            asyncio.create_task(self._counting()),
            *(asyncio.create_task(self._loop(r)) for r in rounds),
        ]

    def kick(self) -> None:
        for kicked in self._kicks:
            kicked.set()

    async def stop(self) -> None:
        """What waits is committed, reads under way are finished, nothing new is claimed."""
        self._stopping = True
        self._stopped.set()
        await self._listening.stop()
        self._writer.stop()
        self.kick()
        await asyncio.gather(*self._tasks)
        self._polls.stop()
        await _finished(self._polls.running | self._fetches.running)

    async def _loop(self, round_: Callable[[], Awaitable[bool]]) -> None:
        kicked = asyncio.Event()
        self._kicks.append(kicked)
        while not self._stopping:
            kicked.clear()
            try:
                more = await round_()
            except Exception as fault:
                more = False
                if not is_away(fault):
                    log.exception("round_failed")
            if not more and not self._stopping:
                await _waited(kicked, self._fetches.running | self._polls.running, _IDLE)

    async def _counting(self) -> None:
        """The backlog that is counted here is what the door goes by: it may lag by as much as the pause."""
        while not self._stopping:
            try:
                await self._count_backlog()
            except Exception as fault:
                if not is_away(fault):
                    log.exception("backlog_not_counted")
            await pause(_COUNT_EVERY, self._stopped)

    async def _read_round(self) -> bool:
        polled = await self._polls.round()
        return await self._fetches.round() or polled

    async def _clear_round(self) -> bool:
        """Bytes older than 30 days go, a thousand at a time."""
        now = self._clock.now()
        if self._cleared_at is not None and now - self._cleared_at < _CLEAR_EVERY:
            return False
        async with self._database.transaction(long=True) as tx:
            gone = await tx.run(
                "DELETE FROM raw WHERE (account, delivery_id) IN "
                f"(SELECT account, delivery_id FROM raw WHERE received_at < :before LIMIT {_CLEARED_AT_ONCE})",
                before=to_micros(now - self._settings.keep_raw),
            )
        if gone < _CLEARED_AT_ONCE:
            self._cleared_at = now
        return gone == _CLEARED_AT_ONCE


async def _finished(running: set[asyncio.Task[None]]) -> None:
    """Reads under way get a moment; what takes longer is cut off and read again when its lease has run out."""
    if running:
        _, late = await asyncio.wait(running, timeout=_PATIENCE)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _waited(kicked: asyncio.Event, running: set[asyncio.Task[None]], seconds: float) -> None:
    """Until kicked, until a read under way ends, or for a while."""
    kick = asyncio.create_task(kicked.wait())
    try:
        await asyncio.wait({kick, *running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        kick.cancel()
