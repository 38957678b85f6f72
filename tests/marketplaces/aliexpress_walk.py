"""A dispute from its readings through the core: the marketplace as the simulator moves it, our side as `decide` answers."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from services.policy.core.decide import decide
from services.policy.core.decision import Decision, NotAllowed, View
from services.policy.core.load import load
from services.policy.core.opening import blank
from services.policy.core.orders import fold
from services.policy.terms import needs_of, purposes_of, terms_of
from shared.accounts import AccountEntry
from shared.domain.case import Case
from shared.domain.errands import Errand
from shared.domain.facts import Fact, to_fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook
from shared.ids import new_id
from shared.marketplaces.aliexpress import records, simulated
from shared.ports import Account
from shared.registry import Registry

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ORDER = "8200001234567890"
REGISTRY = Registry()
FOLDER = REGISTRY.folder("aliexpress")
MONEY = {"keep_item_refund_below": "15.00 USD", "approve_refund_above": "50.00 USD"}


@lru_cache(maxsize=4)
def playbook(kind: str = "dispute") -> Playbook:
    path: Path = FOLDER / "playbooks" / f"{kind}.yaml"
    return load(path.read_text(), str(path))


class Walk:
    """`staged`: fields of the simulator's dispute. `settings`: of the account."""

    def __init__(self, settings: dict[str, Any] | None = None, **staged: Any) -> None:
        self.account = Account("ae-main", "aliexpress", settings={**MONEY, **(settings or {})})
        purposes = purposes_of(REGISTRY, "aliexpress")
        needs = {n: needs_of(p) for n, p in REGISTRY.purposes().items() if n in purposes}
        entry = AccountEntry(self.account, {}, {})
        self.terms = terms_of(entry, REGISTRY.manifest("aliexpress"), purposes, needs)
        self.now = START
        self.body = simulated.made_up(ORDER, START, staged)
        self.previous: dict[str, Any] | None = None
        self.order = Order(account="ae-main", order_id=ORDER)
        self.case: Case = blank(
            playbook(),
            id=new_id("case", "ae-main", START),
            account="ae-main",
            marketplace="aliexpress",
            external_id=self.body["issue_id"],
            order_id=ORDER,
            now=START,
        )
        self.log: list[Decision] = []
        self.facts: list[Fact] = []
        self.errands: list[Errand] = []
        self._n = 0
        self.read()

    def apply(self, fact: Fact) -> Decision | NotAllowed:
        self.order = fold(self.order, fact)
        answer = decide(playbook(), View(case=self.case, order=self.order, terms=self.terms), fact, self.now)
        if isinstance(answer, Decision):
            self.case, self.order = answer.case, answer.order
            self.log.append(answer)
            self.facts.append(fact)
            self.errands += answer.errands
        return answer

    def read(self) -> list[str]:
        """Reads the dispute as the source would; the kinds of the facts it gave."""
        body = dict(self.body)
        drafts = records.facts(body, self.previous, self.account, self.now)
        self.previous = body | {k: [dict(row) for row in v] for k, v in body.items() if isinstance(v, list)}
        for draft in drafts:
            self.apply(self._fact(draft))
        return [draft.kind for draft in drafts]

    def _fact(self, draft: Any) -> Fact:
        self._n += 1
        common = {"account": "ae-main", "marketplace": "aliexpress", "observed_at": self.now}
        return to_fact(draft, id=f"f{self._n}", source="fetch", **common)

    def does(self, move: str, **given: Any) -> list[str]:
        """Something happens on the marketplace a minute later, and is read."""
        self.now += timedelta(minutes=1)
        simulated.MOVES[move](self.body, self.now, given)
        return self.read()

    def turns(self, status: str) -> list[str]:
        self.now += timedelta(minutes=1)
        simulated.enter(self.body, status, self.now)
        return self.read()

    def act(self, action: str, scopes: tuple[str, ...] = ("read", "act"), **params: Any) -> Decision | NotAllowed:
        """An operator's action, a minute later."""
        self.now += timedelta(minutes=1)
        data = {"action": action, "params": params, "scopes": list(scopes), "reason": "looked at"}
        return self.apply(self._own("operator.acted", data))

    def elapse(self, name: str) -> Decision:
        """The clock's next moment comes."""
        clock = self.case.clocks[name]
        moment = "due" if clock.acted or clock.act_at is None else "margin"
        self.now = clock.next_at
        data = {"clock": name, "generation": clock.generation, "moment": moment}
        answer = self.apply(self._own("timer.elapsed", data))
        assert isinstance(answer, Decision)
        return answer

    def sends(self) -> None:
        """The notifier has sent what was planned."""
        for errand in list(self.case.errands.values()):
            if errand.status == "planned":
                data = {"errand_id": errand.id, "name": errand.name}
                self.apply(self._own(f"{errand.what}.sent", data))

    def _own(self, kind: str, data: dict[str, Any]) -> Fact:
        self._n += 1
        return Fact(
            id=f"f{self._n}",
            kind=kind,
            account="ae-main",
            marketplace="aliexpress",
            order_id=ORDER,
            case_kind="dispute",
            external_id=self.case.external_id,
            case_id=self.case.id,
            occurred_at=self.now,
            observed_at=self.now,
            source="clock" if kind == "timer.elapsed" else "operator",
            data=data,
        )

    @property
    def rules(self) -> set[str]:
        return {decision.rule for decision in self.log if decision.rule}

    def messages(self) -> list[str]:
        return [errand.name for errand in self.errands if errand.what == "message"]

    def acts(self) -> list[tuple[str, dict[str, Any]]]:
        return [(errand.name, errand.params) for errand in self.errands if errand.what == "act"]

    def tasks(self) -> list[str]:
        return [task.reason for task in self.case.tasks.values()]

    def asked_for(self) -> list[str]:
        """Evidence the buyer was asked for."""
        asked = [errand.params["items"] for errand in self.errands if errand.name == "ask_for_evidence"]
        return [item for items in asked for item in items]
