"""The toy market as an ASGI application: returns that tests set, messages and acts that it remembers.

`PUT /_control/returns/{id}` sets a return, `GET /_control/calls` lists what it was asked to do, in order;
`POST /_control/faults` `{"next": [500, 404, …]}` spoils the next answers of the read API.
"""

import json
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import Clock, format_time, parse_time
from shared.ports import Account, Secrets

_PAGE = 50


class Market:
    def __init__(self, token: str, clock: Clock, keep: Path | None) -> None:
        self._token, self._clock, self._keep = token, clock, keep
        kept = json.loads(keep.read_text()) if keep and keep.exists() else {}
        self.returns: dict[str, dict[str, Any]] = kept.get("returns", {})
        self.messages: dict[str, list[dict[str, Any]]] = kept.get("messages", {})
        self.calls: list[dict[str, Any]] = kept.get("calls", [])
        self._answers: dict[str, dict[str, Any]] = kept.get("answers", {})
        self.faults: list[int] = []
        self.reads = 0

    def put(self, id_: str, **changes: Any) -> None:
        """Sets or changes a return; its version goes up."""
        known = self.returns.get(id_, {"id": id_, "version": 0, "reason": "defective"})
        at = format_time(self._clock.now())
        self.returns[id_] = {**known, "at": at, "version": known["version"] + 1, **changes}
        self._save()

    async def set_return(self, request: Request) -> Response:
        self.put(request.path_params["id"], **await request.json())
        return Response(status_code=204)

    async def set_faults(self, request: Request) -> Response:
        self.faults += (await request.json())["next"]
        return Response(status_code=204)

    async def listed_calls(self, request: Request) -> Response:
        return JSONResponse({"items": self.calls})

    async def one(self, request: Request) -> Response:
        if (spoilt := self._spoilt(request)) is not None:
            return spoilt
        found = self.returns.get(request.path_params["id"])
        return JSONResponse(found) if found else Response(status_code=404)

    async def many(self, request: Request) -> Response:
        if (spoilt := self._spoilt(request)) is not None:
            return spoilt
        since, page = request.query_params.get("since"), int(request.query_params["page"])
        changed = [r for r in self.returns.values() if since is None or parse_time(r["at"]) >= parse_time(since)]
        shown = changed[(page - 1) * _PAGE : page * _PAGE]
        return JSONResponse({"returns": shown, "more": len(changed) > page * _PAGE})

    async def act(self, request: Request) -> Response:
        id_, act = request.path_params["id"], request.path_params["act"]
        if id_ not in self.returns:
            return Response(status_code=404)
        if (known := self._answers.get(request.headers["idempotency-key"])) is None:
            self.put(id_, state={"authorise": "authorised", "refund": "refunded"}[act])
            known = self._remember(request, "act", act, await request.json())
        return JSONResponse(known)

    async def say(self, request: Request) -> Response:
        body = await request.json()
        self.messages.setdefault(request.path_params["order"], []).append(body)
        return JSONResponse(self._remember(request, "message", "send", body))

    async def said(self, request: Request) -> Response:
        return JSONResponse({"messages": self.messages.get(request.path_params["order"], [])})

    def _spoilt(self, request: Request) -> Response | None:
        self.reads += 1
        if self.faults:
            return Response(status_code=self.faults.pop(0))
        return None if request.headers.get("authorization") == f"Bearer {self._token}" else Response(status_code=401)

    def _remember(self, request: Request, kind: str, name: str, body: Any) -> dict[str, Any]:
        key = request.headers["idempotency-key"]
        self.calls.append({"kind": kind, "name": name, "key": key, "path": request.url.path, "body": body})
        answer = self._answers.setdefault(key, {"id": f"toy-{len(self.calls)}"})
        self._save()
        return answer

    def _save(self) -> None:
        if self._keep is not None:
            kept = {"returns": self.returns, "messages": self.messages, "calls": self.calls, "answers": self._answers}
            self._keep.write_text(json.dumps(kept))


def create(account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Starlette:
    """`keep`: a JSON file in which returns, messages and answered keys survive a restart."""
    market = Market(str(secrets["api_token"]), clock, keep)
    app = Starlette(
        routes=[
            Route("/_control/returns/{id}", market.set_return, methods=["PUT"]),
            Route("/_control/faults", market.set_faults, methods=["POST"]),
            Route("/_control/calls", market.listed_calls),
            Route("/returns", market.many),
            Route("/returns/{id}", market.one),
            Route("/returns/{id}/{act}", market.act, methods=["POST"]),
            Route("/orders/{order}/messages", market.say, methods=["POST"]),
            Route("/orders/{order}/messages", market.said),
        ]
    )
    app.state.market = market
    return app
