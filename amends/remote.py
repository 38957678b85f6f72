"""The command line's way to a running service: its HTTP API, over the standard library alone."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from shared.errors import Refusal

_PATIENCE = 60


class Remote:
    """`url` is the public origin. Raises Refusal with one clear sentence for whatever goes wrong."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    def get(self, path: str, **query: str | int | None) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return self.call("GET", f"{path}?{urllib.parse.urlencode(given)}" if given else path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self.call("POST", path, json.dumps(body or {}).encode())

    def text(self, path: str, accept: str) -> str:
        return self._open("GET", path, None, accept).decode()

    def items(self, path: str, limit: int, **query: str | None) -> list[Any]:
        """The list at `path`, page by page, up to `limit` items."""
        found: list[Any] = []
        cursor: str | None = None
        while len(found) < limit:
            page = self.get(path, **query, cursor=cursor, limit=min(200, limit - len(found)))
            found += page["items"]
            cursor = page.get("next")
            if not cursor:
                break
        return found[:limit]

    def call(self, method: str, path: str, body: bytes | None = None) -> Any:
        answer = self._open(method, path, body, "application/json")
        try:
            return json.loads(answer) if answer else None
        except ValueError:
            raise Refusal(f"{self._url} does not answer like amends", code="failed") from None

    def _open(self, method: str, path: str, body: bytes | None, accept: str) -> bytes:
        if not self._url.startswith(("http://", "https://")):
            raise Refusal("--url must begin with http:// or https://", code="usage")
        headers = {"Accept": accept, "Authorization": f"Bearer {self._key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError as fault:
            raise Refusal(_said(fault), code="failed") from None
        except (urllib.error.URLError, TimeoutError, OSError) as fault:
            reason = getattr(fault, "reason", fault)
            raise Refusal(f"no amends answers at {self._url} ({reason}): is it up? see --url", code="failed") from None


def _said(fault: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(fault.read())
        return f"{problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"the service answered {fault.code}"
