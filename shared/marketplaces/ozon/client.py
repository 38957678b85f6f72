"""Ozon's Seller API: POST with JSON, `Client-Id` and `Api-Key`; its errors read into what they mean. Reference 2.2, 2.5."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.calling import ACT_S, READ_S, in_time, object_in
from shared.http import Call, Http, HttpFault, RefusedFault
from shared.json_reader import Unreadable, read
from shared.ports import Account, Secrets, secret_of

BASE = "https://api-seller.ozon.ru"
_LONGEST = 4_000_000
"""A full page of returns is about 1 MB."""
_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Client:
    account: Account
    secrets: Secrets
    http: Http

    async def read(self, path: str, **params: Any) -> dict[str, Any]:
        """A read. Raises HttpFault kinds."""
        return await self._call(path, params, READ_S, reads=True)

    async def act(self, path: str, **params: Any) -> dict[str, Any]:
        """A change. Raises RefusedFault for a no, also for one that comes with status 200."""
        result = await self._call(path, params, ACT_S)
        if result.get("result") is False:
            raise RefusedFault(_why(result) or "Ozon answered no", 200)
        return result

    async def _call(
        self, path: str, params: Mapping[str, Any], seconds: float, *, reads: bool = False
    ) -> dict[str, Any]:
        body = _encoder.encode({name: value for name, value in params.items() if value is not None})
        headers = {
            "Client-Id": secret_of(self.secrets, "client_id"),
            "Api-Key": secret_of(self.secrets, "api_key"),
            "Content-Type": "application/json",
        }
        url = (self.account.base_url or BASE).rstrip("/") + path
        call = Call("POST", url, path, headers=headers, body=body, reads=reads, limit=_LONGEST)
        try:
            answer = await in_time(self.http, call, seconds)
        except RefusedFault as fault:
            raise RefusedFault(f"{path}: {_said(fault) or fault.why}", fault.status, fault.body) from None
        return _object(answer.body, path)


def _object(body: bytes, path: str) -> dict[str, Any]:
    """Some acts are answered with nothing at all."""
    return object_in(body, path, _LONGEST) if body.strip() else {}


def _said(fault: RefusedFault) -> str:
    """The words of Ozon's error: `{"code", "message", "details"}`."""
    try:
        found = read(fault.body)
    except Unreadable:
        return ""
    return f"HTTP {fault.status}, {_why(found)}" if isinstance(found, dict) and _why(found) else ""


def _why(found: Mapping[str, Any]) -> str:
    return " ".join(str(found[name]) for name in ("code", "message") if found.get(name))[:200]


def is_missing(fault: HttpFault) -> bool:
    return isinstance(fault, RefusedFault) and fault.status == 404
