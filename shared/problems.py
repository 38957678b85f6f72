"""Refusals and bad requests as `application/problem+json` (RFC 9457). What was sent in is never repeated."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from shared.bounds import Bounded
from shared.errors import ConfigurationError, Invalid, Refusal, Unavailable
from shared.logs import get_logger
from shared.store.session import Unstorable, is_away, is_unstorable

MEDIA_TYPE = "application/problem+json"
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
_log = get_logger("http")


def problem(refusal: Refusal) -> JSONResponse:
    headers = {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status == 503:
        headers["Retry-After"] = str(refusal.extra.get("retry_after", 5))
    return JSONResponse(refusal.problem(), refusal.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes every error answer of `app` a problem, also that of a body which is too large."""
    app.add_middleware(Bounded)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(ConfigurationError, _misconfigured)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _routed)
    for kind in (DBAPIError, PoolTimeout, ConnectionError, TimeoutError, Unstorable, UnicodeEncodeError):
        app.add_exception_handler(kind, _not_stored)
    app.add_exception_handler(Exception, _broken)


async def _refused(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, Refusal)  # noqa: S101
    return problem(fault)


async def _misconfigured(_request: Request, fault: Exception) -> JSONResponse:
    """Of a reload: what ran goes on."""
    assert isinstance(fault, ConfigurationError)  # noqa: S101
    return problem(Invalid("nothing was changed", code="bad_configuration", faults=fault.faults))


async def _unfit(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)  # noqa: S101
    errors = [{"at": ".".join(str(part) for part in e["loc"])[:200], "why": e["type"]} for e in fault.errors()[:20]]
    return problem(Invalid("the request does not fit what is documented", errors=errors))


async def _routed(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)  # noqa: S101
    code = _CODES.get(fault.status_code, f"http_{fault.status_code}")
    response = problem(Refusal(code=code, status=fault.status_code))
    headers: Mapping[str, str] = fault.headers or {}
    response.headers.update(headers)
    return response


async def _not_stored(_request: Request, fault: Exception) -> JSONResponse:
    """The database is away, or was asked for text that it cannot hold. Anything else is our bug."""
    if is_away(fault):
        return problem(Unavailable("the database cannot be reached now"))
    if is_unstorable(fault):
        return problem(Invalid("text with characters that cannot be kept", code="bad_text"))
    raise fault


async def _broken(request: Request, fault: Exception) -> JSONResponse:
    """Our bug: the answer says nothing of it, the log does (without the message, which may hold anybody's words)."""
    _log.error("http.broken", fault=type(fault).__name__, path=_route(request))
    return problem(Refusal("something is broken on our side", code="internal", status=500))


def _route(request: Request) -> str:
    route: Any = request.scope.get("route")
    return getattr(route, "path", "unrouted")
