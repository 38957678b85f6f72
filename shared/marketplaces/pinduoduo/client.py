"""Pinduoduo's open platform: `POST /api/router`, signed; replies unwrapped and judged. Reference 3.2, 3.4.

Parameters travel as one JSON object of texts, as the generated SDK sends them; objects are JSON in a text.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import md5
from typing import Any

import msgspec

from shared.clock import Clock, to_micros
from shared.http import Call, Http, InDoubtFault, NotSentFault, RefusedFault
from shared.json_reader import Unreadable, read
from shared.ports import Account, Secrets

BASE = "https://gw-api.pinduoduo.com"
PATH = "/api/router"
_LIMITED = frozenset({52101, 70031})
_CREDENTIALS = frozenset({10019})
_CLEAR_NO = (range(10_000, 40_000), range(50_000, 52_004))
"""Not worth another try by the SDK of reference PD-TS; 52102 and 52103 (unavailable) leave it open when we act."""
_FLAGS = ("success", "succ", "is_success")
_ECHOES = re.compile(r'"(?:after_sales_id|refund_id)"')
_READ_S, _ACT_S = 10.0, 15.0


class NoAcknowledgement(InDoubtFault):
    """The reply neither says yes nor no."""


def sign(secret: str, params: Mapping[str, str]) -> str:
    """Upper-case hex MD5 over secret, name+value of all parameters but `sign` in the order of names, secret."""
    said = "".join(f"{name}{params[name]}" for name in sorted(params) if name != "sign")
    return md5(f"{secret}{said}{secret}".encode(), usedforsecurity=False).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Client:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    async def read(self, type_: str, **params: Any) -> dict[str, Any]:
        """A read. Raises HttpFault kinds."""
        return await self._call(type_, params, _READ_S, reads=True)

    async def act(self, type_: str, **params: Any) -> dict[str, Any]:
        """A change that the reply acknowledges. Raises RefusedFault for a no, InDoubtFault for neither."""
        reply = await self._call(type_, params, _ACT_S, reads=False)
        acknowledged(reply)
        return reply

    async def _call(self, type_: str, params: Mapping[str, Any], seconds: float, *, reads: bool) -> dict[str, Any]:
        texts = {name: _as_text(value) for name, value in params.items() if value is not None}
        texts |= {"type": type_, "client_id": self._secret("client_id"), "access_token": self._secret("access_token")}
        texts |= {"timestamp": str(to_micros(self.clock.now()) // 1_000_000), "data_type": "JSON", "version": "V1"}
        texts["sign"] = sign(self._secret("client_secret"), texts)
        url = (self.account.base_url or BASE).rstrip("/") + PATH
        headers = {"Content-Type": "application/json"}
        call = Call("POST", url, type_, headers=headers, body=msgspec.json.encode(texts), reads=reads)
        try:
            async with asyncio.timeout(seconds):
                answer = await self.http.call(call)
        except TimeoutError as fault:
            raise InDoubtFault(f"{type_}: no answer in {seconds:.0f} s") from fault
        return unwrap(answer.body, type_)

    def _secret(self, name: str) -> str:
        value = self.secrets[name]
        return value if isinstance(value, str) else value[0]


def unwrap(body: bytes, type_: str) -> dict[str, Any]:
    """What stands inside `…response` and there inside `result`, or bare; flags of the outer ones are kept beside it."""
    try:
        reply = exact(read(body))
    except Unreadable as fault:
        raise InDoubtFault(f"{type_}: unreadable answer ({len(body)} bytes)") from fault
    if not isinstance(reply, dict):
        raise InDoubtFault(f"{type_}: the answer is no object")
    if isinstance(error := reply.get("error_response"), dict):
        _refuse(error, type_)
    inner = next((v for k, v in reply.items() if k.endswith("response") and isinstance(v, dict)), reply)
    result = inner.get("result")
    if isinstance(result, dict):
        outer = {name: inner[name] for name in (*_FLAGS, "error_code", "error_msg") if name in inner}
        return {**outer, **result, **_no(outer)}
    return dict(inner)


def _no(outer: Mapping[str, Any]) -> dict[str, Any]:
    """An outer no is not overruled by an inner yes."""
    return {name: value for name, value in outer.items() if name in _FLAGS and value is False}


def acknowledged(reply: Mapping[str, Any]) -> None:
    """HTTP 200 is no yes: a flag decides, or where a method has none, that it names the after-sale."""
    flags = [reply[name] for name in _FLAGS if name in reply]
    if any(flag in (False, "false") for flag in flags) or _code(reply.get("error_code")):
        why = reply.get("message") or reply.get("error_msg") or "the marketplace refused"
        raise RefusedFault(str(why)[:200], 200)
    if not flags and not _ECHOES.search(msgspec.json.encode(reply).decode()):
        raise NoAcknowledgement("the answer acknowledges nothing")


def _refuse(error: Mapping[str, Any], type_: str) -> None:
    code = _code(error.get("error_code"))
    told = error.get("sub_msg") or error.get("error_msg") or error.get("sub_code") or ""
    why = f"{type_}: {code} {told}".strip()[:300]
    if code in _LIMITED:
        raise NotSentFault(why, 60.0)
    if any(code in span for span in _CLEAR_NO):
        raise RefusedFault(why, 401 if code in _CREDENTIALS else 400)
    raise InDoubtFault(why)


def _code(value: Any) -> int:
    told = str(value or "0")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 0


def exact(value: Any) -> Any:
    """Numbers a double cannot hold as text, so that ids and amounts survive storage."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    return str(value) if isinstance(value, Decimal) else value


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)
