"""An after-sale from its messages and readings through the core: the marketplace as the simulator lays it, our side as
`decide` answers."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
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
from shared.domain.facts import Draft, Fact, to_fact
from shared.domain.order import Order
from shared.domain.playbook import Playbook, Terms
from shared.ids import new_id
from shared.marketplaces.pinduoduo import records, simulator
from shared.ports import Account
from shared.registry import Registry

START = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
ORDER = "261122-100200300400500"
REGISTRY = Registry()
FOLDER = REGISTRY.folder("pinduoduo")
MONEY = {"keep_item_refund_below": "15.00 CNY", "approve_refund_above": "200.00 CNY"}
_ROW = (
    "id",
    "order_sn",
    "after_sales_status",
    "created_time",
    "updated_time",
    "refund_amount",
    "order_amount",
    "goods_name",
)


@lru_cache(maxsize=4)
def playbook(kind: str) -> Playbook:
    path = FOLDER / "playbooks" / f"{kind}.yaml"
    return load(path.read_text(), str(path))


def account(**settings: Any) -> Account:
    return Account("pdd-main", "pinduoduo", locale="zh-Hans", time_zone="Asia/Shanghai", settings={**MONEY, **settings})


@lru_cache(maxsize=8)
def _terms(frozen: tuple[tuple[str, Any], ...]) -> Terms:
    allowed = purposes_of(REGISTRY, "pinduoduo")
    needs = {n: needs_of(p) for n, p in REGISTRY.purposes().items() if n in allowed}
    return terms_of(AccountEntry(account(**dict(frozen)), {}, {}), REGISTRY.manifest("pinduoduo"), allowed, needs)


def record(body: dict[str, Any]) -> dict[str, Any]:
    """The after-sale as a reading keeps it."""
    detail = {name: value for name, value in body.items() if name not in ("created_time", "updated_time")}
    return {"detail": detail, "row": {name: body.get(name) for name in _ROW}}


class Walk:
    """`staged`: fields of the simulator's after-sale, its `after_sales_type` among them."""

    def __init__(self, settings: dict[str, Any] | None = None, *, read: bool = True, **staged: Any) -> None:
        self.account = account(**(settings or {}))
        self.terms = _terms(tuple(sorted((settings or {}).items())))
        self.now = START
        self.body = simulator.staged(START, {"order_sn": ORDER, "id": 550031, **staged})
        self.kind = "refund" if self.body["after_sales_type"] == 1 else "return"
        self.book = playbook(self.kind)
        self.previous: dict[str, Any] | None = None
        self.order = Order(account="pdd-main", order_id=ORDER)
        self.case: Case = blank(
            self.book, id=new_id("case", "pdd-main", START), account="pdd-main", marketplace="pinduoduo",
            external_id="550031", order_id=ORDER, now=START,
        )  # fmt: skip
        self.log: list[Decision] = []
        self.errands: list[Errand] = []
        self._n = 0
        if read:
            self.read()

    def apply(self, fact: Fact) -> Decision | NotAllowed:
        self.order = fold(self.order, fact)
        answer = decide(self.book, View(case=self.case, order=self.order, terms=self.terms), fact, self.now)
        if isinstance(answer, Decision):
            self.case, self.order = answer.case, answer.order
            self.log.append(answer)
            self.errands += answer.errands
            assert not self.case.is_open or self.case.clocks or self.case.tasks, (
                "an open case must never lie unattended"
            )
        return answer

    def take(self, *drafts: Draft) -> list[str]:
        for draft in drafts:
            self._n += 1
            common = {"account": "pdd-main", "marketplace": "pinduoduo", "observed_at": self.now}
            self.apply(to_fact(draft, id=f"f{self._n}", source="fetch", **common))
        return [draft.kind for draft in drafts]

    def read(self) -> list[str]:
        """Reads the after-sale as the source would; the kinds of the facts it gave."""
        seen = record(self.body)
        drafts = records.facts(seen, self.previous, self.account, self.now)
        self.previous = seen
        return self.take(*drafts)

    def turns(self, status: int, **fields: Any) -> list[str]:
        """A minute later the marketplace shows another status."""
        self.now += timedelta(minutes=1)
        self.body = simulator.laid_over(self.body, {"after_sales_status": status, **fields}, self.now)
        return self.read()

    def act(self, action: str, scopes: tuple[str, ...] = ("read", "act"), **params: Any) -> Decision | NotAllowed:
        """An operator's action, a minute later."""
        self.now += timedelta(minutes=1)
        data = {"action": action, "params": params, "scopes": list(scopes), "reason": "looked at"}
        return self.apply(self._own("operator.acted", data, "operator"))

    def evidence(self, what: str, by: str) -> Decision | NotAllowed:
        """Somebody keeps evidence with the case."""
        self.now += timedelta(minutes=1)
        return self.apply(self._own("evidence.submitted", {"what": what, "supplied_by": by}, "operator"))

    def approve(self) -> None:
        for errand in [e for e in self.case.errands.values() if e.status == "awaiting_approval"]:
            self.act("approve", act_id=errand.id, scopes=("act", "approve"))

    def elapse(self, name: str) -> Decision:
        """The clock's next moment comes."""
        clock = self.case.clocks[name]
        moment = "due" if clock.acted or clock.act_at is None else "margin"
        self.now = max(self.now, clock.next_at)
        data = {"clock": name, "generation": clock.generation, "moment": moment}
        answer = self.apply(self._own("timer.elapsed", data, "clock"))
        assert isinstance(answer, Decision)
        return answer

    def sends(self) -> None:
        """The notifier has done what was planned; a person has done what was prepared."""
        for errand in list(self.case.errands.values()):
            if errand.status == "planned":
                data = {"errand_id": errand.id, "name": errand.name}
                self.apply(self._own(f"{errand.what}.sent", data, "channel"))

    def _own(self, kind: str, data: dict[str, Any], source: Any) -> Fact:
        self._n += 1
        return Fact(
            id=f"f{self._n}", kind=kind, account="pdd-main", marketplace="pinduoduo", order_id=ORDER,
            case_kind=self.kind, external_id="550031", case_id=self.case.id, occurred_at=self.now, observed_at=self.now,
            source=source, data=data,
        )  # fmt: skip

    @property
    def rules(self) -> set[str]:
        return {decision.rule for decision in self.log if decision.rule}

    def messages(self) -> list[str]:
        return [errand.name for errand in self.errands if errand.what == "message"]

    def acts(self) -> list[str]:
        return [errand.name for errand in self.errands if errand.what == "act"]

    def waiting(self) -> list[str]:
        """Remedies or acts that wait for a person's approval."""
        waits = (e for e in self.case.errands.values() if e.status == "awaiting_approval")
        return [str(errand.params.get("remedy", errand.name)) for errand in waits]

    def tasks(self) -> list[str]:
        return [task.reason for task in self.case.tasks.values()]

    def allowed(self) -> set[str]:
        """Answers that open tasks take."""
        return {answer for task in self.case.tasks.values() for answer in task.allowed}

    def asked_for(self) -> list[str]:
        """Evidence the buyer was asked for."""
        return [item for e in self.errands if e.name == "ask_for_evidence" for item in e.params["items"]]
