"""Pinduoduo's open platform: `POST /api/router`, signed; replies unwrapped and judged. Reference 3.2, 3.4.

Parameters travel as one JSON object of texts, as the generated SDK sends them; objects are JSON in a text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5
from typing import Any

import msgspec

from shared.calling import ACT_S, READ_S, NoAcknowledgement, in_time, object_in, texts
from shared.clock import Clock, to_micros
from shared.http import Call, Http, InDoubtFault, NotSentFault, RefusedFault
from shared.ports import Account, Secrets, secret_of

BASE = "https://gw-api.pinduoduo.com"
PATH = "/api/router"
_LIMITED = frozenset({52101, 70031})
_CREDENTIALS = frozenset({10019})
_CLEAR_NO = (range(10_000, 40_000), range(50_000, 52_004))
"""Not worth another try by the SDK of reference PD-TS; 52102 and 52103 (unavailable) leave it open when we act."""
_FLAGS = ("success", "succ", "is_success")
_ECHOES = re.compile(r'"(?:after_sales_id|refund_id)"')


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
        return await self._call(type_, params, READ_S, reads=True)

    async def act(self, type_: str, **params: Any) -> dict[str, Any]:
        """A change that the reply acknowledges. Raises RefusedFault for a no, InDoubtFault for neither."""
        reply = await self._call(type_, params, ACT_S, reads=False)
        acknowledged(reply)
        return reply

    async def _call(self, type_: str, params: Mapping[str, Any], seconds: float, *, reads: bool) -> dict[str, Any]:
        given = texts(params)
        given |= {
            "type": type_,
            "client_id": secret_of(self.secrets, "client_id"),
            "access_token": secret_of(self.secrets, "access_token"),
        }
        given |= {"timestamp": str(to_micros(self.clock.now()) // 1_000_000), "data_type": "JSON", "version": "V1"}
        given["sign"] = sign(secret_of(self.secrets, "client_secret"), given)
        url = (self.account.base_url or BASE).rstrip("/") + PATH
        headers = {"Content-Type": "application/json"}
        call = Call("POST", url, type_, headers=headers, body=msgspec.json.encode(given), reads=reads)
        return unwrap((await in_time(self.http, call, seconds)).body, type_)


def unwrap(body: bytes, type_: str) -> dict[str, Any]:
    """What stands inside `…response` and there inside `result`, or bare; flags of the outer ones are kept beside it."""
    reply = object_in(body, type_)
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
