"""One request to an ASGI application in this process, without a server."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(app: Any, method: str, path: str, headers: Sequence[tuple[str, str | bytes]] = (), body: bytes = b"") -> Answer:
    """As a client sees it: what the application raises after it has answered is the server's matter."""
    return asyncio.run(_ask(app, method, path, headers, body))


async def _ask(app: Any, method: str, path: str, headers: Sequence[tuple[str, str | bytes]], body: bytes) -> Answer:
    plain, _, query = path.partition("?")
    sent: list[Any] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": unquote(plain), "raw_path": plain.encode(), "root_path": "", "query_string": query.encode(),
        "headers": [(k.lower().encode(), v if isinstance(v, bytes) else v.encode()) for k, v in headers],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await app(scope, receive, send)
    except Exception:
        if not sent:
            raise
    start = next(m for m in sent if m["type"] == "http.response.start")
    found = {k.decode().lower(): v.decode() for k, v in start["headers"]}
    return Answer(start["status"], found, b"".join(m.get("body", b"") for m in sent))
