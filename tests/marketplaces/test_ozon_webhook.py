"""Ozon's pushes: source networks, seller, look-alike letters, and Ozon's exact replies."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import TooLarge
from shared.json_reader import Unreadable
from shared.marketplaces.ozon import codes, webhook
from shared.ports import Account, Facts, Ignored, Inbound, NeedsFetch, NotGenuine, Unmapped

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ACCOUNT = Account("oz-main", "ozon", settings={"seller_id": "40404"})
OURS = "195.34.21.7"
STATE = {
    "message_type": "TYPE_STATE_CHANGED", "posting_number": "70811234-0008-1", "new_state": "posting_delivered",
    "changed_state_date": "2026-12-03T07:30:00.000Z", "warehouse_id": 22850001000000, "seller_id": 40404,
}  # fmt: skip
CHAT = {
    "message_type": "TYPE_NEW_MESSAGE", "chat_id": "c-1", "chat_type": "Buyer_Seller", "message_id": "3000000000900000011",
    "created_at": "2026-12-03T08:00:00.000Z", "user": {"id": "77001", "type": "Customer"}, "data": ["?"], "seller_id": "40404",
}  # fmt: skip


def inbound(body: Any, peer: str = OURS, forwarded: str | None = None) -> Inbound:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Inbound(raw, {"x-forwarded-for": (forwarded,)} if forwarded else {}, peer=peer)


def verify(sent: Inbound, **settings: Any) -> None:
    webhook.verify(sent, Account("oz-main", "ozon", settings={"seller_id": "40404", **settings}), {}, NOW)


@pytest.mark.parametrize("peer", ["195.34.21.0", "195.34.21.255", "185.73.192.1", "185.73.195.254", "91.223.93.9"])
def test_ozons_networks_are_genuine(peer: str) -> None:
    verify(inbound(STATE, peer))
    verify(inbound(STATE, f"::ffff:{peer}"))


@pytest.mark.parametrize(
    "peer", ["195.34.22.0", "185.73.196.1", "91.223.92.255", "127.0.0.1", "", "localhost", "2001:db8::1"]
)
def test_nobody_else_is(peer: str) -> None:
    with pytest.raises(NotGenuine) as refused:
        verify(inbound(STATE, peer))
    assert refused.value.status == 401


def test_what_a_stranger_writes_into_the_header_proves_nothing() -> None:
    with pytest.raises(NotGenuine):
        verify(inbound(STATE, "203.0.113.5", forwarded=OURS))
    with pytest.raises(NotGenuine):
        verify(inbound(STATE, "10.0.0.2", forwarded=f"{OURS}, 203.0.113.5"), trusted_proxies=["10.0.0.0/8"])


def test_behind_our_proxies_the_last_stranger_counts() -> None:
    proxies = ["10.0.0.0/8", "192.168.1.1"]
    verify(inbound(STATE, "10.0.0.2", forwarded=OURS), trusted_proxies=proxies)
    verify(inbound(STATE, "192.168.1.1", forwarded=f"1.2.3.4, {OURS}, 10.1.1.1"), trusted_proxies=proxies)
    with pytest.raises(NotGenuine):
        verify(inbound(STATE, "10.0.0.2"), trusted_proxies=proxies)
    with pytest.raises(NotGenuine):
        verify(inbound(STATE), trusted_proxies=["no network"])


def test_the_source_is_not_asked_for_in_the_sandbox_nor_when_switched_off() -> None:
    webhook.verify(inbound(STATE, "127.0.0.1"), Account("a", "ozon", sandbox=True), {}, NOW)
    verify(inbound(STATE, "127.0.0.1"), verify_source=False)
    with pytest.raises(NotGenuine):
        wanted = {"verify_source": True}
        webhook.verify(inbound(STATE, "127.0.0.1"), Account("a", "ozon", settings=wanted, sandbox=True), {}, NOW)


@pytest.mark.parametrize("seller", [40404, "40404"])
def test_a_seller_id_may_be_a_number_or_its_text(seller: Any) -> None:
    verify(inbound({**STATE, "seller_id": seller}))


@pytest.mark.parametrize("seller", [40405, "40405", "４０４０４"])
def test_another_sellers_push_is_refused_with_403(seller: Any) -> None:
    with pytest.raises(NotGenuine) as refused:
        verify(inbound({**STATE, "seller_id": seller}))
    assert refused.value.status == 403
    assert json.loads(webhook.reply("refused", refused.value).body)["error"]["code"] == "ERROR_UNKNOWN"


def test_a_check_is_answered_with_name_version_and_time() -> None:
    ping = inbound({"message_type": "TYPE_PING", "time": "2026-11-20T08:00:00Z"})
    verify(ping)
    assert webhook.parse(ping, ACCOUNT) == Ignored("a check of the address")
    reply = webhook.reply_to("accepted", ping, ACCOUNT, NOW)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert json.loads(reply.body) == {"version": "1.0", "name": "amends", "time": "2026-11-21T09:00:00Z"}


def test_everything_else_is_answered_with_true_and_no_text() -> None:
    reply = webhook.reply_to("accepted", inbound(STATE), ACCOUNT, NOW)
    assert (reply.status, reply.body) == (200, b'{"result":true}')


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        (b"{", "ERROR_UNKNOWN", "$"),
        (b"[]", "ERROR_UNKNOWN", "$"),
        (b"{}", "ERROR_PARAMETER_VALUE_MISSED", "$.message_type"),
        ({**STATE, "posting_number": ""}, "ERROR_PARAMETER_VALUE_MISSED", "$.posting_number"),
        ({**STATE, "changed_state_date": "soon"}, "ERROR_PARAMETER_VALUE_MISSED", "$.changed_state_date"),
        ({**CHAT, "chat_id": None}, "ERROR_PARAMETER_VALUE_MISSED", "$.chat_id"),
    ],
)
def test_what_cannot_be_read_is_400_in_ozons_error_shape_with_the_place(body: Any, code: str, place: str) -> None:
    sent = inbound(body)
    with pytest.raises(Unreadable):
        webhook.parse(sent, ACCOUNT)
    reply = webhook.reply_to("unreadable", sent, ACCOUNT, NOW)
    error = json.loads(reply.body)
    assert (reply.status, reply.content_type, set(error)) == (400, "application/json", {"error"})
    assert set(error["error"]) == {"code", "message", "details"}
    assert error["error"]["code"] == code
    assert error["error"]["message"].startswith(place) and error["error"]["details"] is None


def test_refusals_bear_their_status_and_ozons_shape() -> None:
    statuses = {
        answer: webhook.reply(answer).status for answer in ("refused", "too_large", "unavailable", "unknown_account")
    }  # type: ignore[arg-type]
    assert statuses == {"refused": 401, "too_large": 413, "unavailable": 503, "unknown_account": 404}
    told = json.loads(webhook.reply("too_large", TooLarge("the body is too large")).body)
    assert told == {"error": {"code": "ERROR_UNKNOWN", "message": "the body is too large", "details": None}}


def test_cyrillic_look_alikes_are_read_as_latin() -> None:
    assert codes.folded("Сustomer") == codes.folded("customer") == "customer"
    assert codes.spelled("роsting_саnсеlеd", codes.STATES) == "posting_canceled"
    assert codes.spelled("POSTING_DELIVERED ", codes.STATES) == "posting_delivered"
    assert codes.spelled("posting_на_луне", codes.STATES) == "posting_на_луне", "an unknown one stays as it came"
    cyrillic = {
        **CHAT,
        "user": {"id": "77001", "type": "Сustomer"},
        "chat_type": "Вuyer_Seller",
        "message_type": "ТYРЕ_NEW_MESSAGE",
    }
    parsed = webhook.parse(inbound(cyrillic), ACCOUNT)
    assert isinstance(parsed, Facts)
    assert (parsed.drafts[0].kind, parsed.drafts[0].raw_code) == ("message.received", "TYPE_NEW_MESSAGE")


def test_ids_are_text_whether_they_come_as_numbers_or_not() -> None:
    as_text, as_number = (
        webhook.parse(inbound({**CHAT, "message_id": id_}), ACCOUNT)
        for id_ in ("3000000000900000011", 3000000000900000011)
    )
    assert as_text == as_number
    assert webhook.dedupe_key(inbound(CHAT)) == webhook.dedupe_key(inbound({**CHAT, "message_id": 3000000000900000011}))


def test_a_chat_message_is_itself_by_its_id_an_edited_one_by_its_time() -> None:
    assert webhook.dedupe_key(inbound(CHAT)) == webhook.dedupe_key(inbound(json.dumps(CHAT, indent=1).encode()))
    edited = {**CHAT, "message_type": "TYPE_UPDATE_MESSAGE", "updated_at": "2026-12-03T08:01:30Z"}
    keys = [CHAT, edited, {**edited, "updated_at": "2026-12-03T08:02:00Z"}, {**CHAT, "chat_id": "c-2"}]
    assert len({webhook.dedupe_key(inbound(body)) for body in keys}) == len(keys)
    assert webhook.dedupe_key(inbound(STATE)) != webhook.dedupe_key(inbound({**STATE, "new_state": "posting_received"}))


def test_an_edited_message_opens_no_new_window() -> None:
    edited = {
        **CHAT,
        "message_type": "TYPE_UPDATE_MESSAGE",
        "updated_at": "2026-12-09T08:00:00Z",
        "data": ["other words"],
    }
    parsed = webhook.parse(inbound(edited), ACCOUNT)
    assert isinstance(parsed, Facts)
    assert parsed.drafts[0].occurred_at == datetime(2026, 12, 3, 8, tzinfo=UTC)
    assert parsed.drafts[0].data["text"] == "other words"


def test_delivery_opens_the_last_72_hours_of_the_chat() -> None:
    parsed = webhook.parse(inbound(STATE), ACCOUNT)
    assert isinstance(parsed, Facts)
    until = codes.moment(parsed.drafts[0].data["window_until"])
    assert until == parsed.drafts[0].occurred_at + timedelta(hours=72)


def test_with_premium_plus_a_message_rings_for_its_chat() -> None:
    premium = Account("oz-main", "ozon", settings={"premium_plus": True})
    assert webhook.parse(inbound(CHAT), premium) == NeedsFetch("chat:c-1")


@pytest.mark.parametrize("state", codes.STATES)
def test_every_state_ozon_names_is_a_fact(state: str) -> None:
    assert isinstance(webhook.parse(inbound({**STATE, "new_state": state}), ACCOUNT), Facts)


def test_an_unknown_state_is_kept_with_its_code() -> None:
    parsed = webhook.parse(inbound({**STATE, "new_state": "posting_on_the_moon"}), ACCOUNT)
    assert isinstance(parsed, Unmapped)
    assert (parsed.code, parsed.drafts[0].kind, parsed.drafts[0].raw_code) == (
        "new_state:posting_on_the_moon", "case.updated", "posting_on_the_moon",
    )  # fmt: skip


@pytest.mark.parametrize("reason", [None, "text", [], 7, {"id": None, "message": None}])
def test_odd_shapes_inside_are_read_as_far_as_they_go(reason: Any) -> None:
    body = {
        **STATE, "message_type": "TYPE_POSTING_CANCELLED", "old_state": "posting_on_way_to_city", "reason": reason,
    }  # fmt: skip
    parsed = webhook.parse(inbound(body), ACCOUNT)
    assert isinstance(parsed, Facts) and parsed.drafts[0].kind == "order.cancelled"
    odd = {**CHAT, "user": reason, "data": reason}
    assert isinstance(webhook.parse(inbound(odd), ACCOUNT), Ignored)
