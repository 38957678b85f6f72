"""notifier's routes: messages and their verdicts, the sandbox's calls and faults, parked events, resync."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Depends, Query
from pydantic import Field

from services.notifier import listing
from services.notifier.composer import Composer, Written
from services.notifier.faults import Faults
from services.notifier.render import NotRendered
from shared.auth import Principal, require
from shared.bus.port import Unreadable
from shared.clock import parse_time
from shared.cursors import Cursors
from shared.errors import Conflict, Forbidden, Invalid, NotFound
from shared.ids import leads_to
from shared.store import parked
from shared.store.session import Database

Reader = Annotated[Principal, Depends(require("read"))]
Admin = Annotated[Principal, Depends(require("admin"))]
Limit = Annotated[int, Query(ge=1, le=200)]
LONGEST_TEXT, MOST_EARLIER = 20_000, 50
Earlier = Annotated[str, Field(max_length=LONGEST_TEXT)]
_ALL_CALLS = 100_000


def messages(database: Database, cursors: Cursors, composer: Callable[[], Composer]) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["messages"])

    async def listed(wanted: dict[str, str | None], who: Principal, cursor: str | None, limit: int) -> dict[str, Any]:
        after = cursors.open("messages", cursor) if cursor else None
        async with database.reading() as tx:
            rows = await listing.messages(tx, wanted, who.accounts, after, limit)
        last = rows[limit - 1] if len(rows) > limit else None
        following = cursors.seal("messages", [last["created_at"], last["id"]]) if last else None
        return {"items": [listing.shown(row) for row in rows[:limit]], "next": following}

    @router.get("/messages")
    async def list_messages(
        who: Reader, case_id: str | None = None, order_id: str | None = None, status: str | None = None,
        account: str | None = None, cursor: str | None = None, limit: Limit = 50,
    ) -> dict[str, Any]:  # fmt: skip
        """Oldest first."""
        wanted = {"case_id": case_id, "order_id": order_id, "status": status, "account": account}
        return await listed(wanted, who, cursor, limit)

    @router.get("/cases/{case_id}/messages")
    async def list_messages_of_case(
        who: Reader, case_id: str, cursor: str | None = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """A case nothing was written about has an empty list; an id that can be none of this key's cases is 404."""
        found = await listed({"case_id": case_id}, who, cursor, limit)
        if not found["items"] and not leads_to(case_id, who.accounts):
            raise NotFound("there is no such case")
        return found

    @router.get("/messages/{message_id}")
    async def read_message(who: Reader, message_id: str) -> dict[str, Any]:
        async with database.reading() as tx:
            row = await listing.message(tx, message_id)
        if row is None or not who.sees(row["account"]):
            raise NotFound("no such message")
        return listing.shown(row)

    @router.post("/messages/preview")
    async def preview_message(
        _who: Reader,
        marketplace: Annotated[str, Body(max_length=64)],
        purpose: Annotated[str | None, Body(max_length=64)] = None,
        locale: Annotated[str | None, Body(max_length=35)] = None,
        variables: Annotated[dict[str, Any] | None, Body()] = None,
        text: Annotated[str | None, Body(max_length=LONGEST_TEXT)] = None,
        earlier: Annotated[list[Earlier] | None, Body(max_length=MOST_EARLIER)] = None,
    ) -> dict[str, Any]:
        """The text as it would leave, and the verdict on it. `earlier`: texts sent on the order before it, oldest first;
        the verdict is on what they mean together. Nothing is kept."""
        return _previewed(composer(), marketplace, purpose, locale, variables, text, earlier or [])

    return router


def _previewed(
    composer: Composer, marketplace: str, purpose: str | None, locale: str | None, variables: dict[str, Any] | None,
    text: str | None, earlier: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    if (text is None) == (purpose is None):
        raise Invalid("give a purpose with its variables, or a text")
    if not composer.learn(marketplace):
        raise Invalid("no such marketplace", code="unknown_marketplace")
    if text is not None:
        return _written(composer.preview_text(marketplace, text, locale, earlier))
    assert purpose is not None  # noqa: S101
    if not composer.has_purpose(purpose):
        raise Invalid("no such purpose", code="unknown_purpose")
    try:
        return _written(composer.preview(marketplace, purpose, locale or "en", variables or {}, earlier))
    except NotRendered as fault:
        raise Invalid(fault.why, code="not_rendered", missing=list(fault.missing)) from None


def _written(written: Written) -> dict[str, Any]:
    return {
        "subject": written.subject,
        "text": written.body,
        "body": written.body,
        "locale": written.locale,
        "template_hash": written.template_hash,
        "verdict": msgspec.to_builtins(written.verdict),
    }


def sandbox(database: Database, cursors: Cursors, faults: Faults, channels: Callable[[], Sequence[str]]) -> APIRouter:
    """`channels`: the names of the marketplaces there are."""
    router = APIRouter(prefix="/sandbox", tags=["sandbox"])

    @router.get("/calls")
    async def list_calls(
        _who: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1)] = _ALL_CALLS
    ) -> dict[str, Any]:
        """What the channels were asked to do, in order: one row per attempt. All of them unless `limit` is given."""
        after = int(cursors.open("calls", cursor)) if cursor else 0
        limit = min(limit, _ALL_CALLS)
        async with database.reading() as tx:
            rows = await listing.calls(tx, after, limit + 1)
        following = cursors.seal("calls", rows[limit - 1]["n"]) if len(rows) > limit else None
        return {"items": [listing.call_shown(row) for row in rows[:limit]], "next": following}

    @router.post("/faults")
    async def add_faults(
        _who: Admin,
        channel: Annotated[str, Body(max_length=64)],
        next: Annotated[list[str], Body(max_length=1000)],
    ) -> dict[str, Any]:
        """What happens to the channel's next sends and acts, one fault each."""
        if channel not in channels():
            raise Invalid(f"channels are {', '.join(channels())}", code="unknown_channel")
        faults.add(channel, next)
        return {"channel": channel, "next": faults.waiting(channel)}

    return router


def admin(
    database: Database,
    cursors: Cursors,
    resync: Callable[[datetime | None], Awaitable[int]],
    retry: Callable[[str], Awaitable[bool]],
    reload: Callable[[], Awaitable[int]],
) -> APIRouter:
    router = APIRouter(prefix="/v1/admin", tags=["admin"])

    @router.get("/parked")
    async def list_parked(
        who: Admin, account: str | None = None, cursor: str | None = None, limit: Limit = 50
    ) -> dict[str, Any]:
        after = cursors.open("parked", cursor) if cursor else (0, "")
        async with database.reading() as tx:
            rows = await parked.waiting(
                tx, after=(int(after[0]), str(after[1])), limit=limit + 1, account=account, accounts=who.accounts
            )
        last = rows[limit - 1] if len(rows) > limit else None
        following = cursors.seal("parked", [last["parked_at"], last["id"]]) if last else None
        return {"items": [parked.shown(row, "notifier") for row in rows[:limit]], "next": following}

    @router.get("/parked/{parked_id}")
    async def read_parked(who: Admin, parked_id: str) -> dict[str, Any]:
        """With its content."""
        async with database.reading() as tx:
            row = await parked.body_of(tx, parked_id)
        if row is None or not who.sees(row["account"]):
            raise NotFound("nothing of that id is parked here")
        return parked.shown(row, "notifier")

    @router.post("/parked/{parked_id}/retry")
    async def retry_parked(who: Admin, parked_id: str) -> dict[str, str]:
        """Handles it once more, now: what fails again stays parked."""
        await read_parked(who, parked_id)
        try:
            handled = await retry(parked_id)
        except Unreadable as fault:
            raise Conflict(f"it still cannot be read: {fault}", code="unreadable") from None
        if not handled:
            raise Conflict("it is not waiting any more", code="not_parked")
        return {"service": "notifier", "id": parked_id, "status": "handled"}

    @router.post("/resync")
    async def publish_again(
        who: Admin, since: Annotated[str | None, Body(embed=True)] = None
    ) -> dict[str, dict[str, int]]:
        _all_accounts(who)
        try:
            moment = parse_time(since) if since else None
        except ValueError:
            raise Invalid("since must be an ISO 8601 time with its zone", code="bad_time") from None
        return {"resync": {"notifier": await resync(moment)}}

    @router.post("/reload")
    async def reload_configuration(who: Admin) -> dict[str, dict[str, int]]:
        _all_accounts(who)
        return {"reload": {"notifier": await reload()}}

    return router


def _all_accounts(who: Principal) -> None:
    if who.accounts is not None:
        raise Forbidden("this concerns all accounts")
