"""The DOP router: one address, a bearer token among the form fields, no signature (reference 4.2). Replies judged.

`status.code` "00000000" is a yes, "44" a business error with `subErrors`; other codes are not established.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from shared.calling import ACT_S, READ_S, in_time, object_in
from shared.clock import Clock
from shared.http import Call, Http, InDoubtFault, RefusedFault
from shared.marketplaces.dhgate.reading import millis, rows, text, zone_of
from shared.ports import Account, Secrets, secret_of

BASE = "https://api.dhgate.com"
_YES, _BUSINESS = "00000000", "44"
_CREDENTIALS = ("token", "unauthorized", "invalid_client", "client_id", "expired")


@dataclass(frozen=True, slots=True)
class Client:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    async def read(self, method: str, **params: Any) -> dict[str, Any]:
        """Raises HttpFault kinds."""
        return await self._call(method, params, reads=True)

    async def act(self, method: str, **params: Any) -> dict[str, Any]:
        """A change. Raises RefusedFault for a clear no, InDoubtFault for an answer that says neither."""
        return await self._call(method, params, reads=False)

    async def _call(self, method: str, params: Mapping[str, Any], *, reads: bool) -> dict[str, Any]:
        form = {name: str(value) for name, value in params.items() if value is not None}
        form |= {"method": method, "v": "2.0", "timestamp": str(millis(self.clock.now()))}
        form["access_token"] = secret_of(self.secrets, "access_token")
        url = f"{(self.account.base_url or BASE).rstrip('/')}/dop/router"
        call = Call("POST", url, method, form=form, reads=reads)
        try:
            answer = await in_time(self.http, call, READ_S if reads else ACT_S)
        except RefusedFault as fault:
            raise _named(fault, method) from fault
        return unwrap(answer.body, method, reads=reads)


def zone(account: Account) -> tzinfo:
    """Raises RefusedFault naming a zone that does not exist."""
    try:
        return zone_of(account)
    except (KeyError, ValueError) as fault:
        raise RefusedFault(f"settings.source_time_zone: {fault}", 400) from fault


def _named(fault: RefusedFault, method: str) -> RefusedFault:
    """An HTTP 4xx has `error` and `errorDescription` in its body."""
    said = fault.body.decode("utf-8", "replace")[:200]
    return RefusedFault(
        f"{method}: {fault.why} {said}".strip(), 401 if _credentials(said) else fault.status, fault.body
    )


def unwrap(body: bytes, method: str, *, reads: bool) -> dict[str, Any]:
    """The inner object of a reply: bare, under `result`, or under `<method_with_underscores>_response`."""
    reply = object_in(body, method)
    inner = reply.get(method.replace(".", "_") + "_response", reply)
    inner = inner if isinstance(inner, dict) else {}
    result = inner.get("result")
    inner = result if isinstance(result, dict) else inner
    _judge(inner, method, reads=reads)
    return inner


def _judge(reply: Mapping[str, Any], method: str, *, reads: bool) -> None:
    status = reply.get("status")
    told = status if isinstance(status, Mapping) else reply
    code = text(told.get("code"))
    if code == _YES or (code is None and reads and not reply.get("error")):
        return
    why = f"{method}: {code or 'no code'} {_said(told)}".strip()
    if code == _BUSINESS:
        raise RefusedFault(why, 200)
    if _credentials(why):
        raise RefusedFault(why, 401)
    raise RefusedFault(why, 400) if reads else InDoubtFault(why)


def _said(told: Mapping[str, Any]) -> str:
    details = [text(one.get("message")) or "" for one in rows(told.get("subErrors"))]
    names = ("message", "msg", "error", "errorDescription", "solution")
    found = [*details, *(text(told.get(name)) or "" for name in names)]
    return "; ".join(dict.fromkeys(filter(None, found)))[:200]


def _credentials(said: str) -> bool:
    return any(word in said.lower() for word in _CREDENTIALS)
