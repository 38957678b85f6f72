"""Amazon's mails to the seller: A-to-z claim notices and buyers' messages over the relay address, read into facts. Pure.

No API tells of claims or of what a buyer writes (reference A1.5, A5). The layout of the notices is not established, so only
words and an order id are trusted, and how far is said as `confidence`:
- sure: signed by Amazon (DKIM, as our own mail server judged it), one order id, one meaning, told by the subject;
- likely: from an Amazon address, one order id, one meaning;
- unsure: anything less.
What opens a claim or asks for our side is believed of any Amazon address; what ends a claim only when it is sure. All else
becomes `case.updated` with `raw_code` `mail:<meaning>`, which moves nothing and is put before a person.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime
from typing import Any

from shared.clock import format_time, parse_time
from shared.domain.facts import Draft
from shared.ids import content_hash

_MOST = 8000
_ORDER = re.compile(r"(?<!\d)\d{3}-\d{7}-\d{7}(?!\d)")
_ABOUT = re.compile(r"\ba[\s-]?(?:to|bis|à|a)[\s-]?z\b|guarantee claim|garantie", re.IGNORECASE)
_SHOPS = r"amazon\.(?:com|ca|de|fr|it|es|nl|se|pl|in|ae|sa|eg|sg|co\.uk|co\.jp|com\.(?:mx|br|au|tr|be))"
_AMAZON = re.compile(rf"(?:^|\.){_SHOPS}$")
_ALIAS = re.compile(rf"[a-z0-9][a-z0-9+._-]{{0,63}}@marketplace\.{_SHOPS}")
_RELAY = re.compile(r"(?:^|\.)marketplace\.amazon\.[a-z.]{2,6}$")
_CLAIM = r"(?:claim|a[- ]to[- ]z)"
_GRANTED = rf"{_CLAIM}[^.\n]{{0,80}}"
_CODES: tuple[tuple[str, str], ...] = (
    ("appeal_denied", r"appeal[^.\n]{0,60}\b(?:denied|rejected|declined|upheld)\b"),
    (
        "appeal_granted",
        r"appeal[^.\n]{0,60}\b(?:granted|approved|accepted|successful)\b|decision[^.\n]{0,40}\breversed\b",
    ),
    ("appeal_received", r"\b(?:received|reviewing)\b[^.\n]{0,30}\bappeal\b"),
    ("withdrawn", rf"{_GRANTED}\bwithdrawn\b|\bbuyer\b[^.\n]{{0,30}}\bwithdr[ae]w\w*[^.\n]{{0,30}}{_CLAIM}"),
    ("denied", rf"{_GRANTED}\b(?:denied|rejected|(?:closed|decided) in your favou?r)\b"),
    (
        "granted_amazon_funded",
        rf"{_GRANTED}\bamazon[- ]funded\b|\bgranted\b[^\n]{{0,120}}\bnot (?:be )?(?:charged|debited)\b",
    ),
    ("granted_seller_funded", rf"{_GRANTED}\b(?:seller[- ]funded|granted)\b|\bdebited\b[^.\n]{{0,60}}{_CLAIM}"),
    ("order_refunded", r"\border (?:has been |was )?refunded\b"),
    ("order_cancelled", r"\border (?:has been |was )?cancell?ed\b"),
    (
        "action_required",
        r"\baction required\b|\bneed (?:more|additional) information\b|\brespond (?:by|within|before)\b",
    ),
    ("under_review", rf"\b(?:filed|opened|submitted|received|new)\b[^.\n]{{0,50}}{_CLAIM}"),
    ("under_review", rf"{_CLAIM}[^.\n]{{0,40}}\b(?:filed|opened|submitted|under review)\b"),
)
"""Our code -> the words that say so; the first that is found counts. The words are the outcomes as sellers see them."""
_COMPILED = tuple((code, re.compile(words, re.IGNORECASE)) for code, words in _CODES)
_FACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "under_review": ("dispute.opened", {}),
    "action_required": ("dispute.evidence_requested", {}),
    "withdrawn": ("dispute.withdrawn", {}),
    "denied": ("dispute.resolved", {"winner": "seller"}),
    "granted_amazon_funded": ("dispute.resolved", {"winner": "buyer", "funded_by": "marketplace"}),
    "granted_seller_funded": ("dispute.resolved", {"winner": "buyer", "funded_by": "seller"}),
    "order_refunded": ("dispute.resolved", {"winner": "none"}),
    "order_cancelled": ("dispute.resolved", {"winner": "none"}),
    "appeal_received": ("appeal.filed", {}),
    "appeal_granted": ("appeal.decided", {"winner": "seller"}),
    "appeal_denied": ("appeal.decided", {"winner": "buyer"}),
}
_NEEDS_NO_PROOF = frozenset({"under_review", "action_required"})
_REASONS = (
    ("not_received", r"\bnot (?:yet )?(?:been )?(?:received|delivered|arrived)\b|\bnever arrived\b"),
    ("damaged", r"\bdamaged\b"),
    ("defective", r"\bdefective\b|\bdoes not work\b"),
    ("wrong_item", r"\bwrong item\b"),
    ("missing_parts", r"\bmissing (?:part|item|piece)s?\b"),
    ("not_as_described", r"\bnot as described\b|\bmaterially different\b"),
)
_MONTHS = [
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
]  # fmt: skip
_MONTH = "|".join(_MONTHS)
_DUE = re.compile(
    rf"\b(?:by|before|until)\s+(?:(?P<y>20\d\d)-(?P<m>\d\d)-(?P<d>\d\d)|(?P<name>{_MONTH})\s+(?P<day>\d{{1,2}}),?\s+(?P<year>20\d\d)"
    rf"|(?P<day2>\d{{1,2}})\s+(?P<name2>{_MONTH})\s+(?P<year2>20\d\d))",
    re.IGNORECASE,
)

Mail = Mapping[str, Any]


def message_of(raw: bytes, *, judged_by: str | None = None) -> dict[str, Any]:
    """What is kept of a mail (a record's body). `judged_by`: the name our own mail server signs its judgement with
    (authserv-id); without it no mail counts as signed, for anybody can write that header."""
    mail = message_from_bytes(raw)  # the older, forgiving reading: the newer one raises on headers gone wrong
    address = parseaddr(_header(mail, "from"))[1].lower()
    sender, signed = address.rpartition("@")[2], _signed(mail, judged_by)
    return {
        "kind": "mail",
        "message_id": _header(mail, "message-id").strip("<> ") or content_hash(raw),
        "sender": sender,
        "subject": _header(mail, "subject")[:500],
        "at": _date(mail),
        "signed": signed,
        "text": _text(mail)[:_MOST],
        **({"alias": address} if signed and is_alias(address) else {}),
    }


def is_alias(address: str | None) -> bool:
    """Whether Amazon's relay passes mail for this address on to a buyer (reference A5)."""
    return address is not None and _ALIAS.fullmatch(address) is not None


def facts(mail: Mail, now: datetime) -> tuple[Draft, ...]:
    """What a mail tells; nothing for one that is no concern of cases. An unreadable date counts as now."""
    at = parse_time(mail["at"]) if mail.get("at") else now
    sender, text = str(mail["sender"]), f"{mail['subject']}\n{mail['text']}"
    orders = sorted(set(_ORDER.findall(text)))
    if _RELAY.search(sender):
        return _from_buyer(mail, orders, at)
    if not orders or not _ABOUT.search(text):
        return ()
    return _notice(mail, orders, at)


def _from_buyer(mail: Mail, orders: list[str], at: datetime) -> tuple[Draft, ...]:
    """The relay hands a buyer's message on; only its order is needed to bring it before a person.

    Where to answer is believed of a signed mail only (`alias`): anybody can write a sender.
    """
    if len(orders) != 1:
        return ()
    data: dict[str, Any] = {"text": _unquoted(str(mail["text"]))[:2000]}
    if mail.get("alias"):
        data["buyer"] = {"mail": str(mail["alias"])}
    return (Draft(kind="message.received", occurred_at=at, order_id=orders[0], raw_code="relay", data=data),)


def _notice(mail: Mail, orders: list[str], at: datetime) -> tuple[Draft, ...]:
    code, in_subject = _code(mail)
    confidence = _confidence(mail, code, orders, in_subject=in_subject)
    data = {"stage": "guarantee", "confidence": confidence, "notice_id": str(mail["message_id"])}
    believed = confidence == "sure" or (code in _NEEDS_NO_PROOF and _from_amazon(mail))
    if code is None or not believed:
        return tuple(_draft("case.updated", at, order, f"mail:{code or 'unread'}", data) for order in orders)
    kind, meaning = _FACTS[code]
    text = f"{mail['subject']}\n{mail['text']}"
    known = {"reason": _first(_REASONS, text), "due_at": _due(text, at)}
    told = {**data, **meaning, **{name: value for name, value in known.items() if value}}
    return tuple(draft for order in orders for draft in _told(kind, at, order, code, data, told))


def _told(kind: str, at: datetime, order: str, code: str, data: dict[str, Any], told: dict[str, Any]) -> list[Draft]:
    """Whatever is told of a claim, there is one: the first notice seen need not be the first one sent."""
    opened = [] if kind == "dispute.opened" else [_draft("dispute.opened", at, order, "A-to-z Claim", data)]
    return [*opened, _draft(kind, at, order, code, told)]


def _draft(kind: str, at: datetime, order_id: str, code: str, data: Mapping[str, Any]) -> Draft:
    """A claim is its order's: one at a time."""
    return Draft(
        kind=kind, occurred_at=at, order_id=order_id, case_kind="claim", external_id=order_id, raw_code=code, data=dict(data)
    )  # fmt: skip


def _code(mail: Mail) -> tuple[str | None, bool]:
    """Our code, and whether the subject says it already."""
    for place, in_subject in ((mail["subject"], True), (mail["text"], False)):
        for code, words in _COMPILED:
            if words.search(str(place)):
                return code, in_subject
    return None, False


def _confidence(mail: Mail, code: str | None, orders: list[str], *, in_subject: bool) -> str:
    if code is None or len(orders) != 1 or not _from_amazon(mail):
        return "unsure"
    return "sure" if mail["signed"] is True and in_subject else "likely"


def _from_amazon(mail: Mail) -> bool:
    """By its address, and nothing says that it is forged."""
    return bool(_AMAZON.search(str(mail["sender"]))) and mail["signed"] is not False


def _signed(mail: Message, judged_by: str | None) -> bool | None:
    """Whether our server found Amazon's signature good; None when it says nothing about it."""
    if not judged_by:
        return None
    for header in mail.get_all("authentication-results", []):
        server, _, results = str(header).partition(";")
        if server.split()[:1] == [judged_by]:
            found = re.findall(r"dkim=(\w+)[^;]*?header\.(?:d|i)=@?([\w.-]+)", results)
            good = any(result == "pass" and _AMAZON.search(domain.lower()) for result, domain in found)
            return good or (False if found else None)
    return None


def _text(mail: Message) -> str:
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text" and not part.get_filename()]
    part = next((part for part in parts if part.get_content_subtype() == "plain"), parts[0] if parts else None)
    if part is None:
        return ""
    content = _decoded(part)
    if part.get_content_subtype() == "html":
        content = _MARKUP.sub(" ", content)
    return re.sub(r"[ \t\xa0]+", " ", content).strip()


_MARKUP = re.compile(r"<(?:style|script)\b.*?</(?:style|script)>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    body = payload if isinstance(payload, bytes) else b""
    try:
        return body.decode(str(part.get_param("charset") or "utf-8"), "replace")
    except (LookupError, ValueError):  # a charset nobody knows
        return body.decode("latin-1")


def _unquoted(text: str) -> str:
    """Without the lines of the message it answers."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(">")).strip()


def _date(mail: Message) -> str | None:
    try:
        at = parsedate_to_datetime(_header(mail, "date"))
        return format_time(at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _due(text: str, at: datetime) -> str | None:
    """A day that is named: its beginning in UTC, the cautious reading. One that has passed tells nothing."""
    found = _DUE.search(text)
    if found is None:
        return None
    part = found.groupdict()
    name = part["name"] or part["name2"]
    month = _MONTHS.index(name.lower()) + 1 if name else int(part["m"])
    try:
        day = datetime(
            int(part["y"] or part["year"] or part["year2"]),
            month,
            int(part["d"] or part["day"] or part["day2"]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return format_time(day) if day > at else None


def _first(words: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for name, pattern in words if re.search(pattern, text, re.IGNORECASE)), None)


def _header(mail: Message, name: str) -> str:
    """As text, also where it is coded wrongly."""
    given = str(mail.get(name, ""))
    with suppress(LookupError, ValueError, MessageError):
        given = str(make_header(decode_header(given)))
    return given.encode("utf-8", "replace").decode().replace("\r", "").replace("\n", " ")
