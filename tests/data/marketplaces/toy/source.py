"""Reading the toy market: one return by its reference, or all that changed, page by page."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.clock import Clock, format_time
from shared.http import Call, Http, RefusedFault
from shared.json_reader import read
from shared.ports import Account, NotYetThere, Page, Record, Secrets


class Source:
    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self._base = account.base_url or "https://toy.invalid"
        self._token = str(secrets["api_token"])
        self._http = http

    async def fetch(self, ref: str) -> Sequence[Record]:
        try:
            return [_record(await self._get(f"/returns/{ref.removeprefix('return:')}"))]
        except RefusedFault as fault:
            if fault.status == 404:
                raise NotYetThere(ref) from fault
            raise

    async def poll(self, cursor: Mapping[str, Any] | None, since: datetime | None) -> Page:
        page = int(cursor["page"]) if cursor else 1
        query = {"page": str(page)} | ({"since": format_time(since)} if since else {})
        found = await self._get("/returns", query)
        records = tuple(_record(one) for one in found["returns"])
        return Page(records, cursor={"page": page + 1} if found["more"] else None)

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        headers = {"authorization": f"Bearer {self._token}"}
        answer = await self._http.call(Call("GET", self._base + path, "get", params=query or {}, headers=headers))
        return read(answer.body)


def _record(body: Mapping[str, Any]) -> Record:
    return Record(f"return:{body['id']}", body, int(body["version"]))
