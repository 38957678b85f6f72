"""One Amazon account's channel with the part of the simulator that takes messages and feeds, over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from amends.serve import HttpServer
from shared.clock import TestClock
from shared.domain.errands import Errand
from shared.domain.money import Money
from shared.http import Call, Http
from shared.marketplaces.amazon.channel import Channel
from shared.marketplaces.amazon.simulated_messaging import SimulatedMessaging
from shared.ports import Account

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ORDER = "902-1234567-7654321"
SECRETS = {"lwa_client_id": "c", "lwa_client_secret": ("old", "new"), "refresh_token": "r"}
BODY = f"We are sorry about order {ORDER}. What would put it right for you?"


def errand(name: str = "free_text", *, kind: str = "return", money: str | None = None, **params: Any) -> Errand:
    return Errand(
        id="act_1", what="act", name=name, account="amz", marketplace="amazon", order_id=ORDER, case_id="case_1",
        case_kind=kind, phase="awaiting_seller", created_at=START, params=params, locale="en",
        money=Money.parse(money) if money else None, refs={"amazon_rma_id": "RMA-7"},
    )  # fmt: skip


def message(name: str = "free_text", **changes: Any) -> Errand:
    return msgspec.structs.replace(errand(name), what="message", **changes)


@dataclass
class Shop:
    account: Account
    market: SimulatedMessaging
    http: Http
    url: str
    faults: list[str | None] = field(default_factory=list)
    """What becomes of the next calls that change something, in order."""

    def channel(self, **settings: Any) -> Channel:
        account = replace(self.account, settings={**self.account.settings, **settings})
        return Channel(account, SECRETS, self.http, TestClock(START))

    async def stage(self, path: str, **given: Any) -> None:
        quiet = Http()
        try:
            await quiet.call(Call("POST", f"{self.url}/_control/{path}", body=msgspec.json.encode(given)))
        finally:
            await quiet.close()


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    async def token(request: Request) -> Response:
        form = await request.form()
        if form["client_secret"] != "new":
            return JSONResponse({"error": "invalid_client", "error_description": "no"}, 401)
        return JSONResponse({"access_token": "Atza|1", "expires_in": 3600, "token_type": "bearer"})

    clock = TestClock(START)
    market = SimulatedMessaging(clock, lambda request: request.headers.get("x-amz-access-token") == "Atza|1")
    server = HttpServer(Starlette(routes=[Route("/auth/o2/token", token, methods=["POST"]), *market.routes()]))
    await server.start()
    faults: list[str | None] = []

    async def fault(call: Call) -> str | None:
        return faults.pop(0) if faults and not call.reads else None

    http = Http(fault=fault)
    account = Account("amz", "amazon", base_url=server.url, sandbox=True)
    try:
        yield Shop(account, market, http, server.url, faults)
    finally:
        await http.close()
        await server.stop()
