"""No send beyond the caps, none in quiet hours but urgent ones, none twice, none with a blank: lives judged from outside."""

from datetime import UTC, datetime

import pytest

from services.notifier import rulebook, store
from services.notifier.ledger import Ledger
from services.notifier.planner import Planner, new_row
from shared.accounts import AccountEntry
from shared.clock import to_micros
from shared.domain.errands import Errand
from shared.ports import Account
from tests.restraint import bugs, laws, lives, run
from tests.restraint.memory import Begun

TRIGGERS = 4000
RARE = {"once_an_hour_is_twice_it_spins", "a_place_that_becomes_free_wakes_nobody", "blanks_in_lists"}
"""Found in few lives: sought by `python -m tests.restraint --bugs` alone."""


@pytest.mark.timeout(600)
def test_thousands_of_triggers_break_no_promise() -> None:
    summed = run.Sum()
    for summed in run.many(0, TRIGGERS):
        assert not summed.faults
    assert summed.triggers >= TRIGGERS
    assert summed.left > TRIGGERS / 5, "what sends nothing breaks nothing"
    assert (
        min(summed.ends[status] for status in ("held", "blocked", "suppressed", "assisted", "in_doubt", "failed")) > 10
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(bugs.BUGS.keys() - RARE))
def test_a_seeded_bug_is_caught(name: str) -> None:
    """In the life it was first found in; where what is drawn has changed since, in another one."""
    assert bugs.caught(name, bugs.SEEDS[name], 1) or bugs.caught(name)


def test_what_was_just_let_go_counts_for_an_older_one_in_the_same_round() -> None:
    """Both were planned, the older one for yesterday: one a day may leave, so one does."""
    now = datetime(2026, 3, 2, 0, 31, tzinfo=UTC)
    account = Account(lives.ACCOUNT, "generic", settings={"daily_messages_per_buyer": 1})
    law = laws.Law("generic", {}, {}, rulebook.RuleBook("generic"))
    planner = Planner({lives.ACCOUNT: AccountEntry(account, {}, {})}, laws.composer(law), now)
    rows = {id_: new_row(_errand(id_)) for id_ in ("m1", "m2")}
    for id_, day in (("m1", "2026-03-01"), ("m2", "2026-03-02")):
        rows[id_] |= {"slot_day": day, "slot_at": to_micros(now)}
    planner.know(store.Known(earlier=list(rows.values())))
    gone = [planner.govern(rows[id_], _errand(id_), Ledger(1, now)) for id_ in ("m2", "m1")]
    assert gone == [True, False]


def _errand(id_: str) -> Errand:
    return Errand(
        id=id_, what="message", name="free_text", account=lives.ACCOUNT, marketplace="generic", order_id="O-1",
        case_id="case-1", case_kind="return", phase="awaiting_buyer", created_at=datetime(2026, 3, 1, tzinfo=UTC), text="Hello.",
    )  # fmt: skip


def test_the_same_seed_is_the_same_life() -> None:
    once, again = (run.one(12)[1].events for _ in range(2))
    assert once == again
    assert any(isinstance(event, Begun) for event in once)


def test_lives_hold_what_they_are_for() -> None:
    drawn = [lives.drawn(seed) for seed in range(150)]
    assert {life.ability for life in drawn} == {"keyed", "readable", "blind"}
    assert len({life.law.marketplace for life in drawn}) == 6
    assert sum(step.dies for life in drawn for step in life.script) > 20
    kinds = [type(thing).__name__ for life in drawn for step in life.script for thing in step.things]
    assert all(kinds.count(kind) > 200 for kind in ("Errand", "Withdrawal", "Resolution", "Conversation"))
    assert sum("quiet_hours" in life.law.settings for life in drawn) > 30
    assert sum(bool(life.law.raw.get("windows")) for life in drawn) > 30
