"""What a person may do, when, with which words; and what the API answers otherwise."""

import msgspec
import pytest
from core_scene import Scene, usd

from services.policy.core.actions import PARAMS
from services.policy.core.allowed import allowed
from services.policy.core.decision import View
from services.policy.core.names import for_guard
from services.policy.core.working import looking
from shared.domain.case import OpenTask
from shared.domain.playbook import Row


def may(scene: Scene) -> tuple[str, ...]:
    return allowed(scene.playbook, View(case=scene.case, order=scene.order, terms=scene.terms))


def silent(scene: Scene) -> Scene:
    """A case whose buyer has not been written to."""
    scene.terms = msgspec.structs.replace(scene.terms, purposes={"remind_once": ()})
    scene.tell("return.requested", {"amount": usd("40.00"), "paid": usd("60.00"), "reason": "damaged"})
    return scene


@pytest.mark.parametrize(
    ("action", "params", "detail"),
    [
        ("contact", {}, "text or purpose"),
        ("contact", {"text": "hi", "purpose": "remind_once"}, "text or purpose"),
        ("contact", {"text": " "}, "text"),
        ("contact", {"text": "hi", "attachments": ["no hash"]}, "SHA-256"),
        ("decline", {}, "reason"),
        ("refund", {"amount": {"value": "1.001", "currency": "USD"}}, "amount"),
        ("refund", {"amount": 5}, "amount"),
        ("refund", {"amount": usd("1.00"), "keep_item": "yes"}, "keep_item"),
        ("propose", {}, "amount"),
        ("propose", {"remedy": "gold", "amount": usd("1.00")}, "remedy"),
        ("close", {"reason": "because", "comment": "x"}, "reason"),
        ("close", {"reason": "other"}, "comment"),
        ("submit_evidence", {}, "text"),
        ("approve", {}, "act_id"),
    ],
)
def test_bad_parameters_are_422(opened: Scene, action: str, params: dict[str, object], detail: str) -> None:
    answer = opened.refused(action, params, reason="audit")
    assert answer.status == 422 and detail in answer.detail


def test_refused_actions_leave_nothing_behind(opened: Scene) -> None:
    before, seq = opened.case, len(opened.log)
    opened.refused("confirm_receipt")
    opened.refused("fly")
    assert opened.case is before and len(opened.log) == seq


@pytest.mark.parametrize("action", ["confirm_receipt", "inspect", "fly", "", "ship_replacement"])
def test_what_the_state_does_not_know_is_409_with_what_is_possible(opened: Scene, action: str) -> None:
    answer = opened.refused(action)
    assert answer.status == 409
    assert answer.allowed == (
        "contact", "authorise", "decline", "refund", "propose", "close", "submit_evidence", "escalate",
    )  # fmt: skip
    assert answer.allowed == may(opened)


def test_nothing_is_possible_once_resolved(opened: Scene) -> None:
    opened.tell("case.closed")
    assert may(opened) == ()
    assert opened.refused("contact", {"text": "hello"}).code == "case_closed"


@pytest.mark.parametrize("action", ["authorise", "refund", "decline", "propose", "close"])
def test_contact_comes_first(scene: Scene, action: str) -> None:
    silent(scene)
    every = {"reason": "other", "comment": "c", "amount": usd("5.00"), "keep_item": True}
    params = {name: given for name, given in every.items() if name in PARAMS.get(action, ())}
    answer = scene.refused(action, params, reason="r")
    assert answer.code == "contact_first" and answer.allowed == ("contact", "submit_evidence", "escalate")


def test_contact_first_may_be_passed_over_with_a_reason(scene: Scene) -> None:
    silent(scene)
    assert scene.refused("authorise", override={"rule": "contact_first"}).code == "contact_first"
    assert scene.act("authorise", override={"rule": "contact_first", "reason": "spoke on the phone"}).errands


def test_a_planned_message_counts_as_contact(scene: Scene) -> None:
    silent(scene)
    decision = scene.act("contact", {"text": "How can I help?", "attachments": ["a" * 64]})
    message = decision.errands[0]
    assert (message.name, message.text, message.attachments) == ("free_text", "How can I help?", ("a" * 64,))
    assert decision.answered == message.id
    assert scene.act("authorise").errands


def test_a_purpose_is_written_from_the_case_and_the_operators_words(opened: Scene) -> None:
    variables = {"explanation": "Out of policy"}
    decision = opened.act("contact", {"purpose": "decline_with_reason", "variables": variables})
    assert decision.errands[0].params == {"order_id": "o-1", "explanation": "Out of policy"}
    assert opened.refused("contact", {"purpose": "decline_with_reason"}).status == 422
    assert opened.refused("contact", {"purpose": "sing"}).code == "unknown_purpose"


def test_a_reason_is_required_to_close(opened: Scene) -> None:
    params = {"reason": "mutual_agreement", "comment": "We agreed"}
    assert opened.refused("close", params).code == "reason_required"
    decision = opened.act("close", params, reason="agreed by message")
    assert [errand.name for errand in decision.errands] == ["close"], "a person has decided: nobody else need agree"


def test_a_reason_is_required_to_refund_under_a_claim_beside_this_case(opened: Scene) -> None:
    opened.order = msgspec.structs.replace(opened.order, open_claims=("case_9",))
    params = {"amount": usd("5.00"), "keep_item": True}
    answer = opened.refused("refund", params)
    assert (answer.code, answer.status) == ("reason_required", 422)
    assert opened.act("refund", params, reason="the claim would be lost").errands


def test_a_reason_is_required_to_refund_under_an_open_claim(opened: Scene) -> None:
    opened.tell("return.received", {"stage": "guarantee"})
    assert opened.refused("refund", {"amount": usd("5.00")}).code == "reason_required"
    assert opened.act("refund", {"amount": usd("5.00")}, reason="we were wrong").answered


def test_representations_need_their_scope(opened: Scene) -> None:
    answer = opened.refused("represent", {"text": "x" * 300})
    assert (answer.code, answer.status) == ("needs_scope", 403)


def test_an_act_for_a_person_becomes_a_task_when_the_playbook_wants_it(opened: Scene) -> None:
    decision = opened.act("escalate")
    assert decision.errands, "the person decided: it goes"


def test_an_offer_is_noted_and_above_the_maximum_it_is_a_task(opened: Scene) -> None:
    opened.act("propose", {"amount": usd("5.00")})
    assert opened.case.facts["offered"] == usd("5.00")
    opened.tell("case.updated", {"max_refund": usd("6.00")})
    opened.act("propose", {"amount": usd("6.01")})
    assert "answer_needed" in opened.tasks


def test_an_offer_that_stands_is_not_made_again(opened: Scene) -> None:
    """Found by the simulation: the buyer was told of the same sum twice."""
    first = opened.act("propose", {"amount": usd("5.00")}).answered
    opened.tell("act.sent", {"errand_id": first, "name": "propose"}, source="channel")
    again = opened.act("propose", {"amount": usd("5.00")})
    assert (again.answered, again.errands) == (first, ())
    other = opened.act("propose", {"amount": usd("5.50")})
    assert [errand.name for errand in other.errands] == ["propose"] and other.answered != first


def test_receipt_and_inspection_move_the_goods_and_the_money_follows(opened: Scene) -> None:
    opened.tell("return.shipped")
    opened.act("confirm_receipt", {"condition": "ok"})
    assert (opened.case.state, opened.case.goods, opened.case.facts["condition"]) == ("checking", "received", "ok")
    decision = opened.act("inspect", {"result": "ok"})
    assert (opened.case.state, opened.case.goods) == ("paying", "inspected")
    assert [errand.name for errand in decision.errands] == ["refund"]


def test_a_task_may_be_answered_by_an_action(opened: Scene) -> None:
    opened.clock("nudge")
    opened.clock("answer")
    task = opened.task("deadline_at_risk")
    assert opened.case.tasks[task].allowed == ("authorise", "refund", "decline", "done")
    refused = opened.refused("answer", {"task_id": task, "answer": "fly"})
    assert refused.status == 422
    decision = opened.answer(task, "authorise")
    assert [errand.name for errand in decision.errands] == ["authorise"]
    assert task in decision.closed_tasks
    assert opened.refused("answer", {"task_id": task, "answer": "done"}).code == "task_not_open"


def test_an_answer_that_is_refused_leaves_the_task_open(opened: Scene) -> None:
    opened.clock("answer")
    task = opened.task("deadline_at_risk")
    answer = opened.refused("answer", {"task_id": task, "answer": "refund", "params": {"amount": usd("40.00")}})
    assert answer.code == "goods_not_back" and task in opened.case.tasks


def test_approval_may_come_as_the_answer_to_its_task(opened: Scene) -> None:
    opened.act("refund", {"amount": usd("60.00"), "keep_item": True})
    decision = opened.answer(opened.task("approve_act"), "approve", scopes=("act", "approve"))
    assert [errand.name for errand in decision.errands] == ["refund"] and opened.tasks == []


def test_approve_stands_among_the_possible_while_something_waits(opened: Scene) -> None:
    assert "approve" not in may(opened)
    opened.act("refund", {"amount": usd("60.00"), "keep_item": True})
    assert {"approve", "reject"} <= set(may(opened))


def test_a_blocked_message_is_a_task_and_may_be_dropped(opened: Scene) -> None:
    message = opened.errand("acknowledge_request")
    verdict = {"ok": False, "action": "block", "violations": []}
    opened.report("blocked", message, verdict=verdict)
    task = opened.case.tasks[opened.task("message_blocked")]
    assert task.prepared is not None and task.prepared["verdict"] == verdict
    decision = opened.answer(task.id, "drop")
    assert [(r.errand_id, r.answer) for r in decision.resolutions] == [(message, "drop")]


@pytest.mark.parametrize(("status", "kind"), [("blocked", "message_blocked"), ("assisted", "assisted_message")])
def test_a_persons_task_carries_the_text_its_language_and_the_verdict(opened: Scene, status: str, kind: str) -> None:
    words = {"text": "Здравствуйте!", "locale": "ru", "verdict": {"ok": True, "action": "send", "violations": []}}
    steps = {"text": "Здравствуйте!", "link": None, "checklist": ["Open the chat"]}
    told = {"prepared": steps} if status == "assisted" else {"why": "the chat is closed"}
    opened.report(status, opened.errand("acknowledge_request"), **words, **told)
    prepared = opened.case.tasks[opened.task(kind)].prepared
    assert prepared == {**words, **(steps if status == "assisted" else told)}


def test_a_message_a_rule_holds_is_a_task_and_may_be_sent_or_dropped(opened: Scene) -> None:
    message = opened.errand("acknowledge_request")
    verdict = {"ok": False, "action": "hold", "violations": [{"rule": "AE-M07", "severity": "hold"}]}
    opened.report("held", message, verdict=verdict, why="AE-M07: looks like an address")
    task = opened.case.tasks[opened.task("message_blocked")]
    assert (task.allowed, task.errand_id) == (("send_again", "drop"), message)
    assert task.prepared == {"verdict": verdict, "why": "AE-M07: looks like an address"}
    decision = opened.answer(task.id, "send_again")
    assert [(r.errand_id, r.answer) for r in decision.resolutions] == [(message, "send_again")]
    assert opened.case.errands[message].status == "planned"
    opened.report("sent", message)
    assert opened.tasks == []


def test_a_held_message_that_a_person_drops_is_over(opened: Scene) -> None:
    message = opened.errand("acknowledge_request")
    opened.report("held", message, verdict={"ok": False, "action": "hold", "violations": []})
    decision = opened.answer(opened.task("message_blocked"), "drop")
    assert [r.answer for r in decision.resolutions] == ["drop"] and message not in opened.case.errands


def test_a_hold_that_ends_by_itself_asks_nobody_and_ends_the_asking(opened: Scene) -> None:
    message = opened.errand("acknowledge_request")
    opened.report("held", message, verdict={"ok": False, "action": "hold", "violations": []})
    until = "2026-11-23T12:00:00Z"
    opened.report("held", message, why="quiet hours", until=until)
    assert opened.tasks == [] and opened.case.errands[message].status == "held"


def test_what_is_not_a_parameter_here_is_422_unless_the_manifest_names_it(opened: Scene) -> None:
    answer = opened.refused("authorise", {"return_address_id": "4711"})
    assert (answer.code, answer.status) == ("bad_params", 422) and "return_address_id" in answer.detail
    opened.terms = msgspec.structs.replace(opened.terms, params={"authorise": ("return_address_id",)})
    decision = opened.act("authorise", {"return_address_id": "4711"})
    assert decision.errands[0].params == {"return_address_id": "4711"}


def test_an_answer_brings_what_was_prepared_and_only_known_parameters_of_its_own(opened: Scene) -> None:
    opened.tell("return.received")
    prepared = {"act": "refund", "params": {"amount": usd("10.00"), "channel_code": "X"}}
    task = OpenTask(
        id="task_1", kind="answer_needed", reason="Refund", due_at=opened.now, opened_at=opened.now,
        allowed=("refund",), prepared=prepared,
    )  # fmt: skip
    opened.case = msgspec.structs.replace(opened.case, tasks={"task_1": task})
    assert opened.refused("answer", {"task_id": "task_1", "answer": "refund", "params": {"sum": 1}}).status == 422
    decision = opened.answer("task_1", "refund", {"amount": usd("9.00")})
    assert decision.errands[0].params == {"amount": usd("9.00"), "channel_code": "X"}


def test_a_contact_whose_rows_all_say_no_is_409_and_writes_nothing(opened: Scene) -> None:
    state = opened.playbook.states[opened.case.state]
    row = Row(id="only_classified", fact="operator.acted:contact", when="param_text == 'classified'")
    states = {**opened.playbook.states, state.name: msgspec.structs.replace(state, rows=(row, *state.rows))}
    opened.playbook = msgspec.structs.replace(opened.playbook, states=states)
    before = opened.case
    answer = opened.refused("contact", {"text": "not yet"})
    assert (answer.code, answer.status) == ("not_allowed", 409)
    assert opened.case is before
    assert opened.act("contact", {"text": "classified"}).rule == "only_classified"


def test_a_guard_may_ask_for_other_claims_of_the_order(opened: Scene) -> None:
    def claims(*ids: str) -> object:
        order = msgspec.structs.replace(opened.order, open_claims=ids)
        return for_guard(
            looking(opened.playbook, View(case=opened.case, order=order, terms=opened.terms)), "open_claims"
        )

    assert (claims(), claims("case_2"), claims("case_1")) == (0, 1, 0), "its own is not another"
