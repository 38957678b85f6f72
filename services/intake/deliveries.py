"""What one delivery turned out to be: pure, from bytes or a record to facts with identity. No I/O, no clock."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from shared import ids
from shared.domain.facts import KINDS, Draft, Fact, Source, decode_fact, encode, to_fact
from shared.json_reader import Unreadable
from shared.ports import Account, Facts, Ignored, Inbound, NeedsFetch, Parsed, Record, Records, Unmapped, Webhook

GAVE_UP = "fetch_gave_up"
CONFLICT = "delivery_conflict"
_PLAIN_KEY = re.compile(r"[\x20-\x7e]{1,200}")
_WHY_LENGTH = 300
_UNKEPT = ("authorization", "cookie", "sign", "token", "key", "secret", "password")


@dataclass(frozen=True, slots=True)
class Raw:
    """The delivery word for word, without the headers that prove it."""

    body: bytes
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    method: str = "POST"
    query: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One genuine delivery, read and ready to be stored. `outcome` is what is stored, unless it is a repeat."""

    id: str
    account: str
    marketplace: str
    source: Source
    key: str
    content_hash: str
    received_at: datetime
    raw: Raw
    outcome: str
    facts: tuple[Fact, ...] = ()
    ref: str | None = None
    """What has to be fetched."""
    code: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What parsing gave."""

    outcome: str
    drafts: tuple[Draft, ...] = ()
    ref: str | None = None
    code: str | None = None
    why: str | None = None


def read_push(facet: Webhook, inbound: Inbound, account: Account, now: datetime) -> Delivery:
    """A delivery whose genuineness is proven. Never raises: what cannot be read is kept as `unreadable` or `failed`."""
    key = _key_of(facet, inbound)
    raw = Raw(inbound.body, _kept(inbound.headers), inbound.method, inbound.query)
    return identified(account, "push", key, raw, now, parse(facet, inbound, account))


def parse(facet: Webhook, inbound: Inbound, account: Account) -> Reading:
    try:
        return _reading(facet.parse(inbound, account))
    except Unreadable as fault:
        return Reading("unreadable", code="unreadable", why=_short(fault))
    except Exception as fault:  # a parse error is our bug: the delivery is kept and replayed after the mend
        return Reading("failed", code=type(fault).__name__, why=_short(fault))


def compare(
    facet: Records, record: Record, previous: Mapping[str, Any] | None, account: Account, now: datetime
) -> Reading:
    """What has happened between two records of one reference."""
    try:
        drafts = tuple(facet.facts(record.body, previous, account, now))
    except Exception as fault:  # as in `parse`
        return Reading("failed", code=type(fault).__name__, why=_short(fault), ref=record.ref)
    return Reading("accepted" if drafts else "ignored", drafts, ref=record.ref)


def record_raw(record: Record, previous: Mapping[str, Any] | None) -> Raw:
    """A fetched delivery keeps both sides of the comparison, so that a replay repeats it exactly."""
    kept = {"ref": record.ref, "revision": record.revision, "body": record.body, "previous": previous}
    return Raw(encode(kept), method="RECORD")


def record_of(raw: Raw) -> tuple[Record, Mapping[str, Any] | None]:
    kept = msgspec.json.decode(raw.body)
    return Record(kept["ref"], kept["body"], kept["revision"]), kept["previous"]


def record_hash(record: Record) -> str:
    return ids.content_hash(encode(record.body))


def gave_up(account: Account, ref: str, order_id: str | None, wanted_at: datetime, why: str, now: datetime) -> Delivery:
    """A reference that could not be read for 24 h, as news for policy: it becomes a task there."""
    draft = Draft(kind="case.updated", occurred_at=now, order_id=order_id, refs={"ref": ref}, raw_code=GAVE_UP)
    reading = Reading("failed", (draft,), ref=ref, code=GAVE_UP, why=_clean(why))
    return identified(
        account, "fetch", f"{ref}#{GAVE_UP}:{wanted_at.isoformat()}", Raw(b"", method="NONE"), now, reading
    )


def conflict(delivery: Delivery) -> Delivery:
    """Other content under a known key: kept beside it under a key of its own and never applied; policy is told."""
    key = f"conflict:{ids.digest(delivery.key, delivery.content_hash)}"
    draft = Draft(
        kind="case.updated", occurred_at=delivery.received_at, raw_code=CONFLICT, data={"delivery_id": delivery.id},
        **_whereabouts(delivery),
    )  # fmt: skip
    notice = to_fact(
        draft, id=ids.fact_id(delivery.account, key, 0, draft.kind), account=delivery.account,
        marketplace=delivery.marketplace, observed_at=delivery.received_at, source=delivery.source,
    )  # fmt: skip
    return replace(delivery, key=key, outcome="conflict", code="conflict", why=delivery.key, facts=(notice,))


def _whereabouts(delivery: Delivery) -> dict[str, Any]:
    """The one name by which policy finds what it is about: what is not applied links no names either."""
    for fact in delivery.facts:
        if fact.order_id:
            return {"order_id": fact.order_id}
        if fact.case_kind and fact.external_id:
            return {"case_kind": fact.case_kind, "external_id": fact.external_id}
    return {"refs": {"ref": delivery.ref}} if delivery.ref else {}


def identified(account: Account, source: Source, key: str, raw: Raw, now: datetime, reading: Reading) -> Delivery:
    """Gives the facts their ids; a draft that does not keep to the vocabulary makes the whole delivery `failed`."""
    key = plain(key)
    facts: tuple[Fact, ...] = ()
    try:
        facts = facts_of(account, source, key, now, reading.drafts)
    except (ValueError, TypeError, msgspec.MsgspecError) as fault:
        reading = Reading("failed", ref=reading.ref, code="bad_draft", why=_short(fault))
    return Delivery(
        id=ids.new_id("dlv", account.id, now), account=account.id, marketplace=account.marketplace, source=source,
        key=key, content_hash=ids.content_hash(raw.body + b"\x1f" + raw.query.encode()), received_at=now, raw=raw,
        outcome=reading.outcome, facts=facts, ref=reading.ref, code=reading.code, why=reading.why,
    )  # fmt: skip


def facts_of(account: Account, source: Source, key: str, now: datetime, drafts: Sequence[Draft]) -> tuple[Fact, ...]:
    """Raises ValueError (msgspec.ValidationError is one) for a draft that is no fact of the vocabulary."""
    made = []
    for ordinal, draft in enumerate(drafts):
        if draft.kind not in KINDS:
            raise ValueError(f"draft {ordinal}: kind is not in the vocabulary")
        fact_id = ids.fact_id(account.id, key, ordinal, draft.kind)
        fact = to_fact(
            draft, id=fact_id, account=account.id, marketplace=account.marketplace, observed_at=now, source=source
        )
        made.append(decode_fact(encode(fact)))
    return tuple(made)


def anchor(fact: Draft) -> str:
    """The order, else the strongest other reference: what keeps facts of one matter in one partition."""
    return fact.order_id or fact.external_id or next((fact.refs[name] for name in sorted(fact.refs)), "")


def plain(key: str) -> str:
    """A dedupe key that any database holds: long or odd ones are hashed."""
    return key if _PLAIN_KEY.fullmatch(key) else "sha256:" + ids.content_hash(key.encode("utf-8", "surrogatepass"))


def _reading(parsed: Parsed) -> Reading:
    match parsed:
        case Facts(drafts):
            return Reading("accepted", drafts)
        case Ignored(why):
            return Reading("ignored", why=_clean(why))
        case Unmapped(code, drafts):
            return Reading("unmapped", drafts, code=_clean(code))
        case NeedsFetch(ref, drafts):
            return Reading("needs_fetch", drafts, ref=ref)


def _key_of(facet: Webhook, inbound: Inbound) -> str:
    try:
        return facet.dedupe_key(inbound)
    except Exception:  # it must not fail; if it does, the content itself is the identity
        return "sha256:" + ids.content_hash(inbound.body)


def _kept(headers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(values) for name, values in headers.items() if _is_kept(name)}


@lru_cache(maxsize=1024)
def _is_kept(name: str) -> bool:
    return not any(part in name for part in _UNKEPT)


def _short(fault: Exception) -> str:
    """Names the place, never the content: only our own errors are quoted."""
    text = str(fault) if isinstance(fault, Unreadable | ValueError) else type(fault).__name__
    return _clean(text)


def _clean(text: str) -> str:
    """Fit for a column, a log line and a terminal, whatever was sent."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text[:_WHY_LENGTH])
