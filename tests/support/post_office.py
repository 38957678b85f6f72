"""An SMTP server in the test's own loop (aiosmtpd) that keeps what it took and can go wrong at each step on request."""

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "orders", "a-long-mail-password"


@dataclass
class PostOffice:
    """`says`: step (EHLO, MAIL, RCPT, DATA) -> a reply line, or `hang`, `reset`, `end` instead of one. After DATA the letter
    has been taken whatever is said: it stands in `taken`."""

    tls: ssl.SSLContext | None = None
    """Offered by STARTTLS, or spoken from the first byte with `at_once`."""
    at_once: bool = False
    locked: bool = False
    """Only who logs in may send."""
    longest: int = 1_000_000
    says: dict[str, str] = field(default_factory=dict)
    taken: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    port: int = 0
    connections: int = 0

    async def __aenter__(self) -> "PostOffice":
        loop = asyncio.get_running_loop()
        tls = self.tls if self.at_once else None
        self._server = await loop.create_server(self._connected, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for talk in self._talks:
            for transport in filter(None, (talk.transport, talk._original_transport)):
                transport.abort()
        under_way = [talk._handler_coroutine for talk in self._talks if talk._handler_coroutine is not None]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def letter(self) -> EmailMessage:
        """The one that was taken."""
        (raw,) = self.taken
        return cast(EmailMessage, message_from_bytes(raw, policy=default))

    def __post_init__(self) -> None:
        self._talks: list[Any] = []

    def _connected(self) -> SMTP:
        self.connections += 1
        talk = SMTP(
            self,
            hostname="mx.teapot.example",
            data_size_limit=self.longest,
            enable_SMTPUTF8=False,
            tls_context=None if self.at_once else self.tls,
            auth_require_tls=self.tls is not None and not self.at_once,
            authenticator=_judged if self.locked else None,
        )
        self._talks.append(talk)
        return talk

    async def handle_EHLO(self, server: Any, session: Session, _: Envelope, host: str, replies: list[str]) -> list[str]:  # noqa: N802
        session.host_name = host
        return [self.says["EHLO"]] if "EHLO" in self.says else replies

    async def handle_MAIL(self, server: Any, session: Session, envelope: Envelope, sender: str, _: list[str]) -> str:  # noqa: N802
        if self.locked and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = sender
        return await self._said("MAIL", server)

    async def handle_RCPT(self, server: Any, _: Session, envelope: Envelope, to: str, options: list[str]) -> str:  # noqa: N802
        envelope.rcpt_tos.append(to)
        return await self._said("RCPT", server)

    async def handle_DATA(self, server: Any, _: Session, envelope: Envelope) -> str:  # noqa: N802
        self.taken.append(cast(bytes, envelope.content))
        self.envelopes.append((str(envelope.mail_from), list(envelope.rcpt_tos)))
        return await self._said("DATA", server)

    async def _said(self, step: str, server: Any) -> str:
        match said := self.says.get(step, "250 OK"):
            case "hang":
                await asyncio.Event().wait()
            case "end":
                server.transport.close()
            case "reset":
                sock: socket.socket = server.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                server.transport.abort()
        return said


def _judged(server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=good)
