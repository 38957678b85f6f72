"""The line to each account's marketplace: its channel, how fast it may be used, and whether it is whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.notifier.breaker import CLOSED, MOST_FAILURES, Breaker
from services.notifier.faults import Faults
from shared import crashpoints
from shared.accounts import Config
from shared.clock import Clock, monotonic
from shared.domain.errands import Errand
from shared.http import Answer, Call, Guard, Http, NotSentFault, base_host
from shared.pace import Pace
from shared.ports import Account, Assisted, Attempt, Channel

MOST_UNDER_WAY = 64
"""Calls under way on one line at most, and connections to its marketplace."""
_CALL_SECONDS = 10.0
_PROVEN = 1.0
"""Seconds that a call says something about the next ones."""


class _NoHttp(Http):
    """A line that is not there: what a channel prepares for a person it must prepare without calling anybody."""

    async def call(self, call: Call) -> Answer:
        raise NotSentFault("this is for a person to do")


@dataclass(slots=True)
class Line:
    """`offline` is the same channel without a network. `channel` None: the marketplace has none, a person does it all."""

    account: Account
    channel: Channel | None
    offline: Channel | None
    pace: Pace
    breaker: Breaker = CLOSED
    window: int = MOST_FAILURES
    """How many may be under way: few at first and after a failure, more with each success."""
    proven_until: float = 0.0
    """Until then a line on which nothing is under way is as wide as its last calls left it."""
    under_way: int = 0
    behind: bool = False
    """Errands are due that found no place: what is new waits behind them."""
    closed: bool = False
    """The account was removed from the configuration: nothing leaves any more."""

    def room(self, now: float) -> int:
        """How many more may be started now: by pace, and so few under way that the breaker opens in time."""
        if not self.under_way and now > self.proven_until:
            self.window = MOST_FAILURES
        most = 1 if self.breaker.probing else self.window - self.breaker.failures
        return max(0, min(most - self.under_way, self.pace.available(now)))

    def take_place(self, calls: int = 1) -> None:
        self.under_way += 1
        self.pace.take(calls)

    def leave_place(self, calls: int = 0) -> None:
        """`calls`: how many were taken for it and not made."""
        self.under_way -= 1
        self.pace.take(-calls)

    def judged(self, breaker: Breaker, calls: int) -> None:
        """What came of so many calls has brought the breaker here."""
        self.window = min(self.window + calls, MOST_UNDER_WAY) if breaker == CLOSED else MOST_FAILURES
        self.breaker = breaker
        self.proven_until = monotonic() + _PROVEN

    def ability(self, errand: Errand) -> str:
        return self.channel.ability(errand) if self.channel is not None else "blind"


class Lines:
    """By account id. `per_second`: how fast a marketplace may be called for one account that does not say it itself.

    Raises ConfigurationError when a channel does not load.
    """

    def __init__(self, config: Config, clock: Clock, faults: Faults, per_second: Callable[[Account], float]) -> None:
        self._clock, self._faults, self._per_second = clock, faults, per_second
        self._https: list[Http] = []
        self._by_account = {id_: self._line(config, id_) for id_ in config.accounts}

    def __getitem__(self, account: str) -> Line:
        return self._by_account[account]

    def __contains__(self, account: object) -> bool:
        return account in self._by_account

    def get(self, account: str) -> Line | None:
        return self._by_account.get(account)

    def all(self) -> Mapping[str, Line]:
        return self._by_account

    def replace(self, config: Config, per_second: Callable[[Account], float]) -> None:
        """New channels for all accounts, in the lines there are: breaker, pace and what is under way are kept."""
        self._per_second = per_second
        new = {id_: self._line(config, id_) for id_ in config.accounts}
        for id_, line in self._by_account.items():
            line.closed = id_ not in new
        for id_, fresh in new.items():
            line = self._by_account.setdefault(id_, fresh)
            line.account, line.channel, line.offline = fresh.account, fresh.channel, fresh.offline

    async def close(self) -> None:
        for http in self._https:
            await http.close()

    def _line(self, config: Config, id_: str) -> Line:
        account = config.accounts[id_].account
        rate = float(account.settings.get("messages_per_second") or self._per_second(account))
        pace = Pace(rate, monotonic())
        factory = config.registry.channels(account.marketplace)
        if factory is None:
            return Line(account, None, None, pace)
        host = base_host(account.base_url)
        http = Http(
            timeout=_CALL_SECONDS,
            fault=self._faults.hook(account.marketplace),
            guard=Guard(lambda: (host,) if host else ()),
            on_sent=lambda: crashpoints.hit("notifier.request"),
        )
        self._https.append(http)
        secrets = config.secrets_for(id_, "channel")
        offline = factory(account, secrets, _NoHttp(), self._clock)
        return Line(account, factory(account, secrets, http, self._clock), offline, pace)


async def prepared(line: Line, errand: Errand, subject: str | None, body: str) -> Assisted:
    """What a person needs to do it himself: the channel's own words where it has them."""
    if line.offline is not None:
        attempt: Attempt
        try:
            said = errand.what == "message"
            attempt = await (line.offline.send(errand, subject, body) if said else line.offline.perform(errand))
        except Exception:  # whatever a channel does without its line, a person can still be told what is to be done
            attempt = Assisted(body)
        if isinstance(attempt, Assisted):
            return attempt
    return Assisted(body or _in_words(errand), None, (f"{_in_words(errand)} on {line.account.marketplace}",))


def _in_words(errand: Errand) -> str:
    if errand.what == "message":
        return f"Send the message to the buyer of order {errand.order_id}"
    amount = f", {errand.money.value} {errand.money.currency}" if errand.money else ""
    return f"{errand.name.replace('_', ' ').capitalize()}: order {errand.order_id}{amount}"
