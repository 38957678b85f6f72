"""The seller's own queue: signed as AWS wants it, cleared only after the commit, against a stand-in over real HTTP."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from shared.clock import TestClock, parse_time
from shared.http import Http, RefusedFault
from shared.marketplaces.amazon import records, webhook
from shared.marketplaces.amazon.queue import HIDDEN_S
from shared.marketplaces.amazon.sigv4 import signed
from shared.marketplaces.amazon.source import Source
from shared.ports import Account

FIXTURES = Path(webhook.__file__).parent / "fixtures"
SECRETS = {
    "lwa_client_id": "c", "lwa_client_secret": "s", "refresh_token": "r",
    "aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
}  # fmt: skip
NOW = parse_time("2015-08-30T12:36:00Z")
KEYS = {"key_id": SECRETS["aws_access_key_id"], "secret": SECRETS["aws_secret_access_key"], "region": "us-east-1"}


@pytest.mark.parametrize(
    ("method", "url", "headers", "service", "signature"),
    [
        ("GET", "https://example.amazonaws.com/", {}, "service",
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "https://example.amazonaws.com/", {}, "service",
         "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "https://iam.amazonaws.com/?Version=2010-05-08&Action=ListUsers",
         {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, "iam",
         "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
    ],
)  # fmt: skip
def test_the_signatures_that_aws_publishes(
    method: str, url: str, headers: dict[str, str], service: str, signature: str
) -> None:
    found = signed(method, url, headers, b"", service=service, now=NOW, **KEYS)
    assert found["authorization"].endswith(f"Signature={signature}")
    assert found["x-amz-date"] == "20150830T123600Z"


OTHERS: list[dict[str, Any]] = [
    {"secret": "x"}, {"region": "eu-west-1"}, {"service": "sns"}, {"body": b"y"}, {"now": NOW + timedelta(days=1)},
]  # fmt: skip


@pytest.mark.parametrize("change", OTHERS)
def test_everything_counts(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {**KEYS, "service": "sqs", "body": b"x", "now": NOW}

    def made(**laid_over: Any) -> str:
        told = {**given, **laid_over}
        return signed("POST", "https://q/", {"a": "b"}, told.pop("body"), **told)["authorization"]

    assert made() != made(**change)


@dataclass
class Queue:
    """A stand-in for SQS: checks the signature, hides what was received for as long as was asked."""

    clock: TestClock
    url: str = ""
    waiting: dict[str, str] = field(default_factory=dict)
    hidden: dict[str, Any] = field(default_factory=dict)
    receipts: dict[str, str] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)

    def put(self, body: str) -> None:
        self.waiting[f"m{len(self.waiting) + 1}"] = body

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        told = json.loads(body)
        action = request.headers["x-amz-target"]
        again = {name: request.headers[name] for name in ("content-type", "x-amz-target")}
        proof = signed("POST", f"http://{request.host}/", again, body, service="sqs", now=self.clock.now(), **KEYS)
        if request.headers["authorization"] != proof["authorization"] or told["QueueUrl"] != f"{self.url}/111/q":
            no = {"__type": "com.amazonaws.sqs#InvalidSecurity", "message": "no"}
            return web.json_response(no, status=403)
        self.actions.append(action)
        return web.json_response(self.receive(told) if action == "AmazonSQS.ReceiveMessage" else self.delete(told))

    def receive(self, told: dict[str, Any]) -> dict[str, Any]:
        now, found = self.clock.now(), []
        for id_, body in self.waiting.items():
            if len(found) < told["MaxNumberOfMessages"] and self.hidden.get(id_, now) <= now:
                self.hidden[id_] = now + timedelta(seconds=told["VisibilityTimeout"])
                receipt = f"r{len(self.receipts)}"
                self.receipts[receipt] = id_
                found.append({"MessageId": id_, "ReceiptHandle": receipt, "Body": body})
        return {"Messages": found} if found else {}

    def delete(self, told: dict[str, Any]) -> dict[str, Any]:
        for entry in told["Entries"]:
            self.waiting.pop(self.receipts[entry["ReceiptHandle"]], None)
        return {"Successful": [{"Id": entry["Id"]} for entry in told["Entries"]], "Failed": []}


@pytest_asyncio.fixture
async def queue() -> AsyncIterator[Queue]:
    stand_in = Queue(TestClock(parse_time("2026-01-05T09:30:00Z")))
    app = web.Application()
    app.router.add_post("/", stand_in.handle)
    app.router.add_post("/reports/2021-06-30/reports", report)
    app.router.add_post("/auth/o2/token", token)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    await runner.cleanup()


async def report(_: web.Request) -> web.Response:
    return web.json_response({"reportId": "R1"})


async def token(_: web.Request) -> web.Response:
    return web.json_response({"access_token": "t", "expires_in": 3600})


@pytest_asyncio.fixture
async def source(queue: Queue) -> AsyncIterator[Source]:
    http = Http()
    yield Source(account_of(queue), SECRETS, http, queue.clock)
    await http.close()


def account_of(queue: Queue, **settings: Any) -> Account:
    return Account("amz", "amazon", base_url=queue.url, settings={"sqs_queue_url": f"{queue.url}/111/q", **settings})


def fixture(name: str) -> str:
    return (FIXTURES / f"{name}.json").read_text("utf-8")


@pytest.mark.asyncio
async def test_messages_are_deleted_by_the_page_after_theirs(queue: Queue, source: Source) -> None:
    for name in ("cancel_requested", "report_ready", "type_unknown"):
        queue.put(fixture(name))
    page = await source.poll(None, None)
    assert len(page.records) == 3 and len(queue.waiting) == 3, "nothing is deleted before it is committed"
    assert page.refs == ("report:50000012345",)
    assert page.cursor is not None
    after = await source.poll(json.loads(json.dumps(page.cursor)), None)
    assert queue.waiting == {}
    assert after.cursor is not None and after.cursor["stage"] == "report", "an empty queue: on to the report"


@pytest.mark.asyncio
async def test_more_than_one_batch_and_what_was_not_committed_comes_again(queue: Queue, source: Source) -> None:
    for n in range(23):
        queue.put(fixture("cancel_requested").replace("-000000000001", f"-{n:012d}"))
    lost = await source.poll(None, None)
    assert len(lost.records) == 10
    queue.clock.advance(timedelta(seconds=HIDDEN_S))
    seen, page = set(), await source.poll(None, None)
    while page.cursor is not None and page.cursor["stage"] == "queue":
        seen |= {record.ref for record in page.records}
        page = await source.poll(page.cursor, None)
    assert len(seen) == 23 and queue.waiting == {}
    assert {record.ref for record in lost.records} <= seen, (
        "the same news has the same name, so it leaves no trace twice"
    )


@pytest.mark.asyncio
async def test_what_comes_is_what_the_webhook_would_have_told(queue: Queue, source: Source) -> None:
    queue.put(fixture("cancel_requested_bridged"))
    queue.put("no json at all")
    (cancel, garbage) = (await source.poll(None, None)).records
    (draft,) = records.facts(cancel.body, None, account_of(queue), queue.clock.now())
    assert draft.kind == "order.cancel_requested"
    assert (cancel.ref, garbage.ref) == ("queue:1f0d2c5e-0000-4000-8000-000000000002", "queue:m2")


@pytest.mark.asyncio
async def test_reports_are_not_asked_for_as_often_as_the_queue(queue: Queue, source: Source) -> None:
    first = await source.poll(None, None)
    assert first.cursor is not None and first.cursor["stage"] == "report"
    queue.clock.advance(timedelta(minutes=1))
    assert (await source.poll(None, None)).cursor is None
    queue.clock.advance(timedelta(minutes=14))
    later = await source.poll(None, None)
    assert later.cursor is not None and later.cursor["stage"] == "report"


@pytest.mark.asyncio
async def test_a_wrong_key_is_a_clear_no(queue: Queue) -> None:
    http = Http()
    stranger = Source(account_of(queue), {**SECRETS, "aws_secret_access_key": "other"}, http, queue.clock)
    with pytest.raises(RefusedFault, match="InvalidSecurity") as refused:
        await stranger.poll(None, None)
    await http.close()
    assert refused.value.status == 403 and queue.actions == []
