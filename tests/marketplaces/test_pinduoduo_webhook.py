"""The relay's proof, the identity of messages and what each of them means."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest

from shared.json_reader import Unreadable
from shared.marketplaces.pinduoduo import messages, webhook
from shared.marketplaces.pinduoduo.simulator import form
from shared.ports import Account, Facts, Ignored, Inbound, NeedsFetch, NotGenuine, Unmapped

SECRET = "s3cr3t-demo"
SECRETS = {"relay_secret": SECRET}
SENT = datetime.fromtimestamp(1795280401, UTC)
ACCOUNT = Account("pdd-main", "pinduoduo")
CONTENT: dict[str, Any] = {
    "mall_id": 700100200, "refund_fee": 2590, "bill_type": 1, "modified": 1795280400123, "refund_id": 550031,
    "operation": 1000, "tid": "261120-100200300400500",
}  # fmt: skip
VECTOR = json.dumps(CONTENT, separators=(",", ":"))
SIGN = "26e13d15ddfdf646c4fa3b74357f01ff"
"""The reference's own vector (3.1 B)."""
QUERY = f"fromPlatform=AldsPdd&timestamp=1795280401&aopic=8&sign={SIGN}"


def relay(query: str = QUERY, raw: str = VECTOR, body: bytes | None = None) -> Inbound:
    return Inbound(body if body is not None else f"json={quote_plus(raw)}".encode(), {}, query=query)


def signed(secret: str = SECRET, at: str = "1795280401", topic: int = 8, **changes: Any) -> Inbound:
    made = form(json.dumps({**CONTENT, **changes}), secret, at, topic)
    return Inbound(made["body"].encode(), {}, query=made["query"])


def message(topic: str, **changes: Any) -> Inbound:
    content = json.dumps({**CONTENT, **changes})
    return Inbound(json.dumps({"type": topic, "mallID": 700100200, "content": content}).encode(), {})


def test_the_published_vector_is_genuine_in_either_case() -> None:
    webhook.verify(relay(), ACCOUNT, SECRETS, SENT)
    webhook.verify(relay(QUERY.replace(SIGN, SIGN.upper())), ACCOUNT, SECRETS, SENT)


def test_every_bit_of_the_text_and_the_timestamp_counts() -> None:
    for at in range(len(VECTOR)):
        raw = VECTOR[:at] + chr(ord(VECTOR[at]) ^ 1) + VECTOR[at + 1 :]
        with pytest.raises(NotGenuine):
            webhook.verify(relay(raw=raw), ACCOUNT, SECRETS, SENT)
    with pytest.raises(NotGenuine):
        webhook.verify(relay(QUERY.replace("1795280401", "1795280402")), ACCOUNT, SECRETS, SENT)


@pytest.mark.parametrize(
    "sent",
    [
        relay(""),
        relay("timestamp=1795280401"),
        relay(QUERY + "&sign=" + SIGN),
        relay(QUERY + "&timestamp=1795280401"),
        relay(QUERY.replace(SIGN, "süß")),
        relay(body=b""),
        relay(body=f"json={quote_plus(VECTOR)}&json={quote_plus(VECTOR)}".encode()),
        relay(body=b"json=%ff%fe"),
        relay(body=VECTOR.encode()),
        message("pdd_refund_RefundCreated"),
    ],
)
def test_what_is_not_proven_is_refused(sent: Inbound) -> None:
    with pytest.raises(NotGenuine) as refused:
        webhook.verify(sent, ACCOUNT, SECRETS, SENT)
    assert refused.value.status == 401


def test_without_a_secret_nothing_is_genuine_and_two_hold_during_a_rotation() -> None:
    with pytest.raises(NotGenuine):
        webhook.verify(relay(), ACCOUNT, {}, SENT)
    for secret in ("old", "new"):
        webhook.verify(signed(secret), ACCOUNT, {"relay_secret": ("new", "old")}, SENT)


def test_a_message_for_another_shop_is_403() -> None:
    mine = Account("pdd-main", "pinduoduo", settings={"mall_id": "700100200"})
    webhook.verify(relay(), mine, SECRETS, SENT)
    with pytest.raises(NotGenuine) as refused:
        webhook.verify(relay(), Account("pdd-main", "pinduoduo", settings={"mall_id": 7}), SECRETS, SENT)
    assert refused.value.status == 403


def test_the_window_of_time_is_the_sellers_to_set() -> None:
    webhook.verify(relay(), ACCOUNT, SECRETS, SENT + timedelta(days=300))
    strict = Account("pdd-main", "pinduoduo", settings={"relay_max_age": "PT2H"})
    webhook.verify(relay(), strict, SECRETS, SENT + timedelta(hours=2))
    for away in (timedelta(hours=2, seconds=1), -timedelta(hours=2, seconds=1)):
        with pytest.raises(NotGenuine) as refused:
            webhook.verify(relay(), strict, SECRETS, SENT + away)
        assert (refused.value.code, refused.value.status) == ("stale", 401)


def test_the_identity_is_shop_after_sale_operation_and_time() -> None:
    first = webhook.dedupe_key(signed())
    assert webhook.dedupe_key(signed()) == first
    for changes in ({"refund_id": 7}, {"operation": 1304}, {"modified": 1795280400124}, {"mall_id": 3}):
        assert webhook.dedupe_key(signed(**changes)) != first
    assert webhook.dedupe_key(signed(refund_fee=1)) == first, "another sum under the same key is a loud conflict"
    assert webhook.dedupe_key(signed(tid="9")) == first


def test_the_unsigned_topic_changes_nothing() -> None:
    for topic in (8, 16, 512):
        parsed = webhook.parse(signed(topic=topic), ACCOUNT)
        assert isinstance(parsed, NeedsFetch) and [d.kind for d in parsed.drafts] == ["refund.requested"]


@pytest.mark.parametrize(("bill_type", "kind", "fact"), [
    (1, "refund", "refund.requested"), (2, "return", "return.requested"), (3, "return", "replacement.requested"),
    (4, "return", "replacement.requested"), (5, "return", "return.requested"),
])  # fmt: skip
def test_an_opening_is_a_fact_of_its_kind_with_fen_read_as_yuan(bill_type: int, kind: str, fact: str) -> None:
    parsed = webhook.parse(signed(bill_type=bill_type), ACCOUNT)
    assert isinstance(parsed, NeedsFetch) and parsed.ref == "refund:261120-100200300400500:550031"
    (draft,) = parsed.drafts
    assert (draft.kind, draft.case_kind, draft.external_id, draft.order_id) == (
        fact, kind, "550031", "261120-100200300400500",
    )  # fmt: skip
    assert draft.data["amount"] == {"value": "25.90", "currency": "CNY"}
    assert (draft.revision, draft.occurred_at) == (1795280400123, datetime.fromtimestamp(1795280400.123, UTC))


@pytest.mark.parametrize(("operation", "fact"), [
    *[(code, "case.closed") for code in (1300, 1302, 1303, 1306, 1307, 1308, 1309, 1312, 1314)],
    *[(code, "replacement.completed") for code in (1305, 1310, 1311, 1313)],
    (1304, "refund.issued"), (1001, "refund.requested"), (1003, "refund.requested"), (1002, "case.reopened"),
])  # fmt: skip
def test_every_operation_of_the_reference_has_its_fact(operation: int, fact: str) -> None:
    for sent in (signed(operation=operation), message("pdd_refund_RefundClosed", operation=operation)):
        parsed = webhook.parse(sent, ACCOUNT)
        assert isinstance(parsed, NeedsFetch)
        assert [(d.kind, d.raw_code) for d in parsed.drafts] == [(fact, str(operation))]
    assert str(operation) in (*messages.OPERATIONS, *messages.OPENED, messages.REOPENED)


@pytest.mark.parametrize("topic", sorted(messages.DOORBELLS))
def test_topics_without_established_codes_only_ask_for_a_reading(topic: str) -> None:
    parsed = webhook.parse(message(f"pdd_refund_{topic}", operation=1304), ACCOUNT)
    assert parsed == NeedsFetch("refund:261120-100200300400500:550031")


def test_unknown_codes_are_kept_by_name_and_never_raise() -> None:
    parsed = webhook.parse(signed(operation=1399), ACCOUNT)
    assert isinstance(parsed, Unmapped) and parsed.code == "operation:1399"
    assert [(d.kind, d.raw_code) for d in parsed.drafts] == [("case.updated", "1399")]
    assert webhook.parse(message("pdd_refund_Brand"), ACCOUNT) == Unmapped("topic:pdd_refund_Brand")
    assert webhook.parse(message("something_else"), ACCOUNT) == Unmapped("topic:something_else")


def test_topics_of_the_order_are_of_no_concern() -> None:
    body = {"type": "pdd_trade_TradeSuccess", "mallID": 1, "content": '{"tid":"1"}'}
    assert isinstance(webhook.parse(Inbound(json.dumps(body).encode(), {}), ACCOUNT), Ignored)
    made = form('{"mall_id":1,"tid":"1"}', SECRET, "1795280401", 4)
    assert isinstance(webhook.parse(Inbound(made["body"].encode(), {}, query=made["query"]), ACCOUNT), Ignored)


def test_ids_beyond_a_double_stay_exact() -> None:
    parsed = webhook.parse(signed(refund_id=9007199254740993), ACCOUNT)
    assert isinstance(parsed, NeedsFetch) and parsed.ref.endswith(":9007199254740993")


@pytest.mark.parametrize("changes", [
    {"tid": None}, {"modified": "x"}, {"modified": -1}, {"refund_id": None}, {"refund_fee": 25.9}, {"refund_fee": "1e3"},
    {"bill_type": []}, {"modified": 0},
])  # fmt: skip
def test_genuine_but_unreadable_names_the_place(changes: dict[str, Any]) -> None:
    sent = signed(**changes)
    webhook.verify(sent, ACCOUNT, SECRETS, SENT)
    assert webhook.dedupe_key(sent)
    with pytest.raises(Unreadable) as fault:
        webhook.parse(sent, ACCOUNT)
    assert fault.value.path == next(iter(changes))


def test_replies() -> None:
    assert webhook.reply("accepted").status == webhook.reply("unreadable").status == 200
    assert webhook.reply("refused", NotGenuine("no")).status == 401
    assert isinstance(webhook.parse(signed(), ACCOUNT), NeedsFetch | Facts)
