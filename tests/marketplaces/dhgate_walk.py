"""DHgate orders from their readings through policy as it is, in memory: intake's records, the walk over all cases, `decide`."""

import itertools
import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from services.policy import shipped
from services.policy.batch import Batch, Held
from services.policy.core.decision import Decision, NotAllowed
from services.policy.places import Places
from services.policy.playbooks import Chart, Playbooks
from services.policy.store import Identity, Key
from services.policy.terms import TermsBook
from services.policy.walk import NotTaken, Walk, World
from shared.accounts import AccountEntry, Config
from shared.domain.case import Case
from shared.domain.errands import Errand
from shared.domain.facts import Draft, Fact, to_fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook
from shared.json_reader import exact, read
from shared.marketplaces.dhgate import records, simulated
from shared.marketplaces.dhgate.reading import DISPUTE_CLOSED, DISPUTE_OPEN, ORDER_DETAIL, ORDER_ROW
from shared.ports import Account
from shared.registry import Registry
from shared.store.session import Tx

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ORDER = "2611200001"
ACCOUNT = "dh-main"
REGISTRY = Registry()
FOLDER = REGISTRY.folder("dhgate")
ADDRESS = "Li Wei, 12 Science Road, Nanshan District, Shenzhen 518057, China"
SETTINGS: dict[str, Any] = {
    "keep_item_refund_below": "15.00 USD", "approve_refund_above": "50.00 USD", "return_address": ADDRESS,
}  # fmt: skip
Outcome = tuple[str, str, str | None, str, str]


@lru_cache(maxsize=1)
def charts() -> dict[Chart, Playbook]:
    return shipped.read_all(REGISTRY, None)


@lru_cache(maxsize=16)
def world_with(given: frozenset[tuple[str, Any]]) -> tuple[Account, World]:
    account = Account(ACCOUNT, "dhgate", settings=dict(given))
    config = SimpleNamespace(accounts={ACCOUNT: AccountEntry(account, {}, {})})
    return account, World(Playbooks(charts()), TermsBook(cast(Config, config), REGISTRY), 8)


class Desk:
    """One account's policy: orders, cases and what left, over facts as they come. `tell` takes them in any order."""

    def __init__(self, **settings: Any) -> None:
        given = {name: value for name, value in {**SETTINGS, **settings}.items() if value is not None}
        self.account, self.world = world_with(frozenset(given.items()))
        self.now = START
        self.held: dict[Key, Held] = {}
        self.identities: dict[Identity, str] = {}
        self.applied: dict[Key, dict[str, str]] = {}
        self.log: list[Decision] = []
        self.errands: list[Errand] = []

    def tell(self, fact: Fact) -> list[Decision]:
        key = (ACCOUNT, str(fact.order_id))
        if key not in self.held:
            order = Order(account=ACCOUNT, order_id=key[1])
            self.held[key] = Held(order, order, 0, 0)
        batch = Batch(cast(Tx, None), self.now, Places(orders={fact.id: key}), self.held, self.applied, self.identities)
        decisions = Walk(self.world, batch).offer(fact)
        assert batch.out.parked == []
        self.log += decisions
        self.errands += [errand for decision in decisions for errand in decision.errands]
        for case in self.held[key].cases.values():
            assert not case.is_open or case.clocks or case.tasks, "an open case must never lie unattended"
        return decisions

    def case(self, kind: str, order: str = ORDER) -> Case:
        return self.held[ACCOUNT, order].cases[self.identities[ACCOUNT, kind, order]]

    def outcome(self, kind: str, order: str = ORDER) -> Outcome | None:
        """State, phase, outcome, goods, money; None without a case."""
        if (ACCOUNT, kind, order) not in self.identities:
            return None
        case = self.case(kind, order)
        return case.state, case.phase, case.outcome, case.goods, case.money

    def fact(self, draft: Draft, id: str) -> Fact:
        common = {"account": ACCOUNT, "marketplace": "dhgate", "observed_at": self.now}
        return to_fact(draft, id=id, source="poll", **common)


class Shop(Desk):
    """The simulator's order as it moves, read after each move as the source would."""

    def __init__(self, body: Mapping[str, Any] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.body = simulated.made_up(ORDER, START, body or {})
        self.kept: dict[str, Any] = {}
        self.deliveries: list[list[Fact]] = []
        self._n = itertools.count(1)
        self.look()

    def does(self, move: str, **given: Any) -> list[str]:
        """Something happens on the marketplace an hour later and is read; the kinds of the facts that came of it."""
        self.now += timedelta(hours=1)
        simulated.MOVES[move](self.body, self.now, given)
        return self.look()

    def look(self) -> list[str]:
        told: list[str] = []
        for ref, reply in self._readings():
            body = exact(read(json.dumps(reply).encode()))
            drafts = records.facts(body, self.kept.get(ref), self.account, self.now)
            self.kept[ref] = body
            facts = [self.fact(draft, f"f{next(self._n)}") for draft in drafts]
            self.deliveries += [facts] if facts else []
            told += [fact.kind for fact in facts]
            for fact in facts:
                self.tell(fact)
        return told

    def _readings(self) -> Iterable[tuple[str, dict[str, Any]]]:
        body = self.body
        yield "order", {**simulated.row(body), "_from": ORDER_ROW}
        ended = "disputeCloseDate" in body
        yield "parcel", {**simulated.detail(body), "_from": ORDER_DETAIL, **({"_about": "dispute"} if ended else {})}
        if "disputeStatus" in body:
            money = {"refundMoney": body["refundMoney"]} if ended else {}
            method = DISPUTE_CLOSED if ended else DISPUTE_OPEN
            yield "dispute", {**simulated.dispute(body), **money, "_from": method}

    def by_hand(self, kind: str, **facts: Any) -> list[Decision]:
        """`POST /v1/cases`: the opening fact with typed facts."""
        playbook = charts()["dhgate", kind]
        return self.tell(self._own(playbook.opens_on[0].fact, facts, kind, "hand"))

    def act(self, kind: str, action: str, *scopes: str, **params: Any) -> Decision | NotAllowed:
        self.now += timedelta(minutes=1)
        data = {"action": action, "params": params, "scopes": ["read", "act", *scopes], "reason": "looked at"}
        try:
            return self.tell(self._own("operator.acted", data, kind, "operator", self.case(kind).id))[0]
        except NotTaken as refused:
            return refused.answer

    def elapse(self, kind: str, name: str) -> Decision:
        """The clock's next moment comes."""
        clock = self.case(kind).clocks[name]
        moment = "due" if clock.acted or clock.act_at is None else "margin"
        self.now = max(clock.next_at, self.now)
        data = {"clock": name, "generation": clock.generation, "moment": moment}
        return self.tell(self._own("timer.elapsed", data, kind, "clock", self.case(kind).id))[0]

    def sent(self, kind: str, name: str) -> Decision:
        """The last errand of this name has gone (an assisted one was done and confirmed)."""
        errand = next(e for e in reversed(self.errands) if e.name == name)
        data = {"errand_id": errand.id, "name": name}
        return self.tell(self._own(f"{errand.what}.sent", data, kind, "channel", self.case(kind).id))[0]

    def by_hand_evidence(self, kind: str, what: str) -> list[Decision]:
        """`POST /v1/cases/{id}/evidence` for something the buyer sent."""
        data = {"what": what, "supplied_by": "buyer"}
        return self.tell(self._own("evidence.submitted", data, kind, "operator", self.case(kind).id))

    def buyer_writes(self, text: str) -> list[Decision]:
        self.now += timedelta(minutes=5)
        draft = Draft(kind="message.received", occurred_at=self.now, order_id=ORDER, data={"text": text})
        return self.tell(self.fact(draft, f"m{next(self._n)}"))

    def _own(self, kind: str, data: dict[str, Any], case_kind: str, source: Any, case_id: str | None = None) -> Fact:
        draft = Draft(
            kind=kind, occurred_at=self.now, order_id=ORDER, case_kind=case_kind, external_id=ORDER, data=data
        )
        common = {"account": ACCOUNT, "marketplace": "dhgate", "observed_at": self.now}
        fact = to_fact(draft, id=f"o{next(self._n)}", source=source, **common)
        return fact if case_id is None else _of_case(fact, case_id)

    def messages(self) -> list[str]:
        return [errand.name for errand in self.errands if errand.what == "message"]

    def acts(self) -> list[tuple[str, dict[str, Any]]]:
        return [(errand.name, errand.params) for errand in self.errands if errand.what == "act"]

    def tasks(self, kind: str) -> list[str]:
        return [task.reason for task in self.case(kind).tasks.values()]

    @property
    def rules(self) -> set[str]:
        return {decision.rule for decision in self.log if decision.rule}


def _of_case(fact: Fact, case_id: str) -> Fact:
    return msgspec.structs.replace(fact, case_id=case_id)


def shuffled(deliveries: list[list[Fact]], chance: random.Random) -> list[list[Fact]]:
    """In another order, each delivery whole, some of them twice."""
    again = [delivery for delivery in deliveries if chance.random() < 0.3]
    mixed = [*deliveries, *again]
    chance.shuffle(mixed)
    return mixed
