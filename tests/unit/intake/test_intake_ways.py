"""Ways that a source could not read: since when, until a whole poll has gone by without naming them."""

from datetime import UTC, datetime, timedelta

from services.intake.reach import Ways
from shared.ports import Page

START = datetime(2026, 11, 1, tzinfo=UTC)
MORE = {"page": 2}


def test_a_way_is_shut_until_a_whole_poll_has_not_named_it() -> None:
    ways, minute = Ways(), timedelta(minutes=1)

    def poll(at: int, *pages: Page) -> dict[str, float]:
        for n, page in enumerate(pages):
            ways.read("a", page, START + at * minute, first=n == 0)
        return ways.away("a", START + at * minute)

    assert poll(0, Page(away=("mailbox",), cursor=MORE), Page()) == {"mailbox": 0.0}
    assert poll(5, Page(cursor=MORE), Page(away=("mailbox",))) == {"mailbox": 300.0}, "named by a later page is as shut"
    assert poll(6, Page(cursor=MORE)) == {"mailbox": 360.0}, "a poll that is not whole says nothing yet"
    assert poll(7, Page(cursor=MORE), Page()) == {}
    assert poll(9, Page(away=("queue",))) == {"queue": 0.0} and ways.away("another", START) == {}
