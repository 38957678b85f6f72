"""Events on the wire, against the CloudEvents SDK as an oracle and against hostile bytes; topic matching; AsyncAPI."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from shared.bus import envelope
from shared.bus.port import CASES, FACTS, OUTBOUND, Event, Topology, queue_of
from shared.bus.topology import dead_queue, find, matches, queue_arguments, queues, routing_key
from tools import asyncapi

NOON = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "specversion": "1.0", "id": "f1", "source": "/amends/intake", "type": "amends.fact.v1", "subject": "order-1",
    "time": "2026-11-21T12:30:15.123456Z", "datacontenttype": "application/json",
    "dataschema": "urn:amends:amends.fact.v1", "data": {"a": 1},
}  # fmt: skip


def event(name: str = "f1", data: bytes = b'{"a":1}', type_: str = "amends.fact.v1") -> Event:
    return Event(name, type_, "/amends/intake", "order-1", NOON, data)


def test_one_event_is_exactly_this() -> None:
    content_type, body = envelope.encode([event()])
    assert content_type == "application/cloudevents+json"
    assert json.loads(body) == GOOD


def test_the_sdk_reads_ours_and_we_read_the_sdks() -> None:
    theirs = JSONFormat().read(CloudEvent, envelope.encode([event()])[1])
    assert (theirs.get_id(), theirs.get_type(), theirs.get_subject()) == ("f1", "amends.fact.v1", "order-1")
    assert theirs.get_time() == NOON
    assert theirs.get_dataschema() == "urn:amends:amends.fact.v1"
    assert theirs.get_data() == {"a": 1}
    events, unread = envelope.decode(envelope.SINGLE, JSONFormat().write(theirs))
    assert not unread
    assert [(e.id, e.time, json.loads(e.data)) for e in events] == [("f1", NOON, {"a": 1})]


def test_several_are_a_batch_in_order() -> None:
    sent = [event(f"f{n}") for n in range(200)]
    content_type, body = envelope.encode(sent)
    assert content_type == "application/cloudevents-batch+json"
    assert envelope.decode(content_type, body) == (sent, [])


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
    subject=st.text(),
    moment=st.datetimes(timezones=st.just(UTC)),
    copies=st.integers(1, 3),
)
def test_any_event_comes_back_byte_for_byte(data: object, subject: str, moment: datetime, copies: int) -> None:
    sent = Event("x", "amends.case.v1", "/amends/policy", subject, moment, json.dumps(data).encode())
    assert envelope.decode(*envelope.encode([sent] * copies)) == ([sent] * copies, [])


def altered(**changes: Any) -> bytes:
    fields = {**GOOD, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (altered(specversion="0.3"), "version is not 1.0"),
        (altered(type="amends.fact.v2", dataschema="urn:amends:amends.fact.v2"), "unknown major version"),
        (altered(type="amends.fact.v01"), "unknown major version"),
        (altered(type="amends.fact.v-1"), "unknown major version"),
        (altered(type="amends.fact.v١"), "unknown major version"),
        (altered(type="amends.fact"), "unknown event type"),
        (altered(type="other.v1"), "unknown event type"),
        (altered(dataschema="urn:amends:amends.fact.v2"), "dataschema"),
        (altered(datacontenttype="text/plain"), "datacontenttype"),
        (altered(id=""), "id, source or time zone"),
        (altered(source=""), "id, source or time zone"),
        (altered(time="2026-11-21T12:30:15"), "time zone"),
        (altered(time="yesterday"), "RFC3339"),
        (altered(id=7), "Expected `str`"),
        (altered(id=None), "missing required field `id`"),
        (altered(data=None), "missing required field `data`"),
        (b"", "truncated"),
        (b"null", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (b'{"id": NaN}', "malformed"),
        (altered() + b" x", "trailing"),
        (b"\xff" + altered(), "UTF-8"),
        (altered(subject="~").replace(b"~", b"\xff"), "UTF-8"),
        (b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    ],
)
def test_what_is_no_event_of_ours_is_unread_with_its_bytes(body: bytes, why: str) -> None:
    events, unread = envelope.decode(envelope.SINGLE, body)
    assert events == []
    assert [u.body for u in unread] == [body]
    assert why in unread[0].why


def test_in_a_batch_only_the_bad_ones_are_unread() -> None:
    parts = [altered(id="a"), altered(type="amends.fact.v7"), altered(id="b"), altered(id=7), altered(id="c")]
    events, unread = envelope.decode(envelope.BATCH, b"[" + b",".join(parts) + b"]")
    assert [e.id for e in events] == ["a", "b", "c"]
    assert [u.body for u in unread] == [parts[1], parts[3]]


@pytest.mark.parametrize("content_type", [None, "", "application/json", "text/plain"])
def test_other_content_types_are_unread(content_type: str | None) -> None:
    assert envelope.decode(content_type, altered())[0] == []


def test_fields_we_do_not_know_are_no_hindrance() -> None:
    events, unread = envelope.decode(envelope.SINGLE, altered(traceparent="00-…", data={"a": 1, "newer": {"b": 2}}))
    assert not unread
    assert json.loads(events[0].data) == {"a": 1, "newer": {"b": 2}}


@given(st.binary(max_size=200), st.sampled_from([envelope.SINGLE, envelope.BATCH]))
def test_no_bytes_make_it_raise(body: bytes, content_type: str) -> None:
    events, unread = envelope.decode(content_type, body)
    assert not events
    assert unread or body.strip() == b"[]"


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("case.dispute.opened", "case.dispute.opened", True),
        ("case.*.opened", "case.dispute.opened", True),
        ("case.*", "case.dispute.opened", False),
        ("case.#", "case.dispute.opened", True),
        ("#", "anything.at.all", True),
        ("#.opened", "case.dispute.opened", True),
        ("case.#.opened", "case.opened", True),
        ("case.dispute.*", "case.refund.opened", False),
        ("3", "3", True),
        ("3", "13", False),
        ("*", "a.b", False),
    ],
)
def test_topic_patterns(pattern: str, key: str, fits: bool) -> None:
    assert matches(pattern, key) is fits


def test_queues_and_their_dead_letters() -> None:
    names = {queue.name for queue in queues(Topology(partitions=2, extra={"console.cases": "case.#"}))}
    assert names == {
        "policy.facts.0", "policy.facts.1", "notifier.outbound.0", "notifier.outbound.1", "console.cases",
    }  # fmt: skip
    assert dead_queue(queue_of(OUTBOUND, 3)) == "amends.dead.notifier"
    assert find(Topology(partitions=2), "policy.facts.9").binding == "9"
    with pytest.raises(KeyError):
        find(Topology(), "policy.facts.x")
    assert routing_key(Topology(partitions=4), FACTS, "6") == "2"
    assert routing_key(Topology(partitions=4), CASES, "case.dispute.opened") == "case.dispute.opened"
    assert queue_arguments("p.", "policy.facts.0")["x-dead-letter-exchange"] == "p.amends.dead"


def test_the_asyncapi_document_is_current() -> None:
    assert asyncapi.TARGET.read_text() == asyncapi.rendered(), "python -m tools.asyncapi"


def test_the_asyncapi_document_describes_each_readable_type_and_every_reference_leads_somewhere() -> None:
    document = yaml.safe_load(asyncapi.rendered())
    named = {message["name"] for message in document["components"]["messages"].values()}
    assert named == {f"{family}.v{major}" for family, majors in envelope.READABLE.items() for major in majors}

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                found: Any = document
                for step in node["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)

    check(document)
    assert set(document["channels"]) == {FACTS, OUTBOUND, CASES}
