"""Toy market's pushes: README.md has their form."""

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

import msgspec

from shared.clock import parse_time
from shared.domain.facts import Draft
from shared.errors import Refusal
from shared.json_reader import Unreadable, read
from shared.ports import (
    Account,
    Answer,
    Facts,
    Ignored,
    Inbound,
    NeedsFetch,
    NotGenuine,
    Parsed,
    Reply,
    Secrets,
    Unmapped,
)

_STATUS = {
    "accepted": 200,
    "unreadable": 200,
    "refused": 401,
    "too_large": 413,
    "unavailable": 503,
    "unknown_account": 404,
}


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, sha256).hexdigest()


def verify(inbound: Inbound, account: Account, secrets: Secrets, now: datetime) -> None:
    _check(inbound, secrets, inbound.body)


def probe(inbound: Inbound, account: Account, secrets: Secrets) -> Reply:
    """The toy market asks once whether the address is ours."""
    challenge = parse_qs(inbound.query).get("challenge", [""])[0]
    _check(inbound, secrets, challenge.encode())
    return Reply(200, challenge.encode())


def _check(inbound: Inbound, secrets: Secrets, signed: bytes) -> None:
    given = (inbound.header("x-toy-signature") or "").encode()
    secret = secrets["push_secret"]
    for one in [secret] if isinstance(secret, str) else secret:
        if hmac.compare_digest(given, signature(one, signed).encode()):
            return
    raise NotGenuine("the signature does not match")


def dedupe_key(inbound: Inbound) -> str:
    try:
        body = read(inbound.body)
        return str(body["id"])
    except (Unreadable, TypeError, KeyError):
        return sha256(inbound.body).hexdigest()


def parse(inbound: Inbound, account: Account) -> Parsed:
    body = _object(read(inbound.body), "$")
    topic, data = _text(body, "topic", "$"), _object(body.get("data", {}), "$.data")
    if topic == "ping":
        return Ignored("ping")
    at = _time(body)
    order = _text(data, "order", "$.data")
    match topic:
        case "return_changed":
            return NeedsFetch(
                f"return:{_text(data, 'return_id', '$.data')}", (_draft("case.updated", at, order, topic),)
            )
        case "buyer_wrote":
            return Facts((_draft("message.received", at, order, topic, text=_text(data, "text", "$.data")),))
        case "order_sent":
            return Facts((_draft("order.shipped", at, order, topic),))
    return Unmapped(topic, (_draft("case.updated", at, order, topic),))


def reply(answer: Answer, refusal: Refusal | None = None) -> Reply:
    status = refusal.status if refusal is not None else _STATUS[answer]
    return Reply(status, msgspec.json.encode({"ok": answer in ("accepted", "unreadable")}), "application/json")


def reply_to(answer: Answer, inbound: Inbound, account: Account, began: datetime) -> Reply:
    """A check of the address wants to hear since when it was worked on."""
    if answer == "accepted" and b'"ping"' in inbound.body:
        return Reply(200, msgspec.json.encode({"pong": began}), "application/json")
    return reply(answer)


def _draft(kind: str, at: datetime, order: str, topic: str, **data: Any) -> Draft:
    return Draft(kind=kind, occurred_at=at, order_id=order, raw_code=topic, data=data)


def _object(value: Any, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(at, "must be an object")
    return value


def _text(value: Mapping[str, Any], name: str, at: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise Unreadable(f"{at}.{name}", "must be text")
    return found


def _time(body: Mapping[str, Any]) -> datetime:
    try:
        return parse_time(_text(body, "at", "$"))
    except ValueError as fault:
        raise Unreadable("$.at", "must be an ISO 8601 time with its zone") from fault
