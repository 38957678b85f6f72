"""A return as Ozon's two read APIs tell it, in one shape: rFBS requests, and FBS/FBO returns. Reference 2.1, 2.3."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.clock import to_micros
from shared.marketplaces.ozon.codes import (
    cause_of,
    known,
    moment,
    money,
    number,
    part,
    reason_of,
    rows,
    spelled,
    stamp,
    text,
)
from shared.ports import Account

GROUPS = ("New", "Delivering", "Checkout", "Arbitration", "Approved", "Rejected")
"""States of an rFBS request; the finer `state` strings are not published."""
OPEN_GROUPS = ("New", "Delivering", "Checkout", "Arbitration")
STATUSES = (
    "OnSellerApproval", "OnSellerClarification", "OnSellerClarificationAfterPartialCompensation",
    "OfferedPartialCompensation", "Approved", "ApprovedByOzon", "WaitingShipment", "ArrivedAtReturnPlace",
    "MovingToSeller", "ReturningToSellerByCourier", "MovingToOzon", "Utilizing", "ReceivedBySeller", "ReturnedToOzon",
    "ReturnMoneyApproved", "PartialCompensationInProcess", "MoneyReturned", "MoneyReturnedBySystem",
    "PartialCompensationReturned", "DisputeOpened", "DisputeYouOpened", "DisputeOpening", "WaitingCompensation",
    "CompensationOffered", "SendingError", "ReturnCompensated", "Utilized", "Rejected", "CrmRejected", "Cancelled",
    "CancelledDisputeNotOpen", "CompensationRejected", "CompensationRejectedBySla", "CompensationRejectedBySeller",
)  # fmt: skip
"""`visual.status.sys_name` of /v1/returns/list."""
ENDS = frozenset(
    {
        "MoneyReturned", "MoneyReturnedBySystem", "PartialCompensationReturned", "ReceivedBySeller", "ReturnedToOzon",
        "ReturnCompensated", "Utilized", "Rejected", "CrmRejected", "Cancelled", "CancelledDisputeNotOpen",
        "CompensationRejected", "CompensationRejectedBySla", "CompensationRejectedBySeller",
    }
)  # fmt: skip
"""Done, as far as Ozon's list of statuses goes. It may come back from there: a refusal is disputed, for one."""
_ALIASES = {"ReturningByCourier": "ReturningToSellerByCourier"}
TYPES = ("Cancellation", "FullReturn", "PartialReturn", "ClientReturn", "Unknown")
SCHEMES = ("FBS", "FBO")

RFBS_DAYS, FBS_HOURS = 3, 24
"""Our time to decide, until the account's settings say otherwise: 3 calendar days (page of 2021) for rFBS, 24 hours
(secondary sources) for FBS and FBO. Silence approves."""


@dataclass(frozen=True, slots=True)
class Return:
    """One return. `status` is Ozon's code in its known spelling; `body` what was read."""

    body: Mapping[str, Any]
    scheme: str
    id: str
    status: str

    @property
    def posting(self) -> str | None:
        return text(self.body.get("posting_number"))

    @property
    def kind(self) -> str:
        """`type` of an FBS or FBO return: what came before it."""
        return spelled(self.body.get("type"), TYPES)

    @property
    def is_rfbs(self) -> bool:
        return self.scheme == "rfbs"

    @property
    def is_over(self) -> bool:
        return self.status in ENDS or (self.is_rfbs and self.status == "Approved")

    @property
    def changed(self) -> datetime | None:
        return moment(part(self.body, "visual").get("change_moment"))

    @property
    def opened(self) -> datetime | None:
        asked = self.body.get("created_at") if self.is_rfbs else part(self.body, "logistic").get("return_date")
        return moment(asked) or self.changed

    @property
    def photos(self) -> int:
        listed = self.body.get("client_photo")
        return len(listed) if isinstance(listed, list) else 0

    @property
    def tracking(self) -> str | None:
        return text(self.body.get("ru_post_tracking_number"))

    @property
    def price(self) -> dict[str, str] | None:
        """What the goods of this return cost: a text for rFBS, an amount for each piece for FBS and FBO."""
        product = part(self.body, "product")
        if self.is_rfbs:
            return money(product.get("price"), product.get("currency_code"))
        price = part(product, "price")
        return money(price.get("price"), price.get("currency_code"), number(product.get("quantity")) or 1)

    @property
    def actions(self) -> tuple[int, ...]:
        ids = (action.get("id") for action in rows(self.body.get("available_actions")))
        return tuple(sorted({found for id in ids if (found := signed(id)) is not None}))


def signed(value: Any) -> int | None:
    """An action's id: Ozon has negative ones."""
    told = text(value) or ""
    found = number(told.removeprefix("-"))
    return -found if found is not None and told.startswith("-") else found


def rfbs(body: Mapping[str, Any]) -> Return:
    group = spelled(part(body, "state").get("group_state"), GROUPS)
    return Return(body, "rfbs", text(body.get("return_id")) or "", group)


def ordinary(body: Mapping[str, Any]) -> Return:
    """An FBS or FBO return. Its id is of another series than an rFBS request's, hence the prefix."""
    scheme = spelled(body.get("schema"), SCHEMES).lower() or "fbs"
    status = spelled(part(part(body, "visual"), "status").get("sys_name"), (*STATUSES, *_ALIASES))
    return Return(body, scheme, f"{scheme}-{text(body.get('id')) or ''}", _ALIASES.get(status, status))


def snapshot(found: Return, account: Account, now: datetime) -> dict[str, Any]:
    """The typed fields of a return now; what is not known is left out. Of an FBO order only the buyer opens a chat."""
    reason = _reason(found)
    return known(
        {
            "scheme": found.scheme,
            "return_type": found.kind or None,
            "item": text(part(found.body, "product").get("name")),
            "amount": found.price,
            "max_refund": found.price,
            "comment": text(found.body.get("comment")),
            "buyer_name": text(found.body.get("client_name")),
            "tracking_number": found.tracking,
            "actions": _listed(found.actions),
            "images": found.photos or None,
            "seller_comment": text(found.body.get("rejection_comment")),
            "money_status": text(part(found.body, "state").get("money_return_state_name")),
            "window_until": stamp(found.changed or found.opened) if found.scheme == "fbo" else None,
            **reason,
            **_times(found, account, now),
        }
    )


def _reason(found: Return) -> dict[str, Any]:
    told = part(found.body, "return_reason")
    words = text(told.get("name")) or text(found.body.get("return_reason_name"))
    if not told and words is None:
        return {}
    reason = reason_of(words, is_defect=told.get("is_defect") is True)
    code = text(told.get("id"))
    return {"reason": reason, "reason_code": code, "reason_text": words, "root_cause": cause_of(reason)}


def _listed(actions: tuple[int, ...]) -> str | None:
    """Fit for a guard: `actions.contains(',1020,')`."""
    return f",{','.join(map(str, actions))}," if actions else None


def _times(found: Return, account: Account, now: datetime) -> dict[str, Any]:
    """By when we decide, by when we check what came back, when what waits for us is destroyed."""
    if found.status in ("New", "OnSellerApproval") and found.opened is not None:
        return {"decide_by": stamp(_decide_by(found, found.opened, account))}
    if found.status == "ArrivedAtReturnPlace":
        return {"collect_by": stamp(moment(part(found.body, "storage").get("utilization_forecast_date")))}
    return {}


def _decide_by(found: Return, opened: datetime, account: Account) -> datetime:
    if found.is_rfbs:
        return opened + timedelta(days=_setting(account, "rfbs_decision_days", RFBS_DAYS))
    since = found.changed or opened
    return since + timedelta(hours=_setting(account, "fbs_decision_hours", FBS_HOURS))


def _setting(account: Account, name: str, otherwise: int) -> int:
    value = account.settings.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise


def refs(found: Return) -> dict[str, str]:
    """The order number leads a chat to its order (reference 2.5: `context` of a message)."""
    body = found.body
    told = {
        "return_id" if found.is_rfbs else "fbs_return_id": found.id.rpartition("-")[2],
        "return_number": text(body.get("return_number")),
        "order_number": text(body.get("order_number")),
    }
    return known(told)


def revision(found: Return, now: datetime) -> int:
    """The change's own moment; rFBS requests have none, so theirs is the moment of reading. Milliseconds."""
    return to_micros(found.changed or now) // 1000
