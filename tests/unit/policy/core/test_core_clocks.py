"""Due times: business days, zones, changes of summer time; arming, lateness, what happens at the margin and after."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from core_scene import Scene, usd

from services.policy.core import clocks
from services.policy.core.check import Known, check
from services.policy.core.clocks import ClockFault, due_after
from services.policy.core.decision import View
from services.policy.core.load import load
from shared.domain.playbook import ClockRule, Terms


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("rule", "base", "due"),
    [
        # 3 July 2026 is the observed US Independence Day, a Friday.
        ({"business_days": 1, "calendar": "US"}, "2026-07-02T15:00:00+00:00", "2026-07-06T15:00:00+00:00"),
        # Thanksgiving, Thursday 26 November 2026; the Friday after it is a working day.
        ({"business_days": 2, "calendar": "US"}, "2026-11-25T10:00:00+00:00", "2026-11-30T10:00:00+00:00"),
        # Over a year's end.
        ({"business_days": 3, "calendar": "DE"}, "2026-12-30T10:00:00+00:00", "2027-01-05T10:00:00+00:00"),
        # The working week of the Emirates runs from Monday to Friday since 2022; of Egypt from Sunday to Thursday.
        ({"business_days": 1, "calendar": "EG"}, "2026-11-19T10:00:00+00:00", "2026-11-22T10:00:00+00:00"),
        # From a Saturday: Monday is the first working day.
        ({"business_days": 1, "calendar": "US"}, "2026-11-21T10:00:00+00:00", "2026-11-23T10:00:00+00:00"),
        ({"business_days": 0, "calendar": "US"}, "2026-11-21T10:00:00+00:00", "2026-11-23T10:00:00+00:00"),
        # Which day it is goes by the zone: Friday evening in Los Angeles is Saturday in UTC.
        (
            {"business_days": 1, "calendar": "US", "zone": "America/Los_Angeles", "at": "23:59"},
            "2026-11-21T05:00:00+00:00",
            "2026-11-24T07:59:00+00:00",
        ),
        # Europe/Berlin leaves summer time on 25 October 2026: five calendar days are 121 hours.
        ({"days": 5, "zone": "Europe/Berlin"}, "2026-10-22T10:00:00+00:00", "2026-10-27T11:00:00+00:00"),
        # ... and enters it on 29 March 2026: 119 hours.
        ({"days": 5, "zone": "Europe/Berlin"}, "2026-03-26T10:00:00+00:00", "2026-03-31T09:00:00+00:00"),
        # Hours are hours.
        ({"hours": 120, "zone": "Europe/Berlin"}, "2026-10-22T10:00:00+00:00", "2026-10-27T10:00:00+00:00"),
        # 02:30 is skipped on 29 March: an hour later by the clock on the wall.
        ({"days": 1, "zone": "Europe/Berlin", "at": "02:30"}, "2026-03-28T01:00:00+00:00", "2026-03-29T01:30:00+00:00"),
        # 02:30 comes twice on 25 October: the first counts.
        ({"days": 1, "zone": "Europe/Berlin", "at": "02:30"}, "2026-10-24T00:00:00+00:00", "2026-10-25T00:30:00+00:00"),
        # The time of day is never before what it is counted from.
        ({"days": 0, "at": "09:00"}, "2026-11-21T10:00:00+00:00", "2026-11-22T09:00:00+00:00"),
        ({"hours": 48}, "2026-11-21T10:00:00.123456+00:00", "2026-11-23T10:00:00.123456+00:00"),
        # `account` and `terms` are the account's own.
        ({"days": 5, "zone": "account"}, "2026-10-22T10:00:00+00:00", "2026-10-27T11:00:00+00:00"),
        ({"business_days": 1, "calendar": "terms"}, "2026-07-02T15:00:00+00:00", "2026-07-06T15:00:00+00:00"),
    ],
)
def test_due_times(rule: dict[str, Any], base: str, due: str) -> None:
    terms = Terms(account="a", time_zone="Europe/Berlin", calendar="US")
    assert due_after(ClockRule(name="c", **rule), at(base), terms) == at(due)


def test_without_a_calendar_of_the_account_only_weekends_are_free() -> None:
    rule = ClockRule(name="c", business_days=1, calendar="terms")
    assert due_after(rule, at("2026-07-02T15:00:00+00:00"), Terms(account="a")) == at("2026-07-03T15:00:00+00:00")


@pytest.mark.parametrize(
    "rule",
    [
        {"business_days": 1, "calendar": "XX"},
        {"days": 1, "zone": "Mars/North"},
        {"days": 10**9},
        {"days": 1, "at": "25:00"},
    ],
)
def test_what_cannot_be_computed_is_a_clock_fault(rule: dict[str, Any]) -> None:
    with pytest.raises(ClockFault):
        due_after(ClockRule(name="c", **rule), at("2026-11-21T10:00:00+00:00"), Terms(account="a"))


def test_a_clock_that_cannot_be_set_is_put_before_a_person(opened: Scene) -> None:
    opened.terms = msgspec.structs.replace(opened.terms, calendar="XX")
    opened.tell("return.received")
    assert "check" not in opened.case.clocks
    assert opened.tasks == ["conflict"]


def test_an_unlikely_deadline_of_the_marketplace_is_not_believed(opened: Scene) -> None:
    opened.tell("case.updated", {"due_at": "9999-12-31T00:00:00Z"})
    assert opened.case.clocks["answer"].origin == "default"
    assert "conflict" in opened.tasks


def test_the_margin_comes_before_the_due_time_and_each_only_once(opened: Scene) -> None:
    clock = opened.case.clocks["answer"]
    assert clock.next_at == clock.act_at
    margin = opened.fact("timer.elapsed", {"clock": "answer", "generation": 1, "moment": "margin"})
    opened.now = clock.act_at or opened.now
    first = opened.offer(margin)
    assert first.rule == "clock/answer#2"
    assert opened.case.clocks["answer"].next_at == clock.due_at
    assert opened.offer(margin).no_op
    due = opened.clock("answer")
    assert due.rule == "deciding/timer.elapsed:answer#1"
    assert "answer" not in opened.case.clocks


@pytest.mark.parametrize(
    "change", [{"generation": 2}, {"generation": 0}, {"clock": "nudge2"}, {"moment": "due"}, {"generation": "1"}]
)
def test_a_clock_that_was_cancelled_set_again_or_is_not_yet_due_does_nothing(
    opened: Scene, change: dict[str, Any]
) -> None:
    opened.now = opened.case.clocks["answer"].act_at or opened.now
    before = opened.case
    decision = opened.offer(
        opened.fact("timer.elapsed", {"clock": "answer", "generation": 1, "moment": "margin", **change})
    )
    assert decision.no_op
    assert msgspec.structs.replace(decision.case, seq=before.seq) == before


def test_never_early(opened: Scene) -> None:
    data = {"clock": "answer", "generation": 1, "moment": "margin"}
    assert opened.tell("timer.elapsed", data).no_op


def test_set_again_it_has_a_new_generation_and_the_old_one_is_dead(opened: Scene) -> None:
    old = opened.case.clocks["answer"]
    opened.tell("case.updated", {"due_at": (opened.now + timedelta(days=9)).isoformat()})
    opened.now = old.due_at
    assert opened.tell("timer.elapsed", {"clock": "answer", "generation": 1, "moment": "due"}).no_op
    assert opened.case.generations["answer"] == 2


def test_a_generation_is_never_given_out_twice(opened: Scene) -> None:
    opened.tell("return.authorised")
    opened.clock("arrival")
    assert opened.case.clocks["answer"].generation == 2


def test_a_planned_act_is_not_done_after_the_deadline(scene: Scene) -> None:
    scene.tell("return.requested", {"amount": usd("12.00"), "paid": usd("60.00")})
    decision = scene.clock("answer", late=timedelta(days=1))
    assert decision.errands == (), "it would come too late: a person is told"
    assert scene.tasks == ["deadline_at_risk"]


def test_a_planned_act_noticed_late_but_in_time_is_done(scene: Scene) -> None:
    scene.tell("return.requested", {"amount": usd("12.00"), "paid": usd("60.00")})
    assert scene.clock("answer", late=timedelta(hours=23)).errands[0].name == "refund"


def test_a_reminder_noticed_too_late_is_skipped(opened: Scene) -> None:
    opened.report("sent", opened.errand("acknowledge_request"))
    decision = opened.clock("nudge", late=timedelta(hours=2))
    assert decision.rule == "clock/nudge/skipped" and decision.errands == ()


def test_a_reminder_in_time_is_written(opened: Scene) -> None:
    opened.report("sent", opened.errand("acknowledge_request"))
    assert [errand.name for errand in opened.clock("nudge").errands] == ["remind_once"]


def test_who_has_acted_is_not_acted_for(opened: Scene) -> None:
    opened.act("authorise")
    decision = opened.clock("answer")
    assert decision.rule == "clock/answer/acted" and decision.errands == () and opened.tasks == []


def test_a_deadline_passed_without_an_act_counts_as_missed(opened: Scene) -> None:
    opened.clock("answer")
    decision = opened.clock("answer")
    assert [effect.name for effect in decision.effects if effect.do == "miss"] == ["answer"]


def test_an_act_that_was_sent_keeps_it_from_counting(opened: Scene) -> None:
    act_id = opened.act("authorise").answered or ""
    opened.report("sent", act_id)
    opened.clock("answer")
    assert [effect for effect in opened.clock("answer").effects if effect.do == "miss"] == []


def test_a_buyers_clock_is_nobodys_missed_deadline(opened: Scene) -> None:
    opened.tell("return.shipped")
    assert [effect for effect in opened.clock("arrival").effects if effect.do == "miss"] == []


def test_the_api_sees_what_is_planned_and_when(scene: Scene) -> None:
    scene.tell("return.requested", {"amount": usd("12.00"), "paid": usd("60.00")})
    view = View(case=scene.case, order=scene.order, terms=scene.terms)
    shown = clocks.deadlines(scene.case, scene.playbook, view)
    assert [entry["name"] for entry in shown] == ["nudge", "answer"]
    answer = scene.case.clocks["answer"]
    assert shown[1] == {
        "name": "answer",
        "due_at": answer.due_at,
        "origin": "default",
        "act_at": answer.act_at,
        "planned": {"do": "refund", "params": {"amount": usd("12.00")}},
    }
    assert (shown[0]["act_at"], shown[0]["planned"]) == (None, None)


def test_what_is_planned_follows_the_facts(scene: Scene) -> None:
    scene.tell("return.requested", {"amount": usd("12.00"), "paid": usd("60.00")})
    scene.tell("case.updated", {"amount": usd("45.00")})
    view = View(case=scene.case, order=scene.order, terms=scene.terms)
    planned = clocks.deadlines(scene.case, scene.playbook, view)[1]["planned"]
    assert planned == {"do": "task", "params": {"kind": "deadline_at_risk", "reason": "Answer the return"}}


def test_a_clock_set_anew_by_a_row_counts_from_then() -> None:
    text = """
playbook: review
marketplace: testplace
version: "1"
opens_on: {review.posted: {to: open}}
clocks: {look: {days: 7, platform: due_at, deadline: false, late: fire, source: "made up", read: 2026-11-21}}
states:
  open:
    phase: awaiting_seller
    clocks: [look]
    moves: {case.closed: {to: done}, timer.elapsed:look: {arm: look}}
    otherwise: record
  done: {phase: resolved, outcome: completed}
"""
    playbook = load(text, "again.yaml")
    assert check(playbook, Known()) == []
    scene = Scene(playbook)
    due = scene.tell("review.posted", {"due_at": (scene.now + timedelta(days=2)).isoformat()}).due["look"]
    scene.clock("look")
    looked = scene.case.clocks["look"]
    assert (looked.due_at, looked.generation) == (due + timedelta(days=7), 2), "a figure that has passed counts no more"
