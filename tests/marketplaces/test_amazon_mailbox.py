"""The seller's mailbox over a real IMAP server: what is read, how far back, and that nothing in it is touched."""

import imaplib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from shared.clock import TestClock
from shared.http import Http, NotSentFault, RefusedFault
from shared.marketplaces.amazon import mail, mailbox, records
from shared.marketplaces.amazon.mailbox import Mailbox
from shared.marketplaces.amazon.source import Source
from shared.ports import Account
from tests.support.dovecot import PASSWORD, USER, start_dovecot
from tests.support.servers import NoService, Server, free_port, stop

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(300)]
MAILS = Path(mail.__file__).parent / "fixtures" / "mail"
NOW = datetime(2020, 6, 15, 12, 0, tzinfo=UTC)
"""Past: the server takes no mail from the future."""
ORDER = "902-1234567-7654321"
Keys = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        started = start_dovecot()
    except NoService as missing:
        pytest.skip(str(missing))
    yield started
    stop(started)


class Post:
    """The mailbox as its owner sees it. Each test has a folder of its own."""

    def __init__(self, server: Server, folder: str) -> None:
        self.port, self.folder = urlsplit(server.url).port or 0, folder
        self.imap = imaplib.IMAP4("127.0.0.1", self.port)
        self.imap.login(USER, PASSWORD)
        self.imap.create(folder)

    def arrives(self, name: str, days_ago: float = 0) -> None:
        self.put((MAILS / f"{name}.eml").read_bytes(), days_ago)

    def put(self, raw: bytes, days_ago: float = 0) -> None:
        at = imaplib.Time2Internaldate(NOW - timedelta(days=days_ago))
        assert self.imap.append(self.folder, "", at, raw.replace(b"\n", b"\r\n"))[0] == "OK"

    def flags(self) -> list[bytes]:
        self.imap.select(self.folder, readonly=True)
        return [line for line in self.imap.fetch("1:*", "(FLAGS)")[1] if isinstance(line, bytes) and b"Seen" in line]

    def account(self, **settings: Any) -> Account:
        given = {
            "imap_host": "127.0.0.1", "imap_port": self.port, "imap_user": USER, "imap_folder": self.folder,
            "imap_tls": False, "imap_judged_by": "mx.teapot.example", "finances": False, **settings,
        }  # fmt: skip
        return Account("amz", "amazon", settings=given, base_url="http://127.0.0.1:9", sandbox=True)

    def box(self, password: Any = PASSWORD, **settings: Any) -> Mailbox:
        return Mailbox(self.account(**settings), {"imap_password": password}, TestClock(NOW))


@pytest_asyncio.fixture
async def post(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Post]:
    found = Post(server, f"T{abs(hash(request.node.name)) % 10**9}")
    yield found
    found.imap.logout()


async def subjects(box: Mailbox, since: datetime | None = None) -> list[str]:
    return [str(record.body["subject"]) for record in (await box.read(since)).values()]


async def test_amazons_mails_become_facts_and_stay_unread(post: Post) -> None:
    post.arrives("claim_filed")
    post.arrives("buyer_message")
    post.put(b"From: friend@example.org\nSubject: dinner?\n\nTonight?\n")
    found = await post.box().read(None)
    told = [d for record in found.values() for d in records.facts(record.body, None, post.account(), NOW)]
    assert [(d.kind, d.order_id) for d in told] == [("dispute.opened", ORDER), ("message.received", ORDER)]
    assert told[0].data["confidence"] == "sure", "our own server judged it"
    assert {record.ref for record in found.values()} == {"mail:n-0001@amazon.com", "mail:b-0001@marketplace.amazon.de"}
    assert post.flags() == []


async def test_what_was_read_is_read_again_without_a_trace(post: Post) -> None:
    post.arrives("claim_filed")
    first, second = await post.box().read(None), await post.box().read(None)
    (one,), (other,) = first.values(), second.values()
    assert one == other, "an equal record leaves no trace"
    assert records.facts(other.body, one.body, post.account(), NOW) == ()


async def test_what_was_handed_over_is_not_fetched_again(post: Post) -> None:
    box = post.box()
    post.arrives("claim_filed")
    found = await box.read(None)
    box.handed_over(found)
    assert await subjects(box) == []
    post.arrives("two_orders")
    assert await subjects(box) == ["A-to-z claims were filed"]


async def test_it_looks_back_a_week_at_first_and_two_days_later(post: Post) -> None:
    post.arrives("claim_filed", days_ago=12)
    post.arrives("granted_seller_funded", days_ago=5)
    post.arrives("two_orders", days_ago=1)
    assert len(await subjects(post.box())) == 2
    assert await subjects(post.box(), NOW) == ["A-to-z claims were filed"]


async def test_many_mails_come_in_pages(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "AT_ONCE", 2)
    for n in range(5):
        post.put(f"From: x@amazon.com\nSubject: s{n}\nMessage-ID: <{n}@a>\n\ntext\n".encode())
    box, seen = post.box(), []
    while found := await box.read(None):
        assert len(found) <= 2
        seen += [str(record.body["subject"]) for record in found.values()]
        box.handed_over(found)
    assert seen == ["s0", "s1", "s2", "s3", "s4"]


async def test_an_enormous_mail_is_cut(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "LONGEST", 400)
    post.put(b"From: x@amazon.com\nSubject: A-to-z claim\nMessage-ID: <1@a>\n\n" + b"y" * 100_000 + b"\n")
    (record,) = (await post.box().read(None)).values()
    assert record.body["subject"] == "A-to-z claim" and len(record.body["text"]) < 400


async def test_faults_say_what_they_are(post: Post) -> None:
    with pytest.raises(RefusedFault):
        await post.box(password="wrong").read(None)
    with pytest.raises(RefusedFault):
        await post.box(imap_folder="Nowhere").read(None)
    with pytest.raises(NotSentFault):
        await post.box(imap_port=free_port()).read(None)
    with pytest.raises(NotSentFault):
        await post.box(imap_tls=True).read(None), "plain only where it was said, and on this machine"
    post.arrives("claim_filed")
    assert len(await post.box(password=("old", PASSWORD)).read(None)) == 1, "either of two while it is changed"


async def test_a_poll_begins_with_the_mailbox_and_goes_on_without_it(post: Post) -> None:
    post.arrives("claim_filed")
    http = Http()
    try:
        source = Source(post.account(), {"imap_password": PASSWORD, "lwa_client_id": "c"}, http, TestClock(NOW))
        page = await source.poll(None, None)
        assert [record.ref for record in page.records] == ["mail:n-0001@amazon.com", "reading:mailbox"]
        assert page.cursor is not None and page.cursor["stage"] == "mail" and len(page.cursor["done"]) == 1
        again = await source.poll(None, None)
        assert [record.ref for record in again.records] == ["mail:n-0001@amazon.com", "reading:mailbox"], (
            "not committed yet"
        )
        away = Source(post.account(imap_port=free_port()), {"imap_password": PASSWORD}, http, TestClock(NOW))
        page = await away.poll(None, None)
        assert [record.body.get("status") for record in page.records] == ["UNREACHABLE"]
        assert page.away == ("mailbox",)
        assert page.cursor == {"stage": "mail", "done": []}, "and the report is asked for next"
    finally:
        await http.close()
