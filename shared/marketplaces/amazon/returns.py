"""One return as the report tells it now, read into plain values. Reference A1.4, A3.1."""

import re
from collections.abc import Mapping
from typing import Any

from shared.clock import format_time
from shared.domain.money import Money, from_minor
from shared.marketplaces.amazon.dates import moment_of, money_of
from shared.marketplaces.amazon.returns_report import identity

STATUSES = (
    "Pending Authorization", "Approved", "Authorized", "With A-to-z claim", "Completed", "Closed by seller",
    "Closed by buyer",
)  # fmt: skip
"""From the least to the most settled: where the lines of a return disagree the least settled counts."""
AUTHORISED = ("Approved", "Authorized")
ENDED = ("Completed", "Closed by seller", "Closed by buyer")
CLAIMED = "With A-to-z claim"
_OTHER_SPELLINGS = {"authorizerequired": "Pending Authorization", "pendingauthorisation": "Pending Authorization"}
_OTHER_SPELLINGS |= {"authorised": "Authorized"}
_TRUE = frozenset({"y", "yes", "true", "1"})

_REASONS = (
    ("damaged", ("damage", "broken")),
    ("missing_parts", ("missing",)),
    ("defective", ("defect", "not work", "quality", "malfunction")),
    ("change_of_mind", ("ordered wrong", "mistake", "unwanted", "no longer", "not needed", "better price", "too small",
                        "too large", "unauthorized purchase", "style", "color", "colour")),
    ("wrong_item", ("wrong item", "switcheroo", "different item", "not ordered")),
    ("not_as_described", ("desc", "description", "compatib", "not as described")),
    ("late", ("late", "missed estimated", "delay")),
    ("not_received", ("never arrived", "not received", "undeliver")),
    ("counterfeit", ("counterfeit", "fake", "authentic")),
)  # fmt: skip
"""Reason codes are an open set (reference A1.4): read by their words, first match wins, else `other`."""


class Return:
    """Reads a record's body (`{"lines": [...]}`); a field that is missing or odd is None, never a fault."""

    def __init__(self, body: Mapping[str, Any], currency: str | None = None) -> None:
        self.lines: list[dict[str, str]] = [line for line in body["lines"] if isinstance(line, dict)]
        self.id = identity(self.lines[0])
        self.order_id = self.lines[0]["order_id"]
        self.currency = self._first("currency_code") or currency
        self.status = min((status_of(line.get("return_request_status")) for line in self.lines), key=_rank)
        self.requested_at = moment_of(self._first("return_request_date"))
        self.delivered_at = moment_of(self._first("return_delivery_date"))
        self.tracking = self._first("tracking_id")
        self.carrier = self._first("return_carrier")
        self.refunded = self._refunded()

    @property
    def has_claim(self) -> bool:
        return self.status == CLAIMED or any(_is(line.get("a_to_z_claim")) for line in self.lines)

    @property
    def reason_code(self) -> str | None:
        return self._first("return_reason_code")

    @property
    def refs(self) -> dict[str, str]:
        named = {name: self._first(name) for name in ("amazon_rma_id", "merchant_rma_id")}
        return {name: value for name, value in named.items() if value}

    def snapshot(self) -> dict[str, Any]:
        """The typed fields of the return now; what is not known is left out."""
        known = {**self._texts(), **self._flags(), **self._amounts(), **self._counts()}
        known |= {"return_required": True, "reason": reason_of(self.reason_code)}
        for name, moment in (("requested_at", self.requested_at), ("back_since", self.delivered_at)):
            known[name] = format_time(moment) if moment is not None else None
        return {name: value for name, value in known.items() if value is not None}

    def _texts(self) -> dict[str, Any]:
        named = {
            "reason_code": "return_reason_code", "tracking_number": "tracking_id", "carrier": "return_carrier",
            "resolution": "resolution", "return_type": "return_type", "label_type": "label_type", "asin": "asin",
            "label_paid_by": "label_to_be_paid_by", "category": "category", "invoice_number": "invoice_number",
            "safet_claim_id": "safet_claim_id", "safet_state": "safet_claim_state", "safet_reason": "safet_action_reason",
        }  # fmt: skip
        told: dict[str, Any] = {name: self._first(column) for name, column in named.items()}
        return {**told, "item": self._joined("item_name"), "sku": self._joined("merchant_sku")}

    def _flags(self) -> dict[str, Any]:
        policy, prime = self._first("in_policy"), self._first("is_prime")
        return {
            "in_policy": None if policy is None else all(_is(line.get("in_policy")) for line in self.lines),
            "is_prime": None if prime is None else _is(prime),
            "a_to_z": self.has_claim,
        }

    def _amounts(self) -> dict[str, Any]:
        paid, quantity = money_of(self._first("order_amount"), self.currency), self._sum("return_quantity")
        whole = quantity is not None and quantity == number_of(self._first("order_quantity"))
        amounts = {
            "paid": paid,
            "amount": paid if whole else None,
            "label_cost": money_of(self._first("label_cost"), self.currency),
            "safet_reimbursed": money_of(self._first("safet_claim_reimbursement_amount"), self.currency),
        }
        return {name: as_data(money) for name, money in amounts.items() if money is not None and money.minor}

    def _counts(self) -> dict[str, Any]:
        return {"quantity": self._sum("return_quantity"), "order_quantity": number_of(self._first("order_quantity"))}

    def _first(self, name: str) -> str | None:
        return next((line[name] for line in self.lines if line.get(name)), None)

    def _joined(self, name: str) -> str | None:
        return "; ".join(dict.fromkeys(line[name] for line in self.lines if line.get(name)))[:300] or None

    def _sum(self, name: str) -> int | None:
        found = [number for line in self.lines if (number := number_of(line.get(name))) is not None]
        return sum(found) if found else None

    def _refunded(self) -> Money | None:
        """All lines together; None where nothing was given back, or not told in a currency."""
        told = [money_of(line.get("refund_amount"), self.currency) for line in self.lines]
        minor = sum(money.minor for money in told if money is not None)
        return from_minor(minor, str(self.currency)) if minor else None


def status_of(text: str | None) -> str:
    """One spelling per known status; anything else word for word."""
    told = (text or "").strip()
    folded = re.sub(r"[^a-z]", "", told.lower())
    known = {re.sub(r"[^a-z]", "", status.lower()): status for status in STATUSES} | _OTHER_SPELLINGS
    return known.get(folded, told[:80])


def reason_of(code: str | None) -> str:
    said = " " + " ".join(re.split(r"[^a-z]+", (code or "").lower()))
    return next((name for name, words in _REASONS if any(f" {word}" in said for word in words)), "other")


def number_of(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 9 else None


def as_data(money: Money) -> dict[str, str]:
    return {"value": money.value, "currency": money.currency}


def _rank(status: str) -> int:
    """An unknown status comes before all others, so that it is seen."""
    return STATUSES.index(status) if status in STATUSES else -1


def _is(text: str | None) -> bool:
    return (text or "").strip().lower() in _TRUE
