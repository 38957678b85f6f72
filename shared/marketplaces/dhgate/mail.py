"""A mail thread of an order into `message.received`: what the buyer wrote since the previous reading. Reference 4.1, 4.5."""

import html
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from shared.domain.facts import Draft
from shared.marketplaces.dhgate.reading import known, moment, rows, text, zone_of
from shared.ports import Account

_TITLE = re.compile(r"PO#\s*(\d{8,14})\s*")
_TAG = re.compile(r"<[^>]{0,500}>")
_SYSTEM = "SYSTEM"
_LONGEST = 4000


def title_of(order_id: str) -> str:
    """CR-DH-05: the only title a mail about an order may have."""
    return f"PO#{order_id}"


def plain(content: Any) -> str:
    """Mail is read as HTML or as text: the words of either, on one line."""
    return " ".join(html.unescape(_TAG.sub(" ", text(content) or "")).split())


def facts(
    thread: Mapping[str, Any], previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Iterator[Draft]:
    order = order_of(thread)
    if order is None:
        return
    said = sorted(rows(thread.get("msgDetailList")), key=_when)
    known_ids = {text(one.get("detailId")) for one in rows((previous or {}).get("msgDetailList"))}
    for one in said if previous is not None else _unanswered(said, thread, account):
        if text(one.get("detailId")) not in known_ids and is_buyers(one, thread, account):
            yield _draft(one, thread, order, account, now)


def order_of(thread: Mapping[str, Any]) -> str | None:
    """`param` is the order's number in a mail about an order; the title names it too."""
    titled = _TITLE.fullmatch(text(thread.get("msgTitle")) or "")
    return text(thread.get("param")) or (titled.group(1) if titled else None)


def is_buyers(one: Mapping[str, Any], thread: Mapping[str, Any], account: Account) -> bool:
    """By our own id where it is configured, else by the name of the thread's contact."""
    sender, ours = text(one.get("senderId")), text(account.settings.get("seller_user_id"))
    if sender == _SYSTEM:
        return False
    return sender != ours if ours else text(one.get("senderNickName")) == text(thread.get("senderNickName"))


def _when(one: Mapping[str, Any]) -> tuple[str, str]:
    return text(one.get("createTime")) or "", (text(one.get("detailId")) or "").zfill(20)


def _unanswered(said: list[Mapping[str, Any]], thread: Mapping[str, Any], account: Account) -> list[Mapping[str, Any]]:
    """Of a thread first seen, what the buyer wrote after our last word: the rest is history."""
    ours = [at for at, one in enumerate(said) if not is_buyers(one, thread, account)]
    return said[ours[-1] + 1 :] if ours else said


def _draft(one: Mapping[str, Any], thread: Mapping[str, Any], order: str, account: Account, now: datetime) -> Draft:
    buyer = known({"id": text(one.get("senderId")), "name": text(one.get("senderNickName"))})
    return Draft(
        kind="message.received",
        occurred_at=moment(one.get("createTime"), zone_of(account)) or now,
        order_id=order,
        refs=known({"msg_id": text(thread.get("msgId"))}),
        raw_code=text(thread.get("msgType")),
        data={"text": plain(one.get("content"))[:_LONGEST], "buyer": buyer},
    )
