"""What intake could not read waits as its delivery: shown and read once more as the other services' parked events are."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from services.intake.replay import Choice, Replay
from shared.auth import Principal, require
from shared.clock import format_time, from_micros
from shared.cursors import Cursors
from shared.errors import Conflict, NotFound

WAITING = ("failed", "unreadable")
"""Outcomes of deliveries that are parked."""
_PURPOSE = "parked"
Admin = Annotated[Principal, Depends(require("admin"))]


def routes(replay: Replay, cursors: Cursors) -> APIRouter:
    router = APIRouter(prefix="/v1/admin/parked", tags=["admin"])

    async def visible(principal: Principal, id_: str) -> dict[str, Any]:
        row = await replay.one(id_)
        if row is None or not principal.sees(row["account"]) or row["outcome"] not in WAITING:
            raise NotFound("nothing of that id is parked here")
        return row

    @router.get("")
    async def list_parked(
        principal: Admin,
        account: str | None = None,
        cursor: str | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        """Oldest first."""
        after = tuple(cursors.open(_PURPOSE, cursor)) if cursor else (-1, "")
        rows = await replay.waiting(WAITING, account, principal.accounts, after, limit + 1)
        last = rows[limit - 1] if len(rows) > limit else None
        following = cursors.seal(_PURPOSE, (last["received_at"], last["id"])) if last else None
        return {"items": [_shown(row) for row in rows[:limit]], "next": following}

    @router.get("/{parked_id}")
    async def read_parked(principal: Admin, parked_id: str) -> dict[str, Any]:
        """With its content, base64."""
        row = await visible(principal, parked_id)
        return {**_shown(row), "body": row["raw"]["body_base64"] if row["raw"] else None}

    @router.post("/{parked_id}/retry")
    async def retry(principal: Admin, parked_id: str) -> dict[str, str]:
        """Reads the delivery once more, now: what fails again stays parked."""
        await visible(principal, parked_id)
        done = await replay.run(Choice((parked_id,)))
        if done.left:
            raise Conflict(next(iter(done.left.values())), code="cannot_be_read_again")
        if any(outcome in WAITING for outcome in done.outcomes):
            raise Conflict("it still cannot be read", code="failed_again")
        return {"service": "intake", "id": parked_id, "status": "handled"}

    return router


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    retried = row["replayed_at"]
    return {
        "service": "intake",
        "id": row["id"],
        "account": row["account"],
        "subject": row["ref"] or "",
        "type": f"delivery.{row['outcome']}",
        "why": row["why"] or row["code"],
        "attempts": 1 if retried is None else 2,
        "parked_at": format_time(from_micros(row["received_at"])),
        "retried_at": format_time(from_micros(retried)) if retried is not None else None,
    }
