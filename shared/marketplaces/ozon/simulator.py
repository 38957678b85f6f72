"""Ozon as source and channel meet it: checks our keys, answers every method they call, remembers.

Control surface: `POST /_control/requests|returns|cancellations` `{"posting_number", …}` stages one (fields of Ozon's own, and the
short forms of `simulated`), `POST /_control/<kind>/{id}` moves it (`{"group_state"}`, `{"status"}`, `{"state"}`, or fields to lay
over), `POST /_control/chats` `{"posting_number", "text"}` the buyer writes, `GET /_control/sent` acts and messages in order,
`POST /_control/push` `{"message_type", …}` the body of a push, completed.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import Clock, format_time
from shared.ids import digest
from shared.marketplaces.ozon import simulated
from shared.marketplaces.ozon.codes import moment
from shared.marketplaces.ozon.simulated import Body
from shared.ports import Account, Secrets, each_secret

KINDS = ("requests", "returns", "cancellations")
_ID = {"requests": "return_id", "returns": "id", "cancellations": "cancellation_id"}
_MAKE = {"requests": simulated.request, "returns": simulated.ordinary, "cancellations": simulated.cancellation}
_SUMMARY = (
    "client_name", "created_at", "order_number", "posting_number", "product", "return_id", "return_number", "state",
)  # fmt: skip


def create(account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Starlette:
    """`keep`: a JSON file in which everything survives a restart."""
    market = _Market(account, secrets, clock, keep)
    return Starlette(
        routes=[
            Route("/_control/sent", market.taken, methods=["GET"]),
            Route("/_control/chats", market.write, methods=["POST"]),
            Route("/_control/push", market.push, methods=["POST"]),
            Route("/_control/{kind}", market.stage, methods=["POST"]),
            Route("/_control/{kind}", market.shown, methods=["GET"]),
            Route("/_control/{kind}/{id}", market.move, methods=["POST"]),
            Route("/{path:path}", market.call, methods=["POST"]),
        ]
    )


class _No(Exception):
    """An error in Ozon's shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Market:
    def __init__(self, account: Account, secrets: Secrets, clock: Clock, keep: Path | None) -> None:
        self._account, self._clock, self._keep = account, clock, keep
        self._keys = {name: each_secret(secrets, name) for name in ("client_id", "api_key")}
        kept = json.loads(keep.read_text()) if keep and keep.exists() else {}
        self._things: dict[str, dict[str, Body]] = {kind: kept.get(kind, {}) for kind in KINDS}
        self._chats: dict[str, Body] = kept.get("chats", {})
        self._sent: list[dict[str, Any]] = []
        self._methods: Mapping[str, Callable[[Body], Body | None]] = {
            "v2/returns/rfbs/list": self._requests,
            "v2/returns/rfbs/get": self._request,
            "v1/returns/rfbs/action/set": self._act,
            "v1/returns/list": self._returns,
            "v2/conditional-cancellation/list": self._cancellations,
            "v2/conditional-cancellation/approve": lambda wanted: self._decide(wanted, "APPROVED"),
            "v2/conditional-cancellation/reject": lambda wanted: self._decide(wanted, "REJECTED"),
            "v1/posting/fbs/cancel-reason": self._cancel_reasons,
            "v2/posting/fbs/cancel": self._cancel,
            "v1/chat/start": self._start,
            "v1/chat/send/message": self._say,
            "v3/chat/history": self._history,
            "v3/chat/list": self._list_chats,
        }
        self._changes = ("action/set", "approve", "reject", "fbs/cancel", "send/message")

    # Ozon's own surface
    async def call(self, request: Request) -> Response:
        path = request.path_params["path"]
        try:
            if any(request.headers.get(h) not in self._keys[n] for h, n in _HEADERS.items()):
                raise _No(401, "Client-Id and Api-Key do not fit")
            if path not in self._methods:
                raise _No(404, "no such method")
            wanted = await request.json()
            for kind in ("requests", "cancellations"):
                for body in self._things[kind].values():
                    simulated.lapse(body, self._clock.now())
            answer = self._methods[path](wanted)
        except _No as no:
            return JSONResponse({"code": 3, "message": str(no), "details": []}, no.status)
        if path.endswith(self._changes):
            self._sent.append({"at": format_time(self._clock.now()), "method": f"/{path}", "params": wanted})
        self._save()
        return Response(status_code=200) if answer is None else JSONResponse(answer)

    # returns
    def _requests(self, wanted: Body) -> Body:
        asked = wanted.get("filter", {})
        groups, posting = asked.get("group_state"), asked.get("posting_number")
        since = moment(asked.get("created_at", {}).get("from"))
        rows = [
            {name: body[name] for name in _SUMMARY}
            for body in self._things["requests"].values()
            if (not groups or body["state"]["group_state"] in groups)
            and posting in (None, body["posting_number"])
            and (since is None or (moment(body["created_at"]) or since) >= since)
        ]
        return {"returns": _page(rows, "return_id", wanted)}

    def _request(self, wanted: Body) -> Body:
        body = self._thing("requests", wanted.get("return_id"))
        state = {name: body["state"][name] for name in ("state", "state_name")}
        return {"returns": {**{k: v for k, v in body.items() if k != "return_id"}, "state": state}}

    def _act(self, wanted: Body) -> Body:
        why = simulated.act(self._thing("requests", wanted.get("return_id")), wanted)
        if why is not None:
            raise _No(400, why)
        return {}

    def _returns(self, wanted: Body) -> Body:
        span = wanted["filter"].get("visual_status_change_moment", {})
        begin, end = moment(span.get("time_from")), moment(span.get("time_to"))
        changed = {id_: moment(body["visual"]["change_moment"]) for id_, body in self._things["returns"].items()}
        rows = [
            body
            for id_, body in self._things["returns"].items()
            if (at := changed[id_]) and (begin is None or at >= begin) and (end is None or at <= end)
        ]
        found = _page(rows, "id", wanted)
        return {"returns": found, "has_next": bool(found) and found[-1]["id"] != max(row["id"] for row in rows)}

    # cancellations
    def _cancellations(self, wanted: Body) -> Body:
        asked = wanted.get("filters", {})
        state, postings = asked.get("state", "ALL"), asked.get("posting_number")
        rows = [
            body
            for body in self._things["cancellations"].values()
            if state in ("ALL", body["state"]["state"]) and (not postings or body["posting_number"] in postings)
        ]
        found = _page(rows, "cancellation_id", wanted)
        return {"result": found, "last_id": found[-1]["cancellation_id"] if found else 0, "counter": "0"}

    def _decide(self, wanted: Body, state: str) -> None:
        body = self._thing("cancellations", wanted.get("cancellation_id"))
        if body["state"]["state"] != "ON_APPROVAL":
            raise _No(409, "the request is decided already")
        simulated.decide(body, state, self._clock.now(), str(wanted.get("comment", "")))

    def _cancel_reasons(self, wanted: Body) -> Body:
        reasons = [
            {"id": 352, "title": "Нет в наличии", "type_id": "seller"},
            {"id": 402, "title": "Другое", "type_id": "seller"},
        ]
        return {"result": [{"posting_number": one, "reasons": reasons} for one in wanted["related_posting_numbers"]]}

    def _cancel(self, wanted: Body) -> Body:
        return {"result": bool(wanted.get("posting_number") and wanted.get("cancel_reason_id"))}

    # chats
    def _chat_of(self, posting: str) -> Body:
        id_ = digest("chat", posting)
        return self._chats.setdefault(id_, {"chat_id": id_, "posting_number": posting, "messages": []})

    def _start(self, wanted: Body) -> Body:
        return {"result": {"chat_id": self._chat_of(str(wanted["posting_number"]))["chat_id"]}}

    def _say(self, wanted: Body) -> Body:
        chat = self._chats.get(str(wanted.get("chat_id")))
        if chat is None:
            raise _No(404, "no such chat")
        if not 1 <= len(wanted.get("text", "")) <= 1000:
            raise _No(400, "text must have 1 to 1000 characters")
        self._add(chat, "seller", wanted["text"])
        return {"result": "success"}

    def _add(self, chat: Body, who: str, words: str) -> Body:
        count = sum(len(one["messages"]) for one in self._chats.values())
        said = simulated.message(count + 1, who, words, self._clock.now(), chat["posting_number"])
        chat["messages"].append(said)
        return said

    def _history(self, wanted: Body) -> Body:
        chat = self._chats.get(str(wanted.get("chat_id")))
        if chat is None:
            raise _No(404, "no such chat")
        newest = list(reversed(chat["messages"]))
        size = int(wanted.get("limit", 50))
        return {"has_next": len(newest) > size, "messages": newest[:size]}

    def _list_chats(self, wanted: Body) -> Body:
        if self._account.settings.get("premium_plus") is False:
            raise _No(403, "chats need the Premium Plus subscription")
        waiting = [chat for chat in self._chats.values() if chat["messages"][-1]["user"]["type"] != "seller"]
        chats = [
            {"chat": {"chat_id": c["chat_id"], "chat_status": "Opened", "chat_type": "Buyer_Seller"}, "unread_count": 1}
            for c in waiting
        ]
        return {"chats": chats, "total_unread_count": len(chats), "cursor": "", "has_next": False}

    # the control surface
    async def stage(self, request: Request) -> Response:
        kind = self._kind(request)
        given = await request.json()
        body = _MAKE[kind](str(given["posting_number"]), self._clock.now(), given)
        self._things[kind][str(body[_ID[kind]])] = body
        self._save()
        return JSONResponse(body, 201)

    async def move(self, request: Request) -> Response:
        kind, given, now = self._kind(request), await request.json(), self._clock.now()
        body = self._thing(kind, request.path_params["id"])
        if "group_state" in given:
            simulated.enter(body, given.pop("group_state"))
        if "status" in given:
            body["visual"] = simulated.seen(given.pop("status"), now)
        if kind == "cancellations" and isinstance(given.get("state"), str):
            simulated.decide(body, given.pop("state"), now, str(given.pop("comment", "")))
        body |= given
        self._save()
        return JSONResponse(body)

    async def write(self, request: Request) -> Response:
        given = await request.json()
        chat = self._chat_of(str(given["posting_number"]))
        said = self._add(chat, "Сustomer", str(given.get("text", "Где моя посылка?")))
        self._save()
        return JSONResponse({**said, "chat_id": chat["chat_id"]}, 201)

    async def push(self, request: Request) -> Response:
        """Times that are left out are now; the shop is the account's."""
        given, now = await request.json(), format_time(self._clock.now())
        body = {"message_type": given["message_type"], **_COMPLETED.get(given["message_type"], {}), **given}
        body = {name: now if value == _NOW else value for name, value in body.items()}
        if body["message_type"] != "TYPE_PING":
            body["seller_id"] = int(self._account.settings.get("seller_id", 40404))
        return JSONResponse(
            {"body": json.dumps(body, ensure_ascii=False), "headers": {"Content-Type": "application/json"}}
        )

    async def shown(self, request: Request) -> Response:
        return JSONResponse(list(self._things[self._kind(request)].values()))

    async def taken(self, request: Request) -> Response:
        return JSONResponse(self._sent)

    def _kind(self, request: Request) -> str:
        kind = str(request.path_params["kind"])
        return kind if kind in KINDS else KINDS[0]

    def _thing(self, kind: str, id_: Any) -> Body:
        body = self._things[kind].get(str(id_))
        if body is None:
            raise _No(404, "there is no such thing")
        return body

    def _save(self) -> None:
        if self._keep is not None:
            self._keep.write_text(json.dumps({**self._things, "chats": self._chats}))


_HEADERS = {"client-id": "client_id", "api-key": "api_key"}
_NOW = "now"
_COMPLETED: dict[str, Body] = {
    "TYPE_PING": {"time": _NOW},
    "TYPE_NEW_POSTING": {"in_process_at": _NOW},
    "TYPE_POSTING_CANCELLED": {"new_state": "posting_canceled", "changed_state_date": _NOW},
    "TYPE_STATE_CHANGED": {"changed_state_date": _NOW},
    "TYPE_NEW_MESSAGE": {
        "chat_type": "Buyer_Seller", "created_at": _NOW, "user": {"id": "77001", "type": "Сustomer"}, "data": ["…"],
    },
}  # fmt: skip


def _page(rows: list[Body], key: str, wanted: Body) -> list[Body]:
    after = int(wanted.get("last_id") or 0)
    return [row for row in sorted(rows, key=lambda row: int(row[key])) if int(row[key]) > after][: int(wanted["limit"])]
