"""Mail to buyers over a real SMTP server: what a letter looks like, and what each end of the conversation means."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import smtp
from shared.errors import ConfigurationError
from shared.ports import Account, Attempt, Done, InDoubt, NotSent, Refused
from shared.smtp import Letter, MailServer, is_address, written
from tests.support.certificates import self_signed
from tests.support.post_office import PASSWORD, USER, PostOffice
from tests.support.servers import free_port
from tests.support.waiting import until

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SENDER, TO = "orders@teapot.example", "k3v9p2q8x1@marketplace.example"
BODY = "Liebe Anna,\n\nzu Bestellung 902-1234567-7654321: der Ersatz kommt am Dienstag.\n.\nViele Grüße"
LETTER = Letter("msg_1", TO, "Ihre Bestellung – Ersatz", BODY, "de")


def server(office: PostOffice | int, **changes: Any) -> MailServer:
    port = office if isinstance(office, int) else office.port
    return MailServer(**{"host": "127.0.0.1", "port": port, "tls": "none", "sender": SENDER, **changes})


async def sent(office: PostOffice, letter: Letter = LETTER, **changes: Any) -> Attempt:
    return await server(office, **changes).send(letter, AT)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate that this process believes."""
    context = self_signed(tmp_path, "localhost", days=9)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
    return context


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no fault of the server's; where a wait has to end, the test says when."""
    monkeypatch.setattr(smtp, "_SECONDS", 60.0)


@pytest.mark.asyncio
async def test_a_letter_arrives_as_it_was_written() -> None:
    async with PostOffice() as office:
        assert await sent(office) == Done("<msg_1@teapot.example>")
        letter = office.letter()
        assert office.envelopes == [(SENDER, [TO])]
        assert (letter["from"], letter["to"], letter["subject"]) == (SENDER, TO, LETTER.subject)
        assert (letter["message-id"], letter["content-language"]) == ("<msg_1@teapot.example>", "de")
        assert letter["date"].datetime == AT
        assert letter.get_content_type() == "text/plain" and letter.get_content_charset() == "utf-8"
        assert letter.get_content().replace("\r\n", "\n").rstrip("\n") == BODY, "a line with a dot alone ends nothing"
        assert office.taken[0].isascii() and not letter.is_multipart()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("step", "said", "means"),
    [
        ("EHLO", "421 4.3.2 closing down", NotSent),
        ("MAIL", "451 4.3.0 later", NotSent),
        ("MAIL", "550 5.7.1 not your address", Refused),
        ("RCPT", "452 4.5.3 too many recipients", NotSent),
        ("RCPT", "552 too many recipients", NotSent),
        ("RCPT", "550 5.1.1 no such alias", Refused),
        ("RCPT", "hang", NotSent),
        ("RCPT", "reset", NotSent),
        ("RCPT", "end", NotSent),
        ("DATA", "451 4.7.1 greylisted", NotSent),
        ("DATA", "452 4.3.1 disk full", NotSent),
        ("DATA", "554 5.7.1 not wanted", Refused),
        ("DATA", "hang", InDoubt),
        ("DATA", "reset", InDoubt),
        ("DATA", "end", InDoubt),
        ("DATA", "200 who knows", InDoubt),
        ("DATA", "good morning", InDoubt),
    ],
)
async def test_what_each_end_means(step: str, said: str, means: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the text has been handed over, whatever is no clear answer may have been taken."""
    if said == "hang":
        monkeypatch.setattr(smtp, "_SECONDS", 1.0)
    async with PostOffice(says={step: said}) as office:
        attempt = await sent(office)
        assert isinstance(attempt, means), attempt
        assert len(office.taken) == (step == "DATA")
        if isinstance(attempt, InDoubt):
            assert "<msg_1@teapot.example>" in attempt.why, "by which a person finds it in the server's log"
        if isinstance(attempt, Refused):
            assert said[:3] in attempt.why and not attempt.account_wide


@pytest.mark.asyncio
async def test_nobody_there_and_nobody_speaking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "_SECONDS", 0.7)
    assert isinstance(await server(free_port()).send(LETTER, AT), NotSent)

    heard: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read()
        writer.close()
        heard.append(said)

    mute = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        assert isinstance(await server(mute.sockets[0].getsockname()[1]).send(LETTER, AT), NotSent)
        await until(lambda: heard == [b""])
    finally:
        mute.close()


@pytest.mark.asyncio
async def test_a_call_that_is_given_up_ends_with_its_conversation() -> None:
    async with PostOffice(says={"DATA": "hang"}) as office:
        task = asyncio.create_task(sent(office))
        await until(lambda: bool(office.taken))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(office.taken) == 1


@pytest.mark.asyncio
async def test_encryption_is_never_left_out(trusted: ssl.SSLContext) -> None:
    async with PostOffice() as plain:
        refused = await sent(plain, host="localhost", tls="starttls")
        assert isinstance(refused, Refused) and refused.account_wide, "it is not sent in the open instead"
        assert isinstance(await sent(plain, host="localhost", tls="tls"), Refused | NotSent)
        assert plain.taken == []
    async with PostOffice(tls=trusted) as office:
        assert isinstance(await sent(office, host="localhost", tls="starttls"), Done)
    async with PostOffice(tls=trusted, at_once=True) as office:
        assert isinstance(await sent(office, host="localhost", tls="tls"), Done)


@pytest.mark.asyncio
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path, at_once: bool) -> None:
    async with PostOffice(tls=self_signed(tmp_path, "localhost", days=9), at_once=at_once) as office:
        refused = await sent(office, host="localhost", tls="tls" if at_once else "starttls")
        assert isinstance(refused, Refused) and refused.account_wide and "certificate" in refused.why
        assert office.taken == []


@pytest.mark.asyncio
async def test_logging_in_with_either_password_while_it_is_changed(trusted: ssl.SSLContext) -> None:
    async with PostOffice(tls=trusted, locked=True) as office:
        safe = {"host": "localhost", "tls": "starttls", "user": USER}
        assert isinstance(await sent(office, **safe, passwords=("old", PASSWORD)), Done)
        wrong = await sent(office, **safe, passwords=("wrong",))
        assert isinstance(wrong, Refused) and wrong.account_wide and PASSWORD not in wrong.why
        nobody = await sent(office, host="localhost", tls="starttls")
        assert isinstance(nobody, Refused) and "530" in nobody.why
        assert len(office.taken) == 1


@pytest.mark.asyncio
async def test_a_letter_longer_than_the_server_takes_is_not_begun() -> None:
    async with PostOffice(longest=1000) as office:
        long = Letter("msg_2", TO, "s", "x" * 5000)
        refused = await sent(office, long)
        assert isinstance(refused, Refused) and "552" in refused.why
        assert office.taken == []


HOSTILE = st.text(st.sampled_from("a \r\n\t\x00\x0b\x85\u2028:.Bcéß中") | st.characters(codec="utf-8"), max_size=60)


@given(subject=HOSTILE, body=HOSTILE, locale=HOSTILE | st.none())
def test_no_text_adds_a_header_or_a_recipient(subject: str, body: str, locale: str | None) -> None:
    raw = written(Letter("msg_1", TO, f"{subject}\r\nBcc: all@example.org", f"{body}\r\n.\r\nMAIL", locale), SENDER, AT)
    head, _, text = raw.partition(b"\r\n\r\n")
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    expected = {
        b"from",
        b"to",
        b"subject",
        b"date",
        b"message-id",
        b"content-type",
        b"content-transfer-encoding",
        b"mime-version",
    }
    assert sorted(names) == sorted(expected | ({b"content-language"} if locale else set()))
    assert raw.isascii() and b"\r" not in raw.replace(b"\r\n", b"") and b"\n" not in raw.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in text.split(b"\r\n"))


ADDRESSES = [
    ("k3v9p2q8x1@marketplace.amazon.de", True), ("a.b+c@x-y.example.com", True),
    ("", False), ("a@b", False), ("a b@c.de", False), ("a@c.de, b@c.de", False), ("<a@c.de>", False), ("Anna <a@c.de>", False),
    ("a@c.de\r\nRCPT TO:<b@c.de>", False), ("ä@c.de", False), ("a..b@c.de", False), (".a@c.de", False), ("a@c.de\n", False),
    ('"a"@c.de', False), ("a@[127.0.0.1]", False), ("x" * 250 + "@c.de", False),
]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize(("address", "good"), ADDRESSES)
async def test_only_plain_addresses_are_written_to(address: str, good: bool) -> None:
    assert is_address(address) is good
    if not good:
        assert isinstance(await server(9).send(Letter("m", address, "s", "b"), AT), Refused)


def account(sandbox: bool = False, **settings: Any) -> Account:
    return Account("a", "x", settings=settings, sandbox=sandbox)


def test_settings_make_a_server() -> None:
    assert MailServer.of(account(), {}) is None, "off unless a server is named"
    found = MailServer.of(
        account(smtp_host="mail.teapot.example", mail_from=SENDER, smtp_user="u"), {"smtp_password": "p"}
    )
    assert found == MailServer("mail.teapot.example", 587, "starttls", SENDER, "u", ("p",))
    implicit = MailServer.of(account(smtp_host="m.example", mail_from=SENDER, smtp_tls="tls"), {})
    assert implicit is not None and implicit.port == 465
    elsewhere = account(sandbox=True, smtp_host="mail.teapot.example", mail_from=SENDER)
    assert MailServer.of(elsewhere, {}) is None, "the sandbox writes to nobody outside"
    assert (
        MailServer.of(account(sandbox=True, smtp_host="127.0.0.1", smtp_tls="none", mail_from=SENDER), {}) is not None
    )


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "mail_from"),
        ({"mail_from": "Teapot <o@t.example>"}, "mail_from"),
        ({"mail_from": SENDER, "smtp_tls": "none"}, "this very machine"),
        ({"mail_from": SENDER, "smtp_tls": "opportunistic"}, "smtp_tls must be"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        MailServer.of(account(smtp_host="mail.teapot.example", **settings), {})
