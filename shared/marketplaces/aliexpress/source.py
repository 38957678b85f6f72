"""Reads disputes: one order's, one dispute, and the sweep that finds what no push told. Reference B1.2, B1.3, B3.1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.clock import Clock
from shared.http import Http, RefusedFault
from shared.marketplaces.aliexpress.client import Client
from shared.marketplaces.aliexpress.issue import Issue, items, pacific, text
from shared.ports import Account, NotYetThere, Page, Record, Secrets

PAGE_SIZE = 50
OVERLAP = timedelta(hours=1)
"""A sweep looks this far behind the last one's begin; an unchanged record leaves no trace, so overlap is free."""
FINISHED_PAGES = 3
"""At least so many pages of ended disputes are read: that the newest come first is not established."""
_SWEEP = ("processing", "canceled_issue", "finish")


@dataclass(frozen=True, slots=True)
class Source:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    async def fetch(self, ref: str) -> Sequence[Record]:
        """`order:<trade order id>` or `issue:<issue id>:<buyer login id>`. Raises NotYetThere, HttpFault kinds."""
        what, _, rest = ref.partition(":")
        if what == "issue":
            issue_id, _, buyer = rest.partition(":")
            return [await self._detail(issue_id, buyer, {})]
        result = await self._client.read(_ORDER_ISSUES, parent_order_id=rest)
        rows = items(result.get("issues", result.get("result_object")))
        if not rows:
            raise NotYetThere(f"order {rest} has no dispute yet")
        buyers = {} if all(_buyer(row) for row in rows) else await self._buyers(rest)
        return [await self._detail(_id(row), _buyer(row) or buyers.get(_id(row), ""), row) for row in rows]

    async def poll(self, cursor: Mapping[str, Any] | None, since: datetime | None) -> Page:
        """All disputes in progress and the recently ended, a page at a time: there is no modified-since filter."""
        status, page = (str(cursor["status"]), int(cursor["page"])) if cursor else (_SWEEP[0], 1)
        result = await self._client.read(_LIST, query_dto=_query(page, issue_status=status))
        rows = items(result.get("data_list"))
        changed = [row for row in rows if since is None or _is_after(row, since - OVERLAP)]
        refs = tuple(f"issue:{_id(row)}:{_buyer(row)}" for row in changed if _id(row))
        wanted = status == _SWEEP[0] or bool(changed) or page < FINISHED_PAGES
        if wanted and page * PAGE_SIZE < _total(result, page, len(rows)):
            return Page(refs=refs, cursor={"status": status, "page": page + 1})
        following = _next_status(status, since)
        return Page(refs=refs, cursor={"status": following, "page": 1} if following else None)

    @property
    def _client(self) -> Client:
        return Client(self.account, self.secrets, self.http, self.clock)

    async def _buyers(self, order: str) -> dict[str, str]:
        """Issue id -> buyer login: an order's own list may not tell it, the detail asks for it."""
        try:
            result = await self._client.read(_LIST, query_dto=_query(1, order_no=order))
        except RefusedFault:
            return {}
        return {_id(row): _buyer(row) for row in items(result.get("data_list"))}

    async def _detail(self, issue_id: str, buyer: str, row: Mapping[str, Any]) -> Record:
        result = await self._client.read(_DETAIL, issue_id=issue_id, buyer_login_id=buyer or None)
        detail = result.get("result_object", result)
        if not isinstance(detail, Mapping) or not detail.get("reverse_detail_status"):
            raise NotYetThere(f"dispute {issue_id} cannot be read yet")
        told = {name: row[name] for name in ("gmt_create", "gmt_modified", "reason_english") if row.get(name)}
        body = {"buyer_login_id": buyer, **told, **detail, "issue_id": issue_id}
        return Record(f"issue:{issue_id}", body, Issue(body).revision)


_ORDER_ISSUES = "aliexpress.issue.partner.order.issues.get"
_DETAIL = "aliexpress.issue.detail.get"
_LIST = "aliexpress.issue.issuelist.get"


def _query(page: int, **more: str) -> dict[str, Any]:
    return {"current_page": page, "page_size": PAGE_SIZE, **more}


def _next_status(status: str, since: datetime | None) -> str | None:
    """The first sweep ever reads what is in progress only: of what ended before, no case is known."""
    at = _SWEEP.index(status) + 1
    return _SWEEP[at] if since is not None and at < len(_SWEEP) else None


def _total(result: Mapping[str, Any], page: int, rows: int) -> int:
    """`total_item`; where it is not told, a full page means there may be more."""
    told = text(result.get("total_item"))
    return int(told) if told and told.isdigit() else page * PAGE_SIZE + (rows >= PAGE_SIZE)


def _is_after(row: Mapping[str, Any], moment: datetime) -> bool:
    modified = pacific(row.get("gmt_modified"))
    return modified is None or modified >= moment


def _id(row: Mapping[str, Any]) -> str:
    return text(row.get("issue_id")) or text(row.get("id")) or ""


def _buyer(row: Mapping[str, Any]) -> str:
    return text(row.get("buyer_login_id")) or ""
