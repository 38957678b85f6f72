"""Acts and messages on the toy market. Acts take our key; sent messages can be read back."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from shared.attempts import attempt_of
from shared.clock import Clock, format_time
from shared.domain.errands import Errand
from shared.http import Call, Http, HttpFault
from shared.json_reader import read
from shared.ports import Account, Assisted, Attempt, Done, Found, Secrets


class Channel:
    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self._base = account.base_url or "https://toy.invalid"
        self._token = str(secrets["api_token"])
        self._http = http
        self._clock = clock

    def ability(self, errand: Errand) -> Literal["keyed", "readable", "blind"]:
        return "readable" if errand.what == "message" else "keyed"

    async def send(self, errand: Errand, subject: str | None, body: str) -> Attempt:
        sent = {"text": body, "ref": errand.id, "at": format_time(self._clock.now())}
        return await self._post(f"/orders/{errand.order_id}/messages", errand, sent)

    async def perform(self, errand: Errand) -> Attempt:
        return_id = errand.refs.get("return_id", "")
        if errand.name not in ("authorise", "refund"):
            return Assisted(f"{errand.name} return {return_id}", checklist=("Do it on the toy market's page",))
        money = {"amount": errand.money.value, "currency": errand.money.currency} if errand.money else {}
        return await self._post(f"/returns/{return_id}/{errand.name}", errand, money)

    async def look_up(self, errand: Errand, body: str, since: datetime) -> Found:
        headers = {"authorization": f"Bearer {self._token}"}
        url = f"{self._base}/orders/{errand.order_id}/messages"
        listed = read((await self._http.call(Call("GET", url, "messages", headers=headers))).body)
        return Found(any(message["ref"] == errand.id for message in listed["messages"]))

    async def _post(self, path: str, errand: Errand, body: dict[str, Any]) -> Attempt:
        headers = {"authorization": f"Bearer {self._token}", "idempotency-key": errand.id}
        call = Call("POST", self._base + path, errand.name, headers=headers, body=msgspec.json.encode(body))
        try:
            answer = await self._http.call(call)
        except HttpFault as fault:
            return attempt_of(fault, account_wide=(401, 403))
        return Done(provider_id=str(read(answer.body)["id"]))
