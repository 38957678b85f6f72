"""A scene: one case of the test playbook, taken through facts, with what each decision was."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from services.policy.core.decide import decide
from services.policy.core.decision import Decision, NotAllowed, View
from services.policy.core.opening import blank
from services.policy.core.orders import fold
from services.policy.core.replay import Recorded, result_hash
from shared.domain.errands import ACTS
from shared.domain.facts import Fact
from shared.domain.order import Order
from shared.domain.playbook import Need, Playbook, Terms

DATA = Path(__file__).parents[3] / "data"
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
"""A Monday."""
PURPOSES = {
    name: {"order_id": Need("order_id"), "item": Need("item", required=False)}
    for name in ("acknowledge_request", "remind_once", "return_instructions", "refund_issued")
} | {
    "offer_partial_refund": {"order_id": Need("order_id"), "amount": Need("offered")},
    "decline_with_reason": {"order_id": Need("order_id"), "explanation": Need("explanation")},
    "ask_for_evidence": {"order_id": Need("order_id"), "items": Need("items")},
}
TERMS = Terms(
    account="shop",
    shop="The Shop",
    time_zone="Europe/Berlin",
    calendar="US",
    capabilities=dict.fromkeys(ACTS, "api"),
    money={"keep_item_refund_below": {"USD": 1500}, "approve_refund_above": {"USD": 5000}},
    purposes=dict.fromkeys(PURPOSES, ()),
    variables=PURPOSES,
)


def usd(value: str) -> dict[str, str]:
    return {"value": value, "currency": "USD"}


def shipped_text(name: str) -> str:
    return (DATA / "playbooks" / f"{name}.yaml").read_text("utf-8")


@dataclass
class Scene:
    playbook: Playbook
    terms: Terms = TERMS
    now: datetime = START
    order: Order = field(default_factory=lambda: Order(account="shop", order_id="o-1"))
    log: list[Recorded] = field(default_factory=list)
    last: Decision | None = None

    def __post_init__(self) -> None:
        self.case = self.start = blank(
            self.playbook,
            id="case_1",
            account="shop",
            marketplace="testplace",
            external_id="r-1",
            order_id="o-1",
            now=self.now,
        )

    def fact(self, kind: str, data: dict[str, Any] | None = None, **more: Any) -> Fact:
        base: dict[str, Any] = {"order_id": "o-1", "external_id": "r-1", "case_kind": "return", "source": "push"}
        base |= {"occurred_at": self.now, "observed_at": self.now, "id": f"f-{len(self.log)}-{kind}"}
        made = Fact(kind=kind, account="shop", marketplace="testplace", data=data or {}, **(base | more))
        return msgspec.json.decode(msgspec.json.encode(made), type=Fact)

    def offer(self, fact: Fact) -> Decision | NotAllowed:
        order = fold(self.order, fact)
        answer = decide(self.playbook, View(case=self.case, order=order, terms=self.terms), fact, self.now)
        if isinstance(answer, Decision):
            self.log.append(
                Recorded(
                    fact=fact,
                    order=order,
                    terms=self.terms,
                    playbook=self.playbook,
                    decided_at=self.now,
                    result_hash=result_hash(answer),
                )
            )
            self.case, self.order, self.last = answer.case, answer.order, answer
        return answer

    def tell(
        self, kind: str, data: dict[str, Any] | None = None, *, after: timedelta | None = None, **more: Any
    ) -> Decision:
        self.now += after or timedelta(minutes=1)
        answer = self.offer(self.fact(kind, data, **more))
        assert isinstance(answer, Decision), answer
        return answer

    def act(
        self, action: str, params: dict[str, Any] | None = None, *, scopes: tuple[str, ...] = ("act",), **more: Any
    ) -> Decision:
        answer = self.try_act(action, params, scopes=scopes, **more)
        assert isinstance(answer, Decision), answer
        return answer

    def refused(self, action: str, params: dict[str, Any] | None = None, **more: Any) -> NotAllowed:
        answer = self.try_act(action, params, **more)
        assert isinstance(answer, NotAllowed), answer
        return answer

    def try_act(
        self, action: str, params: dict[str, Any] | None = None, *, scopes: tuple[str, ...] = ("act",), **more: Any
    ) -> Decision | NotAllowed:
        self.now += timedelta(minutes=1)
        data = {"action": action, "params": params or {}, "scopes": list(scopes), **more}
        return self.offer(self.fact("operator.acted", data, source="operator", actor="ann"))

    def clock(self, name: str, *, late: timedelta = timedelta(0)) -> Decision:
        """The next moment of a clock comes, `late`."""
        clock = self.case.clocks[name]
        moment = "due" if clock.acted or clock.act_at is None else "margin"
        self.now = clock.next_at + late
        data = {"clock": name, "generation": clock.generation, "moment": moment}
        answer = self.offer(self.fact("timer.elapsed", data, source="clock", case_id="case_1"))
        assert isinstance(answer, Decision)
        return answer

    def report(self, status: str, errand_id: str, **data: Any) -> Decision:
        errand = self.case.errands.get(errand_id)
        what = "act" if errand_id.startswith("act") else "message"
        name = errand.name if errand else "gone"
        return self.tell(
            f"{what}.{status}", {"errand_id": errand_id, "name": name, **data}, source="channel", case_id="case_1"
        )

    def errand(self, name: str) -> str:
        return next(errand.id for errand in self.case.errands.values() if errand.name == name)

    def task(self, kind: str) -> str:
        return next(task.id for task in self.case.tasks.values() if task.kind == kind)

    def answer(self, task_id: str, answer: str, params: dict[str, Any] | None = None, **more: Any) -> Decision:
        return self.act("answer", {"task_id": task_id, "answer": answer, "params": params or {}}, **more)

    @property
    def tasks(self) -> list[str]:
        return sorted(task.kind for task in self.case.tasks.values())
