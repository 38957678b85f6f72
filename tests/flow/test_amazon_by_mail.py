"""Amazon by mail through the running product: a notice becomes a claim with its deadline, a buyer's mail is answered."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from amends.serve import HttpServer
from shared.marketplaces.amazon import simulator
from shared.ports import Account
from tests.marketplaces.test_amazon_mailbox import MAILS, NOW, ORDER, PASSWORD, USER, Post
from tests.marketplaces.test_amazon_source import SECRETS
from tests.support.dovecot import start_dovecot
from tests.support.post_office import PostOffice
from tests.support.servers import NoService, Server, stop
from tests.support.system import System

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(300)]
ALIAS = "k3v9p2q8x1@marketplace.amazon.de"
JUDGED = "Authentication-Results: mx.teapot.example; dkim=pass header.d=marketplace.amazon.de\n"
ACCOUNT = """
accounts:
  - id: amz
    marketplace: amazon
    base_url: {url}
    secrets: {{notification_key: the-key-of-the-forwarder, lwa_client_id: client-1, lwa_client_secret: secret-1,
      refresh_token: "Atzr|demo", imap_password: {password}}}
    settings: {{finances: false, imap_host: 127.0.0.1, imap_port: {imap}, imap_user: {user}, imap_folder: {folder},
      imap_tls: false, imap_judged_by: mx.teapot.example,
      smtp_host: 127.0.0.1, smtp_port: {smtp}, smtp_tls: none, mail_from: orders@teapot.example}}
"""


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Server]:
    try:
        started = start_dovecot()
    except NoService as missing:
        pytest.skip(str(missing))
    yield started
    stop(started)


@asynccontextmanager
async def product(folder: Path, post: Post, office: PostOffice) -> AsyncIterator[tuple[System, str]]:
    """The embedded product, and where Amazon's API is played to it."""
    system = System(folder, "", NOW)
    server = HttpServer(simulator.create(Account("amz", "amazon"), SECRETS, system.clock))
    await server.start()
    told = {"url": server.url, "imap": post.port, "user": USER, "password": PASSWORD, "folder": post.folder}
    system.config.write_text(ACCOUNT.format(**told, smtp=office.port))
    try:
        async with system:
            await system.drain()
            yield system, server.url
    finally:
        await server.stop()


async def poll(system: System) -> None:
    await system.post("/sandbox/poll", {"account": "amz"})
    await system.drain()


def mail(name: str, order: str, **laid_over: str) -> bytes:
    """A fixture about another order, of 15 June 2020, as `NOW` is."""
    text = (MAILS / f"{name}.eml").read_text("utf-8").replace(ORDER, order)
    date = next(line for line in text.splitlines() if line.startswith("Date: "))
    text = text.replace(date, "Date: Mon, 15 Jun 2020 10:00:00 +0000")
    for old, new in laid_over.items():
        text = text.replace(old, new)
    return text.encode()


async def test_a_claim_and_its_deadline_come_by_mail_and_an_answer_goes_by_mail(
    tmp_path: Path, dovecot: Server
) -> None:
    claimed, asked = "902-0000011-0000011", "902-0000012-0000012"
    post = Post(dovecot, "Flow")
    try:
        async with PostOffice() as office, product(tmp_path, post, office) as (system, api):
            await _claim(system, post, claimed)
            await _answer(system, post, asked, api)
            letter = office.letter()
    finally:
        post.imap.logout()
    assert office.envelopes == [("orders@teapot.example", [ALIAS])]
    assert letter["subject"] == asked and asked in letter.get_content()


async def _claim(system: System, post: Post, order: str) -> None:
    post.put(mail("claim_filed", order))
    await poll(system)
    (case,) = await system.cases(f"?order_id={order}")
    assert (case["kind"], case["phase"], case["reason"]) == ("claim", "platform_review", "not_received")
    post.put(mail("information_wanted", order, November="June", **{"25, 2026": "17, 2020"}))
    await poll(system)
    (case,) = await system.cases(f"?order_id={order}")
    (deadline,) = case["deadlines"]
    assert (case["state"], case["phase"]) == ("information_requested", "awaiting_seller")
    assert (deadline["name"], deadline["due_at"], deadline["origin"]) == (
        "information", "2020-06-17T00:00:00Z", "platform",
    ), "the day the notice names, in place of the rule's 48 hours"  # fmt: skip
    assert deadline["act_at"] == "2020-06-16T12:00:00Z"
    await system.advance(timedelta(hours=25))
    warned = [task for task in await system.tasks() if task["case_id"] == case["id"]]
    assert "deadline_at_risk" in {task["kind"] for task in warned}, "told ahead of it, not after"


async def _answer(system: System, post: Post, order: str, api: str) -> None:
    allowed: dict[str, Any] = {"order_id": order, "actions": []}
    async with aiohttp.ClientSession() as session:
        await session.post(f"{api}/_control/messaging", json=allowed)
    post.put(JUDGED.encode() + mail("buyer_message", order))
    await poll(system)
    (case,) = await system.cases(f"?order_id={order}")
    assert (case["kind"], case["state"]) == ("order_care", "buyer_wrote")
    text = f"Thank you for writing about order {order}. What would put it right for you: a replacement, or a refund?"
    body = {"action": "contact", "params": {"text": text}}
    await system.post(f"/v1/cases/{case['id']}/actions", body, headers={"Idempotency-Key": "k1"})
    await system.drain()
    (message,) = await system.messages(case["id"])
    assert (message["status"], message["body"]) == ("sent", text), message
    assert message["provider_id"] == f"<{message['id']}@teapot.example>"
