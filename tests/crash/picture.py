"""What a finished run looks like from all sides: plain rows, nothing that runs. The verdict works on this alone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Row = Mapping[str, Any]
Answer = Literal["done", "refused", "not_taken", "cut"]

TABLES: dict[str, tuple[str, ...]] = {
    "intake": ("deliveries", "raw", "facts", "counters"),
    "policy": ("orders", "cases", "case_log", "tasks", "outbound", "case_events", "parked", "counters"),
    "notifier": ("errands", "attempts", "tombstones", "conversations", "results", "parked"),
}
"""What is read of each service's database; `Picture.tables` names them `intake.deliveries` and so on."""


@dataclass(frozen=True)
class Offered:
    """One delivery as the outside made it, under the marketplace's own key."""

    account: str
    key: str
    body: bytes | None = None
    """None: not to be compared (records that were read, not pushed)."""
    sent: int = 1
    accepted: int = 1
    """How often it was answered 2xx."""


@dataclass(frozen=True)
class Call:
    """One request that reached the marketplace, as its own log has it."""

    n: int
    """Place in that log."""
    errand_id: str
    what: Literal["message", "act", "look"]
    name: str
    case_id: str = ""
    says: str = ""
    """The buyer's text, or the act's parameters and money: what makes two effects the same one twice."""
    effect: bool = True
    """It happened in the world: a repeat under a key that is remembered does not."""
    answer: Answer = "done"
    money: bool = False
    at: int | None = None
    """Moment of the run's clock in microseconds, where it is known."""


@dataclass(frozen=True)
class Violation:
    invariant: str
    """As in the list of invariants: `I10`; `A` for a case that lies unattended."""
    what: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.evidence.items())
        return f"{self.invariant} {self.what}" + (f" ({told})" if told else "")


@dataclass(frozen=True)
class Picture:
    """Taken at rest: nothing in flight, nothing due by the clock, no lease of a dead process left."""

    tables: Mapping[str, Sequence[Row]]
    now: int
    """The run's clock in microseconds."""
    offered: Sequence[Offered] = ()
    calls: Sequence[Call] = ()
    logged: frozenset[str] | None = None
    """Accounts whose marketplace's log `calls` is; None: all."""
    differing: Sequence[Any] = ()
    """Cases that did not come out of their log byte for byte (`services.policy.rehearse.rehearse`)."""
    gauges: Mapping[tuple[str, ...], float] | None = None
    """(metric, label values …) as exported; None: not looked at."""
    heard: Mapping[str, int] = field(default_factory=dict)
    """Errand id -> length of the marketplace's log when notifier had committed its withdrawal, where it is known."""

    def of(self, table: str) -> Sequence[Row]:
        return self.tables.get(table, ())

    @cached_property
    def errands(self) -> dict[str, Row]:
        return {row["id"]: row for row in self.of("notifier.errands")}

    def is_logged(self, account: str) -> bool:
        return self.logged is None or account in self.logged

    @cached_property
    def case_documents(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: json.loads(row["document"]) for row in self.of("policy.cases")}

    @cached_property
    def outbound(self) -> list[tuple[str, dict[str, Any]]]:
        """(event type, data) of all that policy told notifier and that did not have to be set aside there."""
        aside = {row["id"] for row in self.of("notifier.parked")}
        rows = (row for row in self.of("policy.outbound") if row["id"] not in aside)
        return [(row["type"], json.loads(row["body"])) for row in rows]

    @cached_property
    def results(self) -> dict[str, list[dict[str, Any]]]:
        """Errand id -> the facts notifier told of it."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.of("notifier.results"):
            fact = json.loads(row["body"])
            found.setdefault(fact["data"]["errand_id"], []).append(fact)
        return found

    @cached_property
    def applied(self) -> set[tuple[str, str]]:
        """(account, fact id) of all facts in policy's log."""
        return {(row["account"], row["fact_id"]) for row in self.of("policy.case_log")}

    @cached_property
    def waiting(self) -> set[tuple[str, str]]:
        """Facts that wait on their order for a case."""
        orders = (json.loads(row["document"]) for row in self.of("policy.orders"))
        return {(fact["account"], fact["id"]) for order in orders for fact in order.get("waiting", ())}

    @cached_property
    def parked(self) -> set[str]:
        """Ids of events that wait in policy or notifier for a person."""
        rows = (*self.of("policy.parked"), *self.of("notifier.parked"))
        return {row["id"] for row in rows if row["retried_at"] is None}

    @cached_property
    def log_of(self) -> dict[str, list[Row]]:
        """Case id -> its log in order."""
        found = grouped((row for row in self.of("policy.case_log") if row["case_id"]), "case_id")
        return {case: sorted(rows, key=lambda row: row["seq"]) for case, rows in found.items()}


def grouped(rows: Iterable[Row], *columns: str) -> dict[Any, list[Row]]:
    """By one column's value, or by the tuple of several."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        key = row[columns[0]] if len(columns) == 1 else tuple(row[column] for column in columns)
        found.setdefault(key, []).append(row)
    return found


def micros(text: str) -> int:
    """Of a time as documents hold it."""
    from shared.clock import parse_time, to_micros

    return to_micros(parse_time(text))
