"""The Selling Partner API client: login token, calls, documents up and down, call limits. Reference A1.4, A2, A4, A5."""

import asyncio
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.calling import ACT_S, READ_S, in_time, object_in
from shared.clock import Clock, monotonic
from shared.http import Answer, Call, Http, HttpFault, InDoubtFault, NotSentFault, RefusedFault
from shared.json_reader import Unreadable, read
from shared.marketplaces.amazon.limits import Limits
from shared.marketplaces.amazon.regions import endpoint_of, login_of
from shared.ports import Account, Secrets, each_secret, secret_of

DOCUMENT_LIMIT = 50_000_000
"""Bytes of one document, packed and unpacked: a report of 60 days of a very large seller."""
_DOCUMENT_S = 30.0
_EARLY_S = 60.0
_TOKEN_S = 3600
_GZIP = b"\x1f\x8b"
_AGENT = {"user-agent": "Amends/1 (Language=Python)"}


@dataclass(frozen=True, slots=True)
class Document:
    """`charset`: what the answer's header says of it."""

    body: bytes
    charset: str | None = None


class Client:
    """One per account and service: it keeps the token and the call limits. Safe for concurrent calls."""

    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self.account = account
        self._secrets, self._http, self._clock = secrets, http, clock
        self._limits = Limits()
        self._token, self._made, self._until = "", 0.0, 0.0
        self._one = asyncio.Lock()

    async def call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        reads: bool | None = None,
    ) -> dict[str, Any]:
        """One call with the token; `path` begins with its slash, `body` becomes JSON. Numbers come exact (as text).

        `reads` defaults to whether the method is GET. Raises HttpFault kinds; RefusedFault says Amazon's own code.
        """
        reading = method == "GET" if reads is None else reads
        try:
            answer = await self._go(method, path, operation, params, body, reading)
        except RefusedFault as fault:
            if fault.status not in (401, 403) or not await self._renewed():
                raise
            answer = await self._go(method, path, operation, params, body, reading)
        return _object(answer, operation)

    async def download(self, url: str, *, packed: bool = False) -> Document:
        """A document as its address is given, without our token. `packed`: gzip, unless it was unpacked on its way."""
        call = Call("GET", url, "document", headers=_AGENT, reads=True, limit=DOCUMENT_LIMIT)
        answer = await in_time(self._http, call, _DOCUMENT_S)
        charset = re.search(r"charset=\"?([\w.:-]+)", answer.headers.get("content-type", ""), re.IGNORECASE)
        packed = packed and answer.body.startswith(_GZIP)
        body = await asyncio.to_thread(unpacked, answer.body) if packed else answer.body
        return Document(body, charset.group(1) if charset else None)

    async def upload(self, url: str, body: bytes, content_type: str) -> None:
        """A document to the address that was made for it."""
        call = Call("PUT", url, "document", headers={"content-type": content_type}, body=body)
        await in_time(self._http, call, _DOCUMENT_S)

    async def _go(
        self, method: str, path: str, operation: str, params: Mapping[str, str] | None, body: Any, reads: bool
    ) -> Answer:
        headers = {**_AGENT, "x-amz-access-token": await self._access()}
        if not self.account.sandbox:
            await self._limits.turn(operation)
        encoded = None if body is None else msgspec.json.encode(body)
        if encoded is not None:
            headers["content-type"] = "application/json"
        url = endpoint_of(self.account) + path
        call = Call(method, url, operation, params=params or {}, headers=headers, body=encoded, reads=reads)
        try:
            answer = await in_time(self._http, call, READ_S if reads else ACT_S)
        except RefusedFault as fault:
            raise RefusedFault(f"{operation}: {said(fault)}", fault.status, fault.body) from fault
        except NotSentFault as fault:
            if "429" in fault.why:
                self._limits.spent(operation)
            raise
        self._limits.told(operation, answer.headers.get("x-amzn-ratelimit-limit"))
        return answer

    async def _access(self) -> str:
        async with self._one:
            if monotonic() >= self._until:
                await self._log_in()
            return self._token

    async def _renewed(self) -> bool:
        """A new token after a refusal; False when the one refused was just made (then it is not the token)."""
        async with self._one:
            if monotonic() - self._made < _EARLY_S:
                return False
            await self._log_in()
            return True

    async def _log_in(self) -> None:
        """While the client secret is changed either may be the one in force."""
        *earlier, last = each_secret(self._secrets, "lwa_client_secret")
        for secret in earlier:
            with suppress(RefusedFault):
                await self._exchange(secret)
                return
        await self._exchange(last)

    async def _exchange(self, client_secret: str) -> None:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": secret_of(self._secrets, "refresh_token"),
            "client_id": secret_of(self._secrets, "lwa_client_id"),
            "client_secret": client_secret,
        }
        try:
            call = Call("POST", login_of(self.account), "login", headers=_AGENT, form=form, reads=True)
            told = _object(await in_time(self._http, call, READ_S), "login")
        except RefusedFault as fault:
            raise RefusedFault(f"login: {said(fault)}", 401, fault.body) from fault
        except HttpFault as fault:
            raise NotSentFault(f"login: {fault.why}", fault.retry_after) from fault
        token, seconds = told.get("access_token"), told.get("expires_in", _TOKEN_S)
        if not isinstance(token, str) or not isinstance(seconds, int):
            raise NotSentFault("login: the answer holds no token")
        self._token, self._made = token, monotonic()
        self._until = self._made + max(seconds - _EARLY_S, 0.0)


def said(fault: RefusedFault) -> str:
    """Amazon's own words for a no: `{errors:[{code,message}]}`, of the login `{error, error_description}`."""
    try:
        body = read(fault.body)
    except Unreadable:
        return fault.why
    if not isinstance(body, dict):
        return fault.why
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else body
    told = [first.get(name) for name in ("code", "error", "message", "error_description")]
    return ": ".join(str(part)[:150] for part in told if part) or fault.why


def unpacked(body: bytes) -> bytes:
    """Raises InDoubtFault for what is no gzip or grows beyond the limit."""
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = reader.decompress(body, DOCUMENT_LIMIT)
    except zlib.error as fault:
        raise InDoubtFault("the document is no gzip") from fault
    if reader.unconsumed_tail:
        raise InDoubtFault(f"the document is over {DOCUMENT_LIMIT} bytes")
    if not reader.eof:
        raise InDoubtFault("the document ends too early")
    return plain


def _object(answer: Answer, operation: str) -> dict[str, Any]:
    return object_in(answer.body, operation) if answer.body else {}
