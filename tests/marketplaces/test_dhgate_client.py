"""The DOP router's replies judged, and the small readers beside it: times, addresses, titles, words of a mail."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.facts import encode
from shared.http import InDoubtFault, RefusedFault
from shared.json_reader import read
from shared.marketplaces.dhgate import address, mail, records
from shared.marketplaces.dhgate.client import unwrap
from shared.marketplaces.dhgate.reading import moment, money, zone_of
from shared.ports import Account
from tests.marketplaces.dhgate_walk import ADDRESS, FOLDER

OK = '"status":{"code":"00000000","message":"OK","solution":"","subErrors":[]}'
BUSINESS = '{"status":{"code":"44","message":"x","subErrors":[{"code":"1","message":"the order does not exist"}]}}'
ACCOUNT = Account("dh", "dhgate")
NOW = datetime(2026, 12, 2, tzinfo=UTC)


INNER = '{"count":1,' + OK + "}"


@pytest.mark.parametrize(
    "body",
    [
        INNER,
        '{"result":' + INNER + "}",
        '{"dh_order_get_response":' + INNER + "}",
        '{"dh_order_get_response":{"result":' + INNER + "}}",
    ],
)
def test_a_reply_is_read_bare_or_wrapped(body: str) -> None:
    assert unwrap(body.encode(), "dh.order.get", reads=True)["count"] == 1
    assert unwrap(body.encode(), "dh.order.get", reads=False)["count"] == 1


def test_a_business_error_is_a_clear_no_in_its_own_words() -> None:
    for reads in (True, False):
        with pytest.raises(RefusedFault, match="the order does not exist") as refused:
            unwrap(BUSINESS.encode(), "dh.order.get", reads=reads)
        assert refused.value.status == 200


@pytest.mark.parametrize(
    "body", ['{"status":{"code":"7","message":"busy"}}', '{"msgId":"1"}', '{"error":"server_error"}']
)
def test_of_a_send_what_is_neither_yes_nor_no_is_in_doubt(body: str) -> None:
    with pytest.raises(InDoubtFault):
        unwrap(body.encode(), "dh.message.send", reads=False)


@pytest.mark.parametrize("body", ['{"status":{"code":"7","message":"busy"}}', '{"error":"server_error"}'])
def test_of_a_read_an_unknown_code_is_no_answer(body: str) -> None:
    with pytest.raises(RefusedFault):
        unwrap(body.encode(), "dh.order.get", reads=True)


def test_a_token_that_is_over_is_told_as_credentials() -> None:
    with pytest.raises(RefusedFault) as refused:
        unwrap(b'{"error":"invalid_token","errorDescription":"expired"}', "dh.order.get", reads=True)
    assert refused.value.status == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'"x"', b'{"a":1,"a":2}'])
def test_what_nobody_can_read_is_in_doubt(body: bytes) -> None:
    with pytest.raises(InDoubtFault):
        unwrap(body, "dh.message.send", reads=False)


def test_amounts_stay_exact() -> None:
    reply = unwrap(b'{"orderTotalPrice":64.50,"refundMoney":0.1,' + OK.encode() + b"}", "dh.order.get", reads=True)
    assert money(reply["orderTotalPrice"], "USD") == money("64.50", "USD")
    assert money(reply["refundMoney"], "USD") == money("0.10", "USD")
    assert money("0.001", "USD") is None and money(None, "USD") is None


def test_times_are_the_configured_zones_and_beijings_unless_told() -> None:
    assert moment("2026-12-01 10:00:00", zone_of(ACCOUNT)) == datetime(2026, 12, 1, 2, tzinfo=UTC)
    west = Account("dh", "dhgate", settings={"source_time_zone": "America/Los_Angeles"})
    assert moment("2026-12-01 10:00:00", zone_of(west)) == datetime(2026, 12, 1, 18, tzinfo=UTC)
    assert moment("", zone_of(ACCOUNT)) is None and moment("01.12.2026", zone_of(ACCOUNT)) is None
    with pytest.raises(KeyError):
        zone_of(Account("dh", "dhgate", settings={"source_time_zone": "Atlantis/Capital"}))


def test_the_default_zone_is_the_cautious_one() -> None:
    """No zone people trade in from here to the west reads the same text as an earlier moment."""
    text = "2026-12-01 10:00:00"
    ours = moment(text, zone_of(ACCOUNT))
    others = [
        moment(text, ZoneInfo(name)) for name in ("UTC", "Europe/London", "America/New_York", "America/Los_Angeles")
    ]
    assert ours is not None and all(other is not None and ours < other for other in others)


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        (ADDRESS, None),
        ("Wang Fang, Room 5, 7 Garden Rd., Haidian Dist., Beijing 100190, China, +86 13800000000", None),
        ("深圳市南山区科学路12号", "English letters"),
        ("12 Ke Xue Lu, Nanshan Qu, Shenzhen Shi", "instead of pinyin"),
        ("12 Science Road, Shenzhen", "no district"),
        ("Nanshan District, Shenzhen", "no street"),
        ("  ", "empty"),
    ],
)
def test_a_return_address_is_english_with_district_and_street(given_: str, why: str | None) -> None:
    found = address.fault(given_)
    assert found is None if why is None else found is not None and why in found


def test_a_mails_title_and_words() -> None:
    assert mail.title_of("2611200001") == "PO#2611200001"
    assert mail.plain("<p>It never came &amp; I want <b>my money</b></p>\n") == "It never came & I want my money"
    assert mail.order_of({"msgTitle": "PO#2611200001"}) == "2611200001"
    assert mail.order_of({"msgTitle": "Re: something", "param": "2611200002"}) == "2611200002"
    assert mail.order_of({"msgTitle": "[DHgate] notice", "param": ""}) is None


def test_our_own_words_are_no_message_received_where_our_id_is_known() -> None:
    thread = read((FOLDER / "fixtures" / "mail_buyer_wrote.json").read_bytes()) | {"senderNickName": "our shop"}
    first = thread | {"msgDetailList": thread["msgDetailList"][:1]}
    ours = thread["msgDetailList"][1]["senderId"]
    told = Account("dh", "dhgate", settings={"seller_user_id": ours})
    (only,) = records.facts(thread, first, told, NOW)
    assert only.data["text"] == "It never came & I want my money back."
    (wrong,) = records.facts(thread, first, ACCOUNT, NOW)
    assert wrong.data["text"] == "It is on its way.", "without it the thread's contact name decides"


def test_the_systems_words_in_an_orders_thread_are_nobodys() -> None:
    thread = read((FOLDER / "fixtures" / "mail_buyer_wrote.json").read_bytes())
    first = thread | {"msgDetailList": thread["msgDetailList"][:2]}
    spoke = thread["msgDetailList"][2] | {"senderId": "SYSTEM", "senderNickName": "ann"}
    told = thread | {"msgDetailList": [*first["msgDetailList"], spoke]}
    for settings in ({}, {"seller_user_id": "4028"}):
        assert records.facts(told, first, Account("dh", "dhgate", settings=settings), NOW) == ()


def test_the_same_reading_again_says_nothing_and_a_reading_never_raises_on_odd_fields() -> None:
    for path in sorted((FOLDER / "fixtures").glob("*.json")):
        if path.name.endswith(".expect.json"):
            continue
        body = read(path.read_bytes())
        assert records.facts(body, body, ACCOUNT, NOW + timedelta(days=1)) == ()
        for name in body.keys() - {"_from"}:
            for odd in (None, 7, "", [], {}, "?"):
                for draft in records.facts({**body, name: odd}, None, ACCOUNT, NOW):
                    assert encode(draft)


ROWS = st.fixed_dictionaries({}, optional={
    name: st.one_of(st.none(), st.integers(), st.text(max_size=12), st.lists(st.none(), max_size=2))
    for name in ("orderNo", "orderStatus", "disputeStatus", "payDate", "orderTotalPrice", "refundMoney", "msgDetailList",
                 "orderDeliveryList", "disputeOpenDate", "isWarn", "warnReason", "param", "msgTitle")
})  # fmt: skip


@given(ROWS, st.none() | ROWS, st.sampled_from(sorted(
    ["dh.order.list.get", "dh.order.get", "dh.order.disputeopen.list", "dh.order.disputeclose.list", "dh.message.get"]
)))  # fmt: skip
def test_whatever_a_record_holds_reading_it_never_raises(
    row: dict[str, object], previous: dict[str, object] | None, method: str
) -> None:
    before = previous and {**previous, "_from": method}
    records.facts({**row, "_from": method}, before or None, ACCOUNT, NOW)
