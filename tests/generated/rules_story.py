"""What must hold of a case's story: reasons, axes, ends, messages, identities, codes nobody knows."""

from collections.abc import Iterator

import msgspec

from services.policy.core.decision import BEFORE
from shared.domain.facts import ORDER_LEVEL, Fact
from tests.generated.judge import Memory, Seen, opened, rule

_GONE = ("sending", "sent", "in_doubt")
_BY_HAND = ("confirm_receipt", "inspect", "answer")


@rule
def every_decision_has_a_reason(seen: Seen, memory: Memory) -> Iterator[str]:
    decision, case = seen.decision, seen.case
    if decision.to_state != decision.from_state and decision.rule is None and not opened(seen):
        yield f"{decision.from_state} to {decision.to_state} on {seen.fact.kind} by no rule"
    if (case.playbook, case.playbook_version, case.playbook_hash) != (
        seen.book.name,
        seen.book.version,
        seen.book.hash,
    ):
        yield "the case has left its playbook"
    if decision.errands and decision.rule is None and seen.fact.kind not in ("operator.acted",):
        yield f"{decision.errands[0].name} on {seen.fact.kind} by no rule"
    for told in decision.rejected:
        if not (told.rule and told.guard):
            yield "a row without its guard"


@rule
def no_guard_of_a_shipped_playbook_fails(seen: Seen, memory: Memory) -> Iterator[str]:
    for told in seen.decision.rejected:
        if told.why == "error":
            yield f"{seen.book.name} {told.rule}: {told.guard}"


@rule
def one_step_per_fact_and_each_is_logged_word_for_word(seen: Seen, memory: Memory) -> Iterator[str]:
    if seen.case.seq != seen.before.seq + 1 or seen.decision.fact_id != seen.fact.id:
        yield f"{seen.before.seq} to {seen.case.seq}"
    if msgspec.json.decode(seen.logged, type=Fact) != seen.fact:
        yield seen.logged


@rule
def what_changes_nothing_changes_nothing(seen: Seen, memory: Memory) -> Iterator[str]:
    decision, before, case = seen.decision, seen.before, seen.case
    kept = (before.state, before.goods, before.money, before.errands, before.tasks)
    if decision.no_op and (kept != (case.state, case.goods, case.money, case.errands, case.tasks) or decision.errands):
        yield f"{seen.fact.kind} in {before.state}"


@rule
def what_is_overtaken_never_moves_a_case_back(seen: Seen, memory: Memory) -> Iterator[str]:
    fact, case = seen.fact, seen.case
    of_the_order = fact.kind in ORDER_LEVEL and case.kind not in ("order_care", "cancellation")
    if fact.revision is None or of_the_order or (fact.case_kind, fact.external_id) != (case.kind, case.external_id):
        return
    newest = memory.newest.get(case.id, -1)
    if fact.revision < newest and not (seen.decision.no_op and seen.decision.to_state == seen.before.state):
        yield f"{fact.kind} of {fact.revision} after {newest}"
    memory.newest[case.id] = max(newest, fact.revision)


@rule
def axes_move_only_by_facts_about_them(seen: Seen, memory: Memory) -> Iterator[str]:
    before, case, kind = seen.before, seen.case, seen.fact.kind
    by_hand = kind == "operator.acted" and seen.fact.data.get("action") in _BY_HAND
    if case.goods != before.goods and not (kind.startswith(("return.", "delivery.")) or by_hand):
        yield f"goods {before.goods} to {case.goods} on {kind}"
    about_money = kind.startswith(("refund.", "act.")) or kind == "dispute.resolved" or by_hand
    if case.money != before.money and not about_money and before.money != "in_doubt":
        yield f"money {before.money} to {case.money} on {kind}"


@rule
def an_end_is_one_and_is_left_only_when_reopened(seen: Seen, memory: Memory) -> Iterator[str]:
    before, case, chart = seen.before, seen.case, seen.book.states[seen.case.state]
    if (case.phase, case.outcome) != (chart.phase, chart.outcome):
        yield f"{case.state} is {chart.phase} {chart.outcome}, the case {case.phase} {case.outcome}"
    if case.is_open != (case.liability is None) or case.is_open != (case.closed_at is None):
        yield f"{case.state}: liability {case.liability}, closed {case.closed_at}"
    moved = before.state not in (case.state, BEFORE)
    if moved and not before.is_open and seen.fact.kind != "case.reopened":
        yield f"{before.state} to {case.state} on {seen.fact.kind}"


@rule
def one_message_per_purpose_and_moment(seen: Seen, memory: Memory) -> Iterator[str]:
    """Two facts that had waited for a case are taken in at one moment: each may have its own."""
    told = [e for e in seen.decision.errands if e.what == "message" and e.name != "free_text"]
    for errand in told:
        key = (seen.case.id, errand.name, seen.fact.id, seen.now)
        first = seen.case.errands.get(memory.said.get(key, ""))
        if first is not None and not first.withdrawing:
            yield f"{errand.name} twice at {seen.now}"
        memory.said[key] = errand.id
        twins = [e for e in seen.case.errands.values() if (e.name, e.params) == (errand.name, errand.params)]
        if len([e for e in twins if not e.withdrawing and e.what == "message"]) > 1:
            yield f"{errand.name} while the same is on its way"


@rule
def what_is_no_longer_true_is_called_back(seen: Seen, memory: Memory) -> Iterator[str]:
    case = seen.case
    for errand in case.errands.values():
        untrue = errand.true_in is not None and case.state not in errand.true_in
        if untrue and case.state != seen.before.state and not (errand.withdrawing or errand.status in _GONE):
            yield f"{errand.name} ({errand.status}) in {case.state}"
    for task in case.tasks.values():
        if task.true_in is not None and case.state not in task.true_in:
            yield f"task {task.reason} in {case.state}"


@rule
def no_id_is_given_twice(seen: Seen, memory: Memory) -> Iterator[str]:
    decision = seen.decision
    waited = seen.before.errands.keys()
    fresh = {e.id for e in decision.errands if e.id not in waited} | {task.id for task in decision.opened_tasks}
    if fresh & memory.ids:
        yield str(sorted(fresh & memory.ids))
    memory.ids |= fresh
    if {told.errand_id for told in decision.withdrawals} - waited - fresh:
        yield "what is called back was never planned"


@rule
def a_code_nobody_knows_is_put_before_a_person(seen: Seen, memory: Memory) -> Iterator[str]:
    code, book = seen.fact.raw_code, seen.book
    rows = [*book.opens_on, *book.everywhere, *(r for state in book.states.values() for r in state.rows)]
    by_status = any(row.id == seen.decision.rule and row.to == "status" for row in rows)
    if (
        code
        and by_status
        and code not in book.statuses
        and not any(code[:80] in t.reason for t in seen.case.tasks.values())
    ):
        yield f"{code} in {seen.case.state}"


@rule
def a_rung_is_used_up_only_when_it_is_offered(seen: Seen, memory: Memory) -> Iterator[str]:
    used = sum(seen.case.ladder.values()) > sum(seen.before.ladder.values())
    if used and any((effect.do, effect.name) == ("skip", "propose") for effect in seen.decision.effects):
        yield f"{seen.case.ladder} while an earlier offer is on its way"
