"""Mail to a buyer over SMTP, for marketplaces that pass mail on to him: one letter, one conversation, and what its end means.

A server knows no letter again and tells nobody afterwards what it took, so a channel that sends this way is `blind`: from
the moment the text is handed over, whatever has no clear answer is in doubt. Each letter bears its errand's id in its
Message-ID, by which a person finds it in the mail server's log. Not in a thread: a call that is given up must end with it.
"""

import asyncio
import re
import ssl
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as MAIL_POLICY
from email.utils import format_datetime
from typing import Any, Literal, cast

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPRecipientRefused, SMTPResponseException

from shared.errors import ConfigurationError
from shared.http import THIS_MACHINE
from shared.ports import Account, Attempt, Done, InDoubt, NotSent, Refused, Secrets, each_secret

Tls = Literal["starttls", "tls", "none"]
_PORTS: Mapping[Tls, int] = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}"
)
_SECONDS = 8.0
"""For the whole conversation: the dispatcher gives a call 12, and a channel may have to read before it writes."""
_GOODBYE_S = 1.0
_LONGEST_ADDRESS, _LONGEST_SUBJECT = 254, 200
_WIRE = MAIL_POLICY.clone(cte_type="7bit")


@dataclass(frozen=True, slots=True)
class Letter:
    """`id`: the errand's. `subject` and `body` as rendered and judged; `locale` is the body's language where it is known."""

    id: str
    to: str
    subject: str
    body: str
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where an account's mail is handed in. `passwords`: two while the password is changed."""

    host: str
    port: int
    tls: Tls
    sender: str
    user: str = ""
    passwords: tuple[str, ...] = ()

    @classmethod
    def of(cls, account: Account, secrets: Secrets) -> "MailServer | None":
        """By the settings `smtp_…` and `mail_from`; None where no `smtp_host` is set, and in the sandbox for one elsewhere.

        Raises ConfigurationError for settings that do not go together.
        """
        told = account.settings
        host = str(told.get("smtp_host") or "")
        if not host:
            return None
        tls, sender = cast(Tls, told.get("smtp_tls") or "starttls"), str(told.get("mail_from") or "")
        if faults := _faults(host, tls, sender):
            raise ConfigurationError([f"account {account.id}: {fault}" for fault in faults])
        if account.sandbox and host not in THIS_MACHINE:
            return None
        port = int(told.get("smtp_port") or _PORTS[tls])
        user, passwords = str(told.get("smtp_user") or ""), each_secret(secrets, "smtp_password")
        return cls(host, port, tls, sender, user, passwords)

    async def send(self, letter: Letter, at: datetime) -> Attempt:
        """Hands one letter in, to one address. `at` becomes its Date."""
        if not is_address(letter.to):
            return Refused("the buyer's address is no address")
        talk = _Talk(self, written(letter, self.sender, at))
        try:
            async with asyncio.timeout(_SECONDS):
                await talk.whole(letter.to)
        except (SMTPException, OSError, TimeoutError, ValueError) as fault:
            return talk.meaning(fault, letter.id)
        finally:
            await talk.end()
        return Done(message_id(letter.id, self.sender))


class _Talk:
    """One conversation. `handing_over`: the text is on its way, so it may have been taken."""

    def __init__(self, server: MailServer, content: bytes) -> None:
        self._server, self._content = server, content
        self._smtp = SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=server.sender.rpartition("@")[2],
            timeout=_SECONDS,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
        )
        self._handing_over = False

    async def whole(self, to: str) -> None:
        """Raises SMTPException kinds, OSError, TimeoutError."""
        await self._smtp.connect()
        await self._log_in()
        await self._smtp.ehlo()
        size = [f"SIZE={len(self._content)}"] if self._smtp.supports_extension("size") else []
        await self._smtp.mail(self._server.sender, options=size)
        await self._smtp.rcpt(to)
        self._handing_over = True
        await self._smtp.data(self._content)
        self._handing_over = False

    async def _log_in(self) -> None:
        """While the password is changed either may be the one in force."""
        user, passwords = self._server.user, self._server.passwords or ("",)
        if not user:
            return
        for password in passwords[:-1]:
            with suppress(SMTPAuthenticationError):
                await self._smtp.login(user, password)
                return
        await self._smtp.login(user, passwords[-1])

    def meaning(self, fault: Exception, id_: str) -> Attempt:
        if isinstance(fault, SMTPResponseException) and 400 <= fault.code < 600:
            return _clear(fault)
        if self._handing_over:
            named = message_id(id_, self._server.sender)
            return InDoubt(f"no clear answer of the mail server to {named}: {type(fault).__name__}")
        if isinstance(fault, ssl.SSLError) or isinstance(fault.__cause__, ssl.SSLError):
            return Refused("the mail server's certificate or encryption is not good", account_wide=True)
        if type(fault) is SMTPException:  # what it was asked for it does not offer: encryption, a way to log in
            return Refused(f"the mail server cannot: {_shown(str(fault))}", account_wide=True)
        return NotSent(f"the mail server cannot be reached: {type(fault).__name__}")

    async def end(self) -> None:
        with suppress(SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                if self._smtp.is_connected and not self._handing_over:
                    await self._smtp.quit()
        self._smtp.close()


def _clear(fault: SMTPResponseException) -> Attempt:
    """A clear no, for now or for good. 552 to a recipient is "too many" in an older spelling (RFC 5321, 4.5.3.1.10)."""
    why = f"the mail server says {fault.code} {_shown(fault.message)}"
    if fault.code < 500 or (fault.code == 552 and isinstance(fault, SMTPRecipientRefused)):
        return NotSent(why)
    return Refused(why, account_wide=isinstance(fault, SMTPAuthenticationError))


def is_address(text: str) -> bool:
    """A plain address: no name beside it, no comment, no quotes, nothing beyond ASCII."""
    return len(text) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


def message_id(id_: str, sender: str) -> str:
    """Of the letter of this errand."""
    return f"<{id_}@{sender.rpartition('@')[2]}>"


def written(letter: Letter, sender: str, at: datetime) -> bytes:
    """The letter as it travels: plain text in UTF-8, ASCII on the wire, each header on a line of its own."""
    mail = EmailMessage(policy=_WIRE)
    mail["From"], mail["To"] = sender, letter.to
    mail["Subject"] = " ".join(_plain(letter.subject).split())[:_LONGEST_SUBJECT]
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = message_id(letter.id, sender)
    mail.set_content("\n".join(_plain(line) for line in letter.body.splitlines()) + "\n")
    if letter.locale:
        mail["Content-Language"] = _plain(letter.locale)
    return mail.as_bytes()


def _plain(text: str) -> str:
    """Without control characters: a line end in a header would begin another one."""
    return "".join(c if unicodedata.category(c) != "Cc" else " " for c in text)


def _shown(said: Any) -> str:
    return " ".join(_plain(str(said)).split())[:120]


def _faults(host: str, tls: str, sender: str) -> list[str]:
    found = []
    if tls not in _PORTS:
        found.append(f"smtp_tls must be one of {', '.join(_PORTS)}")
    if tls == "none" and host not in THIS_MACHINE:
        found.append("smtp_tls may be none for a mail server on this very machine only")
    if not is_address(sender):
        found.append("mail_from must be a plain address, such as orders@example.com")
    return found
