"""Caps, windows, quiet hours: pure questions with a `now`."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.notifier.governor import Go, Limits, Sent, Stop, Wait, may_leave, zone_of
from services.notifier.rulebook import RuleBook, Windows
from shared.domain.errands import Conversation
from shared.domain.order import Buyer

NOW = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)  # 23:30 in Berlin, the evening before clocks go forward
BERLIN = ZoneInfo("Europe/Berlin")


def ask(book=None, *, per_day=None, quiet=None, talk=None, spoke=None, earlier=(), urgent=False, now=NOW):
    limits = Limits(book or RuleBook("t"), per_day, quiet)
    return may_leave("o1", urgent, limits, talk, spoke, earlier, BERLIN, now)


def talk(**changes) -> Conversation:
    return Conversation(account="a", order_id="o1", buyer=Buyer(), seq=1, **changes)


def sent(hours_ago: float, order: str = "o1") -> Sent:
    at = NOW - timedelta(hours=hours_ago)
    return Sent(order, at.astimezone(BERLIN).date().isoformat(), at)


def test_nothing_limits_nothing() -> None:
    assert ask() == Go("2026-03-28")


def test_the_day_is_the_buyers() -> None:
    assert ask(now=NOW + timedelta(minutes=31)) == Go("2026-03-29")
    assert ask(per_day=1, earlier=[sent(23)]) == Wait(
        "1 messages a day to one buyer", datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    )
    assert ask(per_day=1, earlier=[sent(23)], now=NOW + timedelta(minutes=31)) == Go("2026-03-29")


def test_the_day_of_the_clock_change_ends_in_time() -> None:
    at = NOW + timedelta(hours=1)
    today = Sent("o1", "2026-03-29", at)
    assert ask(per_day=1, earlier=[today], now=at) == Wait(
        "1 messages a day to one buyer", datetime(2026, 3, 29, 22, 0, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("quiet", "until"),
    [
        ((time(22), time(8)), datetime(2026, 3, 29, 6, 0, tzinfo=UTC)),
        ((time(23), time(23, 45)), datetime(2026, 3, 28, 22, 45, tzinfo=UTC)),
        ((time(8), time(22)), None),
    ],
)
def test_quiet_hours(quiet: tuple[time, time], until: datetime | None) -> None:
    assert ask(quiet=quiet) == (Wait("quiet hours", until) if until else Go("2026-03-28"))
    assert ask(quiet=quiet, urgent=True) == Go("2026-03-28")


@pytest.mark.parametrize(
    ("now", "until"),
    [
        (datetime(2026, 10, 24, 21, 0, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 0, 40, tzinfo=UTC), None),  # 02:40 for the first time
        (datetime(2026, 10, 25, 1, 10, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),  # 02:10 for the second
        (datetime(2026, 3, 29, 0, 50, tzinfo=UTC), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # there is no 02:30
    ],
)
def test_quiet_hours_that_end_in_the_hour_clocks_change(now: datetime, until: datetime | None) -> None:
    answer = ask(quiet=(time(22), time(2, 30)), now=now)
    assert answer == (Wait("quiet hours", until) if until else Go("2026-10-25"))


def test_windows() -> None:
    book = RuleBook("t", windows=Windows(timedelta(hours=48)))
    closed = Wait("the conversation is closed until the buyer writes", None)
    assert isinstance(ask(book), Go)
    assert ask(book, talk=talk(window_until=NOW - timedelta(hours=1))) == closed
    assert isinstance(ask(book, talk=talk(window_until=NOW)), Go)
    over = talk(window_until=NOW - timedelta(hours=1), last_buyer_message_at=NOW - timedelta(hours=48))
    assert isinstance(ask(book, talk=over), Go)
    assert ask(book, talk=talk(window_until=NOW - timedelta(hours=1)), spoke=NOW - timedelta(hours=49)) == closed
    strict = RuleBook("t", windows=Windows(timedelta(hours=48), closed_by_default=True, otherwise="assisted"))
    assert isinstance(ask(strict), Stop)
    assert isinstance(ask(strict, spoke=NOW - timedelta(hours=1)), Go)


def test_no_chasing() -> None:
    book = RuleBook("t", unanswered=2, per_day_unanswered=1)
    assert isinstance(ask(book, earlier=[sent(30)]), Go)
    assert ask(book, earlier=[sent(1)]) == Wait(
        "1 messages a day without an answer", datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    )
    assert ask(book, earlier=[sent(60), sent(30)]) == Wait("2 messages without an answer", None)
    assert isinstance(ask(book, earlier=[sent(60), sent(30), sent(1)], spoke=NOW - timedelta(minutes=5)), Go)
    assert isinstance(ask(book, earlier=[sent(60, "o2"), sent(1, "o2")]), Go)


def test_one_purpose_is_not_repeated_to_a_silent_buyer() -> None:
    limits = Limits(RuleBook("t", unanswered_per_purpose=1), None, None)
    reminded = replace(sent(60), purpose="remind_once")

    def again(purpose: str, spoke: datetime | None = None, order: str = "o1") -> object:
        return may_leave(order, False, limits, None, spoke, [reminded], BERLIN, NOW, purpose)

    assert again("remind_once") == Wait("1 messages of this purpose without an answer", None)
    assert isinstance(again("remind_once", spoke=NOW), Go)
    assert isinstance(again("remind_once", order="o2"), Go)
    assert isinstance(again("refund_issued"), Go)
    assert isinstance(again(""), Go), "an operator's own words have no purpose to repeat"


def test_opted_out_comes_first() -> None:
    assert ask(talk=talk(opted_out=True), quiet=(time(22), time(8))) == Stop(
        "blocked", "the buyer does not want messages"
    )


def test_zones_that_are_not_known_fall_back() -> None:
    assert [str(zone_of(*names)) for names in [("Mars/Base", "Asia/Tokyo"), (None, ""), ("../etc",)]] == [
        "Asia/Tokyo", "UTC", "UTC",
    ]  # fmt: skip
