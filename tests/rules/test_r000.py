# ruff: noqa: N802 - a test bears the id of its rule
"""The seed rule book on Amazon return requests, R000-01 … R000-13, as behaviour."""

from datetime import timedelta

import pytest

from services.policy.core.decision import Decision, NotAllowed
from shared.marketplaces.amazon import assisted
from tests.marketplaces.amazon_walk import Walk, playbook, usd

CLOSING = {"reason": "mutual_agreement", "comment": "As agreed, we close this request."}


def written_to(**told: object) -> Walk:
    """A return whose buyer was asked on opening."""
    walk = Walk(**told)  # type: ignore[arg-type]
    assert walk.case.contacted
    return walk


def silent(**told: object) -> Walk:
    """One whose buyer was not written to: the account's rules allowed no message then."""
    walk = Walk(raw="Approved", **told)  # type: ignore[arg-type]
    assert not walk.case.contacted
    return walk


def test_R000_01_a_request_has_exactly_these_views() -> None:
    """playbooks/return.yaml: `statuses`. `Approved` is the report's word for authorised."""
    views = set(playbook("return").statuses.values())
    assert views == {
        "authorise_required",
        "completed",
        "authorised",
        "closed_by_seller",
        "closed_by_buyer",
        "with_claim",
    }
    seen = {
        "Pending Authorization": ("return.requested", "authorise_required"),
        "Approved": ("return.authorised", "authorised"),
        "Completed": ("case.closed", "completed"),
        "Closed by seller": ("case.closed", "closed_by_seller"),
        "Closed by buyer": ("return.cancelled", "closed_by_buyer"),
        "With A-to-z claim": ("case.updated", "with_claim"),
    }
    for raw, (kind, state) in seen.items():
        walk = Walk()
        walk.tell(kind, raw)
        assert walk.state == state


def test_R000_01_an_unknown_view_moves_nothing_and_asks_a_person() -> None:
    walk = Walk()
    walk.tell("case.updated", "Escalated to Mars")
    assert walk.state == "authorise_required"
    assert [task.kind for task in walk.case.tasks.values()] == ["unmapped"]


def test_R000_02_no_decision_before_reason_and_comment_were_read() -> None:
    """playbooks/return.yaml: the guards of authorise, refund and close. Where the report brings no comment, asking the buyer
    stands for it; without either the operator says that he has read it in Seller Central."""
    walk = silent()
    assert walk.refused("authorise", override="contact_first").code == "not_allowed"
    assert walk.refused("close", override="contact_first", **CLOSING).code == "not_allowed"
    assert walk.refused("refund", override="contact_first", keep_item=True).code == "not_allowed"
    assert walk.did("authorise", override="contact_first", comment_read=True).rule == "R000-12"
    assert silent(comment="Too small").did("authorise", override="contact_first").rule == "R000-12"
    assert written_to(reason=None, reason_code=None).refused("authorise").code == "not_allowed"


def test_R000_03_the_four_answers_of_a_seller() -> None:
    """playbooks/return.yaml: `authorise_required`."""
    assert written_to().allowed == {"contact", "authorise", "refund", "close"}


@pytest.mark.parametrize("action", ["authorise", "refund", "close"])
def test_R000_04_the_first_answer_is_writing_to_the_buyer(action: str) -> None:
    """The core (operators.must_contact_first); the playbook itself writes on opening."""
    assert Walk().messages() == ["ask_for_evidence"]
    assert Walk(reason="change_of_mind").messages() == ["ask_exact_problem"]
    params = {"refund": {"keep_item": True}, "close": CLOSING}.get(action, {})
    walk = silent(comment="Too small")
    assert walk.allowed == {"contact"}
    assert walk.refused(action, **params).code == "contact_first"
    assert isinstance(walk.act(action, override="contact_first", **params), Decision)


@pytest.mark.parametrize("became", ["sent", "failed", "assisted", "held"])
def test_R000_05_a_contact_that_was_made_or_has_failed_on_record_unlocks_the_rest(became: str) -> None:
    walk = silent()
    walk.did("contact", text="What is wrong with it?")
    walk.becomes(became, "free_text")
    assert walk.allowed >= {"authorise", "refund", "close"}
    assert isinstance(walk.act("authorise"), Decision)
    if became == "failed":
        assert "message_failed_at" in walk.case.facts, "the failure stands on record"


def test_R000_06_a_refund_needs_the_goods_back_or_a_waived_return() -> None:
    """The core's rail (money.rails) and the rows named R000-06, R000-08."""
    back = written_to()
    back.tell("return.received")
    assert back.did("inspect", result="ok").rule == "R000-06"
    assert (back.acts(), back.state) == (["refund"], "refund_due")
    waived = written_to()
    assert waived.did("refund", keep_item=True, amount=usd("10.00")).rule == "R000-08"
    assert waived.acts() == ["refund", "close"]
    neither = written_to()
    assert neither.refused("refund").code == "goods_not_back"
    assert neither.acts() == []


@pytest.mark.parametrize("facts", [[], ["return.authorised"], ["return.authorised", "return.shipped"]])
def test_R000_07_no_refund_of_a_chosen_return_before_its_receipt(facts: list[str]) -> None:
    walk = written_to()
    for kind in facts:
        walk.tell(kind, "Approved")
    answer = walk.refused("refund", amount=usd("39.90"))
    assert (answer.code, walk.acts()) == ("goods_not_back", [])
    walk.tell("return.received", "Approved")
    assert isinstance(walk.act("refund", amount=usd("39.90")), Decision)


def test_R000_07_no_clock_refunds_before_the_receipt_either() -> None:
    walk = written_to(in_policy=False)
    for _ in range(2):
        walk.elapse("answer")
    walk.tell("return.authorised", "Approved")
    walk.tell("return.shipped", "Approved")
    walk.elapse("arrival")
    assert walk.acts() == []


def test_R000_08_a_keep_the_item_refund_goes_at_once() -> None:
    walk = written_to()
    walk.did("refund", keep_item=True)
    refund = walk.errands[-2]
    assert (refund.name, refund.money and refund.money.value) == ("refund", "39.90")
    walk.tell("refund.issued", refunded=usd("39.90"))
    assert (walk.case.outcome, walk.case.money) == ("refunded", "refunded")


def test_R000_08_above_the_limit_somebody_agrees_first() -> None:
    walk = written_to(amount=usd("60.00"), paid=usd("60.00"))
    assert walk.did("refund", keep_item=True).waits_for_approval


@pytest.mark.parametrize(
    "params", [{}, {"reason": "other"}, {"comment": "no"}, {"reason": "mutual_agreement", "comment": " "}]
)
def test_R000_09_a_close_needs_reason_and_comment(params: dict[str, str]) -> None:
    """The core (actions._close); Amazon forwards both, see assisted.py."""
    answer = written_to().act("close", **params)
    assert isinstance(answer, NotAllowed) and answer.status == 422


def test_R000_09_the_person_who_closes_has_both_before_him() -> None:
    walk = written_to()
    walk.did("close", **CLOSING)
    left = assisted.prepared(walk.account, walk.errands[-1])
    assert left.text == CLOSING["comment"]
    assert any("mutual_agreement" in step and "Amazon sends it to the buyer" in step for step in left.checklist)


@pytest.mark.parametrize("reason", ["refund_without_return", "outside_policy", "mutual_agreement"])
def test_R000_10_the_three_good_reasons_to_close(reason: str) -> None:
    assert written_to().did("close", reason=reason, comment="As we wrote.").rule == "R000-10"


def test_R000_11_no_close_out_of_hand() -> None:
    """Neither right after the request arrived nor right after the goods did; after an agreement either side may."""
    walk = silent(comment="Too small")
    assert walk.refused("close", **CLOSING).code == "contact_first"
    assert written_to().refused("close", reason="other", comment="No.").code == "not_allowed"
    here = written_to()
    here.tell("return.received")
    assert here.refused("close", **CLOSING).code == "not_allowed"
    agreed = written_to()
    agreed.did("close", **CLOSING)
    agreed.tell("case.closed", "Closed by seller")
    assert (agreed.state, agreed.case.outcome) == ("closed_by_seller", "rejected")
    buyer = written_to()
    buyer.tell("return.cancelled", "Closed by buyer")
    assert buyer.case.outcome == "withdrawn"


def test_R000_12_authorising_permits_the_shipment_only() -> None:
    walk = written_to()
    walk.did("authorise")
    assert "nothing is refunded" in " ".join(assisted.prepared(walk.account, walk.errands[-1]).checklist)
    walk.tell("return.authorised", "Authorized")
    assert (walk.state, walk.case.goods, walk.case.money) == ("authorised", "advised", "none")
    assert walk.acts() == ["authorise"]
    assert walk.refused("refund").code == "goods_not_back"


def test_R000_13_a_prepaid_label_goes_through_the_contact_channel() -> None:
    """playbooks/return.yaml `authorised` asks for it; messaging.py: with a file it is a person's Contact Buyer."""
    walk = written_to(settings={"prepaid_labels": True})
    walk.tell("return.authorised", "Approved")
    assert any("prepaid label" in task for task in walk.tasks())
    walk.did("contact", purpose="return_label", attachments=["a" * 64])
    assert (walk.errands[-1].name, walk.errands[-1].attachments) == ("return_label", ("a" * 64,))
    left = assisted.by_hand(walk.account, walk.errands[-1], "The label is attached.", "no attachments by API")
    assert any("Contact Buyer" in step for step in left.checklist) and any("Attach" in step for step in left.checklist)
    plain = written_to()
    plain.tell("return.authorised", "Approved")
    assert plain.tasks() == []


def test_the_clocks_of_a_request_are_amazons() -> None:
    """24 hours to answer, late after 48 (reference A3.1), each with something planned before it."""
    walk = written_to()
    due = {name: clock.due_at - walk.log[0].case.opened_at for name, clock in walk.case.clocks.items()}
    asked = timedelta(minutes=1)
    assert due == {"answer": timedelta(hours=24) + asked, "late_response": timedelta(hours=48) + asked}
    walk.elapse("answer")
    assert walk.acts() == ["authorise"], "in policy: authorised before the 24 hours are over"
