"""The one verdict over a finished run, whatever drove it: invariants I1 to I14, I17 and I25 over plain rows.

    violations = judge(picture)      # empty: all of them hold
    counts = account_for(picture)    # accepted = applied + waiting + parked + …

A picture is taken at rest (`tests.crash.picture`); `tables_of` reads one service's tables.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from shared.store.session import Database
from tests.crash import verdict_errands, verdict_facts
from tests.crash.picture import TABLES, Picture, Row, Violation

CHECKS = (*verdict_facts.CHECKS, *verdict_errands.CHECKS)


def judge(picture: Picture) -> list[Violation]:
    """All violations, with their evidence, in the order of the checks."""
    return [violation for check in CHECKS for violation in check(picture)]


def account_for(p: Picture) -> dict[str, int]:
    """Where everything is. `unexplained`: accepted facts that are nowhere; `lost`: accepted deliveries without a row."""
    stored = {(row["account"], row["dedupe_key"]) for row in p.of("intake.deliveries")}
    facts = {(row["account"], row["id"]) for row in p.of("intake.facts")}
    left = verdict_errands.effects(p)
    statuses = Counter(row["status"] for row in p.errands.values())
    accounted = {
        "deliveries_made": len(p.offered),
        "requests": sum(one.sent for one in p.offered),
        "accepted": sum(one.accepted > 0 for one in p.offered),
        "repeats_counted": sum(row["value"] for row in p.of("intake.counters") if row["name"] == "duplicate"),
        "facts": len(facts),
        "applied": len(facts & p.applied),
        "waiting": len(facts & p.waiting - p.applied),
        "parked": sum(fact[1] in p.parked for fact in facts - p.applied - p.waiting),
        "lost": sum(one.accepted > 0 and (one.account, one.key) not in stored for one in p.offered),
        "cases": len(p.of("policy.cases")),
        "decisions": sum(bool(row["case_id"]) for row in p.of("policy.case_log")),
        "errands": len(p.errands),
        **{f"errands_{status}": n for status, n in sorted(statuses.items())},
        "calls": sum(call.what != "look" for call in p.calls),
        "effects": len(left),
        "duplicate_messages": len(left) - len({(c.case_id, c.what, c.name, c.says) for c in left}),
        "tasks_open": sum(row["status"] == "open" for row in p.of("policy.tasks")),
    }
    accounted["unexplained"] = accounted["facts"] - sum(accounted[n] for n in ("applied", "waiting", "parked"))
    return accounted


async def tables_of(service: str, database: Database) -> dict[str, Sequence[Row]]:
    """One service's tables as `Picture.tables` names them."""
    found: dict[str, Sequence[Row]] = {}
    async with database.reading() as tx:
        for table in TABLES[service]:
            rows: Sequence[Any] = await tx.rows(f"SELECT * FROM {table}")
            found[f"{service}.{table}"] = [dict(row) for row in rows]
    return found
