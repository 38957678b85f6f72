"""What intake tells its operators: counted deliveries and facts, and a log line for what needs a person's eye."""

from collections.abc import Iterable

from services.intake.deliveries import Delivery
from shared.domain.facts import Fact
from shared.logs import get_logger
from shared.metrics import Metrics

NEEDS_ATTENTION = frozenset({"failed", "unreadable", "conflict", "unmapped"})
log = get_logger("intake")


class Telling:
    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def ended(self, marketplace: str, outcome: str, count: int = 1) -> None:
        """A delivery that left no row, or was counted before."""
        self.metrics.deliveries.labels(marketplace, outcome).inc(count)

    def facts(self, taken_down: Iterable[Fact]) -> None:
        for fact in taken_down:
            self.metrics.facts.labels(fact.marketplace, fact.kind).inc()

    def stored(self, delivery: Delivery, outcome: str) -> None:
        """`outcome` as the store gave it: the delivery's own, `duplicate` or `conflict`."""
        self.ended(delivery.marketplace, outcome)
        self.facts(delivery.facts if outcome == delivery.outcome else ())
        if outcome in ("failed", "unreadable"):
            self.metrics.parked.labels("intake", outcome).inc()
        if outcome in NEEDS_ATTENTION:
            log.error(
                "delivery_needs_attention", outcome=outcome, account=delivery.account, delivery_id=delivery.id,
                code=delivery.code, why=delivery.why,
            )  # fmt: skip
