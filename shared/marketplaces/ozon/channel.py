"""Messages to buyers and acts on returns, cancellations and postings. Reference 2.4, 2.5.

An act on an rFBS request reads it first: what is not offered now is not asked for, and what was decided upon still holds.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from shared.attempts import attempt_of, tried
from shared.clock import Clock
from shared.domain.errands import Errand
from shared.http import Http, HttpFault, NotSentFault
from shared.marketplaces.ozon import actions, assisted, cancelling, chats, returning
from shared.marketplaces.ozon.client import Client
from shared.marketplaces.ozon.codes import moment, number, part, rows, text
from shared.ports import Account, Attempt, Found, Refused, Secrets

SKEW = timedelta(minutes=2)
"""Their clock and ours: what they stamp so much earlier than our attempt may still be ours."""
HISTORY = 50
ON_REQUEST = ("authorise", "decline", "refund", "propose", "confirm_receipt")
_OTHER_FAULT = 402
"""Of a cancellation: another fault of the seller, in words (reference 2.4)."""


@dataclass(frozen=True, slots=True)
class Channel:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        if errand.what == "message" or _is_on_request(errand):
            return "readable"
        return "readable" if errand.case_kind == "cancellation" and "cancellation_id" in errand.refs else "blind"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        """Chats with buyers are part of Premium Plus: without it, or with pictures, a person sends it."""
        if self.account.settings.get("premium_plus") is not True:
            return assisted.message(errand, body, "Chats by API need the Premium Plus subscription.")
        if errand.attachments:
            return assisted.message(errand, body, "Add the pictures of this case to it.")
        try:
            chat = await self._chat(errand)
        except HttpFault as fault:
            return attempt_of(fault, before=True)
        return await tried(self._client.act("/v1/chat/send/message", chat_id=chat, text=body))

    async def perform(self, errand: Errand) -> Attempt:
        if _is_on_request(errand):
            return await self._on_request(errand)
        if errand.case_kind == "cancellation" and errand.name in ("cancel", "decline"):
            return await self._on_cancellation(errand)
        return assisted.prepared(errand)

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        try:
            if errand.what == "message":
                return await self._sent_message(errand, body, since - SKEW)
            if errand.case_kind == "cancellation":
                return await self._answered_cancellation(errand)
            return await self._taken(errand)
        except HttpFault:
            return Found(None)

    # chats
    async def _chat(self, errand: Errand) -> str:
        """The order's chat as it is known, else the one that Ozon opens for the posting."""
        known = errand.refs.get("chat_id")
        if known:
            return known
        answer = await self._client.read("/v1/chat/start", posting_number=errand.order_id)
        chat = text(part(answer, "result").get("chat_id"))
        if chat is None:
            raise NotSentFault("Ozon named no chat")
        return chat

    async def _sent_message(self, errand: Errand, body: str, since: datetime) -> Found:
        answer = await self._client.read(
            "/v3/chat/history", chat_id=await self._chat(errand), direction="Backward", limit=HISTORY
        )
        for message in rows(answer.get("messages")):
            at = moment(message.get("created_at"))
            ours = chats.by(message) == chats.SELLER and _squeezed(chats.words(message)) == _squeezed(body)
            if ours and at is not None and at >= since:
                return Found(True, text(message.get("message_id")))
        return Found(False)

    # rFBS requests
    async def _on_request(self, errand: Errand) -> Attempt:
        try:
            found = await self._request(errand)
        except HttpFault as fault:
            return attempt_of(fault, before=True)
        try:
            wanted = actions.request(errand, found, self.account)
        except actions.No as no:
            return Refused(str(no))
        except actions.Unknown as unknown:
            return assisted.prepared(errand, str(unknown))
        return await tried(self._client.act("/v1/returns/rfbs/action/set", **wanted))

    async def _request(self, errand: Errand) -> returning.Return:
        id_ = number(errand.refs.get("return_id"))
        answer = await self._client.read("/v2/returns/rfbs/get", return_id=id_)
        detail = next(iter(rows(answer.get("returns"))), None)
        if detail is None:
            raise NotSentFault(f"return {id_} cannot be read")
        return returning.rfbs(detail)

    async def _taken(self, errand: Errand) -> Found:
        """Still offered: not taken. Refused in our words: ours. Otherwise it cannot be told whose doing it was."""
        found = await self._request(errand)
        comment = text(errand.params.get("comment"))
        if errand.name == "decline" and comment and text(found.body.get("rejection_comment")) == comment:
            return Found(True)
        try:
            action = actions.request(errand, found, self.account)["id"]
        except (actions.No, actions.Unknown):
            return Found(None)
        return Found(False if action in found.actions else None)

    # cancellations
    async def _on_cancellation(self, errand: Errand) -> Attempt:
        request = number(errand.refs.get("cancellation_id"))
        if request is None:
            return await self._cancel_posting(errand)
        comment = text(errand.params.get("comment"))
        if errand.name == "decline" and comment is None:
            return Refused("a refused cancellation needs a comment with its reason")
        answer = "approve" if errand.name == "cancel" else "reject"
        path = f"/v2/conditional-cancellation/{answer}"
        return await tried(self._client.act(path, cancellation_id=request, comment=comment or ""))

    async def _cancel_posting(self, errand: Errand) -> Attempt:
        """Of our own: with one of the reasons Ozon offers for this posting. It counts against the shop."""
        if errand.name == "decline":
            return assisted.prepared(errand)
        reason, words = number(errand.params.get("cancel_reason_id")), text(errand.params.get("cancel_reason_message"))
        try:
            listed = await self._client.read("/v1/posting/fbs/cancel-reason", related_posting_numbers=[errand.order_id])
        except HttpFault as fault:
            return attempt_of(fault, before=True)
        reasons = {
            number(row.get("id")): text(row.get("title"))
            for posting in rows(listed.get("result"))
            for row in rows(posting.get("reasons"))
        }
        if reason is None or reason not in reasons:
            shown = ", ".join(f"{id_} ({name or '-'})" for id_, name in reasons.items() if id_ is not None)
            return Refused(f"cancelling needs cancel_reason_id, one of: {shown or 'nothing'}")
        if reason == _OTHER_FAULT and words is None:
            return Refused("this reason needs cancel_reason_message")
        return await tried(
            self._client.act(
                "/v2/posting/fbs/cancel",
                posting_number=errand.order_id,
                cancel_reason_id=reason,
                cancel_reason_message=words,
            )
        )

    async def _answered_cancellation(self, errand: Errand) -> Found:
        filters = {"posting_number": [errand.order_id], "state": "ALL"}
        answer = await self._client.read("/v2/conditional-cancellation/list", filters=filters, limit=HISTORY)
        wanted = errand.refs.get("cancellation_id")
        row = next((r for r in rows(answer.get("result")) if text(r.get("cancellation_id")) == wanted), None)
        if row is None:
            return Found(None)
        state = cancelling.state_of(row)
        if state == "ON_APPROVAL":
            return Found(False)
        return Found(True if state == ("APPROVED" if errand.name == "cancel" else "REJECTED") else None)

    @property
    def _client(self) -> Client:
        return Client(self.account, self.secrets, self.http)


def _is_on_request(errand: Errand) -> bool:
    """FBS and FBO returns have no call for a decision (reference 2.4): their ids bear the scheme."""
    own = errand.refs.get("external_id", "")
    return (
        errand.case_kind == "return" and errand.name in ON_REQUEST and bool(own) and own == errand.refs.get("return_id")
    )


def _squeezed(words: str) -> str:
    return " ".join(words.split())
