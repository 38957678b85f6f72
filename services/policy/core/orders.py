"""What a fact says about the order: the part of a fact that is true whatever its cases do with it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.clock import parse_time
from shared.domain.facts import ERRAND_RESULTS, Fact
from shared.domain.money import Money, money_in
from shared.domain.order import Buyer, Order
from shared.ids import digest

_TIMES = {"order.placed": "placed_at", "order.shipped": "shipped_at", "delivery.delivered": "delivered_at"}
_CLAIM_STAGES = ("guarantee", "chargeback")
_BUYER = frozenset({"buyer", "buyer_id", "buyer_name", "buyer_locale", "buyer_time_zone"})
_OWN = ("operator.acted", "timer.elapsed")


def fold(order: Order, fact: Fact) -> Order:
    """The order after the fact. Told twice (or late) gives the same as told once."""
    if fact.kind in ERRAND_RESULTS or fact.kind in _OWN:
        return order
    changes: dict[str, Any] = {}
    _paid(order, fact, changes)
    _times(order, fact, changes)
    _buyer(order, fact, changes)
    _thread(order, fact, changes)
    if fact.refs.items() - order.refs.items():
        changes["refs"] = {**order.refs, **fact.refs}
    if fact.kind == "refund.issued":
        _refund(order, fact, changes)
    return msgspec.structs.replace(order, **changes) if changes else order


def refund_key(fact: Fact) -> str:
    """What makes two tellings of a refund the same one: its own id, else when it happened, of what case, how much."""
    own = fact.refs.get("refund_id") or fact.data.get("refund_id")
    if isinstance(own, str) and own:
        return own
    money = money_in(fact.data, "refunded") or money_in(fact.data, "amount")
    amount = f"{money.value} {money.currency}" if money else ""
    return digest(fact.case_kind or "", fact.external_id or "", fact.occurred_at.isoformat(), amount)[:16]


def is_counted(order: Order, fact: Fact) -> bool:
    """A refund that the order counts already, told again by another source: no news, whatever case it was of."""
    return fact.kind == "refund.issued" and refund_key(fact) in order.issued


def refund_money(fact: Fact) -> Money | None:
    return money_in(fact.data, "refunded") or money_in(fact.data, "amount")


def _paid(order: Order, fact: Fact, changes: dict[str, Any]) -> None:
    paid = money_in(fact.data, "paid")
    if paid is not None and order.currency in (None, paid.currency):
        changes |= {"currency": paid.currency, "paid_minor": paid.minor}


def _times(order: Order, fact: Fact, changes: dict[str, Any]) -> None:
    name = _TIMES.get(fact.kind)
    if name is not None and _newer(getattr(order, name), fact.occurred_at, first=name != "delivered_at"):
        changes[name] = fact.occurred_at
    promised = as_time(fact.data.get("latest_delivery"))
    if promised is not None and _newer(order.latest_delivery, promised, first=False):
        changes["latest_delivery"] = promised
    if fact.kind == "message.received" and _newer(order.last_buyer_message_at, fact.occurred_at, first=False):
        changes["last_buyer_message_at"] = fact.occurred_at


def _newer(known: datetime | None, told: datetime, *, first: bool) -> bool:
    """Whether `told` replaces what is known: the earliest counts for `first`, else the latest."""
    return known is None or (told < known if first else told > known)


def _buyer(order: Order, fact: Fact, changes: dict[str, Any]) -> None:
    if fact.data.keys().isdisjoint(_BUYER) and "buyer_id" not in fact.refs:
        return
    told = {
        "id": fact.data.get("buyer_id") or fact.refs.get("buyer_id"),
        "name": fact.data.get("buyer_name"),
        "locale": fact.data.get("buyer_locale"),
        "time_zone": fact.data.get("buyer_time_zone"),
        "mail": None,
    }
    given = fact.data.get("buyer")
    if isinstance(given, dict):
        told = {name: given.get(name) or told[name] for name in told}
    if order.buyer.mail:
        told["mail"] = None  # the first one stays: who names the order from another address later may be somebody else
    news = {name: text for name, text in told.items() if isinstance(text, str) and text}
    buyer = msgspec.structs.replace(order.buyer, **news) if news else order.buyer
    if buyer != order.buyer:
        changes["buyer"] = Buyer(buyer.id, buyer.name, buyer.locale, buyer.time_zone, buyer.mail)


def _thread(order: Order, fact: Fact, changes: dict[str, Any]) -> None:
    """What the marketplace says of writing to this buyer: `opted_out`, `window_until`, `closed_chat` (its id)."""
    out, chat, until = fact.data.get("opted_out"), fact.data.get("closed_chat"), as_time(fact.data.get("window_until"))
    spoke = order.last_buyer_message_at
    if isinstance(out, bool) and (spoke is None or fact.occurred_at >= spoke):
        changes["opted_out"] = out
    if isinstance(chat, str) and chat and chat not in order.closed_chats:
        changes["closed_chats"] = (*order.closed_chats, chat)
    if until is not None and _newer(order.window_until, until, first=False):
        changes["window_until"] = until


def as_time(given: Any) -> datetime | None:
    """A time as data holds it; None for anything else."""
    try:
        return given.astimezone(UTC) if isinstance(given, datetime) and given.tzinfo else parse_time(given)
    except (ValueError, TypeError, OverflowError):
        return None


def is_claim(kind: str, facts: Mapping[str, Any]) -> bool:
    """Whether the marketplace decides over this case's money: a claim, or a dispute that has come so far."""
    return kind == "claim" or facts.get("stage") in _CLAIM_STAGES


def _refund(order: Order, fact: Fact, changes: dict[str, Any]) -> None:
    money, key = refund_money(fact), refund_key(fact)
    if money is None or key in order.issued or order.currency not in (None, money.currency):
        return
    changes |= {
        "currency": money.currency,
        "issued": {**order.issued, key: money.minor},
        "refunded_minor": order.refunded_minor + money.minor,
    }
