"""Messages by the Messaging API, refunds by feed where the account allows it; everything else is prepared for a person.

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
from shared.ports import Account, Attempt, Found, Secrets


class Channel:
    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self.account = account
        self._client = Client(account, secrets, http, clock)

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        return "blind"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        return await messaging.send(self._client, errand, body)

    async def perform(self, errand: Errand) -> Attempt:
        if errand.name == "refund":
            return await refund_feed.refund(self._client, errand)
        return prepared(self.account, errand)

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        return Found(None)
