"""The one HTTP client (aiohttp). It says what a failed call means: surely not sent, refused, or in doubt."""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.resolver import DefaultResolver

MAX_ANSWER = 1_000_000
THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that may be spoken to without encryption, mail servers included."""
Fault = Callable[["Call"], Awaitable[str | None]]
Trusted = Callable[[], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request about to go out. `label` is the API method's name for logs; never a secret."""

    method: str
    url: str
    label: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    form: Mapping[str, str | bytes] | None = None
    """Form fields; bytes values travel as files."""
    reads: bool = False
    """It changes nothing at the marketplace: faults that tests inject into sends are not meant for it."""
    limit: int = MAX_ANSWER
    """Bytes of the answer; more for a document that is known to be long."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Raises InDoubtFault when a 2xx body is no JSON: whether it was done cannot be told."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as fault:
            raise InDoubtFault(f"unreadable answer ({len(self.body)} bytes)") from fault


class HttpFault(Exception):
    """Base. `why` is fit for logs and tasks."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after


class NotSentFault(HttpFault):
    """Nothing reached the marketplace, or it said it did not process it (429, 503 with Retry-After)."""


class InDoubtFault(HttpFault):
    """It may have been processed."""


class RefusedFault(HttpFault):
    """A clear no (4xx). `status` tells which."""

    def __init__(self, why: str, status: int, body: bytes = b"") -> None:
        super().__init__(why)
        self.status = status
        self.body = body


class Guard:
    """Which addresses may be called: https to public addresses, and whatever the operator named as a `base_url`.

    `trusted` answers the host names that need no check; it is asked at each call, so a reload counts at once.
    """

    def __init__(self, trusted: Trusted = tuple) -> None:
        self._trusted = trusted

    def check(self, url: str) -> None:
        """Raises NotSentFault for a URL that must not be called whatever it resolves to."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host in self._trusted():
            return
        if parts.scheme != "https" or not host:
            raise NotSentFault("only https addresses are called")
        try:
            self.check_address(host, host)
        except ValueError:
            return

    def check_address(self, host: str, address: str) -> None:
        """Raises NotSentFault for an address inside our own network; ValueError when it is no address."""
        if host in self._trusted():
            return
        found = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
        for one in (found, mapped) if mapped else (found,):
            if not one.is_global or one.is_multicast or one.is_reserved:
                raise NotSentFault("the address lies inside a private network")


class _GuardedResolver(AbstractResolver):
    """Checks what a name resolves to; the connection is then made to just these addresses."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for one in found:
            self._guard.check_address(host, one["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


def base_host(base_url: str | None) -> str | None:
    return urlsplit(base_url).hostname if base_url else None


class Http:
    """Keep-alive pool with a total deadline per call, capped answers, no redirects, and a guard on addresses.

    `fault` is asked before each call what is to go wrong (tests, sandbox). `on_sent` is told once a request has left.
    """

    def __init__(
        self,
        *,
        timeout: float = 20.0,
        fault: Fault | None = None,
        guard: Guard | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(5.0, timeout))
        self._session: aiohttp.ClientSession | None = None
        self._fault = fault
        self._guard = guard
        self._on_sent = on_sent

    async def call(self, call: Call) -> Answer:
        """The answer with a 2xx status; anything else raises the HttpFault that says what it means."""
        if self._guard is not None:
            self._guard.check(call.url)
        verdict = await self._fault(call) if self._fault else None
        if verdict == "refused":
            raise NotSentFault("connection refused (injected)")
        if verdict in ("500", "429"):
            return _judged(Answer(int(verdict), {}, b""))
        answer = await self._go(call)
        if verdict == "timeout":
            raise InDoubtFault("no answer in time (injected)")
        return _judged(answer)

    async def _go(self, call: Call) -> Answer:
        try:
            async with self._open().request(
                call.method, call.url, params=call.params or None, headers=call.headers, data=_payload(call),
                allow_redirects=False,
            ) as response:  # fmt: skip
                body = await _body(response, call.limit)
                return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            raise NotSentFault(f"cannot connect: {type(fault).__name__}") from fault
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise InDoubtFault(f"no whole answer: {type(fault).__name__}") from fault

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                auto_decompress=True,
                connector=aiohttp.TCPConnector(
                    limit=0, limit_per_host=64, resolver=_GuardedResolver(self._guard) if self._guard else None
                ),
                request_class=_telling(self._on_sent) if self._on_sent else aiohttp.ClientRequest,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts, size = [], 0
    while more := await response.content.read(limit + 1 - size):
        parts.append(more)
        size += len(more)
        if size > limit:
            raise InDoubtFault(f"answer over {limit / 1e6:g} MB")
    return b"".join(parts)


def _telling(on_sent: Callable[[], None]) -> type[aiohttp.ClientRequest]:
    """aiohttp's tracing tells the same, but of every other step too, and each costs."""

    class Telling(aiohttp.ClientRequest):
        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            response = await super().send(conn)
            on_sent()
            return response

    return Telling


def _payload(call: Call) -> Any:
    if call.form is None:
        return call.body
    if all(isinstance(v, str) for v in call.form.values()):
        return dict(call.form)
    form = aiohttp.FormData()
    for name, value in call.form.items():
        form.add_field(name, value, filename=name if isinstance(value, bytes) else None)
    return form


def _judged(answer: Answer) -> Answer:
    if 200 <= answer.status < 300:
        return answer
    after = _retry_after(answer.headers.get("retry-after"))
    if answer.status == 429 or (answer.status == 503 and after is not None):
        raise NotSentFault(f"HTTP {answer.status}", after)
    if 400 <= answer.status < 500:
        raise RefusedFault(f"HTTP {answer.status}", answer.status, answer.body)
    raise InDoubtFault(f"HTTP {answer.status}")


def _retry_after(text: str | None) -> float | None:
    """Seconds, held between 1 s and 1 h; None for what is no number of seconds."""
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return min(max(float(text), 1.0), 3600.0)
