"""Mail to buyers through the in-site message calls; every act is prepared for a person. Reference 4.4, 4.5.

A mail about an order continues the order's thread where there is one, else begins it under `PO#<order>` (CR-DH-05).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.attempts import attempt_of
from shared.clock import Clock
from shared.domain.errands import Errand
from shared.http import Http, HttpFault, InDoubtFault
from shared.marketplaces.dhgate.assisted import prepared, refusal
from shared.marketplaces.dhgate.client import Client, zone
from shared.marketplaces.dhgate.mail import plain, title_of
from shared.marketplaces.dhgate.reading import THREAD, moment, rows, text
from shared.ports import Account, Assisted, Attempt, Done, Found, Refused, Secrets

ZONE_DOUBT = timedelta(hours=26)
"""The zone of DHgate's times is not stated: so far apart two readings of one time may lie. The same words of the same
day count as sent: rather once too few than twice."""
_ABOUT_ORDER, _ORDER_MAIL, _LONG_AGO = 2, "002", 366
_WITH_RECEIPT = "Attach the carrier's receipt: this message is nothing without it."
_BY_HAND = "Send this text with its attachments on the order's page: the call that uploads files is not established."


@dataclass(frozen=True, slots=True)
class Channel:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        return "readable" if errand.what == "message" else "blind"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        if errand.attachments or errand.name == "delivery_check":
            extra = (_WITH_RECEIPT,) if errand.name == "delivery_check" else ()
            return Assisted(body, checklist=(*extra, _BY_HAND))
        if not errand.buyer.id:
            return Refused("the buyer's id is not known")
        try:
            thread = await self._thread(errand)
        except HttpFault as fault:
            return attempt_of(fault, before=True)
        try:
            return Done(await self._mail(errand, thread, body))
        except HttpFault as fault:
            return attempt_of(fault)

    async def perform(self, errand: Errand) -> Attempt:
        address = errand.params.get("return_address") or self.account.settings.get("return_address")
        given = str(address) if address else None
        return refusal(errand, given) or prepared(errand, given)

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        try:
            thread = await self._thread(errand)
            if thread is None:
                return Found(False)
            said = rows((await self._client.read(THREAD, msgId=thread)).get("msgDetailList"))
            found = any(self._is_ours(one, errand, body, since) for one in said)
        except HttpFault:
            return Found(None)
        return Found(found, thread if found else None)

    async def _mail(self, errand: Errand, thread: str | None, body: str) -> str | None:
        """Raises HttpFault kinds; an acknowledgement without a number is doubt (an empty one is a failure, reference 4.5)."""
        if thread is not None:
            reply = await self._client.act(
                "dh.message.info.reply", msgId=thread, receiverId=errand.buyer.id, content=body
            )
            return text(reply.get("msgTopicId")) or thread
        reply = await self._client.act(
            "dh.message.send",
            msgTitle=title_of(errand.order_id),
            content=body,
            reciverId=errand.buyer.id,
            sendMsgType=_ABOUT_ORDER,
            param=errand.order_id,
        )
        if text(reply.get("msgId")) is None:
            raise InDoubtFault("dh.message.send: no number of the mail in the answer")
        return text(reply.get("msgId"))

    async def _thread(self, errand: Errand) -> str | None:
        """The order's thread as known, else by search: only one with exactly its title."""
        if errand.refs.get("msg_id"):
            return errand.refs["msg_id"]
        asked = {"beforeDay": _LONG_AGO, "msgType": _ORDER_MAIL, "searchKey": errand.order_id}
        reply = await self._client.read("dh.message.list", pageNo=1, pageSize=20, **asked)
        title = title_of(errand.order_id)
        found = [row for row in rows(reply.get("msgList")) if text(row.get("msgTitle")) == title]
        return text(max(found, key=lambda row: text(row.get("lastReplyTime")) or "").get("msgId")) if found else None

    def _is_ours(self, one: Mapping[str, Any], errand: Errand, body: str, since: datetime) -> bool:
        if text(one.get("senderId")) == errand.buyer.id or plain(one.get("content")) != plain(body):
            return False
        at = moment(one.get("createTime"), zone(self.account))
        return at is None or at >= since - ZONE_DOUBT

    @property
    def _client(self) -> Client:
        return Client(self.account, self.secrets, self.http, self.clock)
