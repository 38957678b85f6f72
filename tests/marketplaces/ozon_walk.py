"""An Ozon order through policy's own corridor, in memory: deliveries become facts, facts meet every case of the order."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, cast

import msgspec

from services.policy import shipped
from services.policy.batch import Batch, Held
from services.policy.core.decision import Decision
from services.policy.places import Places
from services.policy.playbooks import Playbooks
from services.policy.terms import TermsBook
from services.policy.walk import NotTaken, Walk, World
from shared.accounts import AccountEntry, Config
from shared.clock import format_time
from shared.domain.case import Case
from shared.domain.errands import Errand
from shared.domain.facts import Draft, Fact, to_fact
from shared.domain.order import Order
from shared.ids import digest
from shared.marketplaces.ozon import records, simulated, webhook
from shared.ports import Account, Ignored, Inbound
from shared.registry import Registry

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
POSTING = "70811234-0008-1"
REGISTRY = Registry()
FOLDER = REGISTRY.folder("ozon")
MONEY = {"keep_item_refund_below": "20.00 CNY", "approve_refund_above": "500.00 CNY", "shop": "Nordlys"}
Body = dict[str, Any]


@lru_cache(maxsize=1)
def playbooks() -> Playbooks:
    every = shipped.read_all(REGISTRY, None)
    return Playbooks({chart: book for chart, book in every.items() if chart[0] == "ozon"})


def account_with(**settings: Any) -> Account:
    return Account("oz-main", "ozon", settings={**MONEY, **settings})


@lru_cache(maxsize=8)
def world_of(settings: tuple[tuple[str, Any], ...]) -> World:
    account = account_with(**dict(settings))
    config = Config({account.id: AccountEntry(account, {}, {})}, REGISTRY)
    return World(playbooks(), TermsBook(config, REGISTRY), 8)


class Desk:
    """One posting with all its cases. `settings`: of the account."""

    def __init__(self, **settings: Any) -> None:
        self.account = account_with(**settings)
        self.world = world_of(tuple(sorted(settings.items())))
        self.now = START
        order = Order(account="oz-main", order_id=POSTING)
        self.held = Held(order=order, before=order, version=0, first_seen_at=0)
        self.identities: dict[tuple[str, str, str], str] = {}
        self.applied: dict[tuple[str, str], dict[str, str]] = {}
        self.kept: dict[str, Body] = {}
        self.log: list[Decision] = []
        self.facts: list[Fact] = []
        self.errands: list[Errand] = []
        self._n = 0

    # deliveries
    def push(self, type_: str, **fields: Any) -> list[str]:
        """A push as Ozon sends it, applied; the kinds of its facts."""
        return self.apply(self.pushed(type_, **fields), "push")

    def pushed(self, type_: str, **fields: Any) -> list[Fact]:
        now = format_time(self.now)
        times = {
            "TYPE_NEW_POSTING": "in_process_at",
            "TYPE_NEW_MESSAGE": "created_at",
            "TYPE_UPDATE_MESSAGE": "created_at",
        }
        told = {"message_type": type_, "posting_number": POSTING, times.get(type_, "changed_state_date"): now, **fields}
        inbound = Inbound(msgspec.json.encode(told), {})
        parsed = webhook.parse(inbound, self.account)
        drafts = () if isinstance(parsed, Ignored) else parsed.drafts
        return self.made(drafts, webhook.dedupe_key(inbound), "push")

    def state(self, state: str, **fields: Any) -> list[str]:
        return self.push("TYPE_STATE_CHANGED", new_state=state, **fields)

    def writes(self, words: str = "?") -> list[str]:
        """The buyer writes in the order's chat."""
        self._n += 1
        user = {"id": "77001", "type": "Customer"}
        chat = {"chat_id": "c1", "chat_type": "Buyer_Seller", "message_id": str(self._n), "user": user, "data": [words]}
        return self.push("TYPE_NEW_MESSAGE", **chat)

    def read(self, ref: str, body: Body) -> list[str]:
        """What the source reads now, compared with what it read before; the kinds of its facts."""
        before, kept = self.kept.get(ref), msgspec.json.decode(msgspec.json.encode(body))
        if before == kept:
            return []
        self._n += 1
        drafts = records.facts(kept, before, self.account, self.now)
        self.kept[ref] = kept
        return self.apply(self.made(drafts, f"{ref}#{self._n}", "fetch"), "fetch")

    def made(self, drafts: Any, key: str, source: Any) -> list[Fact]:
        return [self._fact(draft, f"{key}:{n}", source) for n, draft in enumerate(cast(tuple[Draft, ...], drafts))]

    def _fact(self, draft: Draft, key: str, source: Any) -> Fact:
        common = {"account": "oz-main", "marketplace": "ozon", "observed_at": self.now}
        return to_fact(draft, id=digest(key, draft.kind), source=source, **common)

    # the corridor
    def apply(self, facts: list[Fact], source: str) -> list[str]:
        for fact in facts:
            self._offer(fact)
        return [fact.kind for fact in facts]

    def _offer(self, fact: Fact) -> list[Decision]:
        """Intake knows a repeated delivery by its key; here the log of the order does."""
        if fact.id in {known.id for known in self.facts}:
            return []
        key = ("oz-main", POSTING)
        batch = Batch(tx=cast(Any, None), now=self.now, places=Places(orders={fact.id: key}), held={key: self.held})
        batch.identities, batch.applied = self.identities, self.applied
        decisions = Walk(self.world, batch).offer(fact)
        assert batch.out.parked == [], batch.out.parked
        self.facts.append(fact)
        self.log += decisions
        self.errands += [errand for decision in decisions for errand in decision.errands]
        for case in self.held.open:
            assert case.clocks or case.tasks, "an open case must never lie unattended"
        return decisions

    def _own(self, case: Case, kind: str, data: dict[str, Any], source: Any) -> Fact:
        self._n += 1
        return Fact(
            id=f"own{self._n}", kind=kind, account="oz-main", marketplace="ozon", order_id=POSTING, case_kind=case.kind,
            external_id=case.external_id, case_id=case.id, occurred_at=self.now, observed_at=self.now, source=source,
            data=data,
        )  # fmt: skip

    def act(self, action: str, *, kind: str = "return", **params: Any) -> Decision:
        """An operator's action a minute later. Raises NotTaken."""
        self.now += timedelta(minutes=1)
        data = {"action": action, "params": params, "scopes": ["read", "act", "approve"], "reason": "looked at"}
        (decision,) = self._offer(self._own(self.case(kind), "operator.acted", data, "operator"))
        return decision

    def refused(self, action: str, *, kind: str = "return", **params: Any) -> str:
        """Why an operator's action is not taken; empty when it is."""
        try:
            self.act(action, kind=kind, **params)
        except NotTaken as no:
            return no.answer.code
        return ""

    def wait(self, **span: float) -> None:
        """Time passes; each clock on the way rings at its own moment."""
        until = self.now + timedelta(**span)
        while (due := self._next(until)) is not None:
            case, name = due
            clock = case.clocks[name]
            self.now = max(clock.next_at, self.now)
            moment = "due" if clock.acted or clock.act_at is None else "margin"
            data = {"clock": name, "generation": clock.generation, "moment": moment}
            self._offer(self._own(case, "timer.elapsed", data, "clock"))
        self.now = until

    def _next(self, until: datetime) -> tuple[Case, str] | None:
        due = [(c.next_at, case.id, c.name, case) for case in self.held.open for c in case.clocks.values()]
        return next(((case, name) for at, _, name, case in sorted(due, key=lambda d: d[:3]) if at <= until), None)

    def sends(self) -> None:
        """The notifier has sent everything that was planned."""
        for case in list(self.held.cases.values()):
            for errand in list(case.errands.values()):
                if errand.status == "planned" and not errand.withdrawing:
                    data = {"errand_id": errand.id, "name": errand.name}
                    self._offer(self._own(self.held.cases[case.id], f"{errand.what}.sent", data, "channel"))

    # what is there
    def case(self, kind: str = "return", external_id: str | None = None) -> Case:
        found = [c for c in self.held.cases.values() if c.kind == kind and external_id in (None, c.external_id)]
        (only,) = found
        return only

    def tasks(self, kind: str = "return") -> list[str]:
        return [task.reason for task in self.case(kind).tasks.values()]

    def messages(self) -> list[str]:
        return [errand.name for errand in self.errands if errand.what == "message"]

    def acts(self) -> list[tuple[str, dict[str, Any]]]:
        return [(errand.name, errand.params) for errand in self.errands if errand.what == "act"]

    @property
    def rules(self) -> set[str]:
        return {decision.rule for decision in self.log if decision.rule}

    def ends(self) -> list[tuple[Any, ...]]:
        """Where everything stands: the same whatever order the deliveries came in."""
        cases = sorted(self.held.cases.values(), key=lambda case: (case.kind, case.external_id))
        told = [(c.kind, c.external_id, c.state, c.phase, c.outcome, c.liability, c.goods, c.money) for c in cases]
        order = self.held.order
        return [
            *told,
            (order.placed_at, order.shipped_at, order.delivered_at, order.last_buyer_message_at, order.window_until),
        ]


class Request:
    """An rFBS request as the simulator moves it, read at each step."""

    def __init__(self, desk: Desk, **given: Any) -> None:
        self.desk, self.body = desk, simulated.request(POSTING, desk.now, given)
        self.id = str(self.body["return_id"])
        self.read()

    def read(self) -> list[str]:
        body = dict(self.body)
        if body["state"]["group_state"] in ("Approved", "Rejected"):
            body = {k: v for k, v in body.items() if k not in ("available_actions", "return_reason", "comment")}
        return self.desk.read(f"rfbs:{self.id}", body)

    def turns(self, group: str, **fields: Any) -> list[str]:
        self.desk.now += timedelta(minutes=1)
        simulated.enter(self.body, group)
        self.body |= fields
        return self.read()


class Ordinary:
    """An FBS return, read at each step."""

    def __init__(self, desk: Desk, status: str = "OnSellerApproval", **given: Any) -> None:
        self.desk, self.body = desk, simulated.ordinary(POSTING, desk.now, {**given, "status": status})
        self.read()

    def read(self) -> list[str]:
        return self.desk.read(f"return:{self.body['id']}", self.body)

    def turns(self, status: str, **fields: Any) -> list[str]:
        self.desk.now += timedelta(minutes=1)
        self.body = {**self.body, **fields, "visual": simulated.seen(status, self.desk.now)}
        return self.read()
