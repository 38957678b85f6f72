"""Checks of what came in: deliveries, facts, the cases' logs, clocks, counters. Each gives the violations it finds."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from shared.domain.facts import ORDER_LEVEL
from tests.crash.picture import Picture, Row, Violation, grouped, micros

_OURS = ("clock", "operator", "hand")
_FEEDS = ("intake.facts", "policy.outbound", "policy.case_events", "notifier.results")


def accepted_is_recorded(p: Picture) -> Iterator[Violation]:
    """I1: each delivery that was answered 2xx is there once, with its bytes."""
    stored = grouped(p.of("intake.deliveries"), "account", "dedupe_key")
    bytes_of = {(row["account"], row["delivery_id"]): bytes(row["body"]) for row in p.of("intake.raw")}
    for one in p.offered:
        rows = stored.get((one.account, one.key), [])
        told = {"account": one.account, "key": one.key, "accepted": one.accepted, "rows": len(rows)}
        if len(rows) > 1 or (one.accepted and not rows):
            yield Violation("I1", "an accepted delivery is not there exactly once", told)
        elif rows and one.body is not None and bytes_of.get((one.account, rows[0]["id"])) != one.body:
            yield Violation("I1", "a delivery's bytes are not those that were sent", told)


def nothing_unasked(p: Picture) -> Iterator[Violation]:
    """I7: no pushed delivery is there that nobody made."""
    made = {(one.account, one.key) for one in p.offered}
    accounts = {account for account, _ in made}
    for row in p.of("intake.deliveries"):
        known = (row["account"], row["dedupe_key"]) in made or row["outcome"] == "conflict"
        if row["source"] == "push" and row["account"] in accounts and not known:
            yield Violation("I7", "a delivery nobody made", {"key": row["dedupe_key"]})


def one_cause_one_event(p: Picture) -> Iterator[Violation]:
    """I2: one delivery per key, as many facts as it told, each fact once."""
    for key, rows in grouped(p.of("intake.deliveries"), "account", "dedupe_key").items():
        if len(rows) > 1:
            yield Violation("I2", "one cause was stored more than once", {"key": key, "rows": len(rows)})
    facts = Counter((row["account"], row["delivery_id"]) for row in p.of("intake.facts"))
    for row in p.of("intake.deliveries"):
        if facts[row["account"], row["id"]] != row["facts"] and row["replayed_at"] is None:
            told = {"delivery": row["id"], "told": row["facts"], "rows": facts[row["account"], row["id"]]}
            yield Violation("I2", "a delivery has not the facts it told", told)
    for key, rows in grouped(p.of("intake.facts"), "account", "id").items():
        if len(rows) > 1:
            yield Violation("I2", "one fact has several rows", {"fact": key})


def every_fact_arrived(p: Picture) -> Iterator[Violation]:
    """I8, I17: what intake and notifier told is applied, waits on its order, or is parked; nothing else is applied."""
    told = {(row["account"], row["id"]): table for table in _FEEDS[::3] for row in p.of(table)}
    for key, table in told.items():
        if key not in p.applied and key not in p.waiting and key[1] not in p.parked:
            yield Violation("I8", "a fact was told and never applied", {"fact": key, "table": table})
    for row in p.of("policy.case_log"):
        source = json.loads(row["fact"])["source"]
        if source not in _OURS and (row["account"], row["fact_id"]) not in told:
            yield Violation("I2", "a fact was applied that nobody told", {"fact": row["fact_id"], "source": source})


def everything_published(p: Picture) -> Iterator[Violation]:
    """I8: no row of a feed waits to be published."""
    for table in _FEEDS:
        late = [row["id"] for row in p.of(table) if row["published_at"] is None]
        if late:
            yield Violation("I8", "rows were left unpublished", {"table": table, "rows": len(late), "first": late[0]})


def applied_once(p: Picture) -> Iterator[Violation]:
    """I9: a fact is applied to a case at most once."""
    for key, rows in grouped(p.of("policy.case_log"), "account", "case_id", "fact_id").items():
        if len(rows) > 1:
            yield Violation("I9", "a fact was applied twice", {"fact": key, "seqs": [row["seq"] for row in rows]})


def gapless(p: Picture) -> Iterator[Violation]:
    """I4: each case's log is 1..n, in the order of time, each step beginning where the last one ended."""
    for case in p.of("policy.cases"):
        log = p.log_of.get(case["id"], [])
        if [row["seq"] for row in log] != list(range(1, case["seq"] + 1)):
            seqs = [row["seq"] for row in log]
            yield Violation("I4", "a case's log has gaps", {"case": case["id"], "seq": case["seq"], "log": seqs})
            continue
        yield from _continuous(case, log)
    for case_id in p.log_of.keys() - p.case_documents.keys():
        yield Violation("I4", "a log without its case", {"case": case_id})
    for key, rows in grouped(p.of("policy.cases"), "account", "kind", "external_id").items():
        if len(rows) > 1:
            yield Violation("I4", "one matter has several cases", {"identity": key, "cases": len(rows)})


def _continuous(case: Row, log: list[Row]) -> Iterator[Violation]:
    decisions = [json.loads(row["decision"]) for row in log]
    for (row, before), (after_row, after) in pairwise(zip(log, decisions, strict=True)):
        told = {"case": case["id"], "seq": after_row["seq"]}
        if after["from_state"] != before["to_state"]:
            yield Violation("I4", "a step does not begin where the last one ended", told)
        if after_row["decided_at"] < row["decided_at"]:
            yield Violation("I4", "a step is older than the one before", told)
    if decisions and decisions[-1]["to_state"] != case["state"]:
        yield Violation("I4", "a case does not stand where its log ends", {"case": case["id"]})


def never_back(p: Picture) -> Iterator[Violation]:
    """I5: what is older than the case has seen moved nothing."""
    for case in p.of("policy.cases"):
        seen: int | None = None
        for row in p.log_of.get(case["id"], []):
            fact, decision = json.loads(row["fact"]), json.loads(row["decision"])
            revision = fact.get("revision") if _of_the_case(fact, case) else None
            if revision is None:
                continue
            if seen is not None and revision < seen and not _moved_nothing(decision):
                told = {"case": case["id"], "seq": row["seq"], "revision": revision, "seen": seen}
                yield Violation("I5", "a stale fact moved its case", told)
            seen = max(revision, seen if seen is not None else revision)
        kept = p.case_documents[case["id"]].get("revision")
        if seen is not None and kept != seen:
            yield Violation("I5", "a case was set back", {"case": case["id"], "revision": kept, "seen": seen})


def _of_the_case(fact: dict[str, Any], case: Row) -> bool:
    """Whether its revision is the case's own (news of the order is not)."""
    named = fact.get("case_kind", case["kind"]), fact.get("external_id", case["external_id"])
    of_the_order = fact["kind"] in ORDER_LEVEL and case["kind"] not in ("order_care", "cancellation")
    return named == (case["kind"], case["external_id"]) and not of_the_order


def _moved_nothing(decision: dict[str, Any]) -> bool:
    left = [decision.get(name) for name in ("errands", "withdrawals", "opened_tasks", "due")]
    return bool(decision.get("no_op")) and decision["from_state"] == decision["to_state"] and not any(left)


def same_bytes(p: Picture) -> Iterator[Violation]:
    """I6: every case comes out of its log again, byte for byte."""
    for one in p.differing:
        yield Violation("I6", "a case does not come out of its log again", {"case": str(one)})


def clocks(p: Picture) -> Iterator[Violation]:
    """I14: never early, never twice; and none that is due lies unfired."""
    for case_id, log in p.log_of.items():
        due: dict[str, int] = {}
        fired: Counter[tuple[Any, ...]] = Counter()
        for row in log:
            fact, decision = json.loads(row["fact"]), json.loads(row["decision"])
            if fact["kind"] == "timer.elapsed":
                data = fact["data"]
                fired[data["clock"], data["generation"], data["moment"]] += 1
                yield from _early(case_id, row, fact, due)
            due |= {name: micros(at) for name, at in decision.get("due", {}).items()}
        for clock, n in fired.items():
            if n > 1:
                yield Violation("I14", "a clock fired twice", {"case": case_id, "clock": clock, "times": n})
    for case in p.of("policy.cases"):
        if case["next_due_at"] is not None and case["next_due_at"] <= p.now:
            yield Violation("I14", "a due clock did not fire", {"case": case["id"], "due_at": case["next_due_at"]})


def _early(case_id: str, row: Row, fact: dict[str, Any], due: dict[str, int]) -> Iterator[Violation]:
    data = fact["data"]
    at = [micros(fact["occurred_at"])]
    if data["moment"] == "due" and data["clock"] in due:
        at.append(due[data["clock"]])
    if row["decided_at"] < max(at):
        told = {"case": case_id, "clock": data["clock"], "due_at": max(at), "fired_at": row["decided_at"]}
        yield Violation("I14", "a clock fired early", told)


def attended(p: Picture) -> Iterator[Violation]:
    """Each open case has an armed clock or an open task."""
    with_task = {row["case_id"] for row in p.of("policy.tasks") if row["status"] == "open"}
    for case in p.of("policy.cases"):
        if case["phase"] != "resolved" and case["next_due_at"] is None and case["id"] not in with_task:
            yield Violation("A", "an open case lies unattended", {"case": case["id"], "state": case["state"]})


def counters(p: Picture) -> Iterator[Violation]:
    """I25: what is counted in the transactions, and what is exported of it, equals the tables."""
    counted: Counter[tuple[str, ...]] = Counter()
    for row in p.of("policy.counters"):
        counted[row["name"], *row["labels"].split("\x1f")] += row["value"]
    recounted = recount(p)
    yield from _equal("counters", {k: v for k, v in counted.items() if v}, recounted)
    if p.gauges is not None:
        wanted = {key: value for key, value in recounted.items() if key[0] != "money_at_risk"}
        shown = {key: value for key, value in p.gauges.items() if key[0] in ("cases", "tasks_open") and value}
        yield from _equal("metrics", shown, wanted)
    yield from _duplicates(p)


def recount(p: Picture) -> dict[tuple[str, ...], float]:
    """The counters' values from the tables themselves."""
    found: Counter[tuple[str, ...]] = Counter()
    for case in p.of("policy.cases"):
        found["cases", case["marketplace"], case["kind"], case["phase"]] += 1
        if case["at_risk_minor"] is not None:
            found["money_at_risk", case["marketplace"], case["at_risk_currency"]] += case["at_risk_minor"]
    for task in p.of("policy.tasks"):
        if task["status"] == "open":
            found["tasks_open", task["kind"]] += 1
    return dict(found)


def _equal(name: str, found: dict[Any, float], wanted: dict[Any, float]) -> Iterator[Violation]:
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key, 0) != wanted.get(key, 0):
            told = {"of": key, "counted": found.get(key, 0), "there": wanted.get(key, 0)}
            yield Violation("I25", f"{name} disagree with the tables", told)


def _duplicates(p: Picture) -> Iterator[Violation]:
    """A repeat answered 2xx was counted; one that was cut off may have been."""
    counted: Counter[str] = Counter()
    for row in p.of("intake.counters"):
        if row["name"] == "duplicate":
            counted[row["account"]] += row["value"]
    for account in {one.account for one in p.offered}:
        mine = [one for one in p.offered if one.account == account]
        least = sum(max(0, one.accepted - 1) for one in mine)
        most = sum(max(0, one.sent - 1) for one in mine)
        if not least <= counted[account] <= most:
            told = {"account": account, "counted": counted[account], "least": least, "most": most}
            yield Violation("I25", "repeats were miscounted", told)


CHECKS = (
    accepted_is_recorded, nothing_unasked, one_cause_one_event, every_fact_arrived, everything_published, applied_once,
    gapless, never_back, same_bytes, clocks, attended, counters,
)  # fmt: skip
