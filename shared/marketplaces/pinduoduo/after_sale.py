"""One after-sale as Pinduoduo's read API tells it, read into plain values. Reference 3.3 and its traps.

A record holds the detail (`pdd.refund.information.get`) and the list's row of it (`pdd.refund.list.increment.get`), each
word for word: the detail has the deadline and the state of the parcel, the row the amounts in yuan and the time of change.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared.clock import EPOCH, to_micros
from shared.domain.money import Money

SHANGHAI = ZoneInfo("Asia/Shanghai")
CURRENCY = "CNY"
_MS_FROM = 100_000_000_000
"""Larger epochs are milliseconds, smaller ones seconds."""

NONE = "0"
AWAITING_SELLER = ("2", "3", "14", "21", "32", "33")
ENDED = ("9", "10", "11", "12", "13", "16", "17", "24", "25")
STATUSES = (
    "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "21", "22", "24", "25",
    "27", "31", "32", "33",
)  # fmt: skip
KIND_OF_TYPE = {1: "refund", 2: "return", 3: "return", 4: "return", 5: "return"}
"""By `after_sales_type` of the detail and `bill_type` of messages. The list's filter of that name counts otherwise."""
_ROLES = {"1": "buyer", "2": "seller", "3": "platform", "4": "system"}
_SPEED = {"1": "eligible", "2": "failed", "3": "done"}

_REASONS = (
    ("missing_parts", ("少件", "漏发", "少发", "缺件", "数量不符", "配件缺失")),
    ("wrong_item", ("发错", "错发", "与订单不符", "款式不符", "颜色不符", "尺码不符", "规格不符")),
    ("counterfeit", ("假货", "假冒", "仿品", "盗版")),
    ("damaged", ("破损", "压坏", "包装损坏", "漏液", "变形")),
    ("defective", ("质量", "瑕疵", "故障", "坏了", "无法使用", "脱线", "掉色", "开胶", "生锈", "变质")),
    ("not_as_described", ("描述", "不符", "材质", "功能", "效果")),
    ("not_received", ("未收到", "没收到", "丢件", "丢失", "物流", "快递", "空包")),
    ("late", ("未按约定时间", "发货慢", "延迟发货", "缺货", "不发货")),
    ("change_of_mind", ("不想要", "不喜欢", "多拍", "拍错", "错拍", "七天无理由", "7天无理由", "无理由", "信息填错", "买错")),
)  # fmt: skip
"""Reasons come as free text (no table of codes was found): read by their words, first match wins, else `other`."""


class AfterSale:
    """Reads a record's body; a field that is missing or odd is None, never a fault."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.detail: Mapping[str, Any] = _mapping(body.get("detail"))
        self.row: Mapping[str, Any] = _mapping(body.get("row"))
        self.id = text(self.detail.get("id")) or text(self.row.get("id")) or ""
        self.order_id = text(self.detail.get("order_sn")) or text(self.row.get("order_sn")) or ""
        self.status = text(self.detail.get("after_sales_status")) or text(self.row.get("after_sales_status")) or NONE
        self.type = _whole(self.detail.get("after_sales_type"))
        self.due_at = moment(self.detail.get("expire_time"))
        self.return_no = text(self.detail.get("express_no"))

    @property
    def kind(self) -> str:
        """An unknown type is a return: there nothing is paid before the goods are back."""
        return KIND_OF_TYPE.get(self.type or 0, "return")

    @property
    def is_over(self) -> bool:
        return self.status in ENDED

    @property
    def amount(self) -> Money | None:
        """What is asked, of the row: the detail's figure has no stated unit."""
        return yuan(self.row.get("refund_amount"))

    @property
    def paid(self) -> Money | None:
        return yuan(self.row.get("order_amount"))

    @property
    def reason_text(self) -> str | None:
        return text(self.detail.get("after_sales_reason")) or text(self.row.get("after_sale_reason"))

    @property
    def shipped(self) -> bool | None:
        return {"0": False, "1": True}.get(text(self.detail.get("shipping_status")) or "")

    @property
    def buyer_has_it(self) -> bool | None:
        """The buyer's own word; None where he has not said."""
        return {"1": False, "2": True}.get(text(self.detail.get("user_shipping_status")) or "")

    @property
    def agreed_by(self) -> str | None:
        return _ROLES.get(text(self.detail.get("refund_operator_role")) or "")

    @property
    def intervened(self) -> bool:
        return text(self.detail.get("join_or_not")) == "1"

    @property
    def is_dispute_refund(self) -> bool:
        return text(self.detail.get("dispute_refund_status")) == "1"

    @property
    def speed_refund(self) -> str | None:
        told = text(self.detail.get("speed_refund_status")) or text(self.row.get("speed_refund_status"))
        return _SPEED.get(told or "")

    @property
    def images(self) -> int:
        images = self.detail.get("images")
        return len(images) if isinstance(images, list) else 0

    @property
    def opened_at(self) -> datetime | None:
        return moment(self.row.get("created_time")) or moment(self.detail.get("recreated_at"))

    @property
    def changed_at(self) -> datetime | None:
        return moment(self.row.get("updated_time"))

    @property
    def revision(self) -> int | None:
        """In ms. The row tells whole seconds and messages milliseconds: a second counts as its very end."""
        if self.changed_at is None:
            return None
        return to_micros(self.changed_at) // 1_000_000 * 1000 + 999


def reason_of(told: str | None) -> str:
    return next((name for name, words in _REASONS if any(word in (told or "") for word in words)), "other")


def moment(value: Any) -> datetime | None:
    """Epoch ms or s by magnitude, or a Shanghai `yyyy-MM-dd HH:mm:ss`; None for anything else, 0 too."""
    told = text(value)
    if told is None:
        return None
    if told.isascii() and told.isdigit():
        return _epoch(int(told)) if len(told) <= 14 else None
    try:
        naive = datetime.strptime(told, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the zone is set next
        return naive.replace(tzinfo=SHANGHAI).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _epoch(number: int) -> datetime | None:
    if not number:
        return None
    return EPOCH + timedelta(milliseconds=number if number >= _MS_FROM else number * 1000)


def text(value: Any) -> str | None:
    """Ids and codes as text, whether they came as text or as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def yuan(value: Any) -> Money | None:
    """A list's amount: text in yuan."""
    try:
        return Money.of(value, CURRENCY)
    except ValueError:
        return None


def _whole(value: Any) -> int | None:
    told = text(value)
    return int(told) if told and told.isascii() and told.isdigit() and len(told) < 10 else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
