"""Reads what DHgate never pushes: open and closed disputes, changed orders, mail. Reference 4.1.

A poll goes through its parts page by page; the cursor keeps part, page and window, so it resumes where it stopped.
Windows overlap by a day each way: the zone of DHgate's times is not stated, and an unchanged record leaves no trace.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.clock import Clock
from shared.http import Http
from shared.marketplaces.dhgate.client import Client, zone
from shared.marketplaces.dhgate.orders import DISPUTE, UNPAID
from shared.marketplaces.dhgate.reading import (
    DISPUTE_CLOSED,
    DISPUTE_OPEN,
    ORDER_DETAIL,
    ORDER_ROW,
    THREAD,
    rows,
    stamp,
    text,
)
from shared.ports import Account, NotYetThere, Page, Record, Secrets

PAGE_SIZE = 50
SLACK = timedelta(days=1)
FIRST_LOOK = timedelta(days=7)
"""The very first reading: orders changed lately. Older ones come when something in them changes; open disputes all come."""
LONGEST = timedelta(days=364)
"""Windows of over 365 days are not answered."""
ORDER_MAIL, PAYMENT_MAIL = "002", "006"
_PARTS = ("open", "closed", "orders", "mail", "notices")
_LIST = {"open": "orderDisputeOpenInfos", "closed": "orderDisputeCloseInfos", "orders": "orderBaseInfoList"}
_METHOD = {"open": DISPUTE_OPEN, "closed": DISPUTE_CLOSED, "orders": ORDER_ROW}
_ORDER_NUMBER = re.compile(
    r"(?:PO#|order\s*(?:no\.?|number)?\s*[:#]?|订单(?:编?号)?\s*[:：]?)\s*(\d{8,14})\b", re.IGNORECASE
)
_REMEMBERED = 100_000


class Source:
    """Keeps in memory what it has seen of orders and threads, so that the overlap costs no second reading.

    A page's rows count as seen once another page is asked for: one that could not be kept is asked for again.
    """

    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self._client = Client(account, secrets, http, clock)
        self._clock = clock
        self._account = account
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._told: dict[str, tuple[Any, ...]] = {}
        self._page: Mapping[str, Any] | None = None

    async def fetch(self, ref: str) -> Sequence[Record]:
        """`order:<no>` all there is of an order, `parcel:<no>` its detail, `closed:<no>` an ended dispute,
        `mail:<id>` a thread, `notice:<id>` the orders a system mail speaks of. Raises NotYetThere, HttpFault kinds."""
        what, _, name = ref.partition(":")
        match what:
            case "parcel":
                return [await self._detail(name)]
            case "closed":
                return await self._closed(name)
            case "mail":
                return [await self._thread(name)]
            case "notice":
                thread = await self._thread(name)
                return [record for number in _numbers_in(thread.body) for record in await self._order(number)]
        return await self._order(name)

    async def poll(self, cursor: Mapping[str, Any] | None, since: datetime | None) -> Page:
        if cursor != self._page:
            self._remember()
        self._told, self._page = {}, cursor
        at: dict[str, Any] = dict(cursor) if cursor else {"part": "open", "page": 1, **self._window(since)}
        part, page = str(at["part"]), int(at["page"])
        found, more = await self._part(part, page, at)
        if more:
            return Page(*self._news(part, found), cursor={**at, "page": page + 1})
        following = _next_part(part, since)
        return Page(*self._news(part, found), cursor={**at, "part": following, "page": 1} if following else None)

    def _window(self, since: datetime | None) -> dict[str, str]:
        now = self._clock.now()
        begin = max((since or now - FIRST_LOOK) - SLACK, now - LONGEST + SLACK)
        where, days = zone(self._account), (now - begin).days + 1
        return {"from": stamp(begin, where), "to": stamp(now + SLACK, where), "days": str(days)}

    async def _part(self, part: str, page: int, at: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bool]:
        """One page of one part, and whether there is another."""
        paging = {"pageNo": page, "pageSize": PAGE_SIZE}
        if part in ("mail", "notices"):
            kind = ORDER_MAIL if part == "mail" else PAYMENT_MAIL
            reply = await self._client.read("dh.message.list", beforeDay=at["days"], msgType=kind, **paging)
            found = rows(reply.get("msgList"))
            return found, len(found) >= PAGE_SIZE
        window = {} if part == "open" else {"startDate": at["from"], "endDate": at["to"]}
        more = {"querytimeType": 3} if part == "orders" else {}
        reply = await self._client.read(_METHOD[part], **window, **more, **paging)
        found = rows(reply.get(_LIST[part]))
        pages = text(reply.get("pages")) or ""
        return found, page < int(pages) if pages.isdigit() else len(found) >= PAGE_SIZE

    def _news(self, part: str, found: Iterable[Mapping[str, Any]]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
        """Records to compare and references to read."""
        match part:
            case "open":
                return tuple(_record("dispute", DISPUTE_OPEN, row) for row in found if _number(row)), ()
            case "closed":
                ended = [row for row in found if _number(row)]
                fresh = self._fresh(part, ended, "disputeCloseDate", "orderStatus", "disputeStatus")
                return (), tuple(f"closed:{_number(row)}" for row in fresh)
            case "orders":
                listed = [row for row in found if _number(row)]
                fresh = self._fresh(part, listed, "updateDate", "orderStatus")
                paid = [row for row in fresh if text(row.get("orderStatus")) not in UNPAID]
                return tuple(_record("order", ORDER_ROW, row) for row in listed), tuple(
                    f"parcel:{_number(row)}" for row in paid
                )
        listed = [row for row in found if text(row.get("msgId"))]
        fresh = self._fresh(part, listed, "lastReplyTime", "msgReplyCount")
        if part == "mail":
            return (), tuple(f"mail:{text(row.get('msgId'))}" for row in fresh)
        return (), tuple(ref for row in fresh for ref in _noticed(row))

    def _fresh(self, part: str, found: Iterable[Mapping[str, Any]], *names: str) -> list[Mapping[str, Any]]:
        """Rows not seen before as they are now. Forgotten after a restart: then they are read once more."""
        fresh = []
        for row in found:
            name = f"{part}:{_number(row) or text(row.get('msgId'))}"
            now = tuple(row.get(field) for field in names)
            if self._seen.get(name) != now and self._told.get(name) != now:
                self._told[name] = now
                fresh.append(row)
        return fresh

    def _remember(self) -> None:
        self._seen |= self._told
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    async def _detail(self, number: str) -> Record:
        reply = await self._client.read(ORDER_DETAIL, orderNo=number)
        if _number(reply) != number:
            raise NotYetThere(f"order {number} cannot be read yet")
        return _record("parcel", ORDER_DETAIL, {name: reply[name] for name in reply if name not in ("status", "_from")})

    async def _closed(self, number: str) -> list[Record]:
        """The ended dispute with what the order's detail says of the money."""
        found = await self._listed("closed", number)
        if not found:
            raise NotYetThere(f"the ended dispute of order {number} cannot be read yet")
        detail = (await self._detail(number)).body
        told = {name: detail[name] for name in ("refundMoney", "orderTotalPrice") if detail.get(name) is not None}
        last = max(found, key=lambda row: text(row.get("disputeCloseDate")) or "")
        money = Record(f"parcel:{number}", {**detail, "_about": DISPUTE})
        return [money, _record("dispute", DISPUTE_CLOSED, {**last, **told})]

    async def _order(self, number: str) -> list[Record]:
        """Everything there is of one order: what a doorbell that says little leads to."""
        listed = [_record("order", ORDER_ROW, row) for row in (await self._listed("orders", number))[:1]]
        if disputes := await self._listed("open", number):
            return [await self._detail(number), *listed, _record("dispute", DISPUTE_OPEN, disputes[0])]
        ended = await self._closed(number) if await self._listed("closed", number) else [await self._detail(number)]
        return [*ended, *listed]

    async def _listed(self, part: str, number: str) -> list[Mapping[str, Any]]:
        """One order's rows of a list, over as long as lists may be asked for."""
        now, where = self._clock.now(), zone(self._account)
        window = {"startDate": stamp(now - LONGEST + SLACK, where), "endDate": stamp(now + SLACK, where)}
        more = {"querytimeType": 1} if part == "orders" else {}
        asked = {**({} if part == "open" else window), **more, "orderNo": number, "pageNo": 1, "pageSize": PAGE_SIZE}
        reply = await self._client.read(_METHOD[part], **asked)
        return [row for row in rows(reply.get(_LIST[part])) if _number(row) == number]

    async def _thread(self, msg_id: str) -> Record:
        reply = await self._client.read(THREAD, msgId=msg_id)
        if not isinstance(reply.get("msgDetailList"), list):
            raise NotYetThere(f"mail {msg_id} cannot be read yet")
        body = {name: reply[name] for name in reply if name not in ("status", "_from")}
        return _record("mail", THREAD, {**body, "msgId": msg_id})


def _next_part(part: str, since: datetime | None) -> str | None:
    """The first poll ever skips what had ended before: of it no case is known."""
    at = _PARTS.index(part) + 1
    if since is None and _PARTS[at : at + 1] == ("closed",):
        at += 1
    return _PARTS[at] if at < len(_PARTS) else None


def _number(row: Mapping[str, Any]) -> str | None:
    return text(row.get("orderNo"))


def _record(what: str, method: str, row: Mapping[str, Any]) -> Record:
    return Record(f"{what}:{_number(row) or text(row.get('msgId'))}", {**row, "_from": method})


def _noticed(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A payment or refund mail is a doorbell: its `param` is empty, the title may name the order, else the text does."""
    numbers = _ORDER_NUMBER.findall(text(row.get("msgTitle")) or "")
    return tuple(f"order:{number}" for number in numbers) or (f"notice:{text(row.get('msgId'))}",)


def _numbers_in(thread: Mapping[str, Any]) -> list[str]:
    words = [text(one.get("content")) or "" for one in rows(thread.get("msgDetailList"))]
    return list(dict.fromkeys(_ORDER_NUMBER.findall("\n".join([text(thread.get("msgTitle")) or "", *words]))))
