"""The protocol of doubt as a table, and what holds whatever happens."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier import breaker, protocol
from services.notifier.protocol import Life
from shared.domain.errands import Errand
from shared.domain.money import Money
from shared.ports import Assisted, Done, Found, InDoubt, NotSent, Refused

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
BASE = {
    "account": "a", "marketplace": "m", "order_id": "o", "case_id": "c", "case_kind": "return", "phase": "inspection",
    "created_at": NOW,
}  # fmt: skip
MESSAGE = Errand(id="m1", what="message", name="free_text", **BASE)
REFUND = Errand(id="r1", what="act", name="refund", money=Money("1.00", "EUR"), **BASE)
CLOSE = Errand(id="x1", what="act", name="close", **BASE)


def life(errand: Errand = MESSAGE, **changes) -> Life:
    return Life(errand, **{"attempts": 1, "first_sending_at": NOW, **changes})


@pytest.mark.parametrize(
    ("errand", "attempt", "ability", "status", "reports", "wait"),
    [
        (MESSAGE, Done("p"), "blind", "sent", ["sent"], None),
        (MESSAGE, Refused("no"), "keyed", "failed", ["failed"], None),
        (CLOSE, Refused("no"), "keyed", "failed", ["refused"], None),
        (MESSAGE, NotSent("busy", 30.0), "blind", "planned", [], 30),
        (REFUND, NotSent("away"), "blind", "planned", [], 5),
        (MESSAGE, InDoubt("?"), "keyed", "in_doubt", [], 5),
        (CLOSE, InDoubt("?"), "keyed", "in_doubt", [], 5),
        (REFUND, InDoubt("?"), "keyed", "in_doubt", [], 0),
        (REFUND, InDoubt("?"), "readable", "in_doubt", [], 0),
        (MESSAGE, InDoubt("?"), "readable", "in_doubt", [], 0),
        (MESSAGE, InDoubt("?"), "blind", "in_doubt", ["in_doubt"], None),
        (REFUND, InDoubt("?"), "blind", "in_doubt", ["in_doubt"], None),
        (MESSAGE, Assisted("t"), "blind", "assisted", ["assisted"], None),
    ],
)
def test_after_an_attempt(errand, attempt, ability, status, reports, wait) -> None:
    next_ = protocol.after_attempt(life(errand), attempt, ability, NOW)
    assert (next_.status, [r.status for r in next_.reports]) == (status, reports)
    assert next_.next_at == (None if wait is None else NOW + timedelta(seconds=wait))


def test_the_key_is_trusted_only_inside_its_window() -> None:
    old = life(first_sending_at=NOW - timedelta(hours=24))
    assert protocol.after_attempt(old, InDoubt("?"), "keyed", NOW).reports[0].status == "in_doubt"


def test_a_clear_no_to_a_repeat_does_not_settle_the_first_attempt() -> None:
    """Found by simulation: taken, cut off, repeated under its key, refused: it was called failed and had left."""
    again = life(attempts=2, doubted=True)
    refused = protocol.after_attempt(again, Refused("HTTP 422"), "keyed", NOW)
    assert (refused.status, refused.outcome, [r.status for r in refused.reports]) == (
        "in_doubt",
        "refused",
        ["in_doubt"],
    )
    busy = protocol.after_attempt(again, NotSent("HTTP 429", 30.0), "keyed", NOW)
    assert (busy.status, busy.outcome, busy.next_at) == ("in_doubt", "not_sent", NOW + timedelta(seconds=30))
    withdrawn = protocol.after_attempt(life(doubted=True, withdrawn="moot"), NotSent("away"), "keyed", NOW)
    assert (withdrawn.status, withdrawn.next_at) == ("in_doubt", None), "a person looks: it may have left"
    assert protocol.never_begun(again, "its file is gone").status == "in_doubt"
    assert protocol.after_attempt(again, Done("p"), "keyed", NOW).status == "sent"


def test_money_of_a_channel_that_cannot_be_read_goes_to_a_person() -> None:
    next_ = protocol.after_look_up(life(REFUND), Found(None), "keyed", NOW)
    assert (next_.status, next_.next_at, next_.reports[0].status) == ("in_doubt", None, "in_doubt")


def test_two_empty_readings_then_a_person_after_too_many_tries() -> None:
    first = protocol.after_look_up(life(), Found(False), "readable", NOW)
    assert (first.status, first.look_ups, first.next_at) == ("in_doubt", 1, NOW + timedelta(seconds=60))
    second = protocol.after_look_up(life(look_ups=1), Found(False), "readable", NOW)
    assert (second.status, second.next_at) == ("planned", NOW)
    tired = protocol.after_look_up(life(look_ups=1, attempts=5), Found(False), "readable", NOW)
    assert (tired.status, tired.reports[0].status) == ("in_doubt", "in_doubt")


attempts = st.one_of(
    st.builds(Done), st.builds(Refused, why=st.just("no")), st.builds(InDoubt, why=st.just("?")),
    st.builds(NotSent, why=st.just("away"), retry_after=st.none() | st.floats(1, 3600)),
)  # fmt: skip
lives = st.builds(
    Life,
    errand=st.sampled_from([MESSAGE, REFUND, CLOSE]),
    attempts=st.integers(1, 40),
    look_ups=st.integers(0, 1),
    look_faults=st.integers(0, 9),
    first_sending_at=st.just(NOW - timedelta(minutes=1)),
    withdrawn=st.none() | st.just("gone"),
)


@given(lives, attempts, st.sampled_from(["keyed", "readable", "blind"]))
def test_nothing_is_lost_and_nothing_doubtful_is_planned(one: Life, attempt, ability) -> None:
    next_ = protocol.after_attempt(one, attempt, ability, NOW)
    waits = next_.next_at is not None
    told = bool(next_.reports)
    assert waits or told
    if isinstance(attempt, InDoubt):
        assert next_.status == "in_doubt"
    if isinstance(attempt, Done):
        assert next_.status == "sent"
    if one.withdrawn and isinstance(attempt, NotSent | Refused):
        assert [r.status for r in next_.reports] == ["withdrawn"]


@given(lives, st.sampled_from([Found(True), Found(False), Found(None), "no answer"]))
def test_a_resend_needs_two_empty_readings(one: Life, found) -> None:
    next_ = protocol.after_look_up(one, found, "readable", NOW)
    if next_.status == "planned":
        assert found == Found(False)
        assert one.look_ups == 1
        assert one.withdrawn is None


def test_the_breaker_opens_at_twenty_probes_and_closes() -> None:
    now, one = NOW, breaker.CLOSED
    for _ in range(19):
        one = one.failed("away", now)
    assert not one.is_open(now)
    one = one.failed("away", now)
    assert one.is_open(now)
    assert one.open_until == now + timedelta(seconds=30)
    later = now + timedelta(seconds=30)
    assert not one.is_open(later)
    assert one.probing
    again = one.failed("away", later)
    assert again.open_until == later + timedelta(seconds=60)
    assert again.succeeded() == breaker.CLOSED
