"""How long a marketplace has not been reached on a way by which its news should come: a connection, the polls, a mailbox."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from shared.accounts import AccountEntry, Config
from shared.clock import Clock, from_micros
from shared.durations import parse_duration
from shared.ports import Page
from shared.store.session import Database

Away = Mapping[tuple[str, ...], float]
"""(marketplace, way) -> seconds, of the account that is worst off; 0 while all are reached."""


class Ways:
    """What the pages of each account's polls say could not be read: since when, and whether still."""

    def __init__(self) -> None:
        self._since: dict[str, dict[str, datetime]] = {}
        self._named: dict[str, set[str]] = {}

    def read(self, account: str, page: Page, now: datetime, *, first: bool) -> None:
        """A way is back when a whole poll has not named it. `first`: of the pages of a poll."""
        named = self._named[account] = set(page.away) | (set() if first else self._named.get(account, set()))
        since = self._since.setdefault(account, {})
        for way in page.away:
            since.setdefault(way, now)
        if page.cursor is None:
            self._since[account] = {way: at for way, at in since.items() if way in named}

    def away(self, account: str, now: datetime) -> dict[str, float]:
        return {way: (now - at).total_seconds() for way, at in self._since.get(account, {}).items()}


class _Connections(Protocol):
    def away(self) -> Mapping[str, float]: ...


class Reach:
    def __init__(
        self, database: Database, config: Callable[[], Config], ways: Ways, connections: _Connections, clock: Clock
    ) -> None:
        self._database, self._config, self._ways = database, config, ways
        self._connections, self._clock = connections, clock

    async def away(self) -> Away:
        """Connections as this replica holds them, polls as the table knows them."""
        entries, now = self._config().accounts, self._clock.now()
        async with self._database.reading() as tx:
            rows = await tx.rows("SELECT account, since, began_at, attempts FROM polls")
        found = [(account, "connection", seconds) for account, seconds in self._connections.away().items()]
        for row in rows:
            if row["account"] in entries:
                found.append((row["account"], "poll", _overdue(row, entries[row["account"]], now)))
                found += [(row["account"], way, s) for way, s in self._ways.away(row["account"], now).items()]
        return _worst((entries[account].account.marketplace, way, s) for account, way, s in found if account in entries)


def _overdue(row: Mapping[str, int | None], entry: AccountEntry, now: datetime) -> float:
    """Since the poll that fails should have been whole; 0 while the last try went well."""
    last, began = row["since"], row["began_at"]
    if not row["attempts"] or (last is None and began is None):
        return 0.0
    due = from_micros(last) + parse_duration(entry.account.poll_every) if last is not None else from_micros(began or 0)
    return max(0.0, (now - due).total_seconds())


def _worst(found: Iterable[tuple[str, str, float]]) -> Away:
    worst: dict[tuple[str, ...], float] = {}
    for marketplace, way, seconds in found:
        worst[marketplace, way] = max(worst.get((marketplace, way), 0.0), seconds)
    return worst
