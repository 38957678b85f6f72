"""Refusals we expect: typed, each with a stable code and an HTTP status. Anything else that is raised is a bug."""

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """Base of every expected refusal. `code` is stable and documented; `detail` never repeats input."""

    code = "refused"
    status = 400

    def __init__(self, detail: str = "", *, code: str = "", status: int = 0, **extra: Any) -> None:
        super().__init__(detail or self.code)
        self.detail = detail
        self.code = code or self.code
        self.status = status or self.status
        self.extra: Mapping[str, Any] = extra

    def problem(self) -> dict[str, Any]:
        """RFC 9457 body."""
        title = self.code.replace("_", " ")
        body: dict[str, Any] = {"type": f"urn:amends:problem:{self.code}", "title": title, "status": self.status}
        return {**body, "code": self.code, "detail": self.detail or title, **self.extra}


class NotFound(Refusal):
    code, status = "not_found", 404


class Unauthorised(Refusal):
    code, status = "unauthorised", 401


class Forbidden(Refusal):
    code, status = "forbidden", 403


class Conflict(Refusal):
    code, status = "conflict", 409


class Invalid(Refusal):
    code, status = "invalid", 422


class TooLarge(Refusal):
    code, status = "too_large", 413


class Unavailable(Refusal):
    """We cannot store or do it now: the caller should come again."""

    code, status = "unavailable", 503


class ConfigurationError(Exception):
    """All faults of a configuration at once, one line each: `path:line where: fault`. Values are never shown."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
