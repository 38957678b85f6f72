"""The buyer's order on an account: the unit of locking; the money ceiling and what its cases share."""

from datetime import datetime

import msgspec

from shared.domain.facts import Fact


class Buyer(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str | None = None
    name: str | None = None
    locale: str | None = None
    """BCP 47; None where the marketplace does not tell it."""
    time_zone: str | None = None
    mail: str | None = None
    """Where the marketplace passes mail on to him (an alias of its own, never his own address)."""


class Reservation(msgspec.Struct, frozen=True):
    """Money of an errand that is on its way: counts against the ceiling until it is issued or surely not."""

    case_id: str
    minor: int
    in_doubt: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row per (account, order id). Amounts are minor units of `currency`; None where not known."""

    account: str
    order_id: str
    currency: str | None = None
    paid_minor: int | None = None
    refunded_minor: int = 0
    reserved: dict[str, Reservation] = {}
    """By errand id."""
    issued: dict[str, int] = {}
    """Refunds seen, minor units by their own id: one told of twice counts once. Sum: `refunded_minor`."""
    placed_at: datetime | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    latest_delivery: datetime | None = None
    """The latest day of delivery that the marketplace named to the buyer."""
    last_buyer_message_at: datetime | None = None
    window_until: datetime | None = None
    """Until when the marketplace lets us write, where it says so."""
    closed_chats: tuple[str, ...] = ()
    """Ids (as they stand in references) of chats that the marketplace has closed."""
    opted_out: bool = False
    """The buyer wants no more messages."""
    buyer: Buyer = Buyer()
    refs: dict[str, str] = {}
    open_cases: tuple[str, ...] = ()
    open_claims: tuple[str, ...] = ()
    """Those of the open cases in which the marketplace decides over the money."""
    waiting: tuple[Fact, ...] = ()
    """Facts that found no case: kept 24 h, then an `orphan` task."""

    @property
    def promised_minor(self) -> int:
        return sum(r.minor for r in self.reserved.values() if not r.in_doubt)

    @property
    def in_doubt_minor(self) -> int:
        return sum(r.minor for r in self.reserved.values() if r.in_doubt)

    @property
    def refundable_minor(self) -> int | None:
        """What may still be refunded over all cases of the order; None where the paid amount is not known."""
        if self.paid_minor is None:
            return None
        return self.paid_minor - self.refunded_minor - self.promised_minor - self.in_doubt_minor
