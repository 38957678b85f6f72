"""Amazon as source, channel and forwarder meet it: login, reports, documents, finances, messaging, feeds.

Control surface: `POST /_control/returns` stages a row (`order_id`, columns by their XML names), `POST
/_control/returns/{order id}` `{"do": <move>, …}` or columns to lay over, `GET /_control/returns`; `POST /_control/finances`
`{"order_id", "list"?, "amount"?, "currency"?}` posts an event; `POST /_control/reports` `{"looks", "packed", "status"}` how
the next reports come; `POST /_control/push` a notification with its headers; `GET /_control/sent` what messaging and feeds took.
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import Clock, format_time
from shared.marketplaces.amazon import simulated_returns
from shared.marketplaces.amazon.regions import marketplace_of
from shared.marketplaces.amazon.simulated_messaging import SimulatedMessaging
from shared.marketplaces.amazon.webhook import KEY_HEADER
from shared.ports import Account, Secrets, each_secret, secret_of

Body = dict[str, Any]
_LISTS = ("RefundEventList", "GuaranteeClaimEventList", "ChargebackEventList")
PAGE = 50


def create(account: Account, secrets: Secrets, clock: Clock, keep: Path | None = None) -> Starlette:
    """`keep`: a JSON file in which returns and finance events survive a restart."""
    market = _Market(account, secrets, clock, keep)
    reports, finances = "/reports/2021-06-30", "/finances/v0"
    return Starlette(
        routes=[
            Route("/auth/o2/token", market.login, methods=["POST"]),
            Route(f"{reports}/reports", market.create_report, methods=["POST"]),
            Route(f"{reports}/reports/{{id}}", market.report, methods=["GET"]),
            Route(f"{reports}/documents/{{id}}", market.document, methods=["GET"]),
            Route("/_documents/{id}", market.download, methods=["GET"]),
            Route(f"{finances}/financialEvents", market.events, methods=["GET"]),
            Route(f"{finances}/orders/{{order}}/financialEvents", market.events_of_order, methods=["GET"]),
            *market.messaging.routes(),
            Route("/_control/returns", market.stage, methods=["POST"]),
            Route("/_control/returns", market.shown, methods=["GET"]),
            Route("/_control/returns/{order}", market.move, methods=["POST"]),
            Route("/_control/finances", market.post_event, methods=["POST"]),
            Route("/_control/reports", market.tune, methods=["POST"]),
            Route("/_control/push", market.push, methods=["POST"]),
            Route("/_control/sent", market.taken, methods=["GET"]),
        ]
    )


class _Market:
    def __init__(self, account: Account, secrets: Secrets, clock: Clock, keep: Path | None) -> None:
        self._account, self._secrets, self._clock, self._keep = account, secrets, clock, keep
        kept: Body = json.loads(keep.read_text()) if keep and keep.exists() else {}
        self._returns: list[dict[str, str]] = kept.get("returns", [])
        self._events: list[tuple[str, Body]] = [(name, event) for name, event in kept.get("events", [])]
        self._tokens: set[str] = set()
        self._reports: dict[str, Body] = {}
        self._pushed = 0
        self._how: Body = {"looks": 0, "packed": True, "status": "DONE"}
        self.messaging = SimulatedMessaging(clock, self._known)

    # the marketplace's own surface
    async def login(self, request: Request) -> Response:
        async with request.form() as form:
            given = {name: value for name, value in form.items() if isinstance(value, str)}
        wanted = {"lwa_client_id": "client_id", "lwa_client_secret": "client_secret", "refresh_token": "refresh_token"}
        if any(given.get(field) not in each_secret(self._secrets, name) for name, field in wanted.items()):
            return JSONResponse({"error": "invalid_client", "error_description": "Client authentication failed"}, 401)
        token = f"Atza|{len(self._tokens) + 1}"
        self._tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "bearer", "expires_in": 3600})

    async def create_report(self, request: Request) -> Response:
        if not self._known(request):
            return _no_token()
        given = await request.json()
        if not given.get("marketplaceIds") or not given.get("reportType"):
            return _error(400, "InvalidInput", "marketplaceIds and reportType are required")
        id_ = str(50_000_001 + len(self._reports))
        named = ("reportType", "marketplaceIds", "dataStartTime", "dataEndTime")
        report = {name: given[name] for name in named if name in given}
        report |= {"reportId": id_, "createdTime": format_time(self._clock.now()), "looks": self._how["looks"]}
        self._reports[id_] = report
        return JSONResponse({"reportId": id_}, 202)

    async def report(self, request: Request) -> Response:
        report = self._reports.get(request.path_params["id"])
        if not self._known(request) or report is None:
            return _no_token() if report else _error(404, "NotFound", "no such report")
        if report["looks"] > 0:
            report["looks"] -= 1
        shown = {name: value for name, value in report.items() if name not in ("looks", "document")}
        if report["looks"]:
            return JSONResponse({**shown, "processingStatus": "IN_PROGRESS"})
        if self._how["status"] != "DONE":
            return JSONResponse({**shown, "processingStatus": self._how["status"]})
        report.setdefault("document", self._made(report["reportType"]))
        document = f"amzn1.spdoc.1.4.na.{report['reportId']}"
        return JSONResponse({**shown, "processingStatus": "DONE", "reportDocumentId": document})

    def _made(self, kind: str) -> bytes:
        write = simulated_returns.xml if kind.startswith("GET_XML") else simulated_returns.flat
        return write(self._returns) if "RETURNS_DATA" in kind else b""

    async def document(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        if not self._known(request):
            return _no_token()
        told = {"reportDocumentId": id_, "url": f"{request.base_url}_documents/{id_}"}
        return JSONResponse(told | ({"compressionAlgorithm": "GZIP"} if self._how["packed"] else {}))

    async def download(self, request: Request) -> Response:
        """An address of its own: a token must not go there."""
        report = self._reports.get(request.path_params["id"].rpartition(".")[2])
        if report is None or "document" not in report or "x-amz-access-token" in request.headers:
            return Response(status_code=403)
        body: bytes = report["document"]
        return Response(gzip.compress(body) if self._how["packed"] else body, media_type="text/plain; charset=cp1252")

    async def events(self, request: Request) -> Response:
        after = request.query_params.get("PostedAfter", "")
        return self._paged(request, [row for row in self._events if row[1]["PostedDate"] >= after])

    async def events_of_order(self, request: Request) -> Response:
        order = request.path_params["order"]
        return self._paged(request, [row for row in self._events if row[1]["AmazonOrderId"] == order])

    def _paged(self, request: Request, rows: list[tuple[str, Body]]) -> Response:
        if not self._known(request):
            return _no_token()
        start = int(request.query_params.get("NextToken") or 0)
        page = rows[start : start + PAGE]
        lists = {name: [event for of, event in page if of == name] for name in _LISTS}
        more = {"NextToken": str(start + PAGE)} if len(rows) > start + PAGE else {}
        return JSONResponse({"payload": {"FinancialEvents": lists, **more}})

    def _known(self, request: Request) -> bool:
        return request.headers.get("x-amz-access-token") in self._tokens

    # the control surface
    async def stage(self, request: Request) -> Response:
        given = await request.json()
        line = simulated_returns.made_up(str(given["order_id"]), self._clock.now(), given)
        self._returns.append(line)
        self._save()
        return JSONResponse(line, 201)

    async def move(self, request: Request) -> Response:
        given: Mapping[str, Any] = await request.json()
        lines = [line for line in self._returns if line["order_id"] == request.path_params["order"]]
        do = simulated_returns.MOVES.get(given.get("do", ""))
        if not lines or ("do" in given and do is None):
            return JSONResponse({"moves": sorted(simulated_returns.MOVES)}, 404)
        for line in lines:
            if do is None:
                line |= {name: str(value) for name, value in given.items()}
            else:
                do(line, self._clock.now(), given)
        self._save()
        return JSONResponse(lines)

    async def shown(self, request: Request) -> Response:
        return JSONResponse(self._returns)

    async def post_event(self, request: Request) -> Response:
        given = await request.json()
        event = simulated_returns.finance_event(str(given["order_id"]), self._clock.now(), given, len(self._events) + 1)
        self._events.append((given.get("list", _LISTS[0]), event))
        self._save()
        return JSONResponse(event, 201)

    async def tune(self, request: Request) -> Response:
        """Also for reports that are waited for; answers with the id of the `last` one, too."""
        self._how |= await request.json()
        for report in self._reports.values():
            report["looks"] = min(report["looks"], self._how["looks"])
        return JSONResponse({**self._how, "last": max(self._reports, default=None)})

    async def taken(self, request: Request) -> Response:
        return JSONResponse(self.messaging.sent)

    async def push(self, request: Request) -> Response:
        """`{"order_id", "change"?, "status"?, "wants_cancel"?}` -> an ORDER_CHANGE as text and its headers."""
        given = await request.json()
        self._pushed += 1
        raw = json.dumps(order_change(self._account, self._clock, given, self._pushed), separators=(",", ":"))
        key = secret_of(self._secrets, "notification_key")
        return JSONResponse({"body": raw, "headers": {KEY_HEADER: key, "Content-Type": "application/json"}})

    def _save(self) -> None:
        if self._keep is not None:
            self._keep.write_text(json.dumps({"returns": self._returns, "events": self._events}))


def order_change(account: Account, clock: Clock, given: Mapping[str, Any], number: int) -> Body:
    """An ORDER_CHANGE notification in its own casing; without more it is the buyer's wish to cancel."""
    now, wants = format_time(clock.now()), given.get("wants_cancel", True)
    item = {"OrderItemId": "70000000000011", "SellerSKU": "LAMP-01", "Quantity": 1, "IsBuyerRequestedCancel": wants}
    summary = {
        "MarketplaceId": marketplace_of(account),
        "OrderStatus": given.get("status", "Unshipped"),
        "FulfillmentType": given.get("fulfilment", "MFN"),
        "OrderItems": [item],
        **({"LatestShipDate": given["ship_by"]} if "ship_by" in given else {}),
    }
    change = {
        "NotificationLevel": "OrderLevel",
        "SellerId": str(account.settings.get("seller_id") or "A1EXAMPLESELLER"),
        "AmazonOrderId": str(given["order_id"]),
        "OrderChangeType": given.get("change", "BuyerRequestedChange"),
        "OrderChangeTrigger": {"TimeOfOrderChange": now, "ChangeReason": given.get("reason", "Buyer Requested Cancel")},
        "Summary": summary,
    }
    metadata = {
        "ApplicationId": str(account.settings.get("application_id") or "amzn1.sellerapps.app.simulated"),
        "SubscriptionId": next(map(str, account.settings.get("subscription_ids") or ()), "simulated"),
        "PublishTime": now,
        "NotificationId": f"00000000-0000-4000-8000-{number:012d}",
    }
    envelope = {"NotificationVersion": "1.0", "NotificationType": "ORDER_CHANGE", "PayloadVersion": "1.0"}
    payload = {"Payload": {"OrderChangeNotification": change}, "NotificationMetadata": metadata}
    return {**envelope, "EventTime": now, **payload}


def _no_token() -> Response:
    return _error(403, "Unauthorized", "Access to requested resource is denied.")


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message, "details": ""}]}, status)
