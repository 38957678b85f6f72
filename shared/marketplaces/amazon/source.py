"""Reads what Amazon does not push: the returns report, finance events, and queue and mailbox where the seller wants it.

One poll goes: mailbox, queue until it is empty, a new report, the finances. A report takes its time: it is asked for, and looked
for again when the poll goes on (or as soon as a notification says that it is there). Reference A1.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from shared.clock import Clock, format_time, to_micros
from shared.durations import parse_duration
from shared.http import Http, HttpFault, RefusedFault
from shared.json_reader import Unreadable, read
from shared.marketplaces.amazon.client import Client
from shared.marketplaces.amazon.dates import moment_of
from shared.marketplaces.amazon.envelope import foreign, opened
from shared.marketplaces.amazon.finances import LISTS, Seen, orders_of
from shared.marketplaces.amazon.mailbox import AT_ONCE, Mailbox
from shared.marketplaces.amazon.notifications import RETURNS_REPORTS, meaning
from shared.marketplaces.amazon.queue import Message, Queue
from shared.marketplaces.amazon.regions import marketplace_of
from shared.marketplaces.amazon.returns_report import NotAReport, read_report
from shared.ports import Account, NeedsFetch, NotYetThere, Page, Record, Secrets

Cursor = Mapping[str, Any]
REPORTS = "/reports/2021-06-30"
FINANCES = "/finances/v0"
LONGEST = timedelta(days=60)
"""Of one returns report (reference A1.4)."""
PATIENCE = timedelta(hours=6)
"""A report that is not ready by then is given up, and a new one asked for."""
BETWEEN = timedelta(minutes=15)
"""Reports of an account whose queue is polled more often than that."""
LATE = timedelta(days=2)
"""Finance events may be that late (reference A1.5): each sweep begins so much before the last."""
LOOKS, LOOK_GAP_S = 3, 0.5
"""A small report is often there at once: looked for so often, at getReport's own rate, before it waits."""
PAGES = 20
"""Of one order's finance events: 100 each."""


class Source:
    """One per account; it remembers when it last asked for a report."""

    def __init__(self, account: Account, secrets: Secrets, http: Http, clock: Clock) -> None:
        self._account, self._clock = account, clock
        self._client = Client(account, secrets, http, clock)
        url = account.settings.get("sqs_queue_url")
        self._queue = Queue(str(url), secrets, http, clock) if url else None
        self._mailbox = Mailbox(account, secrets, clock) if account.settings.get("imap_host") else None
        self._asked: datetime | None = None
        self._seen = Seen()

    async def fetch(self, ref: str) -> Sequence[Record]:
        """`report:<report id>` or `finances:<order id>`. Raises NotYetThere, HttpFault kinds."""
        what, _, rest = ref.partition(":")
        if what == "report":
            return await self._report(rest)
        return [await self._finances_of(rest)]

    async def poll(self, cursor: Cursor | None, since: datetime | None) -> Page:
        if cursor is None and self._mailbox is not None:
            return await self._mails(self._mailbox, since)
        match cursor:
            case {"stage": "mail", "done": list(done)} if self._mailbox is not None:
                self._mailbox.handed_over(done)
                if len(done) >= AT_ONCE:
                    return await self._mails(self._mailbox, since)
            case {"stage": "report", "id": str(id_), "asked": str(asked)}:
                return await self._look(id_, asked, since)
            case {"stage": "finances", "after": str(after), "token": token}:
                return await self._sweep(after, token)
            case {"stage": "queue", "done": list(done)} if self._queue is not None:
                await self._queue.delete(done)
        if self._queue is not None and (messages := await self._queue.receive()):
            return self._taken(messages)
        if self._queue is not None and self._asked is not None and self._clock.now() - self._asked < BETWEEN:
            return Page()
        return await self._ask()

    async def _mails(self, mailbox: Mailbox, since: datetime | None) -> Page:
        """Known by the next page, hence once these are committed. A mailbox that is away keeps nothing else waiting."""
        try:
            found = await mailbox.read(since)
        except HttpFault as fault:
            how = "REFUSED" if isinstance(fault, RefusedFault) else "UNREACHABLE"
            cursor = {"stage": "mail", "done": []}
            return Page(records=(_health("mailbox", how),), cursor=cursor, away=("mailbox",))
        return Page(
            records=(*found.values(), _health("mailbox", "DONE")), cursor={"stage": "mail", "done": list(found)}
        )

    # the queue
    def _taken(self, messages: Sequence[Message]) -> Page:
        """Deleted by the next page, hence after these are committed."""
        records = tuple(Record(f"queue:{self._name_of(m)}", {"notification": m.body}) for m in messages)
        refs = tuple(ref for message in messages if (ref := self._rung(message)))
        return Page(records, refs, {"stage": "queue", "done": [message.receipt for message in messages]})

    def _name_of(self, message: Message) -> str:
        try:
            return opened(read(message.body.encode())).id or message.id
        except Unreadable:
            return message.id

    def _rung(self, message: Message) -> str | None:
        """The reference a doorbell asks for; what cannot be read is kept as failed when the record is compared."""
        try:
            envelope = opened(read(message.body.encode()))
            found = meaning(envelope, self._account) if foreign(envelope, self._account) is None else None
        except Unreadable:
            return None
        return found.ref if isinstance(found, NeedsFetch) else None

    # the returns report
    async def _ask(self) -> Page:
        now = self._clock.now()
        window = parse_duration(str(self._account.settings.get("returns_window") or "P60D"))
        body = {
            "reportType": self._account.settings.get("returns_report") or RETURNS_REPORTS[0],
            "marketplaceIds": [marketplace_of(self._account)],
            "dataStartTime": format_time((now - min(window, LONGEST)).replace(microsecond=0)),
            "dataEndTime": format_time(now.replace(microsecond=0)),
        }
        made = await self._client.call("POST", f"{REPORTS}/reports", "createReport", body=body)
        if not made.get("reportId"):
            raise RefusedFault("createReport: the answer names no report", 200)
        self._asked = now
        return Page(cursor={"stage": "report", "id": str(made["reportId"]), "asked": format_time(now)})

    async def _look(self, report: str, asked: str, since: datetime | None) -> Page:
        after = format_time((since or self._clock.now()) - LATE)
        following = (
            {"stage": "finances", "after": after, "token": None}
            if self._account.settings.get("finances", True)
            else None
        )
        try:
            return Page(records=tuple(await self._report(report)), cursor=following)
        except NotYetThere:
            began = moment_of(asked)
            if began is not None and self._clock.now() - began < PATIENCE:
                raise
            return Page(records=(_health("returns", "NOT_READY"),), cursor=following)

    async def _report(self, report: str) -> list[Record]:
        told = await self._ready(report)
        status = str(told.get("processingStatus"))
        if status != "DONE" or told.get("reportType", RETURNS_REPORTS[0]) not in RETURNS_REPORTS:
            return [_health("returns", status)]
        try:
            return await self._document(str(told.get("reportDocumentId")), told)
        except NotAReport:
            return [_health("returns", "UNREADABLE")]

    async def _ready(self, report: str) -> dict[str, Any]:
        for look in range(LOOKS):
            told = await self._client.call("GET", f"{REPORTS}/reports/{quote(report, safe='')}", "getReport")
            if told.get("processingStatus") not in ("IN_QUEUE", "IN_PROGRESS"):
                return told
            if look + 1 < LOOKS:
                await asyncio.sleep(LOOK_GAP_S)
        raise NotYetThere(f"report {report} is not ready")

    async def _document(self, document: str, report: Mapping[str, Any]) -> list[Record]:
        """An older report never undoes a newer one: when it was made is each record's revision."""
        path = f"{REPORTS}/documents/{quote(document, safe='')}"
        told = await self._client.call("GET", path, "getReportDocument")
        packed = told.get("compressionAlgorithm") == "GZIP"
        found = await self._client.download(str(told.get("url")), packed=packed)
        read_in = await asyncio.to_thread(read_report, found.body, found.charset)
        made = moment_of(str(report.get("createdTime")))
        revision = to_micros(made) // 1000 if made else None
        returns = [
            Record(f"return:{id_}", {"lines": lines}, revision) for id_, lines in sorted(read_in.returns.items())
        ]
        return [*returns, _health("returns", "ROWS_LEFT_OUT" if read_in.left_out else "DONE")]

    # the finances
    async def _sweep(self, after: str, token: Any) -> Page:
        """Which orders had money moved: each is then read whole."""
        params = {"PostedAfter": after, "MaxResultsPerPage": "100"} | ({"NextToken": str(token)} if token else {})
        try:
            told = await self._payload("/financialEvents", "listFinancialEvents", params)
        except RefusedFault as fault:
            return Page(records=(_health("finances", f"REFUSED_{fault.status}"),))
        refs = tuple(f"finances:{order}" for order in self._seen.orders((after, token), told))
        following = {"stage": "finances", "after": after, "token": told["NextToken"]} if told.get("NextToken") else None
        return Page(records=(_health("finances", "DONE"),), refs=refs, cursor=following)

    async def _finances_of(self, order: str) -> Record:
        lists: dict[str, list[Any]] = {}
        params = {"MaxResultsPerPage": "100"}
        for _ in range(PAGES):
            path = f"/orders/{quote(order, safe='')}/financialEvents"
            told = await self._payload(path, "listFinancialEventsByOrderId", params)
            events = told.get("FinancialEvents")
            for name, rows in (events if isinstance(events, Mapping) else {}).items():
                if name in LISTS and isinstance(rows, list):
                    lists.setdefault(name, []).extend(rows)
            if not told.get("NextToken"):
                return _of_order(order, lists)
            params = {"MaxResultsPerPage": "100", "NextToken": str(told["NextToken"])}
        raise RefusedFault(f"order {order} has more than {PAGES} pages of finance events", 200)

    async def _payload(self, path: str, operation: str, params: Mapping[str, str]) -> dict[str, Any]:
        told = await self._client.call("GET", FINANCES + path, operation, params=params)
        inner = told.get("payload", told)
        if not isinstance(inner, dict):
            raise HttpFault(f"{operation}: the answer holds no payload")
        return inner


def _of_order(order: str, lists: dict[str, list[Any]]) -> Record:
    body = {"AmazonOrderId": order, "FinancialEvents": lists}
    if not orders_of(body):
        raise NotYetThere(f"order {order} has no refund or claim in its finances yet")
    return Record(f"finances:{order}", body)


def _health(what: str, status: str) -> Record:
    """How reading went: told as a fact when it begins to go wrong, silent as long as it stays the same."""
    return Record(f"reading:{what}", {"what": what, "status": status})
