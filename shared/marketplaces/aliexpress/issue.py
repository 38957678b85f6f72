"""One dispute as `aliexpress.issue.detail.get` tells it, read into plain values. Reference B3.1.

Times are US Pacific text. `refund_money` is in the buyer's currency, `refund_money_post` in USD.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared.clock import EPOCH, to_micros
from shared.domain.money import Money

PACIFIC = ZoneInfo("America/Los_Angeles")
_SINCE = datetime(2010, 1, 1, tzinfo=UTC)
_MS_FROM = 100_000_000_000
"""Larger epochs are milliseconds, smaller ones seconds; both are documented (reference B1.2)."""
STATUSES = (
    "wait_for_seller_response", "wait_for_buyer_response", "wait_for_your_response", "wait_for_your_evidence",
    "wait_for_AE_feedback", "wait_for_final_solution", "wait_ae_final_feedback", "ae_feedback_finish",
    "wait_for_seller_set_return_address", "wait_for_buyer_return", "wait_for_service_provider_response",
    "wait_for_seller_confirmation", "wait_for_warehouse_confirmation", "wait_for_warehouse_quality_check",
    "return_success", "refund_success", "refund_reject",
)  # fmt: skip
_SPELLING = {status.lower(): status for status in STATUSES}
PAID_OUT = ("return_success", "refund_success")
RETURN = "return_and_refund"
_CARRIED_OUT = ("reached", "perform")
_SUPERSEDED = ("reach_cancle", "buyer_refused", "seller_accept_and_buyer_refused")

_REASONS = (
    ("customs", ("customs", "海关")),
    ("returned_parcel", ("returned to", "return parcel", "parcel returned", "退回")),
    ("not_received", ("not receiv", "not arriv", "in transit", "tracking", "wrong address", "undelivered", "未收到")),
    ("counterfeit", ("fake", "counterfeit", "假货")),
    ("damaged", ("damage", "broken", "破损")),
    ("missing_parts", ("shortage", "missing", "quantity", "短装", "少件")),
    ("wrong_item", ("wrong item", "wrong product", "different product", "货不对板", "发错")),
    ("defective", ("quality", "defect", "not work", "doesn't work", "malfunction", "质量")),
    ("not_as_described", ("description", "described", "color", "colour", "size", "material", "style", "描述")),
    ("change_of_mind", ("no longer need", "don't want", "do not want", "changed my mind", "personal", "不想要")),
    ("late", ("too late", "delay", "超时")),
)
"""Reasons are an open set of ids and texts (reference B3.1): read by their words, first match wins, else `other`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One solution. `reached_type` says how it came about once reached."""

    id: str
    owner: str
    kind: str
    status: str
    money: Money | None
    version: str
    reached_type: str
    fee_by: str
    changed: datetime | None
    reached: datetime | None

    @property
    def returns(self) -> bool:
        return self.kind == RETURN

    @property
    def same(self) -> tuple[Any, ...]:
        """What makes it another offer when it changes."""
        return (self.id, self.version, self.kind, self.money)


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the process list."""

    action: str
    by: str
    content: str
    at: datetime | None
    buyer_images: int
    seller_images: int


class Issue:
    """Reads a record's body; a field that is missing or odd is None, never a fault."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body
        self.id = text(body.get("issue_id")) or text(body.get("id")) or ""
        self.order_id = text(body.get("parent_order_id")) or text(body.get("order_id")) or ""
        self.line_id = text(body.get("order_id"))
        self.buyer = text(body.get("buyer_login_id"))
        raw = text(body.get("reverse_detail_status")) or ""
        self.status = _SPELLING.get(raw.lower(), raw)
        self.issue_status = (text(body.get("issue_status")) or "").lower()
        self.due_at = pacific(body.get("timeout_trigger_time"))
        self.timeout_type = text(body.get("timeout_type"))
        self.max_refund = money(body, "refund_money_max_local") or money(body, "refund_money_max")
        self.return_no = text(body.get("buyer_return_no")) or text(body.get("buyer_return_logistics_lp_no"))
        self.return_carrier = text(body.get("buyer_return_logistics_company"))
        self.buyer_plan = _current(body, "buyer")
        self.seller_plan = _current(body, "seller")
        self.platform_plan = _current(body, "platform")
        self.steps = tuple(_steps(body))

    @property
    def reason_text(self) -> str | None:
        return text(self.body.get("issue_reason")) or text(self.body.get("reason_english"))

    @property
    def reason(self) -> str:
        said = f"{self.reason_text or ''} {self.body.get('reason_english', '')} {self.body.get('reason_chinese', '')}"
        said = said.lower().replace("_", " ")
        return next((name for name, words in _REASONS if any(word in said for word in words)), "other")

    @property
    def opened_at(self) -> datetime | None:
        first = min((step.at for step in self.steps if step.at), default=None)
        return pacific(self.body.get("gmt_create")) or first

    @property
    def is_withdrawn(self) -> bool:
        return self.issue_status == "canceled_issue"

    @property
    def is_over(self) -> bool:
        return self.is_withdrawn or self.issue_status == "finish" or self.status in (*PAID_OUT, "refund_reject")

    @property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(p for p in (self.platform_plan, self.seller_plan, self.buyer_plan) if p is not None)

    @property
    def agreed(self) -> Plan | None:
        return next((plan for plan in self.plans if plan.status in _CARRIED_OUT), None)

    @property
    def paid_out(self) -> Money | None:
        """What the buyer gets at the end: the plan carried out, else the platform's, else the buyer's own (silence)."""
        if self.status == "refund_reject":
            return None
        plan = self.agreed or self.platform_plan or self.buyer_plan
        return plan.money if plan else None

    @property
    def comment(self) -> str | None:
        return next((s.content for s in reversed(self.steps) if s.by == "buyer" and s.content), None)

    def images(self, owner: str) -> int:
        return sum(s.buyer_images if owner == "buyer" else s.seller_images for s in self.steps)

    @property
    def changed_at(self) -> datetime | None:
        """The latest time anything in it carries."""
        return max(_times(self.body), default=None)

    @property
    def revision(self) -> int | None:
        """In ms, never running backwards: the hour that autumn repeats counts as its very end."""
        return max((to_micros(_end_if_repeated(moment)) // 1000 for moment in _times(self.body)), default=None)


def moment(value: Any) -> datetime | None:
    """Epoch milliseconds or seconds, as number or text, told apart by magnitude; None for anything else."""
    digits = text(value)
    if digits is None or not digits.isascii() or not digits.isdigit() or len(digits) > 15:
        return None
    number = int(digits)
    return EPOCH + timedelta(milliseconds=number if number >= _MS_FROM else number * 1000)


def text(value: Any) -> str | None:
    """Ids and amounts as text, whether they came as text or as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def items(value: Any) -> list[Mapping[str, Any]]:
    """A list as it comes with and without `simplify`: bare, or inside one object that names its element type."""
    if isinstance(value, Mapping):
        value = next((inner for inner in value.values() if isinstance(inner, list)), [])
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def money(body: Mapping[str, Any], name: str) -> Money | None:
    try:
        return Money.of(body.get(name), body.get(f"{name}_currency"))
    except ValueError:
        return None


def pacific(value: Any) -> datetime | None:
    """`yyyy-MM-dd HH:mm:ss` in US Pacific (some replies: epoch ms or s) -> UTC; of two readings in autumn the earlier."""
    epoch = moment(value)
    if epoch is not None and epoch >= _SINCE:
        return epoch
    try:
        naive = datetime.strptime(str(value), "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the zone is set next
    except ValueError:
        return None
    return naive.replace(tzinfo=PACIFIC).astimezone(UTC)


def _end_if_repeated(moment: datetime) -> datetime:
    local = moment.astimezone(PACIFIC)
    if local.utcoffset() == local.replace(fold=1).utcoffset():
        return moment
    return local.replace(minute=59, second=59, fold=1).astimezone(UTC) + timedelta(milliseconds=999)


def _times(body: Mapping[str, Any]) -> Iterator[datetime]:
    groups = [body, *_plan_rows(body), *items(body.get("process_dto_list"))]
    for row in groups:
        for name in ("gmt_create", "gmt_modified", "reached_time", "seller_accept_time", "buyer_accept_time"):
            if (moment := pacific(row.get(name))) is not None:
                yield moment


def _plan_rows(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for owner in ("buyer", "seller", "platform"):
        yield from items(body.get(f"{owner}_solution_list"))


def _current(body: Mapping[str, Any], owner: str) -> Plan | None:
    """The plan of this side that stands now: carried out before standing before superseded, then the newest."""
    plans = [_plan(row, owner) for row in items(body.get(f"{owner}_solution_list"))]
    return max(plans, key=_rank, default=None)


def _rank(plan: Plan) -> tuple[int, int, str]:
    standing = 2 if plan.status in _CARRIED_OUT else 0 if plan.status in _SUPERSEDED else 1
    return (standing, to_micros(plan.changed) if plan.changed else 0, plan.id)


def _plan(row: Mapping[str, Any], owner: str) -> Plan:
    return Plan(
        id=text(row.get("id")) or "",
        owner=owner,
        kind=(text(row.get("solution_type")) or "").lower(),
        status=(text(row.get("status")) or "").lower(),
        money=money(row, "refund_money"),
        version=text(row.get("version")) or "",
        reached_type=text(row.get("reached_type")) or "",
        fee_by=text(row.get("logistics_fee_bear_role")) or "",
        changed=pacific(row.get("gmt_modified")) or pacific(row.get("gmt_create")),
        reached=pacific(row.get("reached_time")),
    )


def _steps(body: Mapping[str, Any]) -> Iterator[Step]:
    for row in items(body.get("process_dto_list")):
        owners = [one.get("owner") for one in items(row.get("attachments"))]
        yield Step(
            action=text(row.get("action_type")) or "",
            by=text(row.get("submit_member_type")) or "",
            content=text(row.get("content")) or "",
            at=pacific(row.get("gmt_create")),
            buyer_images=owners.count("buyer"),
            seller_images=owners.count("seller"),
        )
