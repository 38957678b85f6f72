"""intake's own HTTP routes beside the webhooks: kept deliveries, replay, resync, reload and the sandbox's poll."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query

from services.intake.replay import Choice, Replay
from shared.auth import Principal, require
from shared.clock import format_time, from_micros, parse_time
from shared.cursors import Cursors
from shared.errors import Forbidden, Invalid, NotFound
from shared.store.relay import Relay

_OUTCOMES = ("accepted", "ignored", "unmapped", "unreadable", "failed", "conflict", "needs_fetch")
_PURPOSE = "deliveries"
Admin = Annotated[Principal, Depends(require("admin"))]


def routes(replay: Replay, relay: Relay, cursors: Cursors, reload: Callable[[], Awaitable[int]]) -> APIRouter:
    """`reload` reads the configuration anew and answers the number of accounts."""
    router = APIRouter(prefix="/v1/admin", tags=["admin"])

    @router.get("/deliveries")
    async def list_deliveries(
        principal: Admin,
        outcome: str | None = None,
        account: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        choice = _choice(principal, outcome=outcome, account=account)
        after = tuple(cursors.open(_PURPOSE, cursor)) if cursor else None
        rows = await replay.listed(choice, after, limit + 1)
        last = rows[limit - 1] if len(rows) > limit else None
        following = cursors.seal(_PURPOSE, (last["received_at"], last["id"])) if last else None
        return {"items": [_shown(row) for row in rows[:limit]], "next": following}

    @router.get("/deliveries/{delivery_id}")
    async def show_delivery(principal: Admin, delivery_id: str) -> dict[str, Any]:
        row = await replay.one(delivery_id)
        if row is None or not principal.sees(row["account"]):
            raise NotFound("no such delivery")
        return _shown(row)

    @router.post("/deliveries/replay")
    async def replay_deliveries(
        principal: Admin,
        ids: Annotated[list[str] | None, Body(max_length=1000)] = None,
        outcome: Annotated[str | None, Body()] = None,
        account: Annotated[str | None, Body()] = None,
        since: Annotated[str | None, Body()] = None,
    ) -> dict[str, Any]:
        if not ids and outcome is None:
            raise Invalid("say which: ids, or an outcome", code="nothing_chosen")
        choice = _choice(principal, tuple(ids or ()), outcome, account, since)
        done = await replay.run(choice)
        return {"replayed": done.replayed, "facts": done.facts, "outcomes": done.outcomes, "left": done.left}

    @router.post("/resync")
    async def resync(
        principal: Admin, since: Annotated[str | None, Body(embed=True)] = None
    ) -> dict[str, dict[str, int]]:
        _sees_all(principal)
        return {"resync": {"intake": await relay.resync(_time(since))}}

    @router.post("/reload")
    async def reload_configuration(principal: Admin) -> dict[str, dict[str, int]]:
        _sees_all(principal)
        return {"reload": {"intake": await reload()}}

    return router


def sandbox_routes(poll_now: Callable[[str], Awaitable[None]]) -> APIRouter:
    router = APIRouter(prefix="/sandbox", tags=["sandbox"], dependencies=[Depends(require("admin"))])

    @router.post("/poll")
    async def poll(account: Annotated[str, Body(embed=True)]) -> dict[str, str]:
        await poll_now(account)
        return {"account": account}

    return router


def _sees_all(principal: Principal) -> None:
    if principal.accounts is not None:
        raise Forbidden("this concerns all accounts")


def _choice(
    principal: Principal,
    ids: tuple[str, ...] = (),
    outcome: str | None = None,
    account: str | None = None,
    since: str | None = None,
) -> Choice:
    if outcome is not None and outcome not in _OUTCOMES:
        raise Invalid(f"outcome must be one of {', '.join(_OUTCOMES)}")
    if account is not None and not principal.sees(account):
        raise NotFound("no such account")
    if account is None and principal.accounts is not None:
        raise Forbidden("this key sees single accounts: name one")
    return Choice(ids, outcome, account, _time(since))


def _time(text: str | None) -> Any:
    try:
        return parse_time(text) if text else None
    except ValueError as fault:
        raise Invalid("since must be an ISO 8601 time with its zone", code="bad_time") from fault


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    replayed = row["replayed_at"]
    return {
        **row,
        "received_at": format_time(from_micros(row["received_at"])),
        "replayed_at": format_time(from_micros(replayed)) if replayed is not None else None,
    }
