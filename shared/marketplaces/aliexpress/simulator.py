"""AliExpress as source and channel meet it: verifies our signatures, answers every method they call, remembers.

Control surface: `POST /_control/issues` stages a dispute (fields of the detail reply, or the trade order as
`order_id` with `amount`, `currency`, `solution_type`), `POST /_control/issues/{id}` `{"do": <move>, …}` or fields to lay
over, `GET /_control/issues`, `GET /_control/sent` acts and messages in order, `POST /_control/push` `{"order_id": …}` a
signed push for it.
An order nobody staged gets a made-up dispute when it is asked about, so any push can be rehearsed.
"""

import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import Clock, format_time, to_micros
from shared.ids import content_hash
from shared.marketplaces.aliexpress import simulated
from shared.marketplaces.aliexpress.client import sign
from shared.marketplaces.aliexpress.simulated import Body
from shared.marketplaces.aliexpress.webhook import signature
from shared.ports import Account, Secrets, each_secret

Params = Mapping[str, str]


def sign_push(body: bytes, app_key: str, app_secret: str) -> dict[str, str]:
    """The headers AliExpress sends with this body."""
    return {"Authorization": signature(app_key, app_secret, body), "Content-Type": "application/json"}


def create(account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Starlette:
    """`keep`: a JSON file in which disputes survive a restart."""
    market = _Market(account, secrets, clock, keep)
    return Starlette(
        routes=[
            Route("/sync", market.sync, methods=["POST"]),
            Route("/rest/{path:path}", market.rest, methods=["POST"]),
            Route("/_control/issues", market.stage, methods=["POST"]),
            Route("/_control/issues", market.shown, methods=["GET"]),
            Route("/_control/issues/{id}", market.move, methods=["POST"]),
            Route("/_control/sent", market.taken, methods=["GET"]),
            Route("/_control/push", market.push, methods=["POST"]),
        ]
    )


class _No(Exception):
    """An `error_response`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Market:
    def __init__(self, account: Account, secrets: Secrets, clock: Clock, keep: Path | None) -> None:
        self._account, self._clock, self._keep = account, clock, keep
        self._keys, self._values = each_secret(secrets, "app_key"), each_secret(secrets, "app_secret")
        self._issues: dict[str, Body] = json.loads(keep.read_text()) if keep and keep.exists() else {}
        self._sent: list[dict[str, Any]] = []
        self._messages: list[dict[str, Any]] = []
        self._reads = {
            "aliexpress.issue.partner.order.issues.get": self._order_issues,
            "aliexpress.issue.detail.get": self._detail,
            "aliexpress.issue.issuelist.get": self._list,
        }
        self._acts = {
            "aliexpress.issue.solution.agree": self._agree,
            "aliexpress.issue.solution.save": self._save,
            "aliexpress.issue.image.upload": self._image,
            "aliexpress.trade.seller.order.acceptcancel": self._cancel,
            "aliexpress.trade.seller.order.refusecancel": self._cancel,
        }

    # the marketplace's own surface
    async def sync(self, request: Request) -> Response:
        params, files = await _params(request)
        method = params.get("method", "")
        try:
            self._check(params, "")
            for body in self._issues.values():
                simulated.lapse(body, self._clock.now())
            result = self._answer(method, {**params, **files})
        except _No as no:
            return JSONResponse({"error_response": {"type": "ISV", "code": no.code, "msg": str(no)}})
        self._save_file()
        return JSONResponse({method.replace(".", "_") + "_response": {**result, "request_id": "simulated"}})

    def _answer(self, method: str, params: Params) -> Body:
        if method in self._reads:
            return self._reads[method](params)
        if method not in self._acts:
            raise _No("InvalidApiPath", "no such method")
        done = self._acts[method](params)
        shown = {k: v for k, v in params.items() if k not in ("session", "sign", "app_key")}
        self._sent.append({"at": format_time(self._clock.now()), "method": method, "params": shown, "taken": done})
        return {"result_object": done} if "issue" in method else {"result": {"success": done, "target": done}}

    async def rest(self, request: Request) -> Response:
        path = f"/{request.path_params['path']}"
        params, _ = await _params(request)
        try:
            self._check(params, path)
        except _No as no:
            return JSONResponse({"type": "ISV", "code": no.code, "message": str(no), "request_id": "simulated"})
        data = self._talk(path, params)
        return JSONResponse({"code": "0", "result": {"success": True, "data": data}, "request_id": "simulated"})

    def _check(self, params: Params, path: str) -> None:
        given = params.get("sign", "")
        if params.get("app_key") not in self._keys:
            raise _No("InvalidAppKey", "unknown app key")
        if not any(hmac.compare_digest(given, sign(value, params, path)) for value in self._values):
            raise _No("IncompleteSignature", "the request signature does not conform")

    # reads
    def _order_issues(self, params: Params) -> Body:
        order = params["parent_order_id"]
        if not any(body["parent_order_id"] == order for body in self._issues.values()):
            body = simulated.made_up(order, self._clock.now(), {})
            self._issues[body["issue_id"]] = body
        rows = [_row(body) for body in self._issues.values() if body["parent_order_id"] == order]
        return {"issues": [{k: v for k, v in row.items() if k != "buyer_login_id"} for row in rows]}

    def _detail(self, params: Params) -> Body:
        body = self._issues.get(params.get("issue_id", ""))
        if body is None or params.get("buyer_login_id") != body["buyer_login_id"]:
            return {"result_object": None}
        hidden = ("issue_id", "gmt_modified")
        return {"result_object": {**{k: v for k, v in body.items() if k not in hidden}, "id": int(body["issue_id"])}}

    def _list(self, params: Params) -> Body:
        query = json.loads(params["query_dto"])
        wanted = {"parent_order_id": query.get("order_no"), "issue_status": query.get("issue_status")}
        rows = [
            _row(b) for b in self._issues.values() if all(v is None or str(b[k]) == str(v) for k, v in wanted.items())
        ]
        size = min(int(query.get("page_size", 50)), 50)
        start = (int(query.get("current_page", 1)) - 1) * size
        page = {"current_page": query.get("current_page", 1), "page_size": size, "total_item": len(rows)}
        return {"result": {**page, "data_list": rows[start : start + size]}}

    # acts
    def _open(self, issue_id: str) -> Body | None:
        body = self._issues.get(issue_id)
        return body if body is not None and body["issue_status"] == "processing" else None

    def _agree(self, params: Params) -> bool:
        body = self._open(params.get("issue_id", ""))
        plan = body and (
            simulated.plan_of(body, "buyer", params.get("solution_id", ""))
            or simulated.plan_of(body, "platform", params.get("solution_id", ""))
        )
        if body is None or not plan or plan["status"] == "reached":
            return False
        simulated.log(body, "seller_accept", "seller", self._clock.now())
        address = params.get("return_address_id", "")
        simulated.reach(body, plan, "negotiation_consensus", self._clock.now(), address)
        return True

    def _save(self, params: Params) -> bool:
        dto = json.loads(params["param_dto"])
        body = self._open(str(dto.get("issue_id")))
        if body is None or body["reverse_detail_status"] not in ("wait_for_seller_response", "wait_for_buyer_response"):
            return False
        money = {"value": str(dto["refund_amount"]), "currency": str(dto["refund_amount_currency"])}
        if float(money["value"]) > float(body["refund_money_max_local"]):
            return False
        simulated.counter(body, str(dto["add_solution_type"]), money, self._clock.now())
        return True

    def _image(self, params: Params) -> bool:
        body = self._open(params.get("issue_id", ""))
        if body is None or "image_bytes" not in params or not params.get("extension"):
            return False
        simulated.log(body, "seller_upload", "seller", self._clock.now(), images="seller")
        return True

    def _cancel(self, params: Params) -> bool:
        request = json.loads(params["param_order_cancel_request"])
        return bool(request.get("order_id") and request.get("buyer_login_id"))

    # messages
    def _talk(self, path: str, params: Params) -> Body:
        match path.removeprefix("/aliexpress/message/"):
            case "session/open":
                return {"open_result": "SUCCESS"}
            case "send":
                return self._take_message(json.loads(params["im_send_message_dto"]))
            case "list":
                asked = json.loads(params["im_query_message_dto"])
                mine = [m for m in reversed(self._messages) if str(m["buyer_id"]) == str(asked["buyer_id"])]
                return {"message_list": mine[:20], "has_more": False}
        return {}

    def _take_message(self, dto: Body) -> Body:
        now, content = self._clock.now(), dto["message_content_dto"]
        message = {
            "message_id": f"m{len(self._messages) + 1}",
            "buyer_id": dto["buyer_id"],
            "content": json.dumps(content, ensure_ascii=False),
            "from_account_type": 12,
            "template_id": dto["template_id"],
            "send_time": to_micros(now) // 1000,
        }
        self._messages.append(message)
        self._sent.append({"at": format_time(now), "method": "aliexpress/message/send", "params": dto, "taken": True})
        return {"message_id": message["message_id"]}

    # the control surface
    async def stage(self, request: Request) -> Response:
        given = await request.json()
        order = str(given.get("parent_order_id") or given.pop("order_id"))
        body = simulated.made_up(order, self._clock.now(), {**given, "parent_order_id": order})
        self._issues[str(body["issue_id"])] = body
        self._save_file()
        return JSONResponse(body, 201)

    async def move(self, request: Request) -> Response:
        body = self._issues.get(request.path_params["id"])
        given = await request.json()
        if body is None or given.get("do", "buyer_accepts") not in simulated.MOVES:
            return JSONResponse({"moves": sorted(simulated.MOVES), "issues": sorted(self._issues)}, 404)
        if "do" in given:
            simulated.MOVES[given["do"]](body, self._clock.now(), given)
        else:
            body |= {"gmt_modified": simulated.stamp(self._clock.now()), **given}
        self._save_file()
        return JSONResponse(body)

    async def shown(self, request: Request) -> Response:
        return JSONResponse(list(self._issues.values()))

    async def taken(self, request: Request) -> Response:
        return JSONResponse(self._sent)

    async def push(self, request: Request) -> Response:
        """`{"order_id", "order_status"?}` -> the body as text and its headers, ready to be posted to the webhook."""
        given = await request.json()
        now, order = to_micros(self._clock.now()), str(given["order_id"])
        data = {"order_status": given.get("order_status", "return_requested"), "trade_order_id": order}
        data |= (
            {"reverse_order_id": f"{order}7", "reverse_order_line_id": f"{order}8"}
            if "order_status" not in given
            else {}
        )
        data |= {"status_update_time": now // 1_000_000, "trade_order_line_id": f"{order[:-1]}9"}
        seller = str(self._account.settings.get("seller_id", "2000012345"))
        body = {"seller_id": seller, "message_type": 0, "data": data, "timestamp": now // 1000, "site": "simulated"}
        raw = json.dumps(body, separators=(",", ":"))
        return JSONResponse({"body": raw, "headers": sign_push(raw.encode(), self._keys[0], self._values[0])})

    def _save_file(self) -> None:
        if self._keep is not None:
            self._keep.write_text(json.dumps(self._issues))


def _row(body: Body) -> Body:
    names = ("buyer_login_id", "gmt_create", "gmt_modified", "issue_status", "order_id", "parent_order_id")
    reason = {"reason_english": body.get("issue_reason", ""), "reason_chinese": ""}
    return {"id": int(body["issue_id"]), "issue_id": int(body["issue_id"]), **{n: body[n] for n in names}, **reason}


async def _params(request: Request) -> tuple[dict[str, str], dict[str, str]]:
    """Query and form in one; and of each file, which takes no part in the signature, its SHA-256."""
    async with request.form() as form:
        texts = {**request.query_params, **{k: v for k, v in form.items() if isinstance(v, str)}}
        return texts, {k: content_hash(await v.read()) for k, v in form.items() if isinstance(v, UploadFile)}
