"""Reads after-sales: one by its ids, and the increments of the list in windows of 30 minutes. Reference 3.1 C, 3.4."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.clock import Clock, from_micros, to_micros
from shared.durations import parse_duration
from shared.http import Http, RefusedFault
from shared.marketplaces.pinduoduo import reading
from shared.marketplaces.pinduoduo.after_sale import STATUSES, AfterSale, text
from shared.marketplaces.pinduoduo.client import Client
from shared.ports import Account, NotYetThere, Page, Record, Secrets

OVERLAP = timedelta(minutes=10)
"""A poll looks this far behind the last one's begin; an unchanged record leaves no trace, so overlap is free."""
_BACKFILL = "P1D"
_UNAUTHORISED = 401


@dataclass(frozen=True, slots=True)
class Source:
    account: Account
    secrets: Secrets
    http: Http
    clock: Clock

    async def fetch(self, ref: str) -> Sequence[Record]:
        """`refund:<order number>:<after-sale id>`. Raises NotYetThere, HttpFault kinds."""
        order, _, id_ = ref.partition(":")[2].rpartition(":")
        try:
            body = await reading.body(self._client, order, id_)
        except RefusedFault as fault:
            if fault.status == _UNAUTHORISED:
                raise
            raise NotYetThere(f"after-sale {id_} cannot be read: {fault.why}") from fault
        if body is None:
            raise NotYetThere(f"after-sale {id_} cannot be read yet")
        return [Record(ref, body, AfterSale(body).revision)]

    async def poll(self, cursor: Mapping[str, Any] | None, since: datetime | None) -> Page:
        """The oldest window first, a page at a time, up to now."""
        begin, until, page, at = self._where(cursor, since)
        end = min(begin + reading.WINDOW, until)
        rows, more = await reading.page(self._client, begin, end, page, self._filters[at])
        refs = tuple(_ref(row) for row in rows if text(row.get("id")) and text(row.get("order_sn")))
        if more:
            return Page(refs=refs, cursor=_cursor(begin, until, page + 1, at))
        if at + 1 < len(self._filters):
            return Page(refs=refs, cursor=_cursor(begin, until, 1, at + 1))
        return Page(refs=refs, cursor=_cursor(end, until, 1, 0) if end < until else None)

    def _where(self, cursor: Mapping[str, Any] | None, since: datetime | None) -> tuple[datetime, datetime, int, int]:
        """Begin of the window, end of the whole poll, page, which status filter."""
        if cursor is not None:
            begin, until = from_micros(int(cursor["begin"])), from_micros(int(cursor["until"]))
            return begin, until, int(cursor["page"]), int(cursor["filter"])
        now = self.clock.now()
        behind = parse_duration(str(self.account.settings.get("backfill") or _BACKFILL))
        return (now - behind if since is None else since - OVERLAP), now, 1, 0

    @property
    def _filters(self) -> Sequence[int]:
        """Whether one number means every status stands in one copy of the parameter table and not in another."""
        if self.account.settings.get("poll_each_status"):
            return [int(status) for status in STATUSES]
        return [reading.ALL_STATUSES]

    @property
    def _client(self) -> Client:
        return Client(self.account, self.secrets, self.http, self.clock)


def _cursor(begin: datetime, until: datetime, page: int, at: int) -> dict[str, int]:
    return {"begin": to_micros(begin), "until": to_micros(until), "page": page, "filter": at}


def _ref(row: Mapping[str, Any]) -> str:
    return f"refund:{text(row.get('order_sn'))}:{text(row.get('id'))}"
