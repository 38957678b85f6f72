"""Standard Webhooks in: facts of our own vocabulary, whole in the body, from any shop or system of the seller's.

    {"type": "return.requested", "timestamp": "2026-01-05T09:30:00Z",
     "data": {"kind": "return", "external_id": "R-1", "order_id": "O-1", "amount": {"value": "12.50", "currency": "EUR"}}}

or a list of such. README.md has the fields.
"""

import re
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from shared import standard_webhooks
from shared.clock import format_time, parse_time
from shared.domain.case import FIELDS, KINDS, REASONS
from shared.domain.facts import ERRAND_RESULTS, Draft
from shared.domain.facts import KINDS as FACT_KINDS
from shared.domain.money import Money
from shared.errors import Refusal
from shared.json_reader import Unreadable, read
from shared.ports import Account, Answer, Facts, Inbound, Parsed, Reply, Secrets, Unmapped

_OF_A_RECEIVER = {"message.read", "message.failed", "act.accepted", "act.refused", "act.confirmed", "act.failed"}
"""What became of an errand, as far as whoever took it can say; the rest only this system itself can know."""
_TAKEN = FACT_KINDS - (ERRAND_RESULTS - _OF_A_RECEIVER) - {"operator.acted", "timer.elapsed"}
_BUYER = ("id", "name", "locale", "time_zone")
_MAX_FACTS = 100
_MAX_ID, _MAX_TEXT = 128, 20_000
_YEARS = range(2000, 2101)
_TYPE = re.compile(r"[A-Za-z0-9_.]{1,64}")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


def verify(inbound: Inbound, account: Account, secrets: Secrets, now: datetime) -> None:
    standard_webhooks.verify(
        secrets["signing_secret"],
        message_id=inbound.header("webhook-id"),
        timestamp=inbound.header("webhook-timestamp"),
        signature=inbound.header("webhook-signature"),
        body=inbound.body,
        now=now,
    )


def dedupe_key(inbound: Inbound) -> str:
    """The id stays the same over the sender's retries, and is signed."""
    return inbound.header("webhook-id") or ""


def reply(answer: Answer, refusal: Refusal | None = None) -> Reply:
    """Senders look at the status alone: any 2xx ends their retries, 503 slows them."""
    if answer in ("accepted", "unreadable"):
        return Reply(202)
    status = {"refused": 401, "too_large": 413, "unavailable": 503, "unknown_account": 404}[answer]
    told = refusal or Refusal(code=answer, status=status)
    after = {"retry-after": "5"} if answer == "unavailable" else {}
    return Reply(told.status, msgspec.json.encode(told.problem()), "application/problem+json", after)


def parse(inbound: Inbound, account: Account) -> Parsed:
    body = read(inbound.body)
    events = body if isinstance(body, list) else [body]
    if not 1 <= len(events) <= _MAX_FACTS:
        raise Unreadable("$", f"a list must hold 1 to {_MAX_FACTS} facts")
    places = [f"$[{index}]" for index in range(len(events))] if isinstance(body, list) else ["$"]
    drafts = tuple(_draft(event, at) for event, at in zip(events, places, strict=True))
    unknown = [draft.raw_code for draft in drafts if draft.raw_code and draft.raw_code not in _TAKEN]
    return Unmapped(unknown[0], drafts) if unknown else Facts(drafts)


def _draft(event: Any, at: str) -> Draft:
    envelope = _object(event, at)
    type_ = _text(envelope.get("type"), f"{at}.type")
    if not _TYPE.fullmatch(type_):
        raise Unreadable(f"{at}.type", "must be letters, digits, _ and . only")
    moment = _moment(envelope.get("timestamp"), f"{at}.timestamp")
    at, data = f"{at}.data", dict(_object(envelope.get("data"), f"{at}.data"))
    draft = Draft(
        kind=type_ if type_ in _TAKEN else "case.updated",
        occurred_at=moment,
        order_id=_id(data.pop("order_id", None), f"{at}.order_id"),
        case_kind=_case_kind(data.pop("kind", None), f"{at}.kind"),
        external_id=_id(data.pop("external_id", None), f"{at}.external_id"),
        refs=_refs(data.pop("refs", None), f"{at}.refs"),
        raw_code=type_,
        revision=_revision(data.pop("revision", None), f"{at}.revision"),
        data=_typed(data, at),
    )
    if draft.order_id is None and draft.external_id is None and not draft.refs:
        raise Unreadable(f"{at}.order_id", "names no order, no case and no reference")
    if draft.kind in ERRAND_RESULTS and "errand_id" not in draft.data:
        raise Unreadable(f"{at}.errand_id", "is missing")
    return draft


def _typed(data: dict[str, Any], at: str) -> dict[str, Any]:
    """Fields we know in their one form, others as they came; a null says nothing."""
    typed = {name: value for name, value in data.items() if value is not None}
    for name in typed.keys() & FIELDS.keys():
        typed[name] = _READERS[FIELDS[name]](typed[name], f"{at}.{name}")
    if "buyer" in typed:
        typed["buyer"] = _buyer(typed["buyer"], f"{at}.buyer")
    if "errand_id" in typed:
        typed["errand_id"] = _id(typed["errand_id"], f"{at}.errand_id")
    if "reason" in typed and typed["reason"] not in REASONS:
        typed.setdefault("reason_code", typed["reason"])
        typed["reason"] = "other"
    return typed


def _buyer(value: Any, at: str) -> dict[str, str]:
    given = _object(value, at)
    buyer = {name: _text(given[name], f"{at}.{name}") for name in _BUYER if given.get(name) is not None}
    if "locale" in buyer and not _LOCALE.fullmatch(buyer["locale"]):
        raise Unreadable(f"{at}.locale", "must be a language tag")
    if "time_zone" in buyer and buyer["time_zone"] not in _zones():
        raise Unreadable(f"{at}.time_zone", "must be a time zone")
    return buyer


def _refs(value: Any, at: str) -> dict[str, str]:
    given = {} if value is None else _object(value, at)
    found = {name: _id(ref, f"{at}.{name}") for name, ref in given.items()}
    return {name: ref for name, ref in found.items() if ref is not None}


def _case_kind(value: Any, at: str) -> str | None:
    if value is None:
        return None
    if value not in KINDS:
        raise Unreadable(at, f"must be one of {', '.join(KINDS)}")
    return str(value)


def _id(value: Any, at: str) -> str | None:
    """Text; a whole number is taken as its digits."""
    if value is None:
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, at)
    if not 1 <= len(text) <= _MAX_ID or not text.isprintable():
        raise Unreadable(at, f"must be 1 to {_MAX_ID} printable characters")
    return text


def _revision(value: Any, at: str) -> int | None:
    if value is None:
        return None
    if _integer(value, at) < 0:
        raise Unreadable(at, "must not be negative")
    return int(value)


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(at, "must be text" if value is not None else "is missing")
    if len(value) > _MAX_TEXT:
        raise Unreadable(at, f"must be at most {_MAX_TEXT} characters")
    return value


def _integer(value: Any, at: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(at, "must be a whole number")
    return value


def _bool(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise Unreadable(at, "must be true or false")
    return value


def _money(value: Any, at: str) -> dict[str, str]:
    given = _object(value, at)
    try:
        money = Money.of(given.get("value"), given.get("currency"))
    except ValueError as fault:
        raise Unreadable(at, f"must be {{value, currency}}: {fault}") from None
    return {"value": money.value, "currency": money.currency}


def _moment(value: Any, at: str) -> datetime:
    try:
        moment = parse_time(_text(value, at))
    except (ValueError, OverflowError):
        raise Unreadable(at, "must be an ISO 8601 time with its zone") from None
    if moment.year not in _YEARS:
        raise Unreadable(at, "is not a time of this century")
    return moment


def _time(value: Any, at: str) -> str:
    return format_time(_moment(value, at))


def _object(value: Any, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(at, "must be an object")
    return value


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "text": _text,
    "money": _money,
    "time": _time,
    "bool": _bool,
    "int": _integer,
}
