"""The Selling Partner client over real HTTP: the token's life, call limits, what each answer means, documents."""

import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from shared.clock import TestClock
from shared.http import Http, InDoubtFault, NotSentFault, RefusedFault
from shared.marketplaces.amazon.client import Client, Document, unpacked
from shared.marketplaces.amazon.limits import PATIENCE, RATES, Limits
from shared.marketplaces.amazon.regions import endpoint_of, login_of
from shared.ports import Account

SECRETS = {"lwa_client_id": "client-1", "lwa_client_secret": ("new", "old"), "refresh_token": "Atzr|demo"}


@dataclass
class Amazon:
    """What the server knows and saw. `answers`: status, body, headers of the next calls."""

    url: str = ""
    secret: str = "old"
    tokens: int = 0
    seconds: Any = 3600
    calls: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/auth/o2/token":
            return await self.login(request)
        body = await request.read()
        self.calls.append((request.method, request.raw_path, dict(request.headers), body))
        status, content, headers = self.answers.pop(0) if self.answers else (200, b"{}", {})
        return web.Response(status=status, body=content, headers=headers)

    async def login(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        if form.get("client_secret") != self.secret:
            return web.json_response({"error": "invalid_client", "error_description": "Client failed"}, status=401)
        assert form["grant_type"] == "refresh_token" and form["refresh_token"] == SECRETS["refresh_token"]
        self.tokens += 1
        return web.json_response({"access_token": f"Atza|{self.tokens}", "expires_in": self.seconds})


@pytest_asyncio.fixture
async def amazon() -> AsyncIterator[Amazon]:
    server = Amazon()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest_asyncio.fixture
async def client(amazon: Amazon) -> AsyncIterator[Client]:
    http = Http(timeout=5)
    yield Client(Account("amz", "amazon", base_url=amazon.url), SECRETS, http, TestClock())
    await http.close()


@pytest.mark.asyncio
async def test_one_token_serves_many_calls_and_the_older_secret_still_counts(amazon: Amazon, client: Client) -> None:
    amazon.answers = [(200, b'{"reportId": 12345678901234567890, "rate": 1.50}', {})]
    made = await client.call("POST", "/reports/2021-06-30/reports", "createReport", body={"reportType": "X"})
    await client.call("GET", "/reports/2021-06-30/reports/9", "getReport", params={"a": "b c"})
    assert made == {"reportId": "12345678901234567890", "rate": "1.50"}
    assert amazon.tokens == 1
    (method, path, headers, body), (_, second, _, _) = amazon.calls
    assert (method, path, body) == ("POST", "/reports/2021-06-30/reports", b'{"reportType":"X"}')
    assert headers["x-amz-access-token"] == "Atza|1" and headers["Content-Type"] == "application/json"
    assert second == "/reports/2021-06-30/reports/9?a=b+c"


@pytest.mark.asyncio
async def test_a_token_about_to_end_is_renewed(amazon: Amazon, client: Client) -> None:
    amazon.seconds = 30
    await client.call("GET", "/x", "x")
    await client.call("GET", "/x", "x")
    assert amazon.tokens == 2


@pytest.mark.asyncio
async def test_a_refused_token_is_renewed_once_when_it_is_not_fresh(
    amazon: Amazon, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = (403, b'{"errors":[{"code":"Unauthorized","message":"Access denied"}]}', {})
    amazon.answers = [no]
    with pytest.raises(RefusedFault, match="getReport: Unauthorized: Access denied") as caught:
        await client.call("GET", "/x", "getReport")
    assert caught.value.status == 403 and amazon.tokens == 1
    client._made -= 600
    amazon.answers = [no, (200, b'{"ok":true}', {})]
    assert await client.call("GET", "/x", "getReport") == {"ok": True}
    assert amazon.tokens == 2 and amazon.calls[-1][2]["x-amz-access-token"] == "Atza|2"


@pytest.mark.asyncio
async def test_without_a_token_nothing_is_sent(amazon: Amazon, client: Client) -> None:
    amazon.secret = "neither"
    with pytest.raises(RefusedFault, match="login: invalid_client: Client failed") as caught:
        await client.call("POST", "/feeds", "createFeed", body={})
    assert caught.value.status == 401
    amazon.secret, amazon.seconds = "old", "soon"
    with pytest.raises(NotSentFault, match="no token"):
        await client.call("POST", "/feeds", "createFeed", body={})
    assert amazon.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((429, b"", {}), NotSentFault),
        ((503, b"", {}), InDoubtFault),
        ((400, b'{"errors":[{"code":"InvalidInput","message":"bad date"}]}', {}), RefusedFault),
        ((200, b"<html>", {}), InDoubtFault),
        ((200, b"[]", {}), InDoubtFault),
    ],
)
async def test_what_an_answer_means(
    amazon: Amazon, client: Client, answer: tuple[int, bytes, dict[str, str]], fault: type[Exception]
) -> None:
    amazon.answers = [answer]
    with pytest.raises(fault):
        await client.call("GET", "/x", "getOrder")


@pytest.mark.asyncio
async def test_an_empty_answer_is_a_yes(amazon: Amazon, client: Client) -> None:
    amazon.answers = [(201, b"", {})]
    assert await client.call("POST", "/messaging/v1/x", "createWarranty", body={}) == {}


@pytest.mark.asyncio
async def test_after_429_or_a_spent_burst_a_call_is_put_off_without_being_made(amazon: Amazon, client: Client) -> None:
    burst = RATES["createReport"][1]
    for _ in range(burst):
        await client.call("POST", "/reports", "createReport", body={})
    with pytest.raises(NotSentFault) as caught:
        await client.call("POST", "/reports", "createReport", body={})
    assert len(amazon.calls) == burst
    assert caught.value.retry_after == pytest.approx(60, abs=5)
    amazon.answers = [(429, b"", {})]
    with pytest.raises(NotSentFault):
        await client.call("GET", "/d", "getReportDocument")
    seen = len(amazon.calls)
    with pytest.raises(NotSentFault):
        await client.call("GET", "/d", "getReportDocument")
    assert len(amazon.calls) == seen


@pytest.mark.asyncio
async def test_documents_come_plain_and_packed_without_our_token(amazon: Amazon, client: Client) -> None:
    text = b"Order ID\t1\r\n" * 200_000
    latin = {"Content-Type": "text/plain; charset=ISO-8859-1"}
    packed = gzip.compress(text)
    twice = {"Content-Encoding": "gzip"}
    amazon.answers = [(200, text, latin), (200, packed, {"Content-Type": "application/gzip"}), (200, packed, twice)]
    assert await client.download(f"{amazon.url}/doc?sig=1") == Document(text, "ISO-8859-1")
    assert await client.download(f"{amazon.url}/doc?sig=2", packed=True) == Document(text)
    assert (await client.download(f"{amazon.url}/doc?sig=2", packed=True)).body == text
    assert all("x-amz-access-token" not in headers for _, _, headers, _ in amazon.calls)
    assert amazon.tokens == 0
    await client.upload(f"{amazon.url}/up?sig=3", b"feed", "text/tab-separated-values; charset=UTF-8")
    assert amazon.calls[-1][0] == "PUT" and amazon.calls[-1][3] == b"feed"


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(b"x" * 1000, mtime=0)[:-9], b""], ids=["none", "cut", "empty"]
)
def test_a_broken_package_is_no_document(body: bytes) -> None:
    with pytest.raises(InDoubtFault):
        unpacked(body)


def test_a_bomb_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.marketplaces.amazon.client.DOCUMENT_LIMIT", 1000)
    with pytest.raises(InDoubtFault, match="over 1000 bytes"):
        unpacked(gzip.compress(b"\0" * 100_000))
    assert unpacked(gzip.compress(b"\0" * 1000)) == b"\0" * 1000


@pytest.mark.asyncio
async def test_the_header_is_the_live_limit() -> None:
    now = 1000.0
    limits = Limits(lambda: now)
    limits.told("getReport", "0.001")
    for odd in (None, "", "x", "-1", "nan", "1e9"):
        limits.told("getReport", odd)
    for _ in range(RATES["getReport"][1]):
        await limits.turn("getReport")
    with pytest.raises(NotSentFault) as caught:
        await limits.turn("getReport")
    assert caught.value.retry_after is not None and caught.value.retry_after > PATIENCE
    now += 1000
    await limits.turn("getReport")


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ({}, "https://sellingpartnerapi-na.amazon.com"),
        ({"marketplace_id": "A1PA6795UKMFR9"}, "https://sellingpartnerapi-eu.amazon.com"),
        ({"marketplace_id": "A1VC38T7YXB528"}, "https://sellingpartnerapi-fe.amazon.com"),
        ({"marketplace_id": "unheard-of", "region": "FE"}, "https://sellingpartnerapi-fe.amazon.com"),
        ({"marketplace_id": "unheard-of", "region": "moon"}, "https://sellingpartnerapi-na.amazon.com"),
    ],
)
def test_which_endpoint_is_called(settings: dict[str, Any], endpoint: str) -> None:
    account = Account("amz", "amazon", settings=settings)
    assert endpoint_of(account) == endpoint
    assert login_of(account) == "https://api.amazon.com/auth/o2/token"
    own = Account("amz", "amazon", base_url="http://127.0.0.1:9/", settings=settings)
    assert (endpoint_of(own), login_of(own)) == ("http://127.0.0.1:9", "http://127.0.0.1:9/auth/o2/token")
