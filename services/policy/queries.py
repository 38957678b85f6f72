"""What the API reads: cases, timelines, tasks, parked things. Lists go on from a signed cursor."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.policy import store, views
from services.policy.core import clocks
from services.policy.core.allowed import allowed
from services.policy.core.decision import View
from services.policy.views import Json
from services.policy.walk import World
from shared.auth import Principal
from shared.clock import to_micros
from shared.cursors import BadCursor, Cursors
from shared.domain.case import Case
from shared.domain.order import Order
from shared.errors import NotFound
from shared.store.session import Row as RowMapping
from shared.store.session import Tx

NEVER = "9223372036854775807"
_CASES = {
    "deadline": (f"COALESCE(c.deadline_at, {NEVER})", "ASC"),
    "money_at_risk": ("COALESCE(c.at_risk_minor, -1)", "DESC"),
    "updated": ("c.updated_at", "DESC"),
}
_TASKS = {"due": ("t.due_at", "ASC")}


Found = Mapping[Any, Any]


@dataclass
class Filters:
    """Conditions over one table; a value of None is no condition."""

    principal: Principal
    prefix: str
    where: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)

    def equal(self, **values: str | None) -> "Filters":
        for name, value in values.items():
            if value is not None:
                self.where.append(f"{self.prefix}.{name} = :{name}")
                self.params[name] = value
        return self

    def before(self, column: str, moment: datetime | None) -> "Filters":
        if moment is not None:
            self.where.append(f"{self.prefix}.{column} <= :before")
            self.params["before"] = to_micros(moment)
        return self

    def visible(self, tx: Tx) -> None:
        if self.principal.accounts is not None:
            self.where.append(tx.any_of(f"{self.prefix}.account", "visible"))
            self.params["visible"] = sorted(self.principal.accounts)


@dataclass(frozen=True, slots=True)
class Page:
    """How far a list goes at once, in which order, and after what."""

    cursors: Cursors
    purpose: str
    cursor: str | None
    limit: int

    def after(self) -> tuple[int, str] | None:
        if self.cursor is None:
            return None
        match self.cursors.open(self.purpose, self.cursor):
            case [int(value), str(id_)]:
                return value, id_
        raise BadCursor("this cursor is not one of ours")

    def answer(self, rows: Sequence[Found], show: Callable[[Found], Json]) -> Json:
        """`rows` may be one more than the limit: then there is a next page."""
        shown = rows[: self.limit]
        last = shown[-1] if len(rows) > self.limit else None
        ahead = self.cursors.seal(self.purpose, [last["place"], last["id"]]) if last else None
        return {"items": [show(row) for row in shown], "next": ahead}


async def _page(tx: Tx, select: str, filters: Filters, order: tuple[str, str], page: Page) -> Sequence[RowMapping]:
    filters.visible(tx)
    expression, direction = order
    after, where = page.after(), list(filters.where)
    params = dict(filters.params)
    if after is not None:
        sign = ">" if direction == "ASC" else "<"
        where.append(f"({expression}, {filters.prefix}.id) {sign} (:place, :place_id)")
        params |= {"place": after[0], "place_id": after[1]}
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    sql = select.format(place=expression)
    tail = f"{condition} ORDER BY {expression} {direction}, {filters.prefix}.id {direction} LIMIT :limit"
    return await tx.rows(f"{sql} {tail}", **params, limit=page.limit + 1)


async def cases(tx: Tx, world: World, filters: Filters, sort: str, page: Page) -> Json:
    select = (
        "SELECT c.id, c.document, o.document AS order_document, {place} AS place FROM cases c "
        "JOIN orders o ON o.account = c.account AND o.order_id = c.order_id"
    )
    found = await _page(tx, select, filters, _CASES[sort], page)
    known = [(store.read_case(row["document"]), store.read_order(row["order_document"])) for row in found]
    await world.playbooks.need(tx, {case.playbook_hash for case, _ in known})
    beside = await store.siblings(tx, {(case.account, case.order_id) for case, _ in known})
    shown = {case.id: shown_case(world, case, order, beside[case.account, case.order_id]) for case, order in known}
    return page.answer(found, lambda row: shown[row["id"]])


def shown_case(world: World, case: Case, order: Order, links: Iterable[str] = ()) -> Json:
    """With what is allowed and planned as things stand now."""
    view = View(case=case, order=order, terms=world.terms.of(case.account).terms)
    playbook = world.playbooks.of(case.playbook_hash)
    ahead = clocks.deadlines(case, playbook, view)
    shown = views.case_json(case, order, (*order.open_cases, *links))
    return {**shown, "deadlines": [views.deadline(found) for found in ahead], "allowed": list(allowed(playbook, view))}


async def visible_case(tx: Tx, principal: Principal, case_id: str) -> Case:
    """Raises NotFound, also for what this key may not see."""
    case = await store.case_document(tx, case_id)
    if case is None or not principal.sees(case.account):
        raise NotFound("there is no such case")
    return case


async def case(tx: Tx, world: World, principal: Principal, case_id: str) -> Json:
    found = await visible_case(tx, principal, case_id)
    order = await store.order_document(tx, found.account, found.order_id)
    await world.playbooks.need(tx, [found.playbook_hash])
    key = (found.account, found.order_id)
    beside = await store.siblings(tx, [key])
    return shown_case(world, found, order or Order(account=key[0], order_id=key[1]), beside[key])


async def timeline(tx: Tx, principal: Principal, case_id: str, page: Page) -> Json:
    """Oldest first. `place` is the sequence number itself."""
    found = await visible_case(tx, principal, case_id)
    after = page.after()
    rows = await tx.rows(
        "SELECT l.seq, l.seq AS place, l.case_id AS id, l.fact, l.decision, l.decided_at, p.version FROM case_log l "
        "LEFT JOIN playbooks p ON p.hash = l.playbook_hash "
        "WHERE l.case_id = :id AND l.seq > :after ORDER BY l.seq LIMIT :limit",
        id=case_id, after=after[0] if after else 0, limit=page.limit + 1,
    )  # fmt: skip
    return page.answer(rows, lambda row: views.timeline_row(row, found.playbook, row["version"]))


async def tasks(tx: Tx, filters: Filters, page: Page) -> Json:
    select = (
        "SELECT t.id, t.case_id, t.order_id, t.account, t.marketplace, t.kind, t.reason, t.status, t.due_at, "
        "t.opened_at, t.answer, t.document, {place} AS place FROM tasks t"
    )
    return page.answer(await _page(tx, select, filters, _TASKS["due"], page), views.task_json)


async def visible_task(tx: Tx, principal: Principal, task_id: str, *, lock: bool = False) -> RowMapping:
    row = await tx.row(f"SELECT * FROM tasks WHERE id = :id{tx.locked() if lock else ''}", id=task_id)
    if row is None or not principal.sees(row["account"]):
        raise NotFound("there is no such task")
    return row
