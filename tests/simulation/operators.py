"""The people who work with it: actions on cases under an Idempotency-Key, repeated when no answer came, and tasks."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared import ids
from shared.auth import Principal
from shared.errors import Refusal

if TYPE_CHECKING:
    from tests.simulation.world import World

_ACTIONS: tuple[dict[str, Any], ...] = (
    {"action": "authorise", "params": {}},
    {"action": "refund", "params": {}},
    {"action": "refund", "params": {"amount": {"value": "5.00", "currency": "EUR"}, "keep_item": True}},
    {"action": "decline", "params": {"reason": "outside_policy", "comment": "It is too late for that."}},
    {"action": "propose", "params": {"remedy": "part_refund", "amount": {"value": "4.00", "currency": "EUR"}}},
    {"action": "contact", "params": {"text": "We are looking into it and will write again."}},
    {"action": "close", "params": {"reason": "other", "comment": "Settled."}},
    {"action": "confirm_receipt", "params": {"condition": "ok"}},
    {"action": "inspect", "params": {"result": "ok"}},
)

_ANN = Principal("ann", frozenset({"read", "act", "approve", "represent", "admin"}))


@dataclass(eq=False)
class Click:
    """One request of an operator, with all its repeats. `status` is the answer that reached him."""

    key: str
    account: str
    case_id: str
    body: dict[str, Any]
    status: int | None = None
    asked: int = 0


@dataclass
class People:
    world: "World"
    clicks: list[Click] = field(default_factory=list)
    who: Principal = _ANN

    def act(self) -> None:
        """A new action on some case, or one that got no answer (or did) once more under its key."""
        dice = self.world.dice
        if self.clicks and dice.random() < 0.3:
            self._click(dice.choice(self.clicks))
            return
        cases = self.world.rows("policy", "SELECT id, account FROM cases ORDER BY opened_at, id")
        if cases:
            case, action = dice.choice(cases), dice.choice(_ACTIONS)
            if any(c.case_id == case["id"] and c.body["action"] == action["action"] for c in self.clicks):
                return  # asking twice for the same is asking for it twice
            body = {**action, "reason": "as agreed"}
            body["override"] = {"rule": "contact_first", "reason": "he called us"}
            self.clicks.append(Click(f"click-{len(self.clicks)}", case["account"], case["id"], body))
            self._click(self.clicks[-1])

    def _click(self, click: Click) -> None:
        self.world.note(f"{click.key} {click.body['action']}")
        self.world.do("policy", lambda service: self._ask(service, click))

    async def _ask(self, service: Any, click: Click) -> None:
        click.asked += 1
        process = self.world.running["policy"].process
        try:
            reply = await service.operators.act(self.who, click.case_id, click.body, click.key)
            status = reply.status
        except Refusal as refusal:
            status = refusal.status
        if process.alive and click.status not in (200, 202):
            click.status = status

    def answer_task(self) -> None:
        """A person looks where it may have been sent and says what he found; approvals are given or not."""
        sql = "SELECT id, case_id, kind, document FROM tasks WHERE status = 'open' ORDER BY opened_at, id"
        tasks = [t for t in self.world.rows("policy", sql) if t["kind"] in ("in_doubt", "approve_act")]
        if not tasks or self.world.market.on_the_way:
            return
        task = self.world.dice.choice(tasks)
        answer = self._found(task) if task["kind"] == "in_doubt" else None
        allowed = json.loads(task["document"])["allowed"]
        answer = answer if answer in allowed else next((a for a in allowed if a in ("approve", "reject")), None)
        if answer is not None:
            self.world.note(f"task {task['kind']} {answer}")
            body = {"answer": answer, "reason": "looked it up", "params": {}}
            self.world.do("policy", lambda service: self._answer(service, task["id"], body))

    def _found(self, task: dict[str, Any]) -> str:
        errand = json.loads(task["document"]).get("errand_id")
        there = any(effect.errand_id == errand for effect in self.world.market.effects)
        return "sent" if there else self.world.dice.choice(("not_sent", "send_again"))

    async def _answer(self, service: Any, task_id: str, body: dict[str, Any]) -> None:
        try:
            await service.operators.answer_task(self.who, task_id, body, f"task {task_id}")
        except Refusal:
            return

    def fact_of(self, click: Click) -> str:
        """The id under which the log must know an action that was answered."""
        return ids.digest(click.account, "operator", self.who.name, click.key)
