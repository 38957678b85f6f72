"""What a marketplace's folder offers, facet by facet. `docs/marketplaces/writing-one.md` walks through a whole folder.

Facets are modules (`webhook`, `records`) with the functions of the protocols below, or modules with one class
(`source.Source`, `channel.Channel`). They get secrets as arguments and never read settings, files or the clock.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from shared.clock import Clock
from shared.domain.errands import Errand
from shared.domain.facts import Draft
from shared.errors import Refusal
from shared.http import Http

Secrets = Mapping[str, str | tuple[str, ...]]
"""By the manifest's key names; a tuple of two during rotation."""


def each_secret(secrets: Secrets, name: str) -> tuple[str, ...]:
    """What may be in force: one, two during rotation, none where the account names no such secret."""
    value = secrets.get(name, ())
    return (value,) if isinstance(value, str) else value


def secret_of(secrets: Secrets, name: str) -> str:
    """The one to call with: the first. KeyError for one that is not given: the manifest should have asked for it."""
    value = secrets[name]
    return value if isinstance(value, str) else value[0]


@dataclass(frozen=True, slots=True)
class Account:
    """One store on one marketplace, as configured, without its secrets."""

    id: str
    marketplace: str
    locale: str = "en"
    time_zone: str = "UTC"
    base_url: str | None = None
    poll_every: str = "PT5M"
    settings: Mapping[str, Any] = field(default_factory=dict)
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Inbound:
    """A delivery as it came. Header names are lower case; a repeated header keeps all its values."""

    body: bytes
    headers: Mapping[str, Sequence[str]]
    query: str = ""
    method: str = "POST"
    peer: str = ""

    def header(self, name: str) -> str | None:
        """The one value of a header; None when absent or sent twice."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True)
class Reply:
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


class NotGenuine(Refusal):
    """The delivery is not proven to come from the marketplace (401), or is for another seller (403). Never stored."""

    code, status = "not_genuine", 401


# What a delivery turned out to be.
@dataclass(frozen=True, slots=True)
class Facts:
    drafts: tuple[Draft, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    """Known, genuine, and of no concern to cases (a ping, a token notice)."""

    why: str


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Genuine, but a code we do not know: kept verbatim, counted, alarmed; `drafts` are usually `case.updated`."""

    code: str
    drafts: tuple[Draft, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedsFetch:
    """A doorbell: what it means is read from the marketplace under this reference."""

    ref: str
    drafts: tuple[Draft, ...] = ()


Parsed = Facts | Ignored | Unmapped | NeedsFetch
Answer = Literal["accepted", "unreadable", "refused", "too_large", "unavailable", "unknown_account"]


class Webhook(Protocol):
    """`webhook.py`, pure. Where the marketplace probes the address by GET it also offers
    `probe(inbound, account, secrets) -> Reply` (raises NotGenuine); without it GET is answered 405. Where the reply
    depends on what came (a check that wants its echo) it offers `reply_to(answer, inbound, account, began) -> Reply`
    for what was stored; `began`: when processing began."""

    def verify(self, inbound: Inbound, account: Account, secrets: Secrets, now: datetime) -> None:
        """Proves the raw bytes genuine before anything is parsed. Raises NotGenuine."""
        ...

    def dedupe_key(self, inbound: Inbound) -> str:
        """What makes two deliveries the same one. Called after `verify`, must not fail on unreadable bytes."""
        ...

    def parse(self, inbound: Inbound, account: Account) -> Parsed:
        """Raises shared.json_reader.Unreadable (naming the place) for what it cannot read."""
        ...

    def reply(self, answer: Answer, refusal: Refusal | None = None) -> Reply:
        """The marketplace's own shape for each answer."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """What the read API says about one reference now. `body` is the marketplace's own, numbers kept exact as text."""

    ref: str
    body: Mapping[str, Any]
    revision: int | None = None
    """The marketplace's version or modification time in ms; an older one than kept is dropped and counted."""


class Records(Protocol):
    """`records.py`, pure."""

    def facts(
        self, record: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
    ) -> Sequence[Draft]:
        """What has happened between the previous record (None: first sight) and this one."""
        ...


class NotYetThere(Exception):
    """The reference cannot be read yet: tried again on a growing gap for 24 h, then a task."""


@dataclass(frozen=True, slots=True)
class Page:
    """One stretch of a poll: records to compare, references to fetch, and where to go on (None: done)."""

    records: tuple[Record, ...] = ()
    refs: tuple[str, ...] = ()
    cursor: Mapping[str, Any] | None = None
    away: tuple[str, ...] = ()
    """Ways of this source, by name (a mailbox), that could not be read this time; the rest goes on without them."""


class Source(Protocol):
    """`source.py`: `Source(account, secrets, http, clock)`. Raises shared.http.HttpFault kinds, NotYetThere."""

    async def fetch(self, ref: str) -> Sequence[Record]: ...

    async def poll(self, cursor: Mapping[str, Any] | None, since: datetime | None) -> Page:
        """`since`: when the last whole poll began (None: never). The cursor is kept between pages, so polls resume."""
        ...


Take = Callable[[Inbound, Mapping[str, str]], Awaitable[bool]]
"""One message that came over a connection, and the settings (`mall_id` …) of the account it is for. True: it is kept, and may
be acknowledged. False: no account here is meant. Raises shared.errors.Unavailable when it cannot be kept now."""


class Listener(Protocol):
    """`listener.py`: `Listener(account, secrets, clock)`, with the source's secrets. News over a connection that this side
    opens; what a message means say `dedupe_key` and `parse` of the webhook facet, which never sees a connection."""

    @property
    def wanted(self) -> bool:
        """Whether this account listens at all."""
        ...

    async def listen(self, take: Take, opened: Callable[[], None] = ...) -> None:
        """One connection's life. `opened` is called once it stands. A message is acknowledged only after `take` has answered
        True. Returns when the connection is over, or raises shared.http.HttpFault kinds; whoever holds the account's lease
        then connects anew."""
        ...


# What became of one attempt to send or perform.
@dataclass(frozen=True, slots=True)
class Done:
    provider_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    left: "Assisted | None" = None
    """What of it has no API: done by a person besides, and a task of its own."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The marketplace said no; trying again would not help. `account_wide`: credentials (also opens the breaker)."""

    why: str
    account_wide: bool = False


@dataclass(frozen=True, slots=True)
class NotSent:
    """Surely nothing happened (refused connection, 429, 503 with Retry-After): planned again."""

    why: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Time-out, reset after write, 5xx, unreadable answer: it may have happened."""

    why: str


@dataclass(frozen=True, slots=True)
class Assisted:
    """No API for it: prepared for a person."""

    text: str
    link: str | None = None
    checklist: tuple[str, ...] = ()


Attempt = Done | Refused | NotSent | InDoubt | Assisted


@dataclass(frozen=True, slots=True)
class Found:
    """A look-up's answer: it is there, it is not (yet), or it cannot be told."""

    there: bool | None
    provider_id: str | None = None
    left: Assisted | None = None
    """As `Done.left`."""


class Channel(Protocol):
    """`channel.py`: `Channel(account, secrets, http, clock)`."""

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        """How an ambiguous attempt of this errand is resolved."""
        ...

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        """One message to the buyer, already rendered and judged."""
        ...

    async def perform(self, errand: Errand) -> Attempt: ...

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        """Only for `readable`: was this errand taken at or after `since`?"""
        ...


class FileChannel(Channel, Protocol):
    """A channel that sends files with some acts says with which; all others know nothing of this.

    An act that carries files names them in `errand.attachments` (SHA-256) and tells of each in `errand.params["files"]`:
    `{evidence_id, what, sha256, content_type}`, `content_type` None for an address or a text that is kept with the case.
    """

    files_for: ClassVar[frozenset[str]]
    """Names of acts. An act whose files cannot all be read is never begun."""

    async def perform(self, errand: Errand, files: Mapping[str, bytes] | None = None) -> Attempt:
        """`files`: every attachment's bytes by SHA-256; None when there are none, or nothing is to be sent."""
        ...


class SourceFactory(Protocol):
    def __call__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> Source: ...


class ListenerFactory(Protocol):
    def __call__(self, account: Account, secrets: Secrets, clock: Clock) -> Listener: ...


class ChannelFactory(Protocol):
    def __call__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> Channel: ...


class SimulatorFactory(Protocol):
    """`simulator.create`: an ASGI app that answers like the marketplace's read and act API for one account.

    Served over real HTTP on the loopback in the sandbox, where the account names no `base_url`.
    Its control surface lies under `/_control/…` and is never part of the marketplace's own paths.
    `keep`: a file in which what it knows survives a restart; it may do without.
    """

    def __call__(self, account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Any: ...
