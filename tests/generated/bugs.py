"""Bugs of the core and of playbooks, seeded one at a time: the verdict must find out each within `SEEDS` lives."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest import mock

import msgspec

from services.policy.core import (
    axes,
    clocks,
    decide,
    errands,
    ladder,
    money,
    news,
    operators,
    orders,
    results,
    rows,
    tasks,
)
from services.policy.core.errands import live_act
from services.policy.core.working import Working
from shared.domain.playbook import Playbook
from tests.generated import markets
from tests.generated.life import Life

SEEDS = 2000
BUGS: dict[str, Callable[[], AbstractContextManager[None]]] = {}


def bug(seeded: Callable[[], Iterator[None]]) -> None:
    BUGS[seeded.__name__] = contextmanager(seeded)


def caught(name: str, seeds: int = SEEDS) -> Life | None:
    """The first life whose verdict finds the bug out."""
    with BUGS[name]():
        for seed in range(seeds):
            life = Life(seed).run()
            if life.judge.broken:
                return life
    return None


@contextmanager
def instead(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for target, name, value in changes:
            stack.enter_context(mock.patch.object(target, name, value))
        yield


def _playbooks(change: Callable[[Playbook], Playbook]) -> AbstractContextManager[None]:
    """The same playbooks, each changed and under its own hash: cases that begin now run on it."""
    book = markets.playbooks()
    fresh = {chart: change(playbook) for chart, playbook in book.current.items()}
    changed = type(book)(fresh)
    return instead(
        (book, "current", fresh),
        (book, "_by_hash", changed._by_hash),
        (book, "_of_marketplace", changed._of_marketplace),
    )


# money and acts
@bug
def money_goes_before_the_goods() -> Iterator[None]:
    with instead((money, "goods_back", lambda work: True)):
        yield


@bug
def what_is_on_its_way_is_not_counted() -> Iterator[None]:
    real = money.ceiling_minor

    def ceiling(work: Working) -> int | None:
        kept, work.order = work.order, msgspec.structs.replace(work.order, reserved={})
        try:
            return real(work)
        finally:
            work.order = kept

    with instead((money, "ceiling_minor", ceiling)):
        yield


@bug
def what_was_refunded_is_not_counted() -> Iterator[None]:
    with instead((orders, "_refund", lambda order, fact, changes: None)):
        yield


@bug
def a_refund_told_twice_counts_twice() -> Iterator[None]:
    numbers = itertools.count()
    with instead((axes, "refund_key", lambda fact: f"{next(numbers)}"), (news, "is_repeat", lambda work: False)):
        yield


@bug
def nobody_need_agree_to_large_sums() -> Iterator[None]:
    with instead((money, "above_limit", lambda work, sum_: False)):
        yield


@bug
def keeping_the_item_needs_no_permission() -> Iterator[None]:
    with instead(
        (
            money,
            "needs_approval",
            lambda work, act, sum_, *, keep_item: money.above_limit(work, sum_) if sum_ else False,
        )
    ):
        yield


@bug
def every_act_is_thought_possible() -> Iterator[None]:
    with instead((money, "capability", lambda work, act: "api")):
        yield


@bug
def a_closed_account_still_acts() -> Iterator[None]:
    def rails(work: Working, *given: Any, **more: Any) -> None:
        work.terms = msgspec.structs.replace(work.terms, closed=False)
        real(work, *given, **more)

    real = money.rails
    with instead((money, "rails", rails)):
        yield


@bug
def money_in_doubt_is_free_again() -> Iterator[None]:
    def in_doubt(work: Working, errand: Any) -> None:
        results.drop(work, errand.id, "in doubt")

    with instead((results, "_HANDLERS", {**results._HANDLERS, "in_doubt": in_doubt})):
        yield


@bug
def a_second_refund_beside_the_first() -> Iterator[None]:
    def alone(work: Working, name: str) -> Any:
        return None if name == "refund" else live_act(work, name)

    with instead((errands, "live_act", alone)):
        yield


# time
@bug
def the_margin_passes_in_silence() -> Iterator[None]:
    with instead((decide, "_at_margin", lambda work, clock: None)):
        yield


@bug
def an_acted_clock_is_believed_of_all() -> Iterator[None]:
    with instead((clocks, "acted_since", lambda work, clock: True)):
        yield


@bug
def a_clock_rings_whenever_it_is_told() -> Iterator[None]:
    def elapsed(work: Working) -> Any:
        clock = work.clocks.get(str(work.fact.data.get("clock", "")))
        return None if clock is None else (clock, work.fact.data.get("moment") == "margin")

    with instead((clocks, "elapsed", elapsed)):
        yield


@bug
def clocks_run_on_behind_an_end() -> Iterator[None]:
    with instead((clocks, "cancel", lambda work, name: None)):
        yield


@bug
def nobody_looks_after_an_open_case() -> Iterator[None]:
    def without(book: Playbook) -> Playbook:
        states = {name: msgspec.structs.replace(state, clocks=()) for name, state in book.states.items()}
        return msgspec.structs.replace(book, states=states, hash=f"unattended {book.hash}")

    with _playbooks(without), instead((decide, "tasks", _without_own_tasks())):
        yield


def _without_own_tasks() -> Any:
    """The core's own net, a task for what nobody looks after, is gone."""
    return mock.Mock(wraps=tasks, SOON=tasks.SOON, open_task=lambda *given, **more: "")


# the story
@bug
def old_news_moves_a_case_back() -> Iterator[None]:
    with instead((news, "is_stale", lambda work: False)):
        yield


@bug
def the_same_news_is_news_again() -> Iterator[None]:
    with instead((news, "is_repeat", lambda work: False)):
        yield


@bug
def a_code_nobody_knows_raises() -> Iterator[None]:
    def target(work: Working, row: Any) -> str | None:
        return work.playbook.statuses[work.fact.raw_code or ""] if row.to == "status" else row.to

    with instead((rows, "_target", target)):
        yield


@bug
def a_code_nobody_knows_is_passed_over() -> Iterator[None]:
    def target(work: Working, row: Any) -> str | None:
        return work.playbook.statuses.get(work.fact.raw_code or "") if row.to == "status" else row.to

    with instead((rows, "_target", target)):
        yield


@bug
def what_is_no_longer_true_goes_all_the_same() -> Iterator[None]:
    with instead((errands, "withdraw_untrue", lambda work: None)):
        yield


@bug
def a_word_to_the_buyer_moves_the_goods() -> Iterator[None]:
    real = operators._contact

    def contact(work: Working) -> None:
        real(work)
        work.goods = "received"

    with instead((operators, "_contact", contact)):
        yield


@bug
def an_end_is_left_by_any_news() -> Iterator[None]:
    with instead((rows, "_scope", lambda work: (*(work.chart.rows if work.chart else ()), *work.playbook.everywhere))):
        yield


@bug
def chance_decides() -> Iterator[None]:
    numbers = itertools.count()
    with instead((tasks, "soonest", lambda work: work.now + tasks.SOON * next(numbers))):
        yield


@bug
def a_message_goes_twice_at_once() -> Iterator[None]:
    real = errands.tell

    def tell(work: Working, wanted: Any, rule: str, **more: Any) -> None:
        real(work, wanted, rule, **more)
        kept = dict(work.errands)
        work.errands.clear()
        real(work, wanted, rule, **more)
        work.errands |= kept

    with instead((errands, "tell", tell)):
        yield


@bug
def a_playbook_compares_what_is_not_known() -> Iterator[None]:
    def careless(book: Playbook) -> Playbook:
        everywhere = [msgspec.structs.replace(row, when="amount_minor > max_refund_minor") for row in book.everywhere]
        return msgspec.structs.replace(book, everywhere=tuple(everywhere), hash=f"careless {book.hash}")

    with _playbooks(careless):
        yield


@bug
def a_rung_is_lost_behind_a_live_offer() -> Iterator[None]:
    with instead((ladder, "_waits", lambda work, name: False)):
        yield
