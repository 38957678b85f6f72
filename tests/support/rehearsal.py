"""One case of the generic marketplace driven through the real core: facts in, errands out, time as told."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.policy import terms
from services.policy.core.decide import decide
from services.policy.core.decision import Decision, NotAllowed, View
from services.policy.core.load import load
from services.policy.core.opening import blank
from services.policy.core.orders import fold
from shared.accounts import AccountEntry
from shared.domain.errands import Errand
from shared.domain.facts import Fact, encode
from shared.domain.order import Order
from shared.domain.playbook import Terms
from shared.ports import Account
from shared.registry import Registry

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
REGISTRY = Registry()
PLAYBOOKS = {path.stem: load(path.read_text("utf-8"), str(path)) for path in REGISTRY.playbook_files("generic")}
DOLLARS = {"value": "9.00", "currency": "USD"}
SETTINGS = {
    "shop": "Nordlys",
    "keep_item_refund_below": "15.00 EUR",
    "approve_refund_above": "50.00 EUR",
    "calendar": "DE",
}


def terms_with(**settings: Any) -> Terms:
    account = Account("shop", "generic", locale="en", time_zone="Europe/Berlin", settings={**SETTINGS, **settings})
    needs = {name: terms.needs_of(purpose) for name, purpose in REGISTRY.purposes().items()}
    allowed = terms.purposes_of(REGISTRY, "generic")
    return terms.terms_of(AccountEntry(account, {}, {}), REGISTRY.manifest("generic"), allowed, needs)


def euros(value: str) -> dict[str, str]:
    return {"value": value, "currency": "EUR"}


class Rehearsal:
    """One case, its clock, and everything that left."""

    def __init__(self, kind: str, terms: Terms | None = None) -> None:
        self.now = NOW
        self.kind = kind
        self.book = PLAYBOOKS[kind]
        self.terms = terms or terms_with()
        self.order = Order(account="shop", order_id="O-1")
        self.case = blank(
            self.book, id="case_1", account="shop", marketplace="generic", external_id="X-1", order_id="O-1", now=NOW
        )
        self.left: list[Errand] = []
        self.decisions: list[Decision] = []
        self._told = 0

    def tell(self, kind: str, **data: Any) -> Decision:
        """The shop says that something has happened."""
        decision = self._meet(self._fact(kind, data))
        assert isinstance(decision, Decision)
        return decision

    def act(self, action: str, *scopes: str, **params: Any) -> Decision | NotAllowed:
        data = {"action": action, "params": params, "scopes": list(scopes), "reason": "because"}
        return self._meet(self._fact("operator.acted", data))

    def sent(self, name: str) -> Decision:
        """The notifier says that the last errand of this name has gone."""
        errand = next(e for e in reversed(self.left) if e.name == name)
        return self.tell(f"{errand.what}.sent", errand_id=errand.id, name=name)

    def wait(self, **span: float) -> None:
        """Lets time pass; each clock on the way rings at its own moment."""
        until = self.now + timedelta(**span)
        while (due := self.case.next_due_at) is not None and due <= until:
            self.now = max(due, self.now)
            clock = min(self.case.clocks.values(), key=lambda c: (c.next_at, c.name))
            moment = "margin" if clock.act_at is not None and not clock.acted else "due"
            self.tell("timer.elapsed", clock=clock.name, generation=clock.generation, moment=moment)
        self.now = until

    def names(self, what: str) -> list[str]:
        return [errand.name for errand in self.left if errand.what == what]

    @property
    def tasks(self) -> list[str]:
        return [task.reason for task in self.case.tasks.values()]

    def _fact(self, kind: str, data: dict[str, Any]) -> Fact:
        self._told += 1
        return Fact(
            id=f"fact_{self._told}", kind=kind, occurred_at=self.now, observed_at=self.now, account="shop",
            marketplace="generic", source="push", order_id="O-1", case_kind=self.kind, external_id="X-1", data=data,
        )  # fmt: skip

    def _meet(self, fact: Fact) -> Decision | NotAllowed:
        order = fold(self.order, fact)
        answer = decide(self.book, View(case=self.case, order=order, terms=self.terms), fact, self.now)
        assert encode(answer) == encode(
            decide(self.book, View(case=self.case, order=order, terms=self.terms), fact, self.now)
        )
        if isinstance(answer, Decision):
            self.case, self.order = answer.case, answer.order
            self.left += answer.errands
            self.decisions.append(answer)
            open_ = self.case.is_open
            assert not open_ or self.case.clocks or self.case.tasks, "an open case must never lie unattended"
        return answer


def opened(kind: str, fact: str, *, terms: Terms | None = None, **data: Any) -> Rehearsal:
    rehearsal = Rehearsal(kind, terms)
    rehearsal.tell(fact, **{"amount": euros("39.90"), "paid": euros("39.90"), **data})
    return rehearsal


def a_return(**data: Any) -> Rehearsal:
    return opened("return", "return.requested", **data)
