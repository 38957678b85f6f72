"""Events on the wire: CloudEvents 1.0 in JSON, alone (`application/cloudevents+json`) or as a batch (`…-batch+json`).

Source: https://github.com/cloudevents/spec, JSON event format 1.0.2, read 2026-11-21. `data` travels byte for byte.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from shared.bus.port import Event, Unread

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_EVENTS = 200
MAX_BYTES = 256 * 1024
OVERHEAD = 400
"""Upper bound in bytes of what an envelope adds to `data` with ids of usual length."""

READABLE: dict[str, frozenset[int]] = {
    "amends.fact": frozenset({1}),
    "amends.errand.planned": frozenset({1}),
    "amends.errand.withdrawn": frozenset({1}),
    "amends.errand.resolved": frozenset({1}),
    "amends.conversation": frozenset({1}),
    "amends.case": frozenset({1}),
}
"""Event family -> major versions of its data that this release understands."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The members we write and demand. Extension attributes of other senders are allowed and not read."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str
    dataschema: str
    data: msgspec.Raw


_encoder = msgspec.json.Encoder()
_one = msgspec.json.Decoder(Envelope)
_many = msgspec.json.Decoder(list[Envelope])
_parts = msgspec.json.Decoder(list[msgspec.Raw])


def schema_of(type_: str) -> str:
    return f"urn:amends:{type_}"


_SCHEMAS = {
    f"{family}.v{major}": schema_of(f"{family}.v{major}") for family, known in READABLE.items() for major in known
}


def encode(events: Sequence[Event]) -> tuple[str, bytes]:
    """Content type and body of one message: one event alone, several as a batch."""
    if len(events) == 1:
        return SINGLE, _encoder.encode(_wrap(events[0]))
    return BATCH, _encoder.encode([_wrap(event) for event in events])


def decode(content_type: str | None, body: bytes) -> tuple[list[Event], list[Unread]]:
    """What of a message is an event we understand, in order, and what is not. Never raises."""
    try:
        body.decode()
        if content_type == SINGLE:
            return _sort([body])
        if content_type == BATCH:
            return _batch(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        return [], [Unread(body, _why(fault))]
    return [], [Unread(body, "not a CloudEvents content type")]


def _batch(body: bytes) -> tuple[list[Event], list[Unread]]:
    try:
        envelopes = _many.decode(body)
    except msgspec.ValidationError:
        return _sort([bytes(part) for part in _parts.decode(body)])
    if all(_fault(e) is None for e in envelopes):
        return [_unwrap(e) for e in envelopes], []
    return _sort([bytes(part) for part in _parts.decode(body)])


def _sort(bodies: Sequence[bytes]) -> tuple[list[Event], list[Unread]]:
    events: list[Event] = []
    unread: list[Unread] = []
    for body in bodies:
        try:
            envelope = _one.decode(body)
        except (msgspec.MsgspecError, RecursionError) as fault:
            unread.append(Unread(body, _why(fault)))
            continue
        wrong = _fault(envelope)
        if wrong is None:
            events.append(_unwrap(envelope))
        else:
            unread.append(Unread(body, wrong))
    return events, unread


def _why(fault: Exception) -> str:
    if isinstance(fault, UnicodeDecodeError):
        return "not UTF-8"
    return "nested too deeply" if isinstance(fault, RecursionError) else str(fault)


def _fault(envelope: Envelope) -> str | None:
    if _is_sound(envelope):
        return None
    family, _, major = envelope.type.rpartition(".v")
    known = READABLE.get(family)
    if envelope.specversion != "1.0":
        return "CloudEvents version is not 1.0"
    if known is None:
        return "unknown event type"
    if major not in map(str, known):
        return "unknown major version of this event type"
    if envelope.datacontenttype != "application/json" or envelope.dataschema != schema_of(envelope.type):
        return "datacontenttype or dataschema does not fit the type"
    if not envelope.id or not envelope.source or envelope.time.tzinfo is None:
        return "id, source or time zone is missing"
    return None


def _is_sound(e: Envelope) -> bool:
    """The usual case in one look; `_fault` tells what is wrong with the others."""
    return bool(
        _SCHEMAS.get(e.type) == e.dataschema and e.specversion == "1.0" and e.datacontenttype == "application/json"
        and e.id and e.source and e.time.tzinfo is not None
    )  # fmt: skip


def _wrap(event: Event) -> Envelope:
    return Envelope(
        specversion="1.0",
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=event.time,
        datacontenttype="application/json",
        dataschema=schema_of(event.type),
        data=msgspec.Raw(event.data),
    )


def _unwrap(e: Envelope) -> Event:
    return Event(id=e.id, type=e.type, source=e.source, subject=e.subject, time=e.time, data=bytes(e.data))
