"""What evidence an act carries, and what becomes of it."""

from typing import Any

import pytest
from core_scene import Scene, shipped_text, usd

from services.policy.core.load import load

A, B, C = (letter * 64 for letter in "abc")


def kept(scene: Scene, id: str, sha256: str, content_type: str | None = "image/png", by: str = "seller") -> None:
    data = {"what": f"photo_{id}", "evidence_id": id, "sha256": sha256, "content_type": content_type, "supplied_by": by}
    scene.tell("evidence.submitted", data, source="operator")


def handed_in(scene: Scene, *ids: str, **params: Any) -> tuple[str, tuple[str, ...]]:
    decision = scene.act("submit_evidence", {"evidence_ids": list(ids), **params})
    (errand,) = decision.errands
    assert decision.answered == errand.id
    return errand.id, errand.attachments


def test_an_act_names_its_files_and_says_what_each_is(opened: Scene) -> None:
    kept(opened, "e1", A)
    kept(opened, "e2", B, None)
    decision = opened.act("submit_evidence", {"text": "See", "evidence_ids": ["e2", "e1", "e1"]})
    (errand,) = decision.errands
    assert errand.attachments == (A,), "an address or a text is no file"
    assert errand.params == {
        "text": "See",
        "evidence_ids": ["e2", "e1"],
        "files": [
            {"evidence_id": "e2", "what": "photo_e2", "sha256": B, "content_type": None},
            {"evidence_id": "e1", "what": "photo_e1", "sha256": A, "content_type": "image/png"},
        ],
    }


def test_words_alone_carry_no_file(opened: Scene) -> None:
    kept(opened, "e1", A)
    (errand,) = opened.act("submit_evidence", {"text": "The box was whole"}).errands
    assert (errand.attachments, errand.params) == ((), {"text": "The box was whole"})


@pytest.mark.parametrize("ids", [["e9"], ["e1", "e9"]])
def test_what_is_no_evidence_of_the_case_is_refused(opened: Scene, ids: list[str]) -> None:
    kept(opened, "e1", A)
    before = opened.case
    refusal = opened.refused("submit_evidence", {"evidence_ids": ids})
    assert (refusal.code, refusal.status) == ("unknown_evidence", 422) and "e9" in refusal.detail
    assert opened.case == before
    assert opened.refused("submit_evidence", {"evidence_ids": ["e1"] * 11}).status == 422


def test_only_our_own_api_is_believed_about_files(opened: Scene) -> None:
    data = {"what": "photo", "evidence_id": "e1", "sha256": A, "content_type": "image/png", "supplied_by": "seller"}
    opened.tell("evidence.submitted", data, source="push")
    assert opened.refused("submit_evidence", {"evidence_ids": ["e1"]}).code == "unknown_evidence"


def test_a_file_named_by_the_operator_himself_is_refused(opened: Scene) -> None:
    forged = {"text": "See", "files": [{"evidence_id": "x", "sha256": C, "content_type": "image/png"}]}
    assert opened.refused("submit_evidence", forged).code == "bad_params"


def test_a_playbook_hands_in_what_our_side_has_and_has_not_handed_in_yet() -> None:
    text = shipped_text("core_return").replace(
        "delivery.updated: {evidence: true}", "delivery.updated: {act: submit_evidence}"
    )
    scene = Scene(load(text, "core_return.yaml"))
    scene.tell("return.requested", {"amount": usd("40.00"), "paid": usd("60.00"), "reason": "damaged"})
    kept(scene, "e1", A)
    kept(scene, "e2", B, by="buyer")
    act_id, _ = handed_in(scene, "e1")
    scene.report("sent", act_id)
    kept(scene, "e3", C)
    assert scene.tell("delivery.updated").errands == (), "it waits for approval"
    (waiting,) = [e.id for e in scene.case.errands.values() if e.status == "awaiting_approval"]
    (errand,) = scene.act("approve", {"act_id": waiting}).errands
    assert (errand.attachments, errand.params["evidence_ids"]) == ((C,), ["e3"])


def test_one_picture_seen_does_not_settle_an_act_of_several(opened: Scene) -> None:
    kept(opened, "e1", A)
    kept(opened, "e2", B)
    act_id, _ = handed_in(opened, "e1", "e2")
    opened.report("in_doubt", act_id)
    opened.tell("evidence.submitted", {"supplied_by": "seller", "images": 1}, source="poll")
    assert opened.case.errands[act_id].status == "in_doubt" and "in_doubt" in opened.tasks
    opened.report("sent", act_id)
    opened.tell("evidence.submitted", {"supplied_by": "seller", "images": 2}, source="poll")
    assert act_id not in opened.case.errands and "in_doubt" not in opened.tasks


def test_what_the_api_could_not_take_is_a_task_that_stays(opened: Scene) -> None:
    kept(opened, "e1", A)
    act_id, _ = handed_in(opened, "e1", text="Weighed at 800 g")
    prepared = {"text": "Weighed at 800 g", "link": None, "checklist": ["Paste it"]}
    opened.tell("act.sent", {"errand_id": act_id, "name": "submit_evidence", "prepared": prepared}, source="channel")
    (task,) = [t for t in opened.case.tasks.values() if t.kind == "assisted_act"]
    assert (task.prepared, task.allowed, task.true_in) == (prepared, ("done",), None)
    opened.tell("return.authorised")
    assert task.id in opened.case.tasks
    opened.act("answer", {"task_id": task.id, "answer": "done"})
    assert task.id not in opened.case.tasks
