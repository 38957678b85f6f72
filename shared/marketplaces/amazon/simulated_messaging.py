"""The part of the simulator that takes: Messaging API and feeds. What it took is in `sent`, in order.

Control surface: `POST /_control/messaging` `{"order_id", "actions"?: [names], "locale"?}` says what is allowed for an order
(else every after-sales action is, in en-US); `POST /_control/feeds` `{"processing_status"}` how the next feeds end.
"""

import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.clock import Clock, format_time

ACTIONS = ("confirmDeliveryDetails", "confirmOrderDetails", "unexpectedProblem")
_LONGEST = 2000
_HTML = re.compile(r"<[a-zA-Z/!]")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.\w+")

Body = dict[str, Any]


class SimulatedMessaging:
    """`known(request)`: whether the call bears a token the simulator has given out."""

    def __init__(self, clock: Clock, known: Callable[[Request], bool], sent: list[Body] | None = None) -> None:
        self._clock, self._known = clock, known
        self.sent: list[Body] = [] if sent is None else sent
        self._orders: dict[str, Body] = {}
        self._documents: dict[str, bytes] = {}
        self._feeds: dict[str, Body] = {}
        self._ends = "DONE"

    def routes(self) -> list[Route]:
        order = "/messaging/v1/orders/{order}"
        return [
            Route(order, self.actions, methods=["GET"]),
            Route(f"{order}/attributes", self.attributes, methods=["GET"]),
            Route(order + "/messages/{action}", self.message, methods=["POST"]),
            Route("/feeds/2021-06-30/documents", self.document, methods=["POST"]),
            Route("/_feed_documents/{id}", self.upload, methods=["PUT"]),
            Route("/feeds/2021-06-30/feeds", self.feed, methods=["POST"]),
            Route("/feeds/2021-06-30/feeds/{id}", self.shown, methods=["GET"]),
            Route("/_control/messaging", self.stage, methods=["POST"]),
            Route("/_control/feeds", self.stage_feeds, methods=["POST"]),
        ]

    async def actions(self, request: Request) -> Response:
        if (no := self._refused(request)) is not None:
            return no
        path = request.url.path
        links = [{"name": name, "href": f"{path}/messages/{name}"} for name in self._order(request)["actions"]]
        return JSONResponse({"_links": {"self": {"href": path}, "actions": links}, "_embedded": {"actions": []}})

    async def attributes(self, request: Request) -> Response:
        if (no := self._refused(request)) is not None:
            return no
        return JSONResponse({"buyer": {"locale": self._order(request)["locale"]}})

    async def message(self, request: Request) -> Response:
        if (no := self._refused(request)) is not None:
            return no
        order, action = request.path_params["order"], request.path_params["action"]
        given = await request.json()
        text = str(given.get("text", ""))
        if action not in self._order(request)["actions"]:
            return _error(403, "Unauthorized", f"{action} is not available for this order")
        if not text or len(text) > _LONGEST or _HTML.search(text) or _MAIL.search(text):
            return _error(400, "InvalidInput", "the text breaks the rules for messages")
        self._note("message", order_id=order, action=action, text=text)
        return JSONResponse({}, 201)

    async def document(self, request: Request) -> Response:
        if not self._known(request):
            return _error(403, "Unauthorized", "no valid token")
        id_ = f"amzn1.tortuga.4.na.{len(self._documents) + 1}"
        self._documents[id_] = b""
        return JSONResponse({"feedDocumentId": id_, "url": f"{request.base_url}_feed_documents/{id_}"}, 201)

    async def upload(self, request: Request) -> Response:
        if request.path_params["id"] not in self._documents or "x-amz-access-token" in request.headers:
            return Response(status_code=403)
        self._documents[request.path_params["id"]] = await request.body()
        return Response()

    async def feed(self, request: Request) -> Response:
        if not self._known(request):
            return _error(403, "Unauthorized", "no valid token")
        given = await request.json()
        content = self._documents.get(str(given.get("inputFeedDocumentId")))
        if not content:
            return _error(400, "InvalidInput", "there is no such document, or it is empty")
        id_ = str(50_001 + len(self._feeds))
        self._feeds[id_] = {"feedId": id_, "feedType": given.get("feedType"), "processingStatus": self._ends}
        heading, *rows = (line.split("\t") for line in content.decode().splitlines())
        told = [dict(zip(heading, row, strict=False)) for row in rows]
        self._note("feed", feed_type=given.get("feedType"), marketplaces=given.get("marketplaceIds"), rows=told)
        return JSONResponse({"feedId": id_}, 202)

    async def shown(self, request: Request) -> Response:
        if not self._known(request):
            return _error(403, "Unauthorized", "no valid token")
        found = self._feeds.get(request.path_params["id"])
        return JSONResponse(found) if found else _error(404, "NotFound", "no such feed")

    async def stage(self, request: Request) -> Response:
        given = await request.json()
        self._orders[given["order_id"]] = {
            "actions": given.get("actions", list(ACTIONS)),
            "locale": given.get("locale", "en-US"),
        }
        return JSONResponse({})

    async def stage_feeds(self, request: Request) -> Response:
        self._ends = (await request.json())["processing_status"]
        return JSONResponse({})

    def _order(self, request: Request) -> Body:
        return self._orders.get(request.path_params["order"], {"actions": list(ACTIONS), "locale": "en-US"})

    def _refused(self, request: Request) -> Response | None:
        if not self._known(request):
            return _error(403, "Unauthorized", "no valid token")
        if len(request.query_params.get("marketplaceIds", "").split(",")) != 1 or not request.query_params.get(
            "marketplaceIds"
        ):
            return _error(400, "InvalidInput", "marketplaceIds names one marketplace")
        if not re.fullmatch(r"\d{3}-\d{7}-\d{7}", request.path_params["order"]):
            return _error(404, "NotFound", "no such order")
        return None

    def _note(self, what: str, **told: Any) -> None:
        self.sent.append({"at": format_time(self._clock.now()), "operation": what, **told})


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message, "details": ""}]}, status)
