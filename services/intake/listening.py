"""Listening: accounts whose marketplace tells its news over a connection that we open. One replica holds it, by a lease.

A message enters by the same corridor as a webhook: read, committed by the one writer, and only then acknowledged.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from services.intake import deliveries
from services.intake.handlers import Writer
from services.intake.telling import Telling, log
from shared.accounts import AccountEntry, Config
from shared.clock import Clock, monotonic
from shared.http import HttpFault
from shared.ports import Inbound, Listener
from shared.store.session import Database, is_away

LEASE_MICROS = 15_000_000
_RENEW = 4.0
_GAPS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SETTLED = 60.0
"""Real seconds after which a connection counts as a good one: the next gap is the shortest again."""

_HOLD = (
    "INSERT INTO listeners (account, owner, lease_until) VALUES (:account, :owner, {now} + {lease}) "
    "ON CONFLICT (account) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until "
    "WHERE listeners.owner = :owner OR listeners.lease_until < {now}"
)

_LET_GO = "UPDATE listeners SET lease_until = 0 WHERE account = :account AND owner = :owner"


@dataclass(slots=True)
class _Open:
    """One account's connection as long as its configuration stays the same. `away`: since when there is none."""

    entry: AccountEntry
    listener: Listener
    away: float | None
    task: asyncio.Task[None] | None = None

    def stands(self) -> None:
        self.away = None


class Listening:
    def __init__(
        self,
        database: Database,
        config: Callable[[], Config],
        writer: Writer,
        clock: Clock,
        telling: Telling,
        owner: str,
    ) -> None:
        self._database, self._config, self._writer = database, config, writer
        self._clock, self._telling, self._owner = clock, telling, owner
        self._open: dict[str, _Open] = {}
        self._made: dict[str, tuple[AccountEntry, Listener]] = {}
        self._renew_at = 0.0
        self._stopping = False

    async def begin(self) -> None:
        """One process has its SQLite file to itself: a lease left behind is nobody's."""
        if not self._database.postgres:
            async with self._database.transaction() as tx:
                await tx.run("UPDATE listeners SET lease_until = 0 WHERE lease_until > 0")

    async def round(self) -> bool:
        """Takes what is free, keeps what is ours, lets go of what is not wanted any more."""
        wanted = self._wanted()
        for account in [a for a, held in self._open.items() if a not in wanted or held.entry != wanted[a][0]]:
            await self._close(account)
        if not wanted or monotonic() < self._renew_at:
            return False
        mine = await self._hold(sorted(wanted))
        self._renew_at = monotonic() + _RENEW
        for account in wanted.keys() - mine:
            await self._close(account)
        for account in sorted(mine - self._open.keys() if not self._stopping else ()):
            held = self._open[account] = _Open(*wanted[account], away=monotonic())
            held.task = asyncio.create_task(self._keep(held))
        return False

    def away(self) -> dict[str, float]:
        """For how many seconds each account that is ours has had no connection; 0 while it has one."""
        now = monotonic()
        return {account: 0.0 if held.away is None else now - held.away for account, held in self._open.items()}

    async def stop(self) -> None:
        """What was not committed is not acknowledged: it comes again."""
        self._stopping = True
        held = list(self._open)
        for account in held:
            await self._close(account)
        try:
            async with self._database.transaction() as tx:
                for account in held:
                    await tx.run(_LET_GO, account=account, owner=self._owner)
        except Exception as fault:
            if not is_away(fault):
                raise

    def _wanted(self) -> dict[str, tuple[AccountEntry, Listener]]:
        """By account: those whose marketplace can be listened to and that want it."""
        config = self._config()
        for account, entry in config.accounts.items():
            make = config.registry.listeners(entry.account.marketplace)
            if make is not None and (account not in self._made or self._made[account][0] != entry):
                secrets = config.secrets_for(account, "source")
                self._made[account] = entry, make(entry.account, secrets, self._clock)
        return {a: made for a, made in self._made.items() if a in config.accounts and made[1].wanted}

    async def _hold(self, accounts: list[str]) -> set[str]:
        mine: set[str] = set()
        async with self._database.transaction() as tx:
            hold = _HOLD.format(now=tx.micros_now(), lease=LEASE_MICROS)
            for account in accounts:
                if await tx.run(hold, account=account, owner=self._owner):
                    mine.add(account)
        return mine

    async def _close(self, account: str) -> None:
        held = self._open.pop(account, None)
        if held is not None and held.task is not None:
            held.task.cancel()
            await asyncio.gather(held.task, return_exceptions=True)

    async def _keep(self, held: _Open) -> None:
        """Connects again and again on a growing gap of real time."""
        failed, entry = 0, held.entry
        while True:
            began, why = monotonic(), "closed by the other side"
            try:
                await held.listener.listen(partial(self._take, entry), held.stands)
            except HttpFault as fault:
                why = fault.why
            except Exception:  # a bug of ours must not end the listening
                log.exception("listener_failed", account=entry.account.id)
            held.away = monotonic() if held.away is None else held.away
            failed = 0 if monotonic() - began >= _SETTLED else failed
            gap = _GAPS[min(failed, len(_GAPS) - 1)]
            log.warning("listener_reconnects", account=entry.account.id, why=why, after=gap)
            failed += 1
            await asyncio.sleep(gap)

    async def _take(self, entry: AccountEntry, inbound: Inbound, settings: Mapping[str, str]) -> bool:
        meant = self._meant(entry, settings)
        facet = self._config().registry.webhooks(entry.account.marketplace)
        if meant is None or facet is None:
            return False
        delivery = deliveries.read_push(facet, inbound, meant.account, self._clock.now())
        outcome = await self._writer.submit(delivery)
        self._telling.stored(delivery, outcome)
        return True

    def _meant(self, entry: AccountEntry, settings: Mapping[str, str]) -> AccountEntry | None:
        """One connection may bring the news of several shops: the account that says so of itself, else a silent one."""
        same = [e for e in self._config().accounts.values() if e.account.marketplace == entry.account.marketplace]

        def says(one: AccountEntry) -> list[str]:
            return [str(one.account.settings.get(name, "")) for name in settings]

        told = list(settings.values())
        return next((e for e in same if says(e) == told), entry if not any(says(entry)) else None)
