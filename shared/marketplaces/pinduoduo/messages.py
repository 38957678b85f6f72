"""What a message of Pinduoduo means, whichever way it came: `content` of the message service or of the relay. Reference 3.1.

Amounts are fen. `bill_type` counts as the detail does. The relay does not sign its topic: meaning comes from `operation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.facts import Draft
from shared.domain.money import from_minor
from shared.json_reader import Unreadable, read
from shared.marketplaces.pinduoduo.after_sale import CURRENCY, KIND_OF_TYPE, moment, text
from shared.ports import Ignored, NeedsFetch, Parsed, Unmapped

OPENED = {"1000": "buyer", "1001": "platform", "1003": "system"}
REOPENED = "1002"
REPLACED = ("1305", "1310", "1311", "1313")
SUCCEEDED = "1304"
CLOSED_BY = {
    "1300": "buyer", "1302": "platform", "1303": "system", "1306": "system", "1307": "system", "1308": "system",
    "1309": "system", "1312": "system", "1314": "platform",
}  # fmt: skip
OPERATIONS = (*CLOSED_BY, SUCCEEDED, *REPLACED)
"""What ends an after-sale: "closed" does not mean that the seller won."""
_OPENING = {1: "refund.requested", 2: "return.requested", 3: "replacement.requested", 4: "replacement.requested"}
_PREFIX = "pdd_refund_"
DOORBELLS = frozenset(
    {"RefundAgreeAgreement", "RefundBuyerModifyAgreement", "RefundBuyerReturnGoods", "RefundCreateMessage"}
)
"""Topics whose operation codes are not established: what they mean is read back."""
CODED = frozenset({"RefundCreated", "RefundClosed", "RefundSuccess"})
OF_NO_CONCERN = ("pdd_trade_", "pdd_chat_")
_MOST_FEN = 10**14


@dataclass(frozen=True, slots=True)
class Content:
    """The `content` of a topic about an after-sale."""

    mall_id: str
    order_id: str
    refund_id: str
    fen: int | None
    bill_type: int
    modified: int
    operation: str

    @property
    def at(self) -> datetime:
        found = moment(self.modified)
        if found is None:
            raise Unreadable("modified", "no time")
        return found

    @property
    def ref(self) -> str:
        return f"refund:{self.order_id}:{self.refund_id}"

    @property
    def identity(self) -> str:
        return f"{self.mall_id}:{self.refund_id}:{self.operation}:{self.modified}"


def content_of(told: Any) -> Content | None:
    """None where it is not about an after-sale. Raises Unreadable naming the place."""
    if not isinstance(told, Mapping):
        raise Unreadable("content", "not an object")
    if "refund_id" not in told:
        return None
    return Content(
        mall_id=text(told.get("mall_id")) or "",
        order_id=_needed(told, "tid"),
        refund_id=_needed(told, "refund_id"),
        fen=_number(told, "refund_fee", _MOST_FEN) if told.get("refund_fee") is not None else None,
        bill_type=_number(told, "bill_type", 99) if told.get("bill_type") is not None else 0,
        modified=_number(told, "modified", _MOST_FEN),
        operation=text(told.get("operation")) or "",
    )


def read_content(raw: str) -> Content | None:
    return content_of(read(raw.encode("utf-8", "surrogatepass")))


def _needed(told: Mapping[str, Any], name: str) -> str:
    found = text(told.get(name))
    if found is None or len(found) > 64:
        raise Unreadable(name, "missing or no id")
    return found


def _number(told: Mapping[str, Any], name: str, most: int) -> int:
    found = text(told.get(name)) or ""
    if not (found.isascii() and found.isdigit()) or len(found) > 15 or int(found) > most:
        raise Unreadable(name, "no whole number")
    return int(found)


def meaning(topic: str, content: Content | None) -> Parsed:
    """`topic`: the message's type; "" from the relay, whose number for it proves nothing."""
    name = topic.removeprefix(_PREFIX)
    if content is None:
        return (
            Ignored(f"topic {topic}" if topic else "about the order")
            if _is_known(topic)
            else Unmapped(f"topic:{topic[:60]}")
        )
    if name in DOORBELLS:
        return NeedsFetch(content.ref)
    if topic and (name == topic or name not in CODED):
        return Unmapped(f"topic:{topic[:60]}")
    drafts = _drafts(content)
    if drafts is None:
        return Unmapped(f"operation:{content.operation[:20]}", (_draft(content, "case.updated"),))
    return NeedsFetch(content.ref, drafts)


def _is_known(topic: str) -> bool:
    return not topic or topic.startswith(OF_NO_CONCERN)


def _drafts(content: Content) -> tuple[Draft, ...] | None:
    """None for an operation nobody knows."""
    code = content.operation
    if code in OPENED:
        return (_draft(content, _OPENING.get(content.bill_type, "return.requested")),)
    if code == REOPENED:
        return (_draft(content, "case.reopened"),)
    if code == SUCCEEDED:
        refunded = {"refunded": _money(content)} if content.fen is not None else {}
        return (_draft(content, "refund.issued", **refunded),)
    if code in REPLACED:
        return (_draft(content, "replacement.completed"),)
    if code in CLOSED_BY:
        return (_draft(content, "case.closed", closed_by=CLOSED_BY[code]),)
    return None


def _money(content: Content) -> dict[str, str]:
    money = from_minor(content.fen or 0, CURRENCY)
    return {"value": money.value, "currency": money.currency}


def _draft(content: Content, kind: str, **more: Any) -> Draft:
    data = dict(more)
    if content.fen:
        data["amount"] = _money(content)
    if content.bill_type:
        data |= {"after_sales_type": content.bill_type, "return_required": content.bill_type in (2, 3)}
    return Draft(
        kind=kind,
        occurred_at=content.at,
        order_id=content.order_id,
        case_kind=KIND_OF_TYPE.get(content.bill_type, "return"),
        external_id=content.refund_id,
        refs={"refund_id": content.refund_id},
        raw_code=content.operation,
        revision=content.modified,
        data=data,
    )
