"""What facts say about the order, told once or often, in any order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.policy.core.orders import fold
from shared.domain.facts import Fact
from shared.domain.order import Buyer, Order

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def told(kind: str, data: dict[str, Any] | None = None, *, at: datetime = NOON, **more: Any) -> Fact:
    return Fact(
        id="f", kind=kind, account="shop", marketplace="testplace", order_id="o-1", occurred_at=at, observed_at=at,
        source="push", data=data or {}, **more,
    )  # fmt: skip


def after(*facts: Fact) -> Order:
    order = Order(account="shop", order_id="o-1")
    for fact in facts:
        order = fold(order, fact)
    return order


def usd(value: str) -> dict[str, str]:
    return {"value": value, "currency": "USD"}


def test_paid_times_buyer_and_references() -> None:
    data = {
        "paid": usd("60.00"),
        "buyer_name": "Ann",
        "buyer_locale": "de",
        "buyer": {"id": "b-1", "time_zone": "Europe/Berlin"},
    }
    order = after(told("order.placed", data, refs={"chat": "c-1"}), told("order.shipped", refs={"parcel": "p-1"}))
    assert (order.paid_minor, order.currency, order.placed_at, order.shipped_at) == (6000, "USD", NOON, NOON)
    assert order.buyer == Buyer("b-1", "Ann", "de", "Europe/Berlin")
    assert order.refs == {"chat": "c-1", "parcel": "p-1"}


def test_the_address_first_told_stays() -> None:
    """Who names the order from another one later may be somebody else."""
    first, other = ({"buyer": {"mail": f"{name}@relay.example"}} for name in ("k3", "z9"))
    order = after(told("message.received", first), told("message.received", {**other, "buyer_name": "Ann"}))
    assert order.buyer == Buyer(name="Ann", mail="k3@relay.example")


def test_the_latest_day_of_delivery_is_the_latest_that_was_told() -> None:
    days = [told("order.placed", {"latest_delivery": f"2026-11-{day}T08:00:00Z"}) for day in (27, 29, 25)]
    odd = told("order.shipped", {"latest_delivery": "soon"})
    assert after(*days, odd).latest_delivery == after(odd, *reversed(days)).latest_delivery
    assert after(*days).latest_delivery == datetime(2026, 11, 29, 8, tzinfo=UTC)
    assert after(odd).latest_delivery is None


@pytest.mark.parametrize(
    "paid",
    [
        {"value": "1.001", "currency": "USD"},
        {"value": "x", "currency": "USD"},
        {"value": "1", "currency": "?"},
        5,
        None,
    ],
)
def test_an_unsound_amount_is_not_believed(paid: Any) -> None:
    assert after(told("order.placed", {"paid": paid})).paid_minor is None


def test_another_currency_does_not_overwrite_what_was_paid() -> None:
    order = after(
        told("order.placed", {"paid": usd("5.00")}), told("order.placed", {"paid": {"value": "1", "currency": "JPY"}})
    )
    assert (order.paid_minor, order.currency) == (500, "USD")


def test_the_last_word_of_the_buyer_is_the_latest() -> None:
    late, early = NOON + timedelta(hours=2), NOON - timedelta(hours=2)
    order = after(told("message.received", at=late), told("message.received", at=early))
    assert order.last_buyer_message_at == late


def test_operators_clocks_and_errands_say_nothing_about_the_order() -> None:
    data = {"paid": usd("1.00"), "buyer_name": "Eve"}
    order = Order(account="shop", order_id="o-1")
    assert (
        after(*(told(kind, data) for kind in ("operator.acted", "timer.elapsed", "message.sent", "act.confirmed")))
        == order
    )


refunds = st.lists(
    st.builds(
        lambda id, dollars: told("refund.issued", {"refunded": usd(f"{dollars}.00")}, refs={"refund_id": f"R{id}"}),
        st.integers(0, 4),
        st.just(7),
    ),
    max_size=8,
)


@given(refunds, st.randoms())
def test_refunds_count_once_in_any_order(facts: list[Fact], random: Any) -> None:
    shuffled = [*facts, *facts]
    random.shuffle(shuffled)
    assert (
        after(*shuffled).refunded_minor
        == after(*facts).refunded_minor
        == 700 * len({f.refs["refund_id"] for f in facts})
    )


def test_late_news_never_takes_back_what_a_buyer_wished_or_until_when_we_may_write() -> None:
    later, sooner = NOON + timedelta(days=2), NOON + timedelta(days=1)
    order = after(
        told("message.received", {"opted_out": True, "window_until": later.isoformat()}),
        told(
            "message.received", {"opted_out": False, "window_until": sooner.isoformat()}, at=NOON - timedelta(hours=1)
        ),
        told("message.received", {"opted_out": "yes", "window_until": "soon", "closed_chat": 7}),
    )
    assert (order.opted_out, order.window_until, order.closed_chats) == (True, later, ())
    assert not after(
        told("message.received", {"opted_out": True}), told("message.received", {"opted_out": False})
    ).opted_out
