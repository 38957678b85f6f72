"""Messages by the Messaging API or to the buyer's relay address, refunds by feed where the account allows it; everything
else is prepared for a person.

Reference A4 (acts), A5 (messages). Nothing can be read back, so what is in doubt is for a person to look up.
"""

from datetime import datetime
from typing import Literal

from shared.clock import Clock
from shared.domain.errands import Errand
from shared.http import Http
from shared.marketplaces.amazon import messaging, refund_feed
from shared.marketplaces.amazon.assisted import prepared
from shared.marketplaces.amazon.client import Client
from shared.marketplaces.amazon.mail import is_alias
from shared.marketplaces.amazon.messaging import ByMail
from shared.ports import Account, Attempt, Found, Secrets
from shared.smtp import Letter, MailServer


class Channel:
    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self.account = account
        self._client, self._clock = Client(account, secrets, http, clock), clock
        self._mail = MailServer.of(account, secrets)

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        return "blind"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        return await messaging.send(self._client, errand, body, self._by_mail(errand, subject, body))

    def _by_mail(self, errand: Errand, subject: str | None, body: str) -> ByMail | None:
        """None where the account has no mail server, or no relay address of this buyer is known."""
        server, to = self._mail, errand.buyer.mail
        if server is None or to is None or not is_alias(to):
            return None
        letter = Letter(errand.id, to, subject or errand.order_id, body, errand.locale)
        return lambda: server.send(letter, self._clock.now())

    async def perform(self, errand: Errand) -> Attempt:
        if errand.name == "refund":
            return await refund_feed.refund(self._client, errand)
        return prepared(self.account, errand)

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        return Found(None)
