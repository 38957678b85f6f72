"""The seller's mailbox over IMAP, read only: Amazon's notices and buyers' messages as records. Reference A1.5, A5.

Used where the account names `imap_host`. Nothing is marked, moved or deleted; what was read before is known by its
message id, so reading it again leaves no trace.
"""

import asyncio
import imaplib
import ssl
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from shared.clock import Clock
from shared.http import THIS_MACHINE, NotSentFault, RefusedFault
from shared.marketplaces.amazon.mail import message_of
from shared.ports import Account, Record, Secrets

AT_ONCE = 50
"""Mails of one page."""
FIRST = timedelta(days=7)
"""How far the first reading looks back."""
AGAIN = timedelta(days=2)
"""How far a later one does: mails may arrive late, and IMAP searches by the day."""
LONGEST = 200_000
"""Bytes read of one mail: notices are text, the rest is pictures."""
_SECONDS = 20.0


class Mailbox:
    """One per account; it remembers what it has handed over, so that it is not fetched again."""

    def __init__(self, account: Account, secrets: Secrets, clock: Clock) -> None:
        self._settings, self._clock = account.settings, clock
        given = secrets.get("imap_password", "")
        self._passwords = (given,) if isinstance(given, str) else given
        self._known: set[str] = set()

    async def read(self, since: datetime | None) -> dict[str, Record]:
        """Mails from Amazon not handed over before, oldest first, at most `AT_ONCE`, by their key in the mailbox.

        Raises HttpFault kinds.
        """
        after = (since - AGAIN) if since else self._clock.now() - FIRST
        try:
            found = await asyncio.to_thread(self._fetch, after)
        except imaplib.IMAP4.abort as fault:
            raise NotSentFault("the mail server ended the conversation") from fault
        except imaplib.IMAP4.error as fault:
            raise RefusedFault(f"the mail server refuses: {str(fault)[:100]}", 401) from fault
        except (OSError, EOFError) as fault:
            raise NotSentFault(f"the mail server cannot be reached: {type(fault).__name__}") from fault
        judged_by = self._settings.get("imap_judged_by")
        made = {key: message_of(raw, judged_by=str(judged_by) if judged_by else None) for key, raw in found}
        return {key: Record(f"mail:{mail['message_id']}", mail) for key, mail in made.items()}

    def handed_over(self, keys: Iterable[str]) -> None:
        """Of mails that are committed."""
        self._known.update(keys)

    def _fetch(self, after: datetime) -> list[tuple[str, bytes]]:
        server = self._connected()
        try:
            self._log_in(server)
            folder = str(self._settings.get("imap_folder") or "INBOX")
            _good(server.select(f'"{folder}"', readonly=True), f"folder {folder}")
            version = server.response("UIDVALIDITY")[1][0]
            valid = version.decode() if isinstance(version, bytes) else "0"
            day = f"{after.day}-{_MONTHS[after.month - 1]}-{after.year}"
            listed = _good(server.uid("SEARCH", "SINCE", day, "FROM", "amazon"), "search")
            uids = [uid for line in listed if isinstance(line, bytes) for uid in line.decode().split()]
            fresh = [uid for uid in uids if f"{valid}.{uid}" not in self._known][:AT_ONCE]
            return [(f"{valid}.{uid}", raw) for uid in fresh for raw in _mail(server, uid)]
        finally:
            _leave(server)

    def _connected(self) -> imaplib.IMAP4:
        host, port = str(self._settings["imap_host"]), int(self._settings.get("imap_port") or 993)
        if self._settings.get("imap_tls", True) is False and host in THIS_MACHINE:
            return imaplib.IMAP4(host, port, timeout=_SECONDS)
        return imaplib.IMAP4_SSL(host, port, ssl_context=ssl.create_default_context(), timeout=_SECONDS)

    def _log_in(self, server: imaplib.IMAP4) -> None:
        """While the password is changed either may be the one in force."""
        user = str(self._settings.get("imap_user") or "")
        for password in self._passwords[:-1]:
            try:
                server.login(user, password)
                return
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error:
                continue
        server.login(user, self._passwords[-1] if self._passwords else "")


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _good(answer: tuple[str, list[Any]], what: str) -> list[Any]:
    status, data = answer
    if status != "OK":
        raise imaplib.IMAP4.error(f"{what}: {status}")
    return data


def _mail(server: imaplib.IMAP4, uid: str) -> Iterator[bytes]:
    """None for one that has gone meanwhile."""
    for part in _good(server.uid("FETCH", uid, f"(BODY.PEEK[]<0.{LONGEST}>)"), "fetch"):
        if isinstance(part, tuple) and isinstance(part[1], bytes):
            yield part[1]


def _leave(server: imaplib.IMAP4) -> None:
    try:
        server.logout()
    except (imaplib.IMAP4.error, OSError):
        return
