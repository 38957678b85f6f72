"""Reads what Ozon pushes nothing about: returns of every scheme, cancellation requests, and chats. Reference 2.1, 2.4, 2.5.

One poll goes through the stages in order, page by page. An unchanged record leaves no trace, so looking back costs calls only.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from shared.clock import Clock, format_time, to_micros
from shared.http import Http, HttpFault, RefusedFault
from shared.marketplaces.ozon import returning
from shared.marketplaces.ozon.client import Client, is_missing
from shared.marketplaces.ozon.codes import BUYER_CHATS, moment, number, part, rows, spelled, text
from shared.ports import Account, NotYetThere, Page, Record, Secrets

PAGE, REQUESTS_PAGE = 500, 100
"""The most a page may hold is published for FBS and FBO returns (500) and chats (1000) only."""
HISTORY = 100
OVERLAP = timedelta(hours=1)
"""How far behind the last poll's begin a changed status is looked for."""
FIRST_LOOK = timedelta(days=30)
"""FBS and FBO returns the first poll ever looks at; of what was over by then no case is opened."""
FINISHED_FOR = timedelta(days=120)
"""rFBS requests created so long ago are still watched for their end: Ozon offers no filter by change."""
_FINAL_GROUPS = ["Approved", "Rejected"]


@dataclass(frozen=True, slots=True)
class Source:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    # one thing
    async def fetch(self, ref: str) -> Sequence[Record]:
        """`rfbs:<return id>`, `chat:<chat id>`. Raises NotYetThere, HttpFault kinds."""
        what, _, id_ = ref.partition(":")
        try:
            return [await (self._chat(id_) if what == "chat" else self._request(id_))]
        except HttpFault as fault:
            if is_missing(fault):
                raise NotYetThere(f"{ref} is not there yet") from fault
            raise

    async def _request(self, id_: str) -> Record:
        """The request with its state by group, which only the list tells."""
        told = await self._client.read("/v2/returns/rfbs/get", return_id=number(id_))
        detail = next(iter(rows(told.get("returns"))), {})
        posting = text(detail.get("posting_number"))
        listed = await self._client.read(
            "/v2/returns/rfbs/list", filter={"posting_number": posting}, limit=REQUESTS_PAGE
        )
        row = next((row for row in rows(listed.get("returns")) if text(row.get("return_id")) == id_), None)
        if row is None or posting is None:
            raise NotYetThere(f"return {id_} cannot be read yet")
        return _rfbs_record(row, detail)

    async def _chat(self, id_: str) -> Record:
        answer = await self._client.read("/v3/chat/history", chat_id=id_, direction="Backward", limit=HISTORY)
        messages = sorted(rows(answer.get("messages")), key=lambda message: str(message.get("created_at")))
        return Record(f"chat:{id_}", {"chat_id": id_, "messages": [_kept(message) for message in messages]})

    # everything
    async def poll(self, cursor: Mapping[str, Any] | None, since: datetime | None) -> Page:
        stages = self._stages(since)
        at = str(cursor["stage"]) if cursor else next(iter(stages))
        records, refs, more = await stages[at](str(cursor["after"]) if cursor and cursor.get("after") else None, since)
        names = list(stages)
        following = names[names.index(at) + 1 :]
        if more is not None:
            return Page(tuple(records), tuple(refs), {"stage": at, "after": more})
        return Page(tuple(records), tuple(refs), {"stage": following[0], "after": None} if following else None)

    def _stages(self, since: datetime | None) -> dict[str, "_Stage"]:
        """The first poll ever leaves out what is over, and chats are read with the subscription only."""
        stages: dict[str, _Stage] = {"cancellations": self._cancellations, "open_requests": self._open_requests}
        if since is not None:
            stages["decided_requests"] = self._decided_requests
        stages["returns"] = self._returns
        if self.account.settings.get("premium_plus") is True:
            stages["chats"] = self._chats
        return stages

    async def _cancellations(self, after: str | None, since: datetime | None) -> "_Stretch":
        filters = {"state": "ON_APPROVAL" if since is None else "ALL"}
        answer = await self._client.read(
            "/v2/conditional-cancellation/list", filters=filters, limit=PAGE, last_id=_last(after)
        )
        found = rows(answer.get("result"))
        records = [_cancellation(row) for row in found if _is_new(row.get("approve_date"), since)]
        return records, [], _next(text(answer.get("last_id")), after, len(found))

    async def _open_requests(self, after: str | None, since: datetime | None) -> "_Stretch":
        """Each is read whole: what can be done with it now stands in the detail."""
        found = await self._requests({"group_state": list(returning.OPEN_GROUPS)}, after)
        ids = [id_ for row in found if (id_ := text(row.get("return_id")))]
        return [], [f"rfbs:{id_}" for id_ in ids], _next(ids[-1] if ids else None, after, len(found), REQUESTS_PAGE)

    async def _decided_requests(self, after: str | None, since: datetime | None) -> "_Stretch":
        created = {"from": format_time(self.clock.now() - FINISHED_FOR), "to": format_time(self.clock.now())}
        found = await self._requests({"group_state": _FINAL_GROUPS, "created_at": created}, after)
        ids = [id_ for row in found if (id_ := text(row.get("return_id")))]
        return (
            [_rfbs_record(row, {}) for row in found],
            [],
            _next(ids[-1] if ids else None, after, len(found), REQUESTS_PAGE),
        )

    async def _requests(self, wanted: Mapping[str, Any], after: str | None) -> list[dict[str, Any]]:
        answer = await self._client.read(
            "/v2/returns/rfbs/list", filter=wanted, limit=REQUESTS_PAGE, last_id=_last(after)
        )
        return [row for row in rows(answer.get("returns")) if row.get("return_id")]

    async def _returns(self, after: str | None, since: datetime | None) -> "_Stretch":
        now = self.clock.now()
        begin = now - FIRST_LOOK if since is None else since - OVERLAP
        span = {"time_from": format_time(begin), "time_to": format_time(now)}
        answer = await self._client.read(
            "/v1/returns/list", filter={"visual_status_change_moment": span}, limit=PAGE, last_id=_last(after)
        )
        found = [row for row in rows(answer.get("returns")) if row.get("id")]
        read = [(returning.ordinary(row), row) for row in found]
        records = [_return(one, row) for one, row in read if since is not None or not one.is_over]
        has_next = str(answer.get("has_next")).lower() == "true"
        return records, [], text(found[-1]["id"]) if found and has_next else None

    async def _chats(self, after: str | None, since: datetime | None) -> "_Stretch":
        """What a push did not tell: open chats with something unread. A subscription that has ended keeps no return unread."""
        wanted = {"chat_status": "Opened", "unread_only": True}
        try:
            answer = await self._client.read("/v3/chat/list", filter=wanted, limit=PAGE, cursor=after)
        except RefusedFault as fault:
            if fault.status == HTTPStatus.FORBIDDEN:
                return [], [], None
            raise
        listed = [part(row, "chat") or row for row in rows(answer.get("chats"))]
        ours = [chat for chat in listed if spelled(chat.get("chat_type"), BUYER_CHATS) in BUYER_CHATS]
        has_next = str(answer.get("has_next")).lower() == "true"
        return (
            [],
            [f"chat:{id_}" for chat in ours if (id_ := text(chat.get("chat_id")))],
            text(answer.get("cursor")) if has_next else None,
        )

    @property
    def _client(self) -> Client:
        return Client(self.account, self.secrets, self.http)


_Stretch = tuple[list[Record], list[str], str | None]
_Stage = Callable[[str | None, datetime | None], Awaitable[_Stretch]]


def _last(after: str | None) -> int | None:
    return number(after) if after else None


def _next(last: str | None, after: str | None, size: int, page: int = PAGE) -> str | None:
    """Where to go on; None once a page is not full, or does not lead on."""
    return last if last and last != after and size >= page else None


def _is_new(decided: Any, since: datetime | None) -> bool:
    """Decided before the last poll it was read then, or was over before we came."""
    at = moment(decided)
    return since is None or at is None or at >= since - OVERLAP


def _cancellation(row: dict[str, Any]) -> Record:
    return Record(f"cancellation:{text(row.get('cancellation_id'))}", row)


def _rfbs_record(row: dict[str, Any], detail: Mapping[str, Any]) -> Record:
    """Decided, the list's row is enough; both ways of reading it give the same record then."""
    id_, group = text(row.get("return_id")), returning.rfbs(row).status
    if group not in returning.OPEN_GROUPS:
        return Record(f"rfbs:{id_}", row)
    state = {**part(detail, "state"), **part(row, "state")}
    return Record(f"rfbs:{id_}", {**row, **detail, "return_id": row["return_id"], "state": state})


def _return(found: returning.Return, row: dict[str, Any]) -> Record:
    changed = found.changed
    return Record(f"return:{found.id}", row, to_micros(changed) // 1000 if changed else None)


def _kept(message: Mapping[str, Any]) -> dict[str, Any]:
    """What is read flips `is_read` back and forth: no news."""
    return {name: value for name, value in message.items() if name != "is_read"}
