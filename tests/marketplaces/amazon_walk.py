"""One Amazon case through the core: facts as the folder tells them, our side as `decide` answers."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from services.notifier import rulebook, rules
from services.policy.core.allowed import allowed
from services.policy.core.decide import decide
from services.policy.core.decision import Decision, NotAllowed, View
from services.policy.core.load import load
from services.policy.core.opening import blank
from services.policy.core.orders import fold
from services.policy.terms import needs_of, purposes_of, terms_of
from shared.accounts import AccountEntry
from shared.domain.errands import Errand
from shared.domain.facts import Fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook
from shared.ports import Account
from shared.registry import Registry

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
"""A Monday."""
ORDER = "902-1234567-7654321"
REGISTRY = Registry()
FOLDER = REGISTRY.folder("amazon")
BOOK = rulebook.load(FOLDER / "rules.yaml", "amazon")
MONEY = {"keep_item_refund_below": "15.00 USD", "approve_refund_above": "50.00 USD"}
_OPENS = {
    "return": "return.requested",
    "claim": "dispute.opened",
    "cancellation": "order.cancel_requested",
    "review": "review.posted",
    "order_care": "message.received",
}
_TOLD: dict[str, dict[str, Any]] = {
    "return": {"reason": "defective", "reason_code": "DEFECTIVE", "in_policy": True},
    "claim": {"reason": "not_received", "stage": "guarantee"},
    "cancellation": {"fulfilment": "MFN"},
    "review": {"stars": 1, "comment": "It fell apart."},
    "order_care": {"text": "Where is it?"},
}
_RAW = {"return": "Pending Authorization", "claim": "A-to-z Claim", "cancellation": "Buyer Requested Cancel"}


@cache
def playbook(kind: str) -> Playbook:
    path = FOLDER / "playbooks" / f"{kind}.yaml"
    return load(path.read_text("utf-8"), str(path))


def usd(value: str) -> dict[str, str]:
    return {"value": value, "currency": "USD"}


def judged(text: str, purpose: str = "free_text", phase: str = "awaiting_seller") -> rules.Verdict:
    return rules.judge(text, BOOK, purpose=purpose, phase=phase, order_id=ORDER)


def broken(text: str) -> set[str]:
    return {violation.rule for violation in judged(text).violations}


class Walk:
    """Opens a case of `kind` of an order that paid 39.90 USD; `told` is laid over what the opening fact says.

    `order`: what was known of the order before.
    """

    def __init__(
        self,
        kind: str = "return",
        *,
        raw: str | None = None,
        settings: dict[str, Any] | None = None,
        order: Order | None = None,
        **told: Any,
    ) -> None:
        self.kind, self.book = kind, playbook(kind)
        self.account = Account("amz", "amazon", settings={**MONEY, **(settings or {})})
        purposes = purposes_of(REGISTRY, "amazon")
        needs = {n: needs_of(p) for n, p in REGISTRY.purposes().items() if n in purposes}
        self.terms = terms_of(AccountEntry(self.account, {}, {}), REGISTRY.manifest("amazon"), purposes, needs)
        self.now = START
        self.order = order or Order(account="amz", order_id=ORDER)
        self.external = "RMA-7" if kind == "return" else ORDER
        self.case = blank(
            self.book, id="case_1", account="amz", marketplace="amazon", external_id=self.external, order_id=ORDER, now=START
        )  # fmt: skip
        self.log: list[Decision] = []
        self.errands: list[Errand] = []
        self._n = 0
        given = {"amount": usd("39.90"), "paid": usd("39.90"), **_TOLD[kind], **told}
        self.tell(_OPENS[kind], raw=raw or _RAW.get(kind), **given)

    def tell(self, kind: str, raw: str | None = None, **data: Any) -> Decision:
        """News of the marketplace, a minute later."""
        self.now += timedelta(minutes=1)
        answer = self._apply(self._fact(kind, data, "poll", raw))
        assert isinstance(answer, Decision)
        return answer

    def act(
        self, action: str, *scopes: str, why: str = "looked at", override: str = "", **params: Any
    ) -> Decision | NotAllowed:
        """An operator's action, a minute later."""
        self.now += timedelta(minutes=1)
        data = {"action": action, "params": params, "scopes": ["read", "act", *scopes], "reason": why}
        if override:
            data["override"] = {"rule": override, "reason": "known from the telephone"}
        return self._apply(self._fact("operator.acted", data, "operator"))

    def refused(self, action: str, *scopes: str, **params: Any) -> NotAllowed:
        answer = self.act(action, *scopes, **params)
        assert isinstance(answer, NotAllowed), answer
        return answer

    def did(self, action: str, *scopes: str, **params: Any) -> Decision:
        answer = self.act(action, *scopes, **params)
        assert isinstance(answer, Decision), answer
        return answer

    def becomes(self, status: str, name: str, **data: Any) -> Decision:
        """The notifier tells what became of the last errand of this name."""
        errand = next(e for e in reversed(self.errands) if e.name == name)
        told = {"errand_id": errand.id, "name": name, **data}
        answer = self._apply(self._fact(f"{errand.what}.{status}", told, "channel"))
        assert isinstance(answer, Decision)
        return answer

    def elapse(self, name: str) -> Decision:
        """The clock's next moment comes."""
        clock = self.case.clocks[name]
        moment = "due" if clock.acted or clock.act_at is None else "margin"
        self.now = max(clock.next_at, self.now)
        data = {"clock": name, "generation": clock.generation, "moment": moment}
        answer = self._apply(self._fact("timer.elapsed", data, "clock"))
        assert isinstance(answer, Decision)
        return answer

    def claims(self, *ids: str) -> None:
        """Other open claims of the order, as policy keeps them on it."""
        self.order = msgspec.structs.replace(self.order, open_claims=ids)

    def _fact(self, kind: str, data: dict[str, Any], source: Any, raw: str | None = None) -> Fact:
        self._n += 1
        return Fact(
            id=f"f{self._n}", kind=kind, account="amz", marketplace="amazon", order_id=ORDER, case_kind=self.kind,
            external_id=self.external, occurred_at=self.now, observed_at=self.now, source=source, raw_code=raw, data=data,
        )  # fmt: skip

    def _apply(self, fact: Fact) -> Decision | NotAllowed:
        order = fold(self.order, fact)
        answer = decide(self.book, View(case=self.case, order=order, terms=self.terms), fact, self.now)
        if isinstance(answer, Decision):
            self.case, self.order = answer.case, answer.order
            self.log.append(answer)
            self.errands += answer.errands
            attended = not self.case.is_open or self.case.clocks or self.case.tasks
            assert attended, "an open case must never lie unattended"
        return answer

    @property
    def state(self) -> str:
        return self.case.state

    @property
    def allowed(self) -> set[str]:
        return set(allowed(self.book, View(case=self.case, order=self.order, terms=self.terms)))

    def messages(self) -> list[str]:
        return [errand.name for errand in self.errands if errand.what == "message"]

    def acts(self) -> list[str]:
        return [errand.name for errand in self.errands if errand.what == "act"]

    def tasks(self) -> list[str]:
        return [task.reason for task in self.case.tasks.values()]
