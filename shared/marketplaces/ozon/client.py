"""Ozon's Seller API: POST with JSON, `Client-Id` and `Api-Key`; its errors read into what they mean. Reference 2.2, 2.5."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.http import Call, Http, HttpFault, InDoubtFault, RefusedFault
from shared.json_reader import Unreadable, exact, read
from shared.ports import Account, Secrets

BASE = "https://api-seller.ozon.ru"
_READ_S, _ACT_S = 10.0, 15.0
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
        return await self._call(path, params, _READ_S, reads=True)

    async def act(self, path: str, **params: Any) -> dict[str, Any]:
        """A change. Raises RefusedFault for a no, also for one that comes with status 200."""
        result = await self._call(path, params, _ACT_S)
        if result.get("result") is False:
            raise RefusedFault(_why(result) or "Ozon answered no", 200)
        return result

    async def _call(
        self, path: str, params: Mapping[str, Any], seconds: float, *, reads: bool = False
    ) -> dict[str, Any]:
        body = _encoder.encode({name: value for name, value in params.items() if value is not None})
        headers = {
            "Client-Id": self._secret("client_id"),
            "Api-Key": self._secret("api_key"),
            "Content-Type": "application/json",
        }
        url = (self.account.base_url or BASE).rstrip("/") + path
        call = Call("POST", url, path, headers=headers, body=body, reads=reads, limit=_LONGEST)
        try:
            async with asyncio.timeout(seconds):
                answer = await self.http.call(call)
        except TimeoutError as fault:
            raise InDoubtFault(f"{path}: no answer in {seconds:.0f} s") from fault
        except RefusedFault as fault:
            raise RefusedFault(f"{path}: {_said(fault) or fault.why}", fault.status, fault.body) from None
        return _object(answer.body, path)

    def _secret(self, name: str) -> str:
        value = self.secrets[name]
        return value if isinstance(value, str) else value[0]


def _object(body: bytes, path: str) -> dict[str, Any]:
    """Some acts are answered with nothing at all."""
    if not body.strip():
        return {}
    try:
        found = exact(read(body, _LONGEST))
    except Unreadable as fault:
        raise InDoubtFault(f"{path}: unreadable answer ({len(body)} bytes)") from fault
    if not isinstance(found, dict):
        raise InDoubtFault(f"{path}: the answer is no object")
    return found


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
