"""Where facts belong: the order each is about, and which provisional orders turn out to be the same one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from services.policy import store
from services.policy.store import Identity, Key
from shared.domain.facts import Fact
from shared.domain.order import Buyer, Order
from shared.store.session import Tx

_PROVISIONAL = "ref:"


@dataclass
class Places:
    """`orders`: fact id -> key of its order. `merges`: (provisional order, the real one it has become known to be)."""

    orders: dict[str, Key] = field(default_factory=dict)
    merges: set[tuple[Key, Key]] = field(default_factory=set)
    cases: set[str] = field(default_factory=set)
    """Ids of the cases that the facts name, by id or by identity."""
    known: set[Key] = field(default_factory=set)
    """Orders of which the database knows: they are there, or were merged away meanwhile."""
    refs: dict[Key, str] = field(default_factory=dict)
    """References that are new: (account, `name=value`) -> order id."""

    @property
    def keys(self) -> set[Key]:
        return set(self.orders.values()) | {key for pair in self.merges for key in pair}


def is_provisional(order_id: str) -> bool:
    return order_id.startswith(_PROVISIONAL)


def strongest_reference(fact: Fact) -> str:
    """What stands for the order of a fact that names none: the case's own id, else its first reference by name."""
    return _PROVISIONAL + next(iter(ref_names(fact)), f"fact={fact.id}")


def ref_names(fact: Fact) -> list[str]:
    """The references a fact carries, strongest first."""
    own = [f"{fact.case_kind}={fact.external_id}"] if fact.external_id else []
    return own + sorted(f"{name}={value}" for name, value in fact.refs.items() if value)


def identity(fact: Fact) -> Identity | None:
    if fact.case_kind is None or fact.external_id is None:
        return None
    return fact.account, fact.case_kind, fact.external_id


async def find(tx: Tx, facts: Sequence[Fact]) -> Places:
    found = await store.places(
        tx,
        {f.case_id for f in facts if f.case_id},
        (i for f in facts if (i := identity(f))),
        ((f.account, ref) for f in facts for ref in ref_names(f)),
        ((f.account, f.order_id or strongest_reference(f)) for f in facts),
    )
    where = {(row["account"], row["id"]): row["order_id"] for row in found.cases}
    of = {(row["account"], row["kind"], row["external_id"]): row for row in found.cases}
    known = found.refs
    places = Places(cases={row["id"] for row in found.cases}, known=found.orders)
    places.known.update((row["account"], row["order_id"]) for row in found.cases)
    places.known.update((account, order_id) for (account, _), order_id in known.items())
    told = _told_here(facts)
    for fact in facts:
        named = of.get(identity(fact) or ("", "", ""))
        at = where.get((fact.account, fact.case_id or "")) or (named["order_id"] if named else None)
        _place(places, fact, at, known, told)
    _join(places)
    return places


def _told_here(facts: Sequence[Fact]) -> dict[Key, str]:
    """Case's own name -> order, where a fact of this batch tells both: another one may name the case alone."""
    whole = [fact for fact in facts if fact.external_id and fact.order_id and not is_provisional(fact.order_id)]
    return {(fact.account, ref_names(fact)[0]): str(fact.order_id) for fact in whole}


def _join(places: Places) -> None:
    """Each provisional order goes over into one that stays, and so does all that was placed on it."""
    into: dict[Key, Key] = {}
    for provisional, other in sorted(places.merges, key=lambda pair: (is_provisional(pair[1][1]), pair)):
        into.setdefault(provisional, other)

    def stays(key: Key) -> Key:
        passed: set[Key] = set()
        while key in into and key not in passed:
            passed.add(key)
            key = into[key]
        return key

    places.merges = {(key, stays(key)) for key in into if stays(key) != key}
    places.orders = {id_: stays(key) for id_, key in places.orders.items()}
    places.refs = {(account, ref): stays((account, order))[1] for (account, ref), order in places.refs.items()}


def _place(places: Places, fact: Fact, at: str | None, known: dict[Key, str], told: dict[Key, str]) -> None:
    """`at`: the order of the case the fact names, where there is one already."""
    names = [(fact.account, ref) for ref in ref_names(fact)]
    through = [order for name in names for order in (known.get(name), told.get(name)) if order]
    real = [order for order in (at, fact.order_id, *through) if order and not is_provisional(order)]
    order_id = real[0] if real else at or next(iter(through), None) or fact.order_id or strongest_reference(fact)
    places.orders[fact.id] = (fact.account, order_id)
    for other in (at, fact.order_id, *through):
        if other and is_provisional(other) and other != order_id:
            places.merges.add(((fact.account, other), (fact.account, order_id)))
    own = 1 if fact.external_id and fact.order_id else 0  # the case's row itself leads from it to its order
    for ref in ref_names(fact)[own:]:
        if (fact.account, ref) not in known:
            places.refs.setdefault((fact.account, ref), order_id)
            known[fact.account, ref] = places.refs[fact.account, ref]


def merged(order: Order, other: Order) -> Order:
    """`order` with what was known under the provisional `other`."""
    issued = {**other.issued, **order.issued}
    return msgspec.structs.replace(
        order,
        currency=order.currency or other.currency,
        paid_minor=order.paid_minor if order.paid_minor is not None else other.paid_minor,
        issued=issued,
        refunded_minor=sum(issued.values()),
        reserved={**other.reserved, **order.reserved},
        placed_at=order.placed_at or other.placed_at,
        shipped_at=order.shipped_at or other.shipped_at,
        delivered_at=order.delivered_at or other.delivered_at,
        latest_delivery=_later(order.latest_delivery, other.latest_delivery),
        last_buyer_message_at=_later(order.last_buyer_message_at, other.last_buyer_message_at),
        buyer=_buyer(order.buyer, other.buyer),
        refs={**other.refs, **order.refs},
        window_until=_later(order.window_until, other.window_until),
        closed_chats=tuple(dict.fromkeys((*order.closed_chats, *other.closed_chats))),
        opted_out=order.opted_out or other.opted_out,
        open_claims=tuple(dict.fromkeys((*order.open_claims, *other.open_claims))),
        open_cases=tuple(dict.fromkeys((*order.open_cases, *other.open_cases))),
        waiting=order.waiting + other.waiting,
    )


def _later(known: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (known, other)), default=None)


def _buyer(buyer: Buyer, other: Buyer) -> Buyer:
    return Buyer(*(getattr(buyer, name) or getattr(other, name) for name in Buyer.__struct_fields__))
