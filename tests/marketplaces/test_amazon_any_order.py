"""Whatever the order in which Amazon's deliveries come, and however often: every case of the order ends in the same state.

A delivery is what the marketplace gives: a notification, or one reading of the report or of the finances. They are mixed
before intake compares and identifies them, then again the facts on their way to policy.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.intake import deliveries
from services.policy import shipped
from services.policy.batch import Batch, Held
from services.policy.places import Places
from services.policy.playbooks import Chart, Playbooks
from services.policy.store import Identity, Key
from services.policy.terms import TermsBook
from services.policy.walk import Walk, World
from shared.accounts import AccountEntry, Config
from shared.clock import TestClock, parse_time
from shared.domain.facts import Fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook
from shared.marketplaces.amazon import records, simulated_returns, webhook
from shared.marketplaces.amazon.returns_report import read_report
from shared.marketplaces.amazon.simulator import order_change
from shared.ports import Account, Inbound, Record
from shared.registry import Registry
from shared.store.session import Tx

SHUFFLES = 130
"""Of each kind, per story."""
ORDER = "902-1234567-7654321"
START = parse_time("2026-11-23T09:00:00Z")
REGISTRY = Registry()
ACCOUNT = Account("amz", "amazon", settings={"keep_item_refund_below": "15.00 USD"})


@dataclass(frozen=True)
class Delivery:
    """One thing Amazon gave: `at` is when it was made there. A notification's bytes, or records of one reading."""

    at: int
    push: bytes = b""
    records: tuple[Record, ...] = ()


class Story:
    """An order as it goes, on the marketplace's side."""

    def __init__(self) -> None:
        self.hours, self.deliveries = 0, list[Delivery]()
        self.line: dict[str, str] | None = None
        self.events: dict[str, list[dict[str, Any]]] = {}

    def notified(self, status: str, wants: bool = False) -> None:
        self.hours += 1
        given = {"order_id": ORDER, "status": status, "wants_cancel": wants}
        given |= {} if wants and status == "Unshipped" else {"change": "OrderStatusChange"}
        body = order_change(ACCOUNT, TestClock(self.now), given, self.hours)
        self.deliveries.append(Delivery(self.hours, push=json.dumps(body).encode()))

    def returns(self, *moves: str, **given: Any) -> None:
        """The buyer asks for a return (first call), or the seller, the carrier or Amazon move it; the report is read."""
        self.hours += 24
        if self.line is None:
            self.line = simulated_returns.made_up(ORDER, self.now, {})
        for move in moves:
            simulated_returns.MOVES[move](self.line, self.now, given)
        found = read_report(simulated_returns.flat([self.line])).returns
        read = tuple(Record(f"return:{id_}", {"lines": lines}, self.hours) for id_, lines in found.items())
        self.deliveries.append(Delivery(self.hours, records=read))

    def posted(self, amount: str, of: str = "RefundEventList") -> None:
        self.hours += 1
        event = simulated_returns.finance_event(ORDER, self.now, {"amount": amount}, self.hours)
        self.events = {**self.events, of: [*self.events.get(of, []), event]}
        body = {"AmazonOrderId": ORDER, "FinancialEvents": json.loads(json.dumps(self.events), parse_float=str)}
        self.deliveries.append(Delivery(self.hours, records=(Record(f"finances:{ORDER}", body, self.hours),)))

    @property
    def now(self) -> Any:
        return START + timedelta(hours=self.hours)


class Intake:
    """Repeats by their key, readings against the one kept: as the service does, without its database."""

    def __init__(self) -> None:
        self.kept: dict[str, Record] = {}
        self.keys: set[str] = set()

    def take(self, delivery: Delivery, now: Any) -> list[list[Fact]]:
        if delivery.push:
            made = [deliveries.read_push(cast(Any, webhook), Inbound(delivery.push, {}), ACCOUNT, now)]
        else:
            made = [found for record in delivery.records if (found := self._compared(record, now))]
        fresh = [one for one in made if one.key not in self.keys]
        self.keys |= {one.key for one in fresh}
        assert all(one.outcome in ("accepted", "ignored", "unmapped") for one in fresh)
        return [list(one.facts) for one in fresh if one.facts]

    def _compared(self, record: Record, now: Any) -> Any:
        before = self.kept.get(record.ref)
        if before is not None and (before.body == record.body or (record.revision or 0) < (before.revision or 0)):
            return None
        self.kept[record.ref] = record
        previous = before.body if before else None
        reading = deliveries.compare(cast(Any, records), record, previous, ACCOUNT, now)
        key = f"{record.ref}#{record.revision}:{deliveries.record_hash(record)}"
        return deliveries.identified(ACCOUNT, "poll", key, deliveries.record_raw(record, previous), now, reading)


@lru_cache(maxsize=1)
def world() -> World:
    charts: dict[Chart, Playbook] = shipped.read_all(REGISTRY, None)
    config = SimpleNamespace(accounts={"amz": AccountEntry(ACCOUNT, {}, {})})
    return World(Playbooks(charts), TermsBook(cast(Config, config), REGISTRY), 8)


class Policy:
    """The walk through orders and cases in memory."""

    def __init__(self) -> None:
        order = Order(account="amz", order_id=ORDER)
        self.held: dict[Key, Held] = {("amz", ORDER): Held(order, order, 0, 0)}
        self.identities: dict[Identity, str] = {}
        self.applied: dict[Key, dict[str, str]] = {}

    def take(self, fact: Fact, now: Any) -> None:
        places = Places(orders={fact.id: ("amz", ORDER)})
        batch = Batch(cast(Tx, None), now, places, self.held, self.applied, self.identities)
        Walk(world(), batch).offer(fact)
        assert batch.out.parked == []
        for case in self.held["amz", ORDER].cases.values():
            assert not case.is_open or case.clocks or case.tasks, "an open case must never lie unattended"

    def ends(self) -> dict[str, Any]:
        held = self.held["amz", ORDER]
        cases = {
            f"{case.kind} {case.external_id}": (case.state, case.phase, case.outcome, case.liability, case.money)
            for case in held.cases.values()
        }
        return {**cases, "refunded": held.order.refunded_minor, "waiting": len(held.order.waiting)}


def told(given: Sequence[Delivery]) -> list[list[Fact]]:
    """The facts of each delivery, as intake makes them when they come in this order."""
    intake, found = Intake(), []
    for n, delivery in enumerate(given):
        found += intake.take(delivery, START + timedelta(days=60, minutes=n))
    return found


def decided(given: Sequence[Sequence[Fact]]) -> dict[str, Any]:
    policy = Policy()
    for n, facts in enumerate(given):
        for fact in facts:
            policy.take(fact, START + timedelta(days=61, minutes=n))
    return policy.ends()


def cancelled(story: Story) -> None:
    story.notified("Pending")
    story.notified("Unshipped")
    story.notified("Unshipped", wants=True)
    story.notified("Canceled", wants=True)


def shipped_all_the_same(story: Story) -> None:
    story.notified("Unshipped")
    story.notified("Unshipped", wants=True)
    story.notified("Shipped", wants=True)


def returned(story: Story) -> None:
    story.notified("Shipped")
    for moves in ((), ("authorised",), ("ships",), ("arrives",)):
        story.returns(*moves)
    story.posted("-39.90")
    story.returns("refunded")


def part_refunded(story: Story) -> None:
    for moves in ((), ("authorised",), ("ships",), ("arrives",)):
        story.returns(*moves)
    story.posted("-20.00")
    story.returns("refunded", amount="20.00")


def taken_back(story: Story) -> None:
    story.returns()
    story.returns("authorised")
    story.returns("closed_by_buyer")


def closed(story: Story) -> None:
    story.returns()
    story.returns("closed_by_seller")


def claimed(story: Story) -> None:
    story.returns()
    story.returns("authorised")
    story.returns("claimed")
    story.posted("-39.90", "GuaranteeClaimEventList")


def under_way(story: Story) -> None:
    story.notified("Shipped")
    story.returns()
    story.returns("authorised")
    story.returns("ships")


STORIES = (cancelled, shipped_all_the_same, returned, part_refunded, taken_back, closed, claimed, under_way)


def mixed(given: Sequence[Any], chance: random.Random) -> list[Any]:
    """With some of them twice or more."""
    found = [*given, *chance.choices(given, k=chance.randint(0, len(given)))]
    chance.shuffle(found)
    return found


def story_of(tell: Any) -> list[Delivery]:
    story = Story()
    tell(story)
    return story.deliveries


@pytest.mark.parametrize("tell", STORIES)
def test_deliveries_in_any_order_end_the_same(tell: Any) -> None:
    given = story_of(tell)
    wanted = decided(told(given))
    assert wanted["waiting"] == 0
    chance = random.Random(f"deliveries {tell.__name__}")
    for _ in range(SHUFFLES):
        assert decided(told(mixed(given, chance))) == wanted


@pytest.mark.parametrize("tell", STORIES)
def test_facts_in_any_order_end_the_same(tell: Any) -> None:
    """Between intake and policy, too: a broker may hand over late and twice."""
    facts = told(story_of(tell))
    wanted = decided(facts)
    chance = random.Random(f"facts {tell.__name__}")
    for _ in range(SHUFFLES):
        assert decided(mixed(facts, chance)) == wanted


def test_the_stories_end_as_they_should_and_the_shuffles_are_over_a_thousand() -> None:
    ends = {tell.__name__: decided(told(story_of(tell))) for tell in STORIES}
    states = {
        name: sorted((key.partition(" ")[0], end[0]) for key, end in found.items() if " " in key)
        for name, found in ends.items()
    }
    assert states == {
        "cancelled": [("cancellation", "cancelled")],
        "shipped_all_the_same": [("cancellation", "refused")],
        "returned": [("return", "refunded")],
        "part_refunded": [("return", "part_refunded")],
        "taken_back": [("return", "closed_by_buyer")],
        "closed": [("return", "closed_by_seller")],
        "claimed": [("claim", "granted_seller_funded"), ("return", "with_claim")],
        "under_way": [("return", "in_transit")],
    }
    assert [found["refunded"] for found in ends.values()] == [0, 0, 3990, 2000, 0, 0, 3990, 0], (
        "told twice, counted once"
    )
    assert SHUFFLES * len(STORIES) >= 1000
