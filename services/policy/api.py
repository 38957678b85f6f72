"""HTTP routes of policy: parse, call a handler, map the result. Shapes and paths are those promised."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from services.policy import queries, views
from services.policy.answers import Reply
from services.policy.bodies import Action, Answer, Kind, NewCase, body_of, documented, idempotency_key
from services.policy.core.news import unfit
from services.policy.handlers import Policy
from services.policy.operators import Operators
from services.policy.queries import Filters, Page
from services.policy.views import Json
from shared import ids
from shared.auth import Principal, require
from shared.cursors import Cursors
from shared.domain.facts import Fact
from shared.errors import Conflict, Invalid, NotFound

Reader = Annotated[Principal, Depends(require("read"))]
Actor = Annotated[Principal, Depends(require("act"))]
Limit = Annotated[int, Query(ge=1, le=200)]
Phase = Literal["awaiting_seller", "awaiting_buyer", "goods_in_transit", "inspection", "platform_review", "resolved"]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]
_KEYED: Json = {
    "parameters": [{"in": "header", "name": "Idempotency-Key", "required": True, "schema": {"type": "string"}}]
}


def cases_router(policy: Policy, operators: Operators, cursors: Cursors) -> APIRouter:
    routes = APIRouter(tags=["cases"])

    @routes.get("/v1/cases")
    async def list_cases(
        who: Reader,
        account: Text = None,
        marketplace: Text = None,
        kind: Kind | None = None,
        phase: Phase | None = None,
        state: Text = None,
        order_id: Text = None,
        external_id: Text = None,
        due_before: datetime | None = None,
        sort: Literal["deadline", "money_at_risk", "updated"] = "deadline",
        cursor: Text = None,
        limit: Limit = 50,
    ) -> Json:
        filters = Filters(who, "c").before("deadline_at", _aware(due_before))
        filters.equal(account=account, marketplace=marketplace, kind=kind, phase=phase, state=state)
        filters.equal(order_id=order_id, external_id=external_id)
        page = Page(cursors, f"cases {sort}", cursor, limit)
        async with policy.database.reading() as tx:
            return await queries.cases(tx, policy.world, filters, sort, page)

    @routes.get("/v1/cases/{case_id}")
    async def one_case(who: Reader, case_id: str) -> Json:
        async with policy.database.reading() as tx:
            return await queries.case(tx, policy.world, who, case_id)

    @routes.get("/v1/cases/{case_id}/timeline")
    async def timeline(who: Reader, case_id: str, cursor: Text = None, limit: Limit = 50) -> Json:
        page = Page(cursors, f"timeline {case_id}", cursor, limit)
        async with policy.database.reading() as tx:
            return await queries.timeline(tx, who, case_id, page)

    @routes.post("/v1/cases/{case_id}/actions", openapi_extra={**documented(Action), **_KEYED})
    async def act(who: Actor, case_id: str, request: Request) -> Response:
        key = idempotency_key(request)
        asked = await body_of(request, Action)
        body = {"action": asked.action, "params": asked.params, "reason": asked.reason}
        given = body if asked.override is None else {**body, "override": asked.override}
        return _answer(await operators.act(who, case_id, given, key))

    @routes.post("/v1/cases", status_code=201, openapi_extra=documented(NewCase))
    async def open_case(who: Actor, request: Request) -> Response:
        return _answer(await operators.open_case(who, _opening(policy, who, await body_of(request, NewCase))))

    return routes


def tasks_router(policy: Policy, operators: Operators, cursors: Cursors) -> APIRouter:
    routes = APIRouter(tags=["tasks"])

    @routes.get("/v1/tasks")
    async def list_tasks(
        who: Reader,
        status: Literal["open", "done", "closed"] | None = None,
        account: Text = None,
        case_id: Text = None,
        kind: Text = None,
        sort: Literal["due"] = "due",
        cursor: Text = None,
        limit: Limit = 50,
    ) -> Json:
        filters = Filters(who, "t").equal(status=status, account=account, case_id=case_id, kind=kind)
        async with policy.database.reading() as tx:
            return await queries.tasks(tx, filters, Page(cursors, f"tasks {sort}", cursor, limit))

    @routes.get("/v1/tasks/{task_id}")
    async def one_task(who: Reader, task_id: str) -> Json:
        async with policy.database.reading() as tx:
            return views.task_json(await queries.visible_task(tx, who, task_id))

    @routes.post("/v1/tasks/{task_id}/done", openapi_extra=documented(Answer))
    async def done(who: Actor, task_id: str, request: Request) -> Response:
        key = idempotency_key(request) if "idempotency-key" in request.headers else f"task {task_id}"
        asked = await body_of(request, Answer)
        body = {"answer": asked.answer, "reason": asked.reason, "params": asked.params}
        return _answer(await operators.answer_task(who, task_id, body, key))

    return routes


def _answer(reply: Reply) -> Response:
    return JSONResponse(reply.body, reply.status)


def _aware(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise Invalid("due_before needs a time zone", code="bad_time")
    return moment


def _opening(policy: Policy, who: Principal, asked: NewCase) -> Fact:
    """The fact that opens such a case in its playbook, as an operator tells it. Raises NotFound, Invalid."""
    known = policy.world.terms.accounts.get(asked.account)
    if known is None or not who.sees(asked.account):
        raise NotFound("there is no such account")
    if any(not id_.strip() or not id_.isprintable() for id_ in (asked.external_id, asked.order_id)):
        raise Invalid("external_id and order_id must be printable and not empty", code="bad_body")
    marketplace = policy.world.terms.marketplace(asked.account)
    playbook = policy.world.playbooks.current.get((marketplace, asked.kind))
    if playbook is None:
        raise Conflict(f"{marketplace} has no playbook for {asked.kind}", code="no_playbook")
    data = asked.data()
    if wrong := unfit(data, playbook.fields):
        raise Invalid(f"not of their type: {', '.join(wrong)}", code="bad_facts")
    now = policy.clock.now()
    return Fact(
        id=ids.digest(asked.account, "by hand", asked.kind, asked.external_id),
        kind=playbook.opens_on[0].fact,
        account=asked.account,
        marketplace=marketplace,
        order_id=asked.order_id,
        case_kind=asked.kind,
        external_id=asked.external_id,
        occurred_at=now,
        observed_at=now,
        source="hand",
        actor=who.name,
        data=data,
    )
