"""The order's money, kept a second time from what was told and what left: the oracle for ceilings."""

from services.policy.core.decision import Decision
from shared.domain.case import Case
from shared.domain.facts import ERRAND_RESULTS, Fact
from shared.domain.money import Money, money_in


class Ledger:
    """Minor units of the order's currency: the first that was told. `under_way`: refunds that left, by errand id."""

    def __init__(self) -> None:
        self.currency: str | None = None
        self.paid: int | None = None
        self.issued: dict[str, int] = {}
        self.under_way: dict[str, tuple[str, Money]] = {}

    def hears(self, fact: Fact) -> None:
        if fact.kind in ERRAND_RESULTS or fact.kind in ("operator.acted", "timer.elapsed"):
            return
        paid = money_in(fact.data, "paid")
        if paid is not None and self.currency in (None, paid.currency):
            self.currency, self.paid = paid.currency, paid.minor
        if fact.kind == "refund.issued":
            self._issued(str(fact.data["refund_id"]), money_in(fact.data, "refunded") or money_in(fact.data, "amount"))

    def _issued(self, key: str, money: Money | None) -> None:
        if money is not None and self.currency in (None, money.currency):
            self.currency = money.currency
            self.issued.setdefault(key, money.minor)

    def rest(self) -> int | None:
        """What may still go back, in minor units; None where it is not known what was paid."""
        if self.paid is None:
            return None
        gone = sum(money.minor for _, money in self.under_way.values() if money.currency == self.currency)
        return self.paid - sum(self.issued.values()) - gone

    def gone(self, case: Case) -> list[str]:
        """Refunds of this case under way until now of which the case knows nothing any more."""
        return [id_ for id_, (owner, _) in self.under_way.items() if owner == case.id and id_ not in case.errands]

    def takes(self, case: Case, decision: Decision) -> None:
        for id_ in self.gone(case):
            del self.under_way[id_]
        for errand in decision.errands:
            if errand.name == "refund" and errand.money is not None and errand.id in case.errands:
                self.under_way[errand.id] = (case.id, errand.money)
