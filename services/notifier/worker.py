"""notifier's loops: the consumer of `amends.outbound`, and the dispatch of due errands."""

import asyncio

from services.notifier.dispatch import Dispatcher
from services.notifier.settings import Settings
from shared.bus.consume import Consumer
from shared.bus.port import OUTBOUND, queue_of
from shared.clock import monotonic, pause
from shared.logs import get_logger
from shared.store.partitions import Ownership
from shared.store.session import is_transient

_AWAY_PAUSE = 1.0
_log = get_logger("notifier")


class Worker:
    def __init__(
        self,
        consumer: Consumer,
        dispatcher: Dispatcher,
        ownership: Ownership,
        settings: Settings,
        *,
        sole: bool,
    ) -> None:
        self._consumer, self._dispatcher, self._ownership = consumer, dispatcher, ownership
        self._settings, self._sole = settings, sole
        self._stop = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._recovered_at = 0.0

    async def start(self) -> None:
        self._stop.clear()
        await self._ownership.start(self._assign)
        await self._dispatcher.start(sole=self._sole)
        await self._consumer.start()
        self._recovered_at = monotonic()
        self._loop = asyncio.create_task(self._dispatching(), name="notifier dispatch")

    async def stop(self) -> None:
        """No new claims; calls under way end and are recorded; then partitions are given up."""
        self._stop.set()
        self._dispatcher.close()
        await self._consumer.stop()
        if self._loop is not None:
            await self._loop
        await self._dispatcher.stop(self._settings.stop_within)
        await self._ownership.stop()

    def kick(self) -> None:
        self._consumer.kick()
        self._dispatcher.look()

    @property
    def in_hand(self) -> bool:
        return self._consumer.busy or self._dispatcher.under_way > 0

    @property
    def healthy(self) -> bool:
        return self._consumer.healthy and self._loop is not None and not self._loop.done()

    async def _assign(self, owned: frozenset[int]) -> None:
        await self._consumer.assign(queue_of(OUTBOUND, n) for n in sorted(owned))

    async def _dispatching(self) -> None:
        while not self._stop.is_set():
            try:
                done = await self._dispatcher.claim()
                await self._recover_now_and_then()
            except Exception as fault:
                if not is_transient(fault):
                    _log.exception("dispatch_failed", fault=type(fault).__name__)
                await pause(_AWAY_PAUSE, self._stop)
                continue
            if not done:
                await self._wait()

    async def _wait(self) -> None:
        patience = min(self._settings.look_every, self._dispatcher.seconds_to_room() or self._settings.look_every)
        await pause(patience, self._dispatcher.wake)
        self._dispatcher.wake.clear()

    async def _recover_now_and_then(self) -> None:
        if not self._sole and monotonic() - self._recovered_at > self._settings.recover_every:
            self._recovered_at = monotonic()
            await self._dispatcher.recover()
