"""The generic marketplace, inbound: what it takes, what it refuses and where it says the fault is."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import standard_webhooks
from shared.domain.facts import KINDS, encode
from shared.errors import TooLarge, Unavailable
from shared.json_reader import Unreadable
from shared.marketplaces.generic import webhook
from shared.ports import Account, Facts, Inbound, NotGenuine, Unmapped

SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
OTHER = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODk="
NOW = datetime(2026, 1, 5, 9, 31, tzinfo=UTC)
ACCOUNT = Account("my-shop", "generic")
DATA = {"kind": "return", "external_id": "R-1", "order_id": "O-1", "amount": {"value": "12.50", "currency": "EUR"}}
EVENT = {"type": "return.requested", "timestamp": "2026-01-05T09:30:00Z", "data": DATA}


def inbound(body: Any, **changed: str | tuple[str, ...]) -> Inbound:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: dict[str, Any] = {k: (v,) for k, v in standard_webhooks.headers(SECRET, "msg_1", NOW, raw).items()}
    for name, value in changed.items():
        sent[name.replace("_", "-")] = value if isinstance(value, tuple) else (value,)
    return Inbound(raw, sent)


def verify(delivery: Inbound, secrets: Any = SECRET, now: datetime = NOW) -> None:
    webhook.verify(delivery, ACCOUNT, {"signing_secret": secrets}, now)


def parsed(body: Any) -> Any:
    return webhook.parse(inbound(body), ACCOUNT)


def with_data(**changed: Any) -> dict[str, Any]:
    return {**EVENT, "data": {**DATA, **changed}}


def test_a_signed_delivery_is_taken_and_keyed_by_its_id() -> None:
    delivery = inbound(EVENT)
    verify(delivery)
    assert webhook.dedupe_key(delivery) == "msg_1"


def test_a_repeat_a_minute_later_has_the_same_key() -> None:
    first = inbound(EVENT)
    signed = standard_webhooks.headers(SECRET, "msg_1", NOW + timedelta(minutes=1), first.body)
    second = Inbound(first.body, {k: (v,) for k, v in signed.items()})
    verify(second, now=NOW + timedelta(minutes=1))
    assert webhook.dedupe_key(second) == webhook.dedupe_key(first)


@pytest.mark.parametrize("name", ["webhook_id", "webhook_timestamp", "webhook_signature"])
def test_a_header_sent_twice_or_not_at_all_is_refused(name: str) -> None:
    value = inbound(EVENT).headers[name.replace("_", "-")][0]
    for values in ((value, value), (), ("",)):
        with pytest.raises(NotGenuine):
            verify(inbound(EVENT, **{name: values}))


@pytest.mark.parametrize("now", [NOW + timedelta(seconds=301), NOW - timedelta(seconds=301)])
def test_stale_and_early_are_refused(now: datetime) -> None:
    with pytest.raises(NotGenuine):
        verify(inbound(EVENT), now=now)


def test_another_accounts_secret_is_refused_and_either_of_two_is_taken() -> None:
    with pytest.raises(NotGenuine):
        verify(inbound(EVENT), OTHER)
    verify(inbound(EVENT), (OTHER, SECRET))


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "x"]), st.lists(st.text()))
)
def test_garbage_headers_are_not_genuine_and_nothing_else(headers: dict[str, list[str]]) -> None:
    with pytest.raises(NotGenuine):
        verify(Inbound(b"{}", headers))


@given(st.binary(max_size=400) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_genuine_garbage_is_unreadable_and_nothing_else(body: bytes) -> None:
    assert webhook.dedupe_key(Inbound(body, {"webhook-id": ("m",)})) == "m"
    with pytest.raises(Unreadable):
        webhook.parse(Inbound(body, {}), ACCOUNT)


def test_every_kind_of_the_vocabulary_is_a_fact_save_what_only_we_can_say() -> None:
    answers = {kind: parsed({**EVENT, "type": kind, "data": {**DATA, "errand_id": "e_1"}}) for kind in KINDS}
    refused = {kind for kind, answer in answers.items() if isinstance(answer, Unmapped)}
    assert refused == {
        "operator.acted", "timer.elapsed", "message.planned", "message.sent", "message.held", "message.assisted",
        "message.blocked", "message.in_doubt", "message.suppressed", "message.withdrawn", "message.too_late",
        "message.expired", "act.sent", "act.assisted", "act.in_doubt", "act.withdrawn", "act.too_late", "act.expired",
    }  # fmt: skip
    for kind in KINDS - refused:
        assert isinstance(answers[kind], Facts)
        assert [draft.kind for draft in answers[kind].drafts] == [kind]


def test_an_unknown_type_is_kept_as_an_update_of_its_case() -> None:
    answer = parsed({**EVENT, "type": "return.teleported"})
    assert isinstance(answer, Unmapped) and answer.code == "return.teleported"
    (draft,) = answer.drafts
    assert (draft.kind, draft.raw_code, draft.external_id) == ("case.updated", "return.teleported", "R-1")


def test_one_unknown_in_a_list_does_not_lose_the_others() -> None:
    answer = parsed([EVENT, {**EVENT, "type": "x"}, {**EVENT, "type": "return.shipped"}])
    assert isinstance(answer, Unmapped)
    assert [draft.kind for draft in answer.drafts] == ["return.requested", "case.updated", "return.shipped"]


def test_ids_are_text_from_the_first_parse() -> None:
    body = b'{"type":"return.requested","timestamp":"2026-01-05T09:30:00Z","data":{"order_id":9007199254740993,"external_id":7}}'
    (draft,) = parsed(body).drafts
    assert (draft.order_id, draft.external_id) == ("9007199254740993", "7")


def test_unknown_fields_are_kept_exactly() -> None:
    body = json.dumps(EVENT)[:-2] + ', "weight": 12345678901234567890.125, "note": {"a": [1]}}}'
    (draft,) = parsed(body.encode()).drafts
    kept = json.loads(encode(draft))["data"]
    assert (kept["weight"], kept["note"]) == ("12345678901234567890.125", {"a": [1]})


def test_a_null_says_nothing() -> None:
    (draft,) = parsed(with_data(amount=None, due_at=None, buyer=None, refs=None, revision=None, extra=None)).drafts
    assert draft.data == {} and draft.refs == {} and draft.revision is None


def test_times_come_as_utc_and_money_with_the_decimals_of_its_currency() -> None:
    (draft,) = parsed(with_data(due_at="2026-01-12T10:30:00+01:00", paid={"value": 40, "currency": "EUR"})).drafts
    assert draft.data["due_at"] == "2026-01-12T09:30:00Z"
    assert draft.data["paid"] == {"value": "40.00", "currency": "EUR"}


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("amount", "12.50", "$.data.amount"),
    ("amount", {"value": "12.505", "currency": "EUR"}, "$.data.amount"),
    ("amount", {"value": "-1.00", "currency": "EUR"}, "$.data.amount"),
    ("amount", {"value": "1e3", "currency": "EUR"}, "$.data.amount"),
    ("amount", {"value": "١٢", "currency": "EUR"}, "$.data.amount"),
    ("amount", {"value": True, "currency": "EUR"}, "$.data.amount"),
    ("amount", {"value": "12.50", "currency": "EURO"}, "$.data.amount"),
    ("amount", {"value": "12.50", "currency": ["EUR"]}, "$.data.amount"),
    ("paid", {"value": "1.5", "currency": "JPY"}, "$.data.paid"),
    ("due_at", "2026-01-12", "$.data.due_at"),
    ("due_at", "2026-01-12T10:00:00", "$.data.due_at"),
    ("due_at", 1767225600, "$.data.due_at"),
    ("due_at", "0001-01-01T00:00:00+14:00", "$.data.due_at"),
    ("due_at", "9999-12-31T23:59:59-14:00", "$.data.due_at"),
    ("return_required", "yes", "$.data.return_required"),
    ("reason", 7, "$.data.reason"),
    ("comment", ["x"], "$.data.comment"),
    ("kind", "refunds", "$.data.kind"),
    ("kind", ["return"], "$.data.kind"),
    ("order_id", True, "$.data.order_id"),
    ("order_id", "", "$.data.order_id"),
    ("order_id", "a\tb", "$.data.order_id"),
    ("external_id", "x" * 129, "$.data.external_id"),
    ("revision", -1, "$.data.revision"),
    ("revision", "3", "$.data.revision"),
    ("refs", ["t"], "$.data.refs"),
    ("refs", {"ticket": {"id": 1}}, "$.data.refs.ticket"),
    ("buyer", "Anna", "$.data.buyer"),
    ("buyer", {"name": 1}, "$.data.buyer.name"),
    ("buyer", {"locale": "english please"}, "$.data.buyer.locale"),
    ("buyer", {"time_zone": "Mars/Olympus"}, "$.data.buyer.time_zone"),
]


@pytest.mark.parametrize(("field", "value", "place"), BAD_FIELDS)
def test_a_bad_field_is_named_by_its_place_and_never_repeated(field: str, value: Any, place: str) -> None:
    for body, at in ((with_data(**{field: value}), place), ([EVENT, with_data(**{field: value})], f"$[1]{place[1:]}")):
        with pytest.raises(Unreadable) as caught:
            parsed(body)
        assert caught.value.path == at


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], "$"), ([EVENT] * 101, "$"), (None, "$"), ("return.requested", "$"), (7, "$"), ([7], "$[0]"),
        ({**EVENT, "type": None}, "$.type"), ({**EVENT, "type": "a b"}, "$.type"), ({**EVENT, "type": "x" * 65}, "$.type"),
        ({**EVENT, "timestamp": "yesterday"}, "$.timestamp"), ({**EVENT, "timestamp": None}, "$.timestamp"),
        ({**EVENT, "timestamp": "2026-01-05T09:30:00"}, "$.timestamp"), ({**EVENT, "data": []}, "$.data"),
        ({**EVENT, "data": {"kind": "return"}}, "$.data.order_id"),
        ({**EVENT, "type": "act.confirmed"}, "$.data.errand_id"),
        (b"\xff\xfe", "$"), (b"", "$"), (b'{"type":', "$"),
    ],
)  # fmt: skip
def test_a_bad_envelope_is_named_by_its_place(body: Any, place: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parsed(body)
    assert caught.value.path == place


def test_what_the_sender_is_answered() -> None:
    for answer in ("accepted", "unreadable"):
        reply = webhook.reply(answer)  # type: ignore[arg-type]
        assert (reply.status, reply.body) == (202, b"")
    told = {
        "refused": (NotGenuine(), 401), "too_large": (TooLarge(), 413), "unavailable": (Unavailable(), 503),
        "unknown_account": (None, 404),
    }  # fmt: skip
    for answer, (refusal, status) in told.items():
        reply = webhook.reply(answer, refusal)  # type: ignore[arg-type]
        assert (reply.status, reply.content_type) == (status, "application/problem+json")
        assert json.loads(reply.body)["status"] == status
    assert webhook.reply("unavailable").headers["retry-after"]
