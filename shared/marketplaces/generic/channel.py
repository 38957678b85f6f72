"""Standard Webhooks out: each message and each act is posted to the account's `base_url`, signed as what comes in is.

The receiver remembers `Idempotency-Key` (the errand's id) and answers a repeat as it answered the first time, so an
attempt whose end is not known is simply made again with the same key.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from shared import standard_webhooks
from shared.attempts import attempt_of
from shared.clock import Clock, format_time
from shared.domain.errands import Errand
from shared.domain.facts import encode
from shared.http import Answer, Call, Http, HttpFault, RefusedFault
from shared.ports import Account, Assisted, Attempt, Done, Found, InDoubt, Secrets

_ACCOUNT_WIDE = (401, 403, 410)
"""Our signature is not taken, or the address was given up: no other errand would fare better."""
_CAN_BE_REPEATED = (408, 425)


class Channel:
    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self._account = account
        self._secrets = secrets
        self._http = http
        self._clock = clock

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        return "keyed"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        said = {"purpose": errand.name, "locale": errand.locale, "subject": subject, "text": body}
        data = {**said, "attachments": errand.attachments, "buyer": errand.buyer}
        if self._account.base_url is None:
            return Assisted(body, checklist=(f"Send it to the buyer of order {errand.order_id}",))
        return await self._post("message.send", errand, data)

    async def perform(self, errand: Errand) -> Attempt:
        data = {"act": errand.name, "params": errand.params, "money": errand.money}
        if self._account.base_url is None:
            return Assisted(_in_words(errand), checklist=(f"Do it for order {errand.order_id}",))
        return await self._post("act.perform", errand, data)

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        return Found(None)

    async def _post(self, type_: str, errand: Errand, data: Mapping[str, Any]) -> Attempt:
        body = encode({"type": type_, "timestamp": format_time(errand.created_at), "data": _data(errand, data)})
        signed = standard_webhooks.headers(self._secrets["signing_secret"], errand.id, self._clock.now(), body)
        headers = {**signed, "content-type": "application/json", "idempotency-key": errand.id}
        try:
            answer = await self._http.call(
                Call("POST", str(self._account.base_url), label=type_, headers=headers, body=body)
            )
        except HttpFault as fault:
            if isinstance(fault, RefusedFault) and fault.status in _CAN_BE_REPEATED:
                return InDoubt(fault.why)
            return attempt_of(fault, account_wide=_ACCOUNT_WIDE)
        return Done(provider_id=_provider_id(answer))


def _data(errand: Errand, more: Mapping[str, Any]) -> dict[str, Any]:
    case = {"order_id": errand.order_id, "case_id": errand.case_id, "kind": errand.case_kind, "refs": errand.refs}
    data = {"errand_id": errand.id, "account": errand.account, **case, **more}
    return {name: value for name, value in data.items() if value is not None}


def _provider_id(answer: Answer) -> str | None:
    """`id` of a JSON answer. Any 2xx is a yes, so an answer without one is as good."""
    try:
        found = msgspec.json.decode(answer.body) if answer.body else None
    except msgspec.DecodeError:
        return None
    id_ = found.get("id") if isinstance(found, dict) else None
    return id_ if isinstance(id_, str) and len(id_) <= 128 else None


def _in_words(errand: Errand) -> str:
    amount = f", {errand.money.value} {errand.money.currency}" if errand.money else ""
    return f"{errand.name.replace('_', ' ')}: order {errand.order_id}{amount}"
