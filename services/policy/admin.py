"""Routes for evidence, playbooks and operations."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, get_args

import msgspec
from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from services.policy import bodies, draw
from services.policy.api import Actor, Limit, Reader, Text
from services.policy.bodies import Proof, SuppliedBy
from services.policy.operators import Operators
from services.policy.queries import Page
from services.policy.retry import Parked
from services.policy.views import Json
from services.policy.walk import World
from shared.auth import Principal, require
from shared.clock import parse_time
from shared.cursors import Cursors
from shared.domain.playbook import Playbook
from shared.errors import Forbidden, Invalid, NotFound, TooLarge
from shared.store.blobs import Blobs
from shared.store.relay import Relay

Admin = Annotated[Principal, Depends(require("admin"))]
MAX_FILE = 20_000_000
"""Bytes of one piece of evidence."""
_SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF87a": "image/gif", b"GIF89a": "image/gif",
}  # fmt: skip


def evidence_router(operators: Operators, blobs: Blobs) -> APIRouter:
    """Whatever is given is kept under its SHA-256: a file's bytes, a text, an address as it was written."""
    routes = APIRouter(tags=["evidence"])
    form = {"multipart/form-data": {"schema": {"type": "object", "required": ["file", "kind", "supplied_by"]}}}

    @routes.post("/v1/cases/{case_id}/evidence", status_code=201, openapi_extra=bodies.documented(Proof, **form))
    async def add(who: Actor, case_id: str, request: Request) -> Response:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            await operators.visible(who, case_id)
            return JSONResponse(await operators.add_evidence(who, case_id, await _uploaded(request, blobs)), 201)
        proof = await bodies.body_of(request, Proof)
        if (proof.url is None) == (proof.text is None):
            raise Invalid("either url or text is needed", code="bad_body")
        row = {**_blank(proof.kind, proof.supplied_by), "url": proof.url, "text": proof.text}
        await operators.visible(who, case_id)
        row["sha256"] = await blobs.put((proof.text or proof.url or "").encode())
        return JSONResponse(await operators.add_evidence(who, case_id, row), 201)

    return routes


async def _uploaded(request: Request, blobs: Blobs) -> Json:
    """The blob is stored before the row that names it."""
    given = request.headers.get("content-length", "")
    if not given.isdigit() or int(given) > MAX_FILE:
        raise TooLarge("at most 20 MB, with its length given")
    async with request.form(max_files=1, max_fields=10) as form:
        file, kind, by = form.get("file"), form.get("kind"), form.get("supplied_by")
        if not isinstance(file, UploadFile) or not isinstance(kind, str) or not kind.strip() or "\x00" in kind:
            raise Invalid("file, kind and supplied_by are needed", code="bad_body")
        if not isinstance(by, str) or by not in get_args(SuppliedBy):
            raise Invalid("supplied_by is buyer, seller or carrier", code="bad_body")
        content = await file.read()
        if not content:
            raise Invalid("the file is empty", code="bad_body")
        row = {**_blank(kind, by), "size": len(content), "content_type": _content_type(content, file.content_type)}
    return {**row, "sha256": await blobs.put(content)}


def _content_type(content: bytes, told: str | None) -> str:
    """What a picture's first bytes say goes before what the sender called it."""
    found = next((kind for start, kind in _SIGNATURES.items() if content.startswith(start)), None)
    return found or told or "application/octet-stream"


def _blank(kind: str, supplied_by: str) -> Json:
    empty = dict.fromkeys(("sha256", "size", "content_type", "url", "text"))
    return {"kind": kind, "supplied_by": supplied_by, **empty}


def playbooks_router(world: World, cursors: Cursors) -> APIRouter:
    routes = APIRouter(tags=["playbooks"])

    @routes.get("/v1/playbooks")
    async def list_playbooks(who: Reader, cursor: Text = None, limit: Limit = 50) -> Json:
        after = tuple(cursors.open("playbooks", cursor)) if cursor is not None else ()
        rest = [(chart, playbook) for chart, playbook in sorted(world.playbooks.current.items()) if chart > after]
        ahead = cursors.seal("playbooks", rest[limit - 1][0]) if len(rest) > limit else None
        return {"items": [_brief(playbook) for _, playbook in rest[:limit]], "next": ahead}

    @routes.get("/v1/playbooks/{marketplace}/{kind}", response_model=None)
    async def one_playbook(who: Reader, marketplace: str, kind: str, request: Request) -> Response:
        playbook = world.playbooks.current.get((marketplace, kind))
        if playbook is None:
            raise NotFound("there is no such playbook")
        accept = request.headers.get("accept", "")
        if "text/vnd.mermaid" in accept:
            return Response(draw.mermaid(playbook), media_type="text/vnd.mermaid")
        if "image/svg+xml" in accept:
            return Response(draw.svg(playbook), media_type="image/svg+xml")
        whole = msgspec.to_builtins(playbook, str_keys=True)
        return JSONResponse({**whole, **_brief(playbook), "path": playbook.path.rpartition("/marketplaces/")[2]})

    return routes


def _brief(playbook: Playbook) -> Json:
    return {
        "marketplace": playbook.marketplace,
        "kind": playbook.kind,
        "version": playbook.version,
        "hash": playbook.hash,
        "states": {name: state.phase for name, state in playbook.states.items()},
    }


def admin_router(parked: Parked, relay: Relay, cursors: Cursors, reload: Callable[[], Awaitable[int]]) -> APIRouter:
    routes = APIRouter(tags=["admin"])

    @routes.get("/v1/admin/parked")
    async def list_parked(who: Admin, account: Text = None, cursor: Text = None, limit: Limit = 50) -> Json:
        return await parked.listed(who, account, Page(cursors, "parked", cursor, limit))

    @routes.get("/v1/admin/parked/{parked_id}")
    async def one_parked(who: Admin, parked_id: str) -> Json:
        return await parked.one(who, parked_id)

    @routes.post("/v1/admin/parked/{parked_id}/retry")
    async def retry(who: Admin, parked_id: str) -> Json:
        return await parked.retry(who, parked_id)

    @routes.post("/v1/admin/resync")
    async def resync(who: Admin, since: Annotated[str | None, Body(embed=True)] = None) -> Json:
        _of_all_accounts(who)
        return {"resync": {"policy": await relay.resync(_time(since))}}

    @routes.post("/v1/admin/reload")
    async def reload_all(who: Admin) -> Json:
        _of_all_accounts(who)
        return {"reload": {"policy": await reload()}}

    return routes


def _of_all_accounts(who: Principal) -> None:
    if who.accounts is not None:
        raise Forbidden("this concerns all accounts")


def _time(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError as fault:
        raise Invalid("since must be an ISO 8601 time with its zone", code="bad_time") from fault
