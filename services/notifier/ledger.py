"""An errand's row while it is worked on: what it says, how a decision of the protocol changes it, the facts that tell of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from services.notifier.protocol import Life, Next, Report
from shared import ids
from shared.clock import from_micros, to_micros
from shared.domain.errands import Errand
from shared.domain.facts import Fact, encode

CHANGING = (
    "status", "why", "attempts", "look_ups", "look_faults", "next_at", "first_sending_at", "sent_at", "lease_owner",
    "lease_until", "fence", "provider_id", "prepared", "withdrawn", "approved", "slot_day", "slot_at", "reported",
)  # fmt: skip
"""Columns that change after the row was put in."""
BY_OUTCOME = tuple(
    name for name in CHANGING if name not in ("attempts", "first_sending_at", "withdrawn", "slot_day", "slot_at")
)
"""Those that the end of a call changes; the others stand since its claim, and nothing else changes them under its fence."""
COUNTED = ("planned", "sending", "sent", "assisted", "in_doubt")
"""Statuses in which a message counts against the caps."""
FACT_TYPE = "amends.fact.v1"
_errand = msgspec.json.Decoder(Errand)
_counts = msgspec.json.Decoder(dict[str, int])

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """For the counters: one errand came into a status."""

    marketplace: str
    what: str
    name: str
    status: str


@dataclass(slots=True)
class Ledger:
    """What one transaction brings about: rows of `results`, and status changes for the counters once it is committed."""

    partitions: int
    now: datetime
    results: list[Row] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    broken_rules: list[str] = field(default_factory=list)
    likenesses: list[str] = field(default_factory=list)
    """Of these, rules whose word lists found nothing: the text only reads like what they forbid."""
    freed: set[tuple[str, str]] = field(default_factory=set)
    """Orders, by account, of which a message counts no more: what waited for that is to be looked at again."""
    freed_buyers: set[str] = field(default_factory=set)
    """The same of buyers, by `buyer_key`: a day's messages are counted over all of his orders."""

    def apply(self, row: Row, next_: Next) -> None:
        """Brings the row where the protocol says, and tells of it. Whatever still runs for it counts no more (fence)."""
        was = row["status"]
        row |= {
            "fence": row.get("fence", 0) + 1,
            "status": next_.status,
            "why": next_.why,
            "next_at": to_micros(next_.next_at) if next_.next_at else None,
            "look_ups": next_.look_ups,
            "look_faults": next_.look_faults,
            "approved": bool(next_.approved or row.get("approved")),
            "lease_owner": None,
            "lease_until": None,
        }
        if next_.provider_id is not None:
            row["provider_id"] = next_.provider_id
        if next_.prepared is not None:
            row["prepared"] = encode(next_.prepared).decode()
        if next_.status == "sent" and row["sent_at"] is None:
            row["sent_at"] = to_micros(self.now)
        if row["status"] != was:
            self.note(row)
        if was in COUNTED and row["status"] not in COUNTED and row["slot_at"] is not None:
            self.freed.add((row["account"], row["order_id"]))
            self.freed_buyers.add(row["buyer_key"])
        for report in next_.reports:
            self.tell(row, report)

    def note(self, row: Row) -> None:
        self.changes.append(Change(row["marketplace"], row["what"], row["name"], row["status"]))

    def tell(self, row: Row, report: Report) -> None:
        kind = f"{row['what']}.{report.status}"
        counts = _counts.decode(row["reported"])
        n = counts.get(report.status, 0)
        row["reported"] = msgspec.json.encode({**counts, report.status: n + 1}).decode()
        self.results.append(self._result(row, kind, n, {**_words(row, report), **report.data}))

    def _result(self, row: Mapping[str, Any], kind: str, n: int, data: Mapping[str, Any]) -> Row:
        fact = Fact(
            id=ids.fact_id(row["account"], row["id"], n, kind),
            account=row["account"],
            marketplace=row["marketplace"],
            kind=kind,
            occurred_at=self.now,
            observed_at=self.now,
            source="channel",
            order_id=row["order_id"],
            case_id=row["case_id"],
            data={"errand_id": row["id"], "name": row["name"], **data},
        )
        return {
            "account": fact.account,
            "id": fact.id,
            "partition": ids.partition_of(fact.account, str(fact.order_id), self.partitions),
            "type": FACT_TYPE,
            "subject": fact.order_id,
            "body": encode(fact).decode(),
            "created_at": to_micros(self.now) + len(self.results),  # told in this order, by the sweeper too
            "published_at": None,
        }


def _words(row: Row, report: Report) -> dict[str, Any]:
    """What a message says and the verdict on it, where a person goes on with it: not of a hold that ends by itself."""
    for_a_person = report.status in ("blocked", "assisted") or (report.status == "held" and "verdict" in report.data)
    if row["what"] != "message" or not for_a_person or not row["body"]:
        return {}
    verdict = msgspec.json.decode(row["verdict"]) if row["verdict"] else None
    words = {"text": row["body"], "subject": row["subject"], "locale": row["locale"], "verdict": verdict}
    return {name: value for name, value in words.items() if value is not None}


def errand_of(row: Mapping[str, Any]) -> Errand:
    return _errand.decode(row["document"])


def life_of(row: Mapping[str, Any], errand: Errand | None = None) -> Life:
    started = row["first_sending_at"]
    return Life(
        errand or errand_of(row),
        row["attempts"],
        row["look_ups"],
        row["look_faults"],
        from_micros(started) if started is not None else None,
        row["withdrawn"],
        bool(row["approved"]),
    )


def buyer_key(errand: Errand) -> str:
    """Whom the daily cap protects: the buyer on this account; where he is not known, whoever bought this order."""
    return f"{errand.account}/{errand.buyer.id or 'order ' + errand.order_id}"


def changed(rows: Iterable[Row], columns: Sequence[str] = CHANGING) -> list[Row]:
    """As `Tx.update` takes them."""
    named = ("account", "id", *columns)
    return [{name: row[name] for name in named} for row in rows]
