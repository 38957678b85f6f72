"""AliExpress disputes as facts: times in US Pacific, every status, and the same end whatever order readings come in."""

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clock import parse_time
from shared.domain.facts import Draft
from shared.json_reader import read
from shared.marketplaces.aliexpress import records, simulated
from shared.marketplaces.aliexpress.issue import STATUSES, Issue, pacific
from shared.ports import Account
from tests.marketplaces.aliexpress_walk import FOLDER, START, playbook

ACCOUNT = Account("ae-main", "aliexpress")
Body = dict[str, Any]


def fixture(name: str) -> Body:
    body: Body = read((FOLDER / "fixtures" / f"{name}.json").read_bytes())
    return body


def facts(body: Body, previous: Body | None = None) -> tuple[Draft, ...]:
    return tuple(records.facts(body, previous, ACCOUNT, START))


def test_pacific_text_follows_daylight_saving() -> None:
    assert pacific("2026-01-10 04:00:00") == parse_time("2026-01-10T12:00:00Z")
    assert pacific("2026-07-10 04:00:00") == parse_time("2026-07-10T11:00:00Z")
    assert pacific("2026-11-01 01:30:00") == parse_time("2026-11-01T08:30:00Z"), "the earlier of the two: never late"
    assert pacific("") is pacific(None) is pacific("2026-13-01 00:00:00") is pacific(7) is None


def test_a_revision_never_runs_backwards_through_the_repeated_hour() -> None:
    texts = ["2026-11-01 00:59:59", "2026-11-01 01:59:59", "2026-11-01 01:05:00", "2026-11-01 02:00:00"]
    revisions = [Issue({"gmt_modified": text}).revision or 0 for text in texts]
    assert revisions == sorted(revisions)


def test_the_deadline_is_the_marketplaces_own() -> None:
    (opened,) = facts(fixture("issue_wait_for_seller_response"))
    assert opened.data["due_at"] == "2026-01-10T12:00:00Z"
    assert opened.occurred_at == datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
    assert opened.data["amount"] == {"value": "28.59", "currency": "EUR"}
    assert opened.data["max_refund"] == {"value": "28.59", "currency": "EUR"}


def test_both_shapes_of_lists_read_the_same() -> None:
    assert facts(fixture("issue_not_simplified")) == facts(fixture("issue_wait_for_seller_response"))


def test_every_status_of_the_marketplace_has_a_fixture_a_state_and_keeps_its_code() -> None:
    chart = playbook()
    assert set(STATUSES) | {"canceled_issue"} == set(chart.statuses)
    for status in STATUSES:
        body = fixture(f"issue_{status}")
        assert body["reverse_detail_status"] == status
        assert {draft.raw_code for draft in facts(body)} == {status}


def test_the_spelling_of_a_status_does_not_matter() -> None:
    body = fixture("issue_wait_for_AE_feedback") | {"reverse_detail_status": "WAIT_FOR_AE_FEEDBACK"}
    assert facts(body)[-1].raw_code == "wait_for_AE_feedback"


def test_a_platform_refund_without_a_return_brings_no_goods_back() -> None:
    kinds = [d.kind for d in facts(fixture("issue_forced_without_return"), fixture("issue_wait_for_AE_feedback"))]
    assert kinds == ["refund.issued", "dispute.resolved"]


def test_the_same_reading_again_says_nothing() -> None:
    for path in (FOLDER / "fixtures").glob("issue_*.json"):
        if not path.name.endswith(".expect.json"):
            body = read(path.read_bytes())
            assert facts(body, body) == (), path.name


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"issue_id": 1},
        {"buyer_solution_list": "x"},
        {"process_dto_list": [1, None]},
        {"timeout_trigger_time": "soon"},
    ],
)
def test_odd_bodies_are_read_as_far_as_they_go(broken: Body) -> None:
    for draft in facts({**fixture("issue_wait_for_AE_feedback"), **broken}):
        assert draft.kind and draft.occurred_at.tzinfo


def test_a_reason_is_read_by_its_words() -> None:
    said = {
        "Product damaged": "damaged", "Color_not_as_described@3rdIssueReason": "not_as_described",
        "Quantity shortage": "missing_parts", "Invalid tracking number": "not_received", "Customs problem": "customs",
        "Fake product": "counterfeit", "something new": "other", "I no longer need it": "change_of_mind",
    }  # fmt: skip
    assert {text: Issue({"issue_reason": text}).reason for text in said} == said


MOVES = [
    "buyer_modifies",
    "buyer_adds_image",
    "buyer_escalates",
    "buyer_refuses",
    "seller_escalates",
    "buyer_ships",
    "buyer_accepts",
]
ENDS = ["buyer_cancels", "platform_rules", "seller_receives"]


def story(moves: list[str], end: str) -> list[Body]:
    """The readings of one dispute."""
    body = simulated.made_up("8200001234567890", START, {"solution_type": "return_and_refund"})
    found = [json.loads(json.dumps(body))]
    for n, move in enumerate([*moves, end], 1):
        if body["issue_status"] == "processing":
            simulated.MOVES[move](body, START.replace(minute=n), {})
            found.append(json.loads(json.dumps(body)))
    return found


def view(readings: list[Body]) -> dict[str, Any]:
    """What intake keeps of readings in this order: older ones dropped, the rest compared; the last typed facts."""
    kept: Body | None = None
    data: dict[str, Any] = {}
    for body in readings:
        revision, known = Issue(body).revision or 0, (Issue(kept).revision or 0) if kept else 0
        if kept is not None and revision < known:
            continue
        for draft in facts(body, kept):
            data = {"raw_code": draft.raw_code, "revision": draft.revision, **records.snapshot(Issue(body))}
        kept = body
    return data


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(MOVES), max_size=6), st.sampled_from(ENDS), st.data())
def test_readings_repeated_and_out_of_order_end_the_same(moves: list[str], end: str, data: st.DataObject) -> None:
    readings = story(moves, end)
    mixed = data.draw(st.permutations(readings)) + data.draw(st.lists(st.sampled_from(readings), max_size=4))
    assert view(mixed) == view(readings)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(MOVES), max_size=6), st.sampled_from(ENDS))
def test_a_story_read_whole_or_only_at_its_end_has_one_opening_and_one_end(moves: list[str], end: str) -> None:
    readings = story(moves, end)
    whole = [d.kind for before, body in pairwise([None, *readings]) for d in facts(body, before)]  # type: ignore[arg-type]
    late = [d.kind for d in facts(readings[-1])]
    for kinds in (whole, late):
        assert kinds.count("dispute.opened") == 1 and kinds[0] == "dispute.opened"
        ends = [k for k in kinds if k in ("dispute.resolved", "dispute.withdrawn")]
        assert len(ends) == (readings[-1]["issue_status"] != "processing")
        assert kinds.count("refund.issued") <= 1
