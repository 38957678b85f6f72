"""What people and other systems ask for: actions, cases opened by hand, tasks answered, evidence added.

Each is a fact that goes through the same throat, in the request's own transaction, together with its idempotency row.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError

from services.policy import answers, queries, rows, store, tables, views
from services.policy.answers import Reply
from services.policy.batch import Batch
from services.policy.core.actions import TASK_ANSWER
from services.policy.core.allowed import allowed
from services.policy.core.decision import Decision, NotAllowed, View
from services.policy.handlers import Policy
from services.policy.places import identity
from services.policy.views import Json
from services.policy.walk import NotTaken, Walk
from shared import crashpoints, ids
from shared.auth import Principal
from shared.clock import to_micros
from shared.domain.case import Case
from shared.domain.facts import Fact, encode
from shared.errors import Conflict, Invalid, Refusal
from shared.store.session import Tx

_LOCK_TIMEOUT = "55P03"


class Operators:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._in_flight: set[tuple[str, str, str]] = set()

    async def act(self, who: Principal, case_id: str, body: Json, key: str) -> Reply:
        """`body` = {action, params, reason, override}. Raises NotFound, Conflict (409 with `allowed`), Invalid."""
        case = await self.visible(who, case_id)
        await self._attachments_known(case, body["params"].get("attachments"))
        data = {**body, "action": _public(body["action"]), "scopes": sorted(who.scopes)}
        fact = self._fact(case, who, ids.digest(case.account, "operator", who.name, key), data)

        async def work(tx: Tx) -> tuple[Batch, Reply]:
            batch, decisions = await self._decided(tx, fact, case_id)
            if (
                not decisions
            ):  # its fact is in the log: the answer is no longer kept, and may have been for something else
                raise answers.used_before()
            return batch, self._acted(batch, case_id, decisions)

        return await self._once(who, case.account, key, [case_id, body], work)

    async def answer_task(self, who: Principal, task_id: str, body: Json, key: str) -> Reply:
        """`body` = {answer, reason, params}. A task of a case is answered through its case; others are just closed."""
        async with self.policy.database.reading() as tx:
            row = await queries.visible_task(tx, who, task_id)
        account = row["account"]

        async def work(tx: Tx) -> tuple[Batch | None, Reply]:
            return await self._answered(tx, who, task_id, body, key)

        return await self._once(who, account, key, [task_id, body], work)

    async def open_case(self, who: Principal, fact: Fact) -> Reply:
        """By hand: 201, or 200 with the case that has this identity already."""

        async def work(tx: Tx) -> tuple[Batch, Reply]:
            batch = await self.policy.hold(tx, [fact])
            there = batch.identities.get(identity(fact) or ("", "", ""))
            if there is None:
                Walk(self.policy.world, batch).offer(fact)
                _raise_parked(batch)
                there = batch.identities.get(identity(fact) or ("", "", ""))
                if there is None:
                    raise Invalid("no playbook opens such a case", code="not_opened")
                await self.policy.write(batch)
                return batch, Reply(201, self._shown(batch, there))
            return batch, Reply(200, self._shown(batch, there))

        batch, reply = await self._transaction(work)
        self.policy.tell(batch.out)
        return reply

    async def add_evidence(self, who: Principal, case_id: str, row: rows.Row) -> Json:
        """`row`: kind, supplied_by and what it is (sha256, size, content_type | url | text). Blobs are already stored."""
        case, now = await self.visible(who, case_id), self.policy.clock.now()
        name = row["sha256"] or ids.digest(row["url"] or "", row["text"] or "")
        id_ = ids.derived_id("evidence", case.account, case.opened_at, case_id, row["kind"], name)
        full = {"account": case.account, "id": id_, "case_id": case_id, **row, "added_by": who.name}
        data = {"what": row["kind"], "evidence_id": id_, "supplied_by": row["supplied_by"], "sha256": row["sha256"]}
        data["content_type"] = row["content_type"]
        fact = self._fact(case, who, ids.digest(case.account, "evidence", id_), data, kind="evidence.submitted")

        async def work(tx: Tx) -> tuple[Batch | None, Reply]:
            row = {**full, "created_at": to_micros(now)}
            fresh = await tx.insert(tables.evidence, [row], on_conflict="nothing", returning=("id",))
            batch = (await self._decided(tx, fact, case_id))[0] if fresh else None
            return batch, Reply(201, {name: value for name, value in full.items() if value is not None})

        batch, reply = await self._transaction(work)
        if batch is not None:
            self.policy.tell(batch.out)
        return reply.body

    async def visible(self, who: Principal, case_id: str) -> Case:
        async with self.policy.database.reading() as tx:
            return await queries.visible_case(tx, who, case_id)

    async def _attachments_known(self, case: Case, given: Any) -> None:
        """What goes to a buyer is evidence of his case. A list that is none is the core's to refuse. Raises Invalid."""
        if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
            return
        async with self.policy.database.reading() as tx:
            known = await tx.rows("SELECT sha256 FROM evidence WHERE case_id = :case", case=case.id)
        if not {*given} <= {row["sha256"] for row in known}:
            raise Invalid("attachments must be evidence of this case, by its SHA-256", code="unknown_attachment")

    def _fact(self, case: Case, who: Principal, id_: str, data: Json, *, kind: str = "operator.acted") -> Fact:
        now = self.policy.clock.now()
        return Fact(
            id=id_,
            kind=kind,
            account=case.account,
            marketplace=case.marketplace,
            order_id=case.order_id,
            case_kind=case.kind,
            external_id=case.external_id,
            case_id=case.id,
            occurred_at=now,
            observed_at=now,
            source="operator",
            actor=who.name,
            data=data,
        )

    async def _decided(self, tx: Tx, fact: Fact, case_id: str) -> tuple[Batch, list[Decision]]:
        batch = await self.policy.hold(tx, [fact])
        try:
            decisions = Walk(self.policy.world, batch).offer(fact)
        except NotTaken as refused:
            raise self._refusal(batch, case_id, refused.answer) from None
        _raise_parked(batch)
        await self.policy.write(batch)
        return batch, decisions

    def _refusal(self, batch: Batch, case_id: str, answer: NotAllowed) -> Refusal:
        case, view = self._view(batch, case_id)
        may = allowed(self.policy.world.playbooks.of(case.playbook_hash), view)
        kind = Invalid if answer.status == 422 else Conflict
        return kind(
            answer.detail, code=answer.code, status=answer.status, allowed=list(may), state=case.state, phase=case.phase
        )

    def _acted(self, batch: Batch, case_id: str, decisions: list[Decision]) -> Reply:
        shown = self._shown(batch, case_id)
        decision = next((d for d in decisions if d.case.id == case_id), None)
        if decision is not None and decision.answered is not None:
            errand = decision.case.errands.get(decision.answered)
            shown["act_id" if errand is None or errand.what == "act" else "message_id"] = decision.answered
        waits = decision is not None and decision.waits_for_approval
        return Reply(202, {**shown, "waits_for_approval": True}) if waits else Reply(200, shown)

    def _view(self, batch: Batch, case_id: str) -> tuple[Case, View]:
        held = next(held for held in batch.held.values() if case_id in held.cases)
        case = held.cases[case_id]
        return case, View(case=case, order=held.order, terms=self.policy.world.terms.of(case.account).terms)

    def _shown(self, batch: Batch, case_id: str) -> Json:
        case, view = self._view(batch, case_id)
        return queries.shown_case(self.policy.world, case, view.order)

    async def _answered(self, tx: Tx, who: Principal, task_id: str, body: Json, key: str) -> tuple[Batch | None, Reply]:
        row = await queries.visible_task(tx, who, task_id)
        may = msgspec.json.decode(row["document"])["allowed"]
        if row["status"] != "open":
            raise Conflict("this task is no longer open", code="task_closed", task_status=row["status"], allowed=[])
        if body["answer"] not in may:
            raise Conflict("this answer is not one of those allowed", code="answer_not_allowed", allowed=may)
        case = await store.case_document(tx, row["case_id"]) if row["case_id"] else None
        batch = None
        if case is not None and task_id in case.tasks:
            data = {**_as_action(task_id, body), "scopes": sorted(who.scopes)}
            fact = self._fact(case, who, ids.digest(case.account, "operator", who.name, key), data)
            batch, _ = await self._decided(tx, fact, case.id)
        else:
            await store.count(tx, {("tasks_open", row["kind"]): -1}, 0)
        await tx.run(
            "UPDATE tasks SET status = 'done', answer = :answer, closed_by = :by, closed_at = :now WHERE id = :id",
            id=task_id, answer=body["answer"], by=who.name, now=to_micros(self.policy.clock.now()),
        )  # fmt: skip
        done = await queries.visible_task(tx, who, task_id)
        return batch, Reply(200, views.task_json(done))

    async def _once(
        self,
        who: Principal,
        account: str,
        key: str,
        asked: Any,
        work: Callable[[Tx], Awaitable[tuple[Batch | None, Reply]]],
    ) -> Reply:
        """The same key again gives the kept answer; with another body it is refused. Refusals are not kept."""
        mine = (account, key, who.name)
        if mine in self._in_flight:
            raise Conflict("this request is being handled", code="in_flight")
        self._in_flight.add(mine)
        try:
            batch, reply = await self._transaction(lambda tx: self._claimed(tx, mine, asked, work))
        finally:
            self._in_flight.discard(mine)
        crashpoints.hit("policy.action_committed")
        if batch is not None:
            self.policy.tell(batch.out)
        return reply

    async def _claimed(
        self,
        tx: Tx,
        mine: tuple[str, str, str],
        asked: Any,
        work: Callable[[Tx], Awaitable[tuple[Batch | None, Reply]]],
    ) -> tuple[Batch | None, Reply]:
        batch: Batch | None = None

        async def working() -> Reply:
            nonlocal batch
            batch, reply = await work(tx)
            return reply

        reply = await answers.once(tx, mine, ids.content_hash(encode(asked)), working)
        return batch, reply

    async def _transaction(self, work: Callable[[Tx], Awaitable[tuple[Any, Reply]]]) -> tuple[Any, Reply]:
        try:
            return await self.policy.in_transaction(work, urgent=True)
        except DBAPIError as fault:
            if getattr(fault.orig, "sqlstate", None) == _LOCK_TIMEOUT:
                raise Conflict("another request holds this order: try again", code="in_flight") from fault
            raise


def _public(action: str) -> str:
    """Answering a task has a route of its own; the core knows no action without a name."""
    return action if action != TASK_ANSWER else ""


def _as_action(task_id: str, body: Json) -> Json:
    """A task's answer as the core takes it."""
    params = {"task_id": task_id, "answer": body["answer"], "params": body.get("params") or {}}
    return {"action": TASK_ANSWER, "params": params, "reason": body.get("reason")}


def _raise_parked(batch: Batch) -> None:
    """What a person asked for is not parked: he is told."""
    if batch.out.parked:
        raise batch.out.parked[0][1]
