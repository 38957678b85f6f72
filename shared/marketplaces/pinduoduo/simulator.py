"""Pinduoduo's open platform as source and channel meet it: verifies our signatures, answers their methods, remembers.

Control surface: `POST /_control/after_sales` stages one (`order_sn`, any field of the detail; `refund_amount`, `order_amount`
and the other fields of the row in yuan), `POST /_control/after_sales/{id}` lays fields over, `GET /_control/after_sales`,
`GET /_control/sent` acts in order, `POST /_control/relay` `{"id", "operation"}` a signed form of the relay for it.
An after-sale nobody staged stands at status 0 (none): which kind it is cannot be made up. A refund that is agreed to is
paid after an hour of the clock.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import Clock, format_time, to_micros
from shared.marketplaces.pinduoduo.after_sale import AWAITING_SELLER, SHANGHAI, moment, yuan
from shared.marketplaces.pinduoduo.client import sign
from shared.marketplaces.pinduoduo.webhook import relay_signature
from shared.ports import Account, Secrets, each_secret

Body = dict[str, Any]
ANSWER_WITHIN = timedelta(hours=48)
"""The simulator's own: the real length is told by `expire_time` only."""
PAID_AFTER = timedelta(hours=1)
_WINDOW_S = 1800
_MALL = 700100200
_ROW = ("created_time", "updated_time", "refund_amount", "order_amount", "goods_name", "after_sale_reason")


class _No(Exception):
    """An `error_response`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def create(account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Starlette:
    """`keep`: a JSON file in which after-sales survive a restart."""
    market = _Market(account, secrets, clock, keep)
    return Starlette(
        routes=[
            Route("/api/router", market.router, methods=["POST"]),
            Route("/_control/after_sales", market.stage, methods=["POST"]),
            Route("/_control/after_sales", market.shown, methods=["GET"]),
            Route("/_control/after_sales/{id}", market.lay_over, methods=["POST"]),
            Route("/_control/sent", market.taken, methods=["GET"]),
            Route("/_control/relay", market.relay, methods=["POST"]),
        ]
    )


def stamp(at: datetime) -> str:
    return at.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def millis(at: datetime) -> int:
    return to_micros(at) // 1000


def staged(now: datetime, given: Mapping[str, Any]) -> Body:
    """A refund of 25.90 yuan that waits for the seller, with the given fields laid over it."""
    type_ = int(given.get("after_sales_type", 1))
    body: Body = {
        "id": 550000 + millis(now) % 100_000,
        "after_sales_type": type_,
        "after_sales_status": {1: 2, 2: 3, 5: 21}.get(type_, 14),
        "after_sales_reason": "质量问题",
        "shipping_status": 1,
        "user_shipping_status": 2,
        "express_no": None,
        "images": [],
        "created_time": stamp(now),
        "refund_amount": "25.90",
        "order_amount": "25.90",
        "goods_name": "示例商品",
    }
    return laid_over(body, given, now)


def laid_over(body: Body, given: Mapping[str, Any], now: datetime) -> Body:
    body = {**body, **given, "updated_time": stamp(now)}
    waiting = str(body["after_sales_status"]) in AWAITING_SELLER
    if "expire_time" not in given:
        body["expire_time"] = millis(now + ANSWER_WITHIN) if waiting else None
    return body


class _Market:
    def __init__(self, account: Account, secrets: Secrets, clock: Clock, keep: Path | None) -> None:
        self._account, self._clock, self._keep = account, clock, keep
        self._id, self._secrets = each_secret(secrets, "client_id"), each_secret(secrets, "client_secret")
        self._relay = each_secret(secrets, "relay_secret")
        self._sales: dict[str, Body] = json.loads(keep.read_text()) if keep and keep.exists() else {}
        self._sent: list[Body] = []
        self._reads: dict[str, Callable[[Body], Body]] = {
            "pdd.refund.information.get": self._detail,
            "pdd.refund.list.increment.get": self._list,
            "pdd.refund.address.list.get": self._addresses,
        }
        self._acts: dict[str, Callable[[Body], Body]] = {
            "pdd.refund.agree": lambda p: self._agree(p, ("2", "3"), 4),
            "pdd.refund.returngoods.agree": lambda p: self._agree(p, ("3",), 7),
            "pdd.nextone.logistics.warehouse.update": self._received,
            "pdd.refund.exchange.shipping": lambda p: self._agree(p, ("14", "32"), 18),
            "pdd.order.upload.extra.logistics": lambda _: {"response": {"is_success": True}},
            "pdd.rdc.pddgenius.sendgoods.cancel": self._stopped,
        }

    # the marketplace's own surface
    async def router(self, request: Request) -> Response:
        params = await request.json()
        try:
            self._check(params)
            self._pay_what_is_due()
            reply = self._answer(str(params.get("type")), params)
        except _No as no:
            return JSONResponse(
                {"error_response": {"error_code": no.code, "error_msg": str(no), "request_id": "simulated"}}
            )
        self._save()
        return JSONResponse(reply)

    def _check(self, params: Body) -> None:
        if params.get("client_id") not in self._id:
            raise _No(10002, "unknown client_id")
        given = str(params.get("sign", ""))
        if not any(hmac.compare_digest(given, sign(secret, params)) for secret in self._secrets):
            raise _No(20004, "the signature does not match")

    def _answer(self, type_: str, params: Body) -> Body:
        if type_ in self._reads:
            return self._reads[type_](params)
        if type_ not in self._acts:
            raise _No(10001, "no such method")
        inner = params.get("request") or params.get("param")
        told: Body = (
            json.loads(inner) if inner else {k: v for k, v in params.items() if k not in ("sign", "access_token")}
        )
        reply = self._acts[type_](told)
        self._sent.append({"at": format_time(self._clock.now()), "type": type_, "params": told})
        return reply

    def _detail(self, params: Body) -> Body:
        body = self._sales.get(str(params.get("after_sales_id")))
        if body is None or body["order_sn"] != params.get("order_sn"):
            return {"id": params.get("after_sales_id"), "order_sn": params.get("order_sn"), "after_sales_status": 0}
        return {name: value for name, value in body.items() if name not in _ROW}

    def _list(self, params: Body) -> Body:
        begin, end = int(params["start_updated_at"]), int(params["end_updated_at"])
        if end - begin > _WINDOW_S:
            raise _No(50001, "the window is longer than 30 minutes")
        order, status = params.get("order_sn"), str(params["after_sales_status"])
        rows = [_row(body) for body in self._sales.values() if order in (None, body["order_sn"])]
        if order is None:
            rows = [r for r in rows if _between(r, begin, end) and status in ("1", str(r["after_sales_status"]))]
        size, page = int(params.get("page_size", 100)), int(params.get("page", 1))
        shown = rows[(page - 1) * size : page * size]
        return {"refund_increment_get_response": {"refund_list": shown, "total_count": len(rows)}}

    def _addresses(self, _: Body) -> Body:
        address = str(self._account.settings.get("return_address_id", "4711"))
        row = {"refund_address_id": address, "id": 1, "is_legal": True, "is_validated": True, "is_default": "Y"}
        other = {**row, "refund_address_id": "4712", "id": 2, "is_validated": False}
        return {"refund_address_list_get_response": {"refund_address_list": [row, other]}}

    def _agree(self, told: Body, wanted: tuple[str, ...], to: int) -> Body:
        body = self._sales.get(str(told.get("after_sales_id")))
        fine = body is not None and str(body["after_sales_status"]) in wanted
        if body is not None and fine:
            self._put(body, {"after_sales_status": to, "refund_operator_role": 2})
        message = "" if fine else "the after-sale does not wait for it"
        return {"response": {"result": {"succ": fine, "message": message, "order_sn": told.get("order_sn")}}}

    def _received(self, told: Body) -> Body:
        if str(told.get("after_sales_id")) not in self._sales:
            raise _No(50001, "no such after-sale")
        return {"response": {"result": {"after_sales_id": told["after_sales_id"], "order_sn": told["order_sn"]}}}

    def _stopped(self, told: Body) -> Body:
        return {
            "rdc_pddgenius_sendgoods_cancel_response": {"result": {"result_data": {"refund_id": told["refund_id"]}}}
        }

    def _pay_what_is_due(self) -> None:
        now = self._clock.now()
        for body in list(self._sales.values()):
            changed = moment(body["updated_time"])
            if str(body["after_sales_status"]) in ("4", "5") and changed and now - changed >= PAID_AFTER:
                self._put(body, {"after_sales_status": 10})

    def _put(self, body: Body, given: Mapping[str, Any]) -> Body:
        self._sales[str(body["id"])] = changed = laid_over(body, given, self._clock.now())
        return changed

    # the control surface
    async def stage(self, request: Request) -> Response:
        body = staged(self._clock.now(), await request.json())
        self._sales[str(body["id"])] = body
        self._save()
        return JSONResponse(body, 201)

    async def lay_over(self, request: Request) -> Response:
        body = self._sales.get(request.path_params["id"])
        if body is None:
            return JSONResponse({"after_sales": sorted(self._sales)}, 404)
        changed = self._put(body, await request.json())
        self._save()
        return JSONResponse(changed)

    async def shown(self, request: Request) -> Response:
        return JSONResponse(list(self._sales.values()))

    async def taken(self, request: Request) -> Response:
        return JSONResponse(self._sent)

    async def relay(self, request: Request) -> Response:
        """Body, query and headers, ready to be posted to the webhook."""
        given = await request.json()
        body, now = self._sales[str(given["id"])], self._clock.now()
        money = yuan(body["refund_amount"])
        content = {
            "mall_id": self._account.settings.get("mall_id", _MALL),
            "refund_fee": money.minor if money else 0,
            "bill_type": body["after_sales_type"],
            "modified": millis(now),
            "refund_id": body["id"],
            "operation": int(given["operation"]),
            "tid": body["order_sn"],
        }
        return JSONResponse(form(json.dumps(content, separators=(",", ":")), self._relay[0], str(millis(now) // 1000)))

    def _save(self) -> None:
        if self._keep is not None:
            self._keep.write_text(json.dumps(self._sales))


def form(raw: str, secret: str, timestamp: str, topic: int = 8) -> Body:
    """The relay's request for this JSON text."""
    signed = relay_signature(secret, raw, timestamp)
    query = urlencode({"fromPlatform": "AldsPdd", "timestamp": timestamp, "aopic": topic, "sign": signed})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return {"body": f"json={quote_plus(raw)}", "query": query, "headers": headers}


def _row(body: Body) -> Body:
    row = {name: body.get(name) for name in (*_ROW, "id", "order_sn", "after_sales_status", "after_sales_type")}
    return {**row, "after_sale_reason": body.get("after_sales_reason")}


def _between(row: Body, begin: int, end: int) -> bool:
    changed = moment(row["updated_time"])
    return changed is not None and begin <= to_micros(changed) // 1_000_000 <= end
