"""DHgate as source and channel meet it: the DOP router with every method they call; it remembers.

Control surface: `POST /_control/orders` stages an order (`order_id` and fields of the lists), `POST /_control/orders/{no}`
`{"do": <move>, …}` or fields to lay over, `GET /_control/orders`, `POST /_control/mail` `{"order_id", "text"}` a buyer's
mail, `POST /_control/notice` `{"order_id"}` a payment mail of the system, `GET /_control/sent` the mails we sent, in order.
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
from shared.marketplaces.dhgate import simulated
from shared.marketplaces.dhgate.mail import title_of
from shared.marketplaces.dhgate.reading import moment
from shared.marketplaces.dhgate.simulated import SELLER, ZONE, Body
from shared.ports import Account, Secrets

Params = Mapping[str, str]
_OK = {"code": "00000000", "message": "OK", "solution": "", "subErrors": []}
_SYSTEM = "SYSTEM"


def create(account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Starlette:
    """`keep`: a JSON file in which orders and mail survive a restart."""
    market = _Market(secrets, clock, keep)
    return Starlette(
        routes=[
            Route("/dop/router", market.router, methods=["POST"]),
            Route("/_control/orders", market.stage, methods=["POST"]),
            Route("/_control/orders", market.shown, methods=["GET"]),
            Route("/_control/orders/{number}", market.move, methods=["POST"]),
            Route("/_control/mail", market.buyer_writes, methods=["POST"]),
            Route("/_control/notice", market.notice, methods=["POST"]),
            Route("/_control/sent", market.taken, methods=["GET"]),
        ]
    )


class _No(Exception):
    """A business error, `status.code` 44."""


class _Market:
    def __init__(self, secrets: Secrets, clock: Clock, keep: Path | None) -> None:
        token = secrets["access_token"]
        self._tokens = (token,) if isinstance(token, str) else token
        self._clock, self._keep = clock, keep
        kept = json.loads(keep.read_text()) if keep and keep.exists() else {"orders": {}, "mail": {}}
        self._orders: dict[str, Body] = kept["orders"]
        self._mail: dict[str, Body] = kept["mail"]
        self._sent: list[dict[str, Any]] = []
        self._methods: dict[str, Callable[[Params], Body]] = {
            "dh.order.disputeopen.list": self._open,
            "dh.order.disputeclose.list": self._closed,
            "dh.order.list.get": self._list,
            "dh.order.get": self._get,
            "dh.message.list": self._mails,
            "dh.message.get": self._thread,
            "dh.message.send": self._send,
            "dh.message.info.reply": self._reply,
        }

    async def router(self, request: Request) -> Response:
        async with request.form() as form:
            params = {name: value for name, value in form.items() if isinstance(value, str)}
        if params.get("access_token") not in self._tokens:
            return JSONResponse({"error": "invalid_token", "errorDescription": "access_token is not valid"}, 401)
        answer = self._methods.get(params.get("method", ""))
        if answer is None or params.get("v") != "2.0" or not params.get("timestamp", "").isdigit():
            return JSONResponse({"error": "invalid_request", "errorDescription": "no such method or version"}, 400)
        for body in self._orders.values():
            simulated.lapse(body, self._clock.now())
        try:
            told = answer(params)
        except _No as no:
            error = {"code": "44", "message": "business error", "subErrors": [{"code": "1", "message": str(no)}]}
            return JSONResponse({"_from": params["method"], "status": error})
        self._save()
        return JSONResponse({"_from": params["method"], **told, "status": _OK})

    # reads
    def _open(self, params: Params) -> Body:
        return _paged(
            params, "orderDisputeOpenInfos", [simulated.dispute(b) for b in self._of(params) if simulated.in_dispute(b)]
        )

    def _closed(self, params: Params) -> Body:
        found = [simulated.dispute(b) for b in self._of(params) if _within(b, "disputeCloseDate", params)]
        return _paged(params, "orderDisputeCloseInfos", found)

    def _list(self, params: Params) -> Body:
        field = {"1": "startedDate", "2": "payDate", "3": "updateDate"}.get(params.get("querytimeType", ""))
        if field is None:
            raise _No("querytimeType is required")
        found = [simulated.row(b) for b in self._of(params) if _within(b, field, params)]
        return _paged(params, "orderBaseInfoList", found)

    def _get(self, params: Params) -> Body:
        body = self._orders.get(params.get("orderNo", ""))
        if body is None:
            raise _No("the order does not exist")
        return simulated.detail(body)

    def _of(self, params: Params) -> list[Body]:
        return [b for b in self._orders.values() if params.get("orderNo") in (None, b["orderNo"])]

    # mail
    def _mails(self, params: Params) -> Body:
        kinds, key = params["msgType"].split(","), params.get("searchKey")
        found = [t for t in self._mail.values() if t["msgType"] in kinds and key in (None, t["param"])]
        shown = [{name: t[name] for name in t if name not in ("msgDetailList", "contact")} for t in reversed(found)]
        return {"msgList": _slice(params, shown)}

    def _thread(self, params: Params) -> Body:
        thread = self._mail.get(params.get("msgId", ""))
        if thread is None:
            raise _No("no such mail")
        return {**{name: thread[name] for name in thread if name != "contact"}, "senderNickName": thread["contact"]}

    def _send(self, params: Params) -> Body:
        order = self._orders.get(params.get("param", ""))
        if params.get("sendMsgType") != "2" or order is None or params.get("reciverId") != order["buyerId"]:
            raise _No("order and receiver do not fit")
        if params.get("msgTitle") != title_of(order["orderNo"]):
            raise _No("the title of an order mail is PO# and the order's number")
        thread = self._begin(order, SELLER, order["buyerId"])
        self._write(thread, params)
        return {"msgId": thread["msgId"]}

    def _reply(self, params: Params) -> Body:
        thread = self._mail.get(params.get("msgId", ""))
        if thread is None or params.get("receiverId") not in (thread["senderId"], thread["recieverId"]):
            raise _No("no such mail")
        self._write(thread, params)
        return {"msgTopicId": thread["msgId"]}

    def _write(self, thread: Body, params: Params) -> None:
        if not params.get("content"):
            raise _No("content is required")
        self._say(thread, SELLER, "our shop", params["content"])
        told = {name: value for name, value in params.items() if name not in ("access_token", "timestamp")}
        self._sent.append({"at": format_time(self._clock.now()), "method": params["method"], "params": told})

    def _begin(self, order: Body, sender: str, receiver: str, kind: str = "002") -> Body:
        number, ours = str(585_000_000 + len(self._mail) + 1), kind == "002"
        thread: Body = {"msgId": number, "msgTitle": title_of(order["orderNo"]), "msgType": kind, "senderId": sender}
        thread |= {"recieverId": receiver, "param": order["orderNo"] if ours else "", "receiverRead": 0}
        thread |= {"contact": order["buyerNickName"] if ours else _SYSTEM, "msgDetailList": []}
        thread["senderNickName"] = thread["contact"] if sender != SELLER else "our shop"
        self._mail[number] = thread
        return thread

    def _say(self, thread: Body, sender: str, name: str, content: str) -> None:
        number = int(thread["msgId"]) * 100 + len(thread["msgDetailList"])
        simulated.letter(thread, sender, name, content, self._clock.now(), number)

    # the control surface
    async def stage(self, request: Request) -> Response:
        given = await request.json()
        number = str(given.pop("order_id"))
        self._orders[number] = simulated.made_up(number, self._clock.now(), given)
        self._save()
        return JSONResponse(self._orders[number], 201)

    async def move(self, request: Request) -> Response:
        body, given = self._orders.get(request.path_params["number"]), await request.json()
        if body is None or given.get("do", "pays") not in simulated.MOVES:
            return JSONResponse({"moves": sorted(simulated.MOVES), "orders": sorted(self._orders)}, 404)
        if "do" in given:
            simulated.MOVES[given["do"]](body, self._clock.now(), given)
        else:
            body |= given
        self._save()
        return JSONResponse(body)

    async def buyer_writes(self, request: Request) -> Response:
        given = await request.json()
        order = self._orders[str(given["order_id"])]
        threads = [t for t in self._mail.values() if t["param"] == order["orderNo"]]
        thread = threads[-1] if threads else self._begin(order, order["buyerId"], SELLER)
        self._say(thread, order["buyerId"], order["buyerNickName"], str(given["text"]))
        self._save()
        return JSONResponse(thread)

    async def notice(self, request: Request) -> Response:
        given = await request.json()
        order = self._orders[str(given["order_id"])]
        thread = self._begin(order, _SYSTEM, SELLER, "006") | {
            "msgTitle": str(given.get("title", "[DHgate] Refund notice"))
        }
        self._mail[thread["msgId"]] = thread
        words = str(given.get("text", f"The refund of order number {order['orderNo']} is under way."))
        self._say(thread, _SYSTEM, _SYSTEM, words)
        self._save()
        return JSONResponse(thread)

    async def shown(self, request: Request) -> Response:
        return JSONResponse(list(self._orders.values()))

    async def taken(self, request: Request) -> Response:
        return JSONResponse(self._sent)

    def _save(self) -> None:
        if self._keep is not None:
            self._keep.write_text(json.dumps({"orders": self._orders, "mail": self._mail}))


def _within(body: Body, field: str, params: Params) -> bool:
    at, begin, end = (
        moment(value, ZONE) for value in (body.get(field), params.get("startDate"), params.get("endDate"))
    )
    if begin is None or end is None:
        raise _No("startDate and endDate are required")
    return at is not None and begin <= at <= end


def _slice(params: Params, found: list[Body]) -> list[Body]:
    size = int(params["pageSize"])
    start = (int(params["pageNo"]) - 1) * size
    return found[start : start + size]


def _paged(params: Params, name: str, found: list[Body]) -> Body:
    size = int(params["pageSize"])
    return {"count": len(found), "pages": -(-len(found) // size), name: _slice(params, found)}
