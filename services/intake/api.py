"""The webhook door: a bare ASGI endpoint in front of FastAPI. Bytes are proven genuine, stored, then answered."""

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol, cast

import msgspec

from services.intake import deliveries, wire
from services.intake.handlers import Writer
from services.intake.limits import Limits
from services.intake.reading import Gone, Message, Receive, Tap, whole
from services.intake.settings import Settings
from services.intake.telling import Telling, log
from shared import crashpoints
from shared.accounts import AccountEntry, Config
from shared.clock import Clock, monotonic
from shared.errors import NotFound, Refusal, TooLarge, Unavailable
from shared.ports import Account, Answer, Inbound, NotGenuine, Reply, Secrets, Webhook

Send = Callable[[Message], Awaitable[None]]

_PATH = re.compile(r"/webhooks/([a-z0-9_]{1,32})/([a-z0-9][a-z0-9_-]{0,62})")
_REMEMBERED = 1000
_RETRY_AFTER = "2"


class Door:
    """`config` is asked anew for each request, so a reload takes effect at once."""

    def __init__(
        self,
        config: Callable[[], Config],
        writer: Writer,
        clock: Clock,
        settings: Settings,
        telling: Telling,
        limits: Limits | None = None,
    ) -> None:
        self._config = config
        self._telling = telling
        self._writer = writer
        self._clock = clock
        self._settings = settings
        self._limits = limits or Limits(settings)
        self._failures: OrderedDict[tuple[str, str], int] = OrderedDict()

    @property
    def inside(self) -> int:
        """Requests that are not answered yet."""
        return self._limits.inside

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        began = monotonic()
        self._limits.inside += 1
        try:
            reply = await self._handle(scope, receive)
            await _send(send, reply)
        except Gone:
            self._telling.ended("unknown", "gone")
            return
        finally:
            self._limits.inside -= 1
        if reply.status < 300:
            self._telling.metrics.delivery_ack_seconds.observe(monotonic() - began)

    async def _handle(self, scope: Mapping[str, Any], receive: Receive) -> Reply:
        match = _PATH.fullmatch(scope["path"])
        config = self._config()
        marketplace, account = match.groups() if match else ("", "")
        facet = config.registry.webhooks(marketplace) if marketplace in config.registry.names() else None
        if facet is None:
            self._telling.ended("unknown", "unknown_account")
            return problem(NotFound("no such webhook"))
        tap = Tap(receive)
        try:
            headers, size = self._announced(scope, facet, config.accounts.get(account))
            self._limits.take_in(size)
            try:
                inbound = Inbound(await whole(tap, self._settings), headers, *_asked(scope))
                return await self._take(config, marketplace, account, facet, inbound)
            finally:
                self._limits.let_go(size)
        except Refusal as refusal:
            await tap.run_out(scope["headers"])
            outcome, reply = _refused(facet, refusal)
            self._telling.ended(marketplace, outcome)
            return reply

    def _announced(
        self, scope: Mapping[str, Any], facet: Webhook, entry: AccountEntry | None
    ) -> tuple[dict[str, tuple[str, ...]], int]:
        """Before a byte of the body is taken in: its headers, judged, and how long it will be at most."""
        if scope["method"] not in methods_of(facet):
            raise _MethodNotAllowed(facet)
        settings = self._settings
        wire.check_size(scope["headers"], settings.header_count, settings.header_bytes)
        headers = wire.collect(scope["headers"])
        size = wire.check(headers, settings.body_limit)
        if entry is not None:
            self._limits.check_pace(entry.account)
        return headers, size

    async def _take(self, config: Config, marketplace: str, account_id: str, facet: Webhook, inbound: Inbound) -> Reply:
        entry = config.accounts.get(account_id)
        if entry is None or entry.account.marketplace != marketplace:
            self._decoy(config, marketplace, account_id, facet, inbound)
            self._note_failure(inbound.peer, marketplace, marketplace, "unknown_account")
            return reply_of(facet, "unknown_account", NotFound("no such webhook"))
        now, secrets = self._clock.now(), config.secrets_for(account_id, "webhook")
        try:
            if inbound.method == "GET":
                self._telling.ended(marketplace, "probe")
                return probed(facet, inbound, entry.account, secrets)
            verify(facet, inbound, entry.account, secrets, now)
        except NotGenuine as refusal:
            self._note_failure(inbound.peer, account_id, marketplace, "refused")
            return reply_of(facet, "refused", refusal)
        crashpoints.hit("intake.verified")
        self._limits.enter(entry.account)
        try:
            delivery = deliveries.read_push(facet, inbound, entry.account, now)
            self._telling.stored(delivery, await self._writer.submit(delivery))
        finally:
            self._limits.leave(entry.account)
        answer: Answer = "unreadable" if delivery.outcome == "unreadable" else "accepted"
        return reply_to(facet, answer, inbound, entry.account, now)

    def _decoy(self, config: Config, marketplace: str, account_id: str, facet: Webhook, inbound: Inbound) -> None:
        """An account that is not there costs what one with a bad signature costs."""
        secrets = _decoy_secrets(config, marketplace)
        try:
            verify(facet, inbound, Account(account_id, marketplace), secrets, self._clock.now())
        except NotGenuine:
            return

    def _note_failure(self, peer: str, account: str, marketplace: str, outcome: str) -> None:
        """Counted per address and account; logged at the 1st, 10th, 100th … so that a flood does not fill the log."""
        self._telling.ended(marketplace, outcome)
        count = self._failures.pop((peer, account), 0) + 1
        self._failures[peer, account] = count
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        if str(count).strip("0") == "1":
            log.warning("webhook_refused", account=account, outcome=outcome, count=count)


class _Probed(Protocol):
    def probe(self, inbound: Inbound, account: Account, secrets: Secrets) -> Reply: ...


class _Replying(Protocol):
    def reply_to(self, answer: Answer, inbound: Inbound, account: Account, began: datetime) -> Reply: ...


class _MethodNotAllowed(Refusal):
    code, status = "method_not_allowed", 405

    def __init__(self, facet: Webhook) -> None:
        super().__init__("this method is not taken here")
        self.allow = ", ".join(methods_of(facet))


def methods_of(facet: Webhook) -> tuple[str, ...]:
    """GET where the marketplace probes the address and its facet offers `probe(inbound, account, secrets) -> Reply`."""
    return ("GET", "POST") if callable(getattr(facet, "probe", None)) else ("POST",)


def verify(facet: Webhook, inbound: Inbound, account: Account, secrets: Secrets, now: Any) -> None:
    """NotGenuine for anything that is not proven, also when the facet stumbles over garbage."""
    with _proving(inbound, account):
        facet.verify(inbound, account, secrets, now)


def probed(facet: Webhook, inbound: Inbound, account: Account, secrets: Secrets) -> Reply:
    with _proving(inbound, account):
        return cast(_Probed, facet).probe(inbound, account, secrets)
    raise AssertionError("unreachable")


@contextmanager
def _proving(inbound: Inbound, account: Account) -> Iterator[None]:
    wire.check_proofs(inbound.headers)
    try:
        yield
    except NotGenuine:
        raise
    except Exception as fault:
        log.exception("verify_failed", account=account.id)
        raise NotGenuine("not proven") from fault


def problem(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Reply:
    body = msgspec.json.encode(refusal.problem())
    return Reply(refusal.status, body, "application/problem+json", headers or {})


def reply_of(facet: Webhook, answer: Answer, refusal: Refusal | None = None) -> Reply:
    """The marketplace's own shape; a facet that fails here must not turn a stored delivery into a 500."""
    try:
        return facet.reply(answer, refusal)
    except Exception:
        log.exception("reply_failed", answer=answer)
        return problem(refusal) if refusal else Reply()


def reply_to(facet: Webhook, answer: Answer, inbound: Inbound, account: Account, began: datetime) -> Reply:
    """To what was stored: in the facet's own words where these depend on what came."""
    own = getattr(facet, "reply_to", None)
    if own is None:
        return reply_of(facet, answer)
    try:
        return cast(_Replying, facet).reply_to(answer, inbound, account, began)
    except Exception:
        log.exception("reply_failed", answer=answer)
        return reply_of(facet, answer)


def _refused(facet: Webhook, refusal: Refusal) -> tuple[str, Reply]:
    """How it is counted and what is answered."""
    match refusal:
        case TooLarge():
            return "too_large", reply_of(facet, "too_large", refusal)
        case Unavailable():
            reply = reply_of(facet, "unavailable", refusal)
            headers = {"retry-after": _RETRY_AFTER, **{name.lower(): value for name, value in reply.headers.items()}}
            return "unavailable", Reply(reply.status, reply.body, reply.content_type, headers)
        case _MethodNotAllowed():
            return "malformed", problem(refusal, {"allow": refusal.allow})
        case _:
            return "malformed", problem(refusal)


def _asked(scope: Mapping[str, Any]) -> tuple[str, str, str]:
    """Query, method and the address it came from."""
    peer = (scope.get("client") or ("",))[0]
    return scope.get("query_string", b"").decode("latin-1"), scope["method"], peer


def _decoy_secrets(config: Config, marketplace: str) -> Secrets:
    entries: list[AccountEntry] = [e for e in config.accounts.values() if e.account.marketplace == marketplace]
    if entries:
        return config.secrets_for(entries[0].account.id, "webhook")
    names = config.registry.manifest(marketplace).secret_names("webhook")
    return dict.fromkeys(names, "whsec_" + "A" * 32)


async def _send(send: Send, reply: Reply) -> None:
    own = {name.lower(): value for name, value in reply.headers.items()}
    headers = {"content-type": reply.content_type, "content-length": str(len(reply.body)), **own}
    if reply.status >= 400:
        headers["connection"] = "close"
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
    await send({"type": "http.response.body", "body": reply.body})
