"""A channel over real HTTP whose ability is a setting."""

import msgspec

from shared.http import Call, InDoubtFault, NotSentFault, RefusedFault
from shared.ports import Assisted, Done, Found, InDoubt, NotSent, Refused


class Channel:
    files_for = frozenset({"submit_evidence"})

    def __init__(self, account, secrets, http, clock):
        self._account, self._http = account, http
        self._headers = {"authorization": str(secrets["token"]), "content-type": "application/json"}

    def ability(self, errand):
        return str(self._account.settings.get("ability", "readable"))

    async def send(self, errand, subject, body):
        return await self._post("/send", errand, body)

    async def perform(self, errand, files=None):
        if files is not None:
            return await self._post("/act", errand, {name: content.decode() for name, content in files.items()})
        if errand.name == "decline":
            return Assisted("Decline it", "https://toy.example/decline", ("Open the case", "Press decline"))
        return await self._post("/act", errand, errand.name)

    async def look_up(self, errand, body, since):
        if self.ability(errand) == "keyed":
            return Found(None)
        call = Call("GET", f"{self._account.base_url}/thread", params={"key": errand.id}, headers=self._headers)
        found = (await self._http.call(call)).json()["found"]
        return Found(found, f"toy-{errand.id}" if found else None)

    async def _post(self, path, errand, body):
        data = msgspec.json.encode({"key": errand.id, "body": body, "what": errand.what, "name": errand.name})
        call = Call("POST", f"{self._account.base_url}{path}", label=path, headers=self._headers, body=data)
        try:
            answer = (await self._http.call(call)).json()
        except NotSentFault as fault:
            return NotSent(fault.why, fault.retry_after)
        except InDoubtFault as fault:
            return InDoubt(fault.why)
        except RefusedFault as fault:
            if fault.status == 409:
                return Done(f"toy-{errand.id}")
            return Refused(fault.why, account_wide=fault.status in (401, 403))
        return Done(answer["id"])
