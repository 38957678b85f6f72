"""The IOP Open Platform client: `/sync` and `/rest` calls, signed; replies unwrapped and judged. Reference B2, B4, B5.

Field names and common parameters as in the generated SDK (reference S53).
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from shared.calling import ACT_S, READ_S, NoAcknowledgement, in_time, object_in, texts
from shared.clock import Clock, to_micros
from shared.http import Call, Http, InDoubtFault, NotSentFault, RefusedFault
from shared.ports import Account, Secrets, secret_of

BASE = "https://api-sg.aliexpress.com"
_SYSTEM = {"format": "json", "v": "2.0", "sign_method": "sha256", "simplify": "true"}
_LIMITED = frozenset({"ApiCallLimit", "AppCallLimit"})
_UNCLEAR = frozenset({"15", "UnknownRuntimeException"})
"""Remote service errors: public connectors repeat reads on them. With an `isv.` sub code they are a clear no."""
_CREDENTIALS = ("accesstoken", "appkey", "signature", "session")
_FILE_S = 20.0


def sign(secret: str, params: Mapping[str, str], path: str = "") -> str:
    """Upper-case hex HMAC-SHA256 over the path (only for /rest) and name+value of all parameters but `sign`, sorted."""
    text = path + "".join(f"{name}{params[name]}" for name in sorted(params) if name != "sign" and params[name] != "")
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class Client:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    async def read(self, method: str, **params: Any) -> dict[str, Any]:
        """A read over /sync. Raises HttpFault kinds."""
        return await self._sync(method, params, READ_S, reads=True)

    async def act(self, method: str, files: Mapping[str, bytes] | None = None, **params: Any) -> dict[str, Any]:
        """A change over /sync that the reply acknowledges. Raises RefusedFault for a no, InDoubtFault for neither."""
        result = await self._sync(method, params, _FILE_S if files else ACT_S, files=files)
        acknowledged(result)
        return result

    async def rest(self, path: str, *, reads: bool = False, **params: Any) -> dict[str, Any]:
        """A call over /rest, `path` with its leading slash. Business errors stand inside `result`."""
        given = texts(params)
        common = {"app_key": secret_of(self.secrets, "app_key"), "timestamp": self._millis(), "sign_method": "sha256"}
        common["access_token"] = secret_of(self.secrets, "access_token")
        common["sign"] = sign(secret_of(self.secrets, "app_secret"), {**common, **given}, path)
        url = f"{self._base()}/rest{path}"
        call = Call("POST", url, path, params=common, form=given, reads=reads)
        result = await self._call(call, path, READ_S if reads else ACT_S)
        _refuse_failure(result)
        return result

    async def _sync(
        self,
        method: str,
        params: Mapping[str, Any],
        seconds: float,
        *,
        reads: bool = False,
        files: Mapping[str, bytes] | None = None,
    ) -> dict[str, Any]:
        given = texts(params)
        common = {
            "app_key": secret_of(self.secrets, "app_key"),
            "method": method,
            "timestamp": self._millis(),
            **_SYSTEM,
        }
        common["session"] = secret_of(self.secrets, "access_token")
        common["sign"] = sign(secret_of(self.secrets, "app_secret"), {**common, **given})
        form: dict[str, str | bytes] = {**given, **(files or {})}
        call = Call("POST", f"{self._base()}/sync", method, params=common, form=form, reads=reads)
        return await self._call(call, method, seconds)

    async def _call(self, call: Call, name: str, seconds: float) -> dict[str, Any]:
        return unwrap((await in_time(self.http, call, seconds)).body, name)

    def _base(self) -> str:
        return (self.account.base_url or BASE).rstrip("/")

    def _millis(self) -> str:
        return str(to_micros(self.clock.now()) // 1000)


def unwrap(body: bytes, name: str) -> dict[str, Any]:
    """The inner object of a reply: bare, under `result`, or under `<method_with_underscores>_response`."""
    reply = object_in(body, name)
    _refuse_error(reply.get("error_response", reply), name)
    inner = reply.get(name.strip("/").replace(".", "_").replace("/", "_") + "_response", reply)
    result = inner.get("result", inner) if isinstance(inner, dict) else {"result_object": inner}
    return result if isinstance(result, dict) else {"result_object": result}


def acknowledged(result: Mapping[str, Any]) -> None:
    """HTTP 200 is no yes: the business flag decides (reference B4.1)."""
    _refuse_failure(result)
    flags = [result[key] for key in ("result_object", "target", "success", "result_success") if key in result]
    if not flags and str(result.get("code")) != "0":
        raise NoAcknowledgement("the answer acknowledges nothing")


def _refuse_failure(result: Mapping[str, Any]) -> None:
    flags = [result.get(key) for key in ("result_object", "target", "success", "result_success")]
    if _first(result, "sub_msg") or any(flag is False or flag == "false" for flag in flags):
        why = _first(result, "sub_msg", "error_message", "errorMessage", "error_msg", "msg", "sub_code", "error_code")
        raise RefusedFault(why or "the marketplace refused", 200)


def _refuse_error(reply: Mapping[str, Any], name: str) -> None:
    code = str(reply.get("code", "0"))
    if code in ("0", "None", ""):
        return
    why = f"{name}: {code} {_first(reply, 'sub_msg', 'msg', 'message', 'sub_code')}".strip()
    if code in _LIMITED:
        raise NotSentFault(why, 60.0)
    if code in _UNCLEAR and not str(reply.get("sub_code", "")).startswith("isv."):
        raise InDoubtFault(why)
    said = (code + str(reply.get("sub_code", ""))).lower().replace("-", "").replace("_", "")
    raise RefusedFault(why, 401 if any(word in said for word in _CREDENTIALS) else 400)


def _first(result: Mapping[str, Any], *names: str) -> str:
    return next((str(result[name]) for name in names if result.get(name)), "")[:200]
