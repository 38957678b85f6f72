"""Checks of what left: errands against the marketplace's own log. Each gives the violations it finds."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.crash.picture import Call, Picture, Row, Violation, grouped

PLANNED, WITHDRAWN = "amends.errand.planned.v1", "amends.errand.withdrawn.v1"
RESOLVED = "amends.errand.resolved.v1"
_TOLD = {
    "sent": {"sent"},
    "failed": {"failed", "refused", "withdrawn"},
    "suppressed": {"withdrawn", "expired", "suppressed"},
    "assisted": {"assisted"},
    "blocked": {"blocked"},
}
"""Status -> one of these was reported to policy."""
_IN_HAND = ("planned", "held", "sending")
_OVER = ("sent", "suppressed", "failed", "blocked", "assisted")


def effects(p: Picture) -> list[Call]:
    return [call for call in p.calls if call.effect and call.what != "look"]


def at_most_once(p: Picture) -> Iterator[Violation]:
    """I10: at the marketplace, one effect per errand and no two that say the same on one case."""
    for id_, n in Counter(call.errand_id for call in effects(p)).items():
        if n > 1:
            yield Violation("I10", "an errand had its effect more than once", {"errand": id_, "times": n})
    steps = {(call.case_id, call.what, call.name, call.says, call.errand_id) for call in effects(p)}
    for step, n in Counter(step[:4] for step in steps).items():
        if n > 1:
            told = {"case": step[0], "what": step[1], "name": step[2], "times": n}
            yield Violation("I10", "the same was said or done twice on one case", told)


def plans_are_known(p: Picture) -> Iterator[Violation]:
    """I8, I9: each plan of policy is one errand at notifier, and there is no other."""
    planned = {data["id"] for type_, data in p.outbound if type_ == PLANNED}
    for id_ in sorted(planned - p.errands.keys()):
        yield Violation("I8", "a planned errand never reached notifier", {"errand": id_})
    for id_ in sorted(p.errands.keys() - planned):
        yield Violation("I9", "notifier has an errand nobody planned", {"errand": id_})
    for key, rows in grouped(p.of("notifier.errands"), "account", "id").items():
        if len(rows) > 1:
            yield Violation("I9", "an errand was taken in twice", {"errand": key})


def nothing_silently_unsent(p: Picture) -> Iterator[Violation]:
    """I11: each errand ended, waits for a moment to come, or is before a person; and policy was told which."""
    asked = {json.loads(row["document"]).get("errand_id") for row in p.of("policy.tasks")}
    for row in p.errands.values():
        told = {"errand": row["id"], "status": row["status"], "why": row["why"]}
        at = row["next_at"]
        if row["status"] == "sending" or (row["status"] == "planned" and (at is None or at <= p.now)):
            yield Violation("I11", "an errand was left on its way", told)
        if row["status"] in ("held", "in_doubt") and at is not None and at <= p.now:
            yield Violation("I11", "an errand is due and nothing was done", told)
        if row["status"] == "in_doubt" and at is None and row["id"] not in asked:
            yield Violation("I11", "an errand in doubt is before nobody", told)
        yield from _reported(p, row)


def _reported(p: Picture, row: Row) -> Iterator[Violation]:
    kinds = {fact["kind"].partition(".")[2] for fact in p.results.get(row["id"], ())}
    wanted = _TOLD.get(row["status"], set())
    if row["status"] == "in_doubt" and row["next_at"] is None:
        wanted = {"in_doubt"}
    if wanted and not wanted & kinds:
        told = {"errand": row["id"], "status": row["status"], "told": sorted(kinds)}
        yield Violation("I11", "what became of an errand was not told", told)


def both_sides_agree(p: Picture) -> Iterator[Violation]:
    """I11: policy does not think an errand under way that is over."""
    for case in p.case_documents.values():
        for id_, known in case.get("errands", {}).items():
            row = p.errands.get(id_)
            if row is not None and known["status"] in _IN_HAND and row["status"] in _OVER:
                told = {"errand": id_, "case": case["id"], "policy": known["status"], "notifier": row["status"]}
                yield Violation("I11", "policy thinks an errand under way that is over", told)


def what_is_said_to_have_left_left(p: Picture) -> Iterator[Violation]:
    """I10, I12: `sent` means that the marketplace has it; what has left is `sent` or in doubt."""
    left = {call.errand_id for call in effects(p)}
    said = _answered(p)
    for row in p.errands.values():
        told = {"errand": row["id"], "status": row["status"], "why": row["why"]}
        by_a_person = row["id"] in said
        unknown = row["id"] not in left and p.is_logged(row["account"])
        if row["status"] == "sent" and unknown and not by_a_person:
            yield Violation("I10", "an errand is called sent and the marketplace knows nothing of it", told)
        if row["status"] in ("suppressed", "failed", "blocked", "held") and row["id"] in left and not by_a_person:
            yield Violation("I12", "an errand left that is called unsent", told)
    for id_ in sorted(left - p.errands.keys()):
        yield Violation("I12", "an errand left that notifier does not know", {"errand": id_})


def _answered(p: Picture) -> set[str]:
    """Errands about which a person answered."""
    return {data["errand_id"] for type_, data in p.outbound if type_ == RESOLVED}


def nothing_after_its_withdrawal(p: Picture) -> Iterator[Violation]:
    """I12: a withdrawal is answered; what was buried or heard of never leaves; nothing starts after its time."""
    buried = {row["errand_id"] for row in p.of("notifier.tombstones")}
    for call in p.calls:
        told = {"errand": call.errand_id, "call": call.n, "at": call.at}
        if call.what == "look":
            continue
        if call.errand_id in buried:
            yield Violation("I12", "an errand left that was withdrawn before it came", told)
        if call.n >= p.heard.get(call.errand_id, call.n + 1):
            yield Violation("I12", "an errand left after its withdrawal was heard of", told)
        row = p.errands.get(call.errand_id)
        if row is not None and row["not_after"] is not None and call.at is not None and call.at > row["not_after"]:
            yield Violation("I12", "an errand was started after its time", {**told, "not_after": row["not_after"]})
    for row in p.of("notifier.attempts"):
        errand = p.errands.get(row["errand_id"])
        if errand is not None and errand["not_after"] is not None and row["at"] > errand["not_after"]:
            yield Violation("I12", "an attempt was begun after its time", {"errand": row["errand_id"]})
    yield from _withdrawals_answered(p)


def _withdrawals_answered(p: Picture) -> Iterator[Violation]:
    for type_, data in p.outbound:
        if type_ != WITHDRAWN:
            continue
        id_ = data["errand_id"]
        kinds = {fact["kind"].partition(".")[2] for fact in p.results.get(id_, ())}
        row = p.errands.get(id_)
        undecided = row is not None and row["status"] == "in_doubt" and row["withdrawn"] is not None
        if not kinds & {"withdrawn", "too_late", "expired", "suppressed"} and not undecided:
            yield Violation("I12", "a withdrawal was not answered", {"errand": id_, "told": sorted(kinds)})


def money_is_read_back(p: Picture) -> Iterator[Violation]:
    """I13: after an attempt that may have been taken money goes again only after two readings, or a person's word."""
    again = {data["errand_id"] for type_, data in p.outbound if type_ == RESOLVED and data["answer"] == "send_again"}
    last: dict[str, Call] = {}
    looks: Counter[str] = Counter()
    for call in sorted(p.calls, key=lambda call: call.n):
        id_ = call.errand_id
        if call.what == "look":
            looks[id_] += 1
            continue
        before = last.get(id_)
        if (
            call.money
            and before is not None
            and before.answer in ("cut", "done")
            and looks[id_] < 2
            and id_ not in again
        ):
            told = {"errand": id_, "calls": [before.n, call.n], "readings": looks[id_]}
            yield Violation("I13", "money was sent again without a reading", told)
        last[id_] = call
        looks[id_] = 0


def attempts_are_kept(p: Picture) -> Iterator[Violation]:
    """I11: as many attempts as the errand counts, none left open on what is over; each call has one."""
    kept = grouped(p.of("notifier.attempts"), "errand_id")
    calls = Counter(call.errand_id for call in p.calls if call.what != "look")
    for row in p.errands.values():
        mine = kept.get(row["id"], [])
        told: dict[str, Any] = {"errand": row["id"], "attempts": row["attempts"], "rows": len(mine)}
        if len(mine) != row["attempts"]:
            yield Violation("I11", "attempts were not kept", told)
        if any(one["outcome"] is None for one in mine):
            yield Violation("I11", "an attempt has no end", told)
        if calls[row["id"]] > len(mine):
            yield Violation(
                "I10", "the marketplace was called more often than was begun", {**told, "calls": calls[row["id"]]}
            )


CHECKS = (
    at_most_once, plans_are_known, nothing_silently_unsent, both_sides_agree, what_is_said_to_have_left_left,
    nothing_after_its_withdrawal, money_is_read_back, attempts_are_kept,
)  # fmt: skip
