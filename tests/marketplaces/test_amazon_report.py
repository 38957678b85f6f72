"""The returns report in the forms it really comes in: encodings, header variants, short rows, XML, and what is no report."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.marketplaces.amazon import dates, simulated_returns, webhook
from shared.marketplaces.amazon.dates import day_of, moment_of, money_of
from shared.marketplaces.amazon.returns import STATUSES, Return, reason_of, status_of
from shared.marketplaces.amazon.returns_report import FIELDS, NotAReport, read_report

FIXTURES = Path(webhook.__file__).parent / "fixtures"
FLAT = (FIXTURES / "returns.txt").read_bytes()
XML = (FIXTURES / "returns.xml").read_bytes()
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "documents" / "returns.json").read_bytes())


def test_the_flat_file_means_what_its_expectation_says() -> None:
    report = read_report(FLAT)
    assert report.returns == EXPECTED["flat"]
    assert report.left_out == 1, "a row without an order is counted, not lost in silence"


def test_the_xml_means_what_its_expectation_says() -> None:
    assert read_report(XML).returns == EXPECTED["xml"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_encoding_gives_the_same_returns(encoding: str) -> None:
    text = FLAT.decode("cp1252")
    assert read_report(text.encode(encoding)).returns == EXPECTED["flat"]


def test_the_header_s_charset_counts_where_the_bytes_do_not_say() -> None:
    rows = "Order ID\tReturn request status\tItem Name\r\n1-2-3\tApproved\t卓上ランプ\r\n"
    (line,) = read_report(rows.encode("shift_jis"), "Shift_JIS").returns.popitem()[1]
    assert line["item_name"] == "卓上ランプ"
    assert read_report(rows.encode("shift_jis"), "no-such-charset").returns, "an unknown name does not stop the reading"


@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r"])
def test_every_line_ending(ending: str) -> None:
    text = FLAT.decode("cp1252").replace("\r\n", ending)
    assert read_report(text.encode("cp1252")).returns == EXPECTED["flat"]


@pytest.mark.parametrize(
    ("label", "other", "name"),
    [
        ("Merchant RMA ID", "Seller RMA ID", "merchant_rma_id"),
        ("A-to-Z Claim", "A-to-z claim", "a_to_z_claim"),
        ("Order ID", "order-id", "order_id"),
        ("Order ID", "ORDER_ID", "order_id"),
        ("Return Reason", "return-reason-code", "return_reason_code"),
        ("Refunded Amount", "refund_amount", "refund_amount"),
    ],
)
def test_labels_in_other_spellings(label: str, other: str, name: str) -> None:
    text = FLAT.decode("cp1252")
    assert label in text
    report = read_report(text.replace(label, other, 1).encode("cp1252"))
    assert report.returns == EXPECTED["flat"] and any(name in line for ls in report.returns.values() for line in ls)


def test_what_names_the_buyer_is_not_taken_over() -> None:
    rows = b"Order ID\tBuyer name\tShip-to address\tReturn request status\n1-2-3\tJane Doe\t1 Main St\tApproved\n"
    ((line,),) = read_report(rows).returns.values()
    assert line == {"order_id": "1-2-3", "return_request_status": "Approved"}


def test_identity_and_row_keys() -> None:
    head = "Order ID\tReturn request date\tReturn request status\tAmazon RMA ID\tMerchant RMA ID\tMerchant SKU\tOrder Item ID"
    rows = [
        "1\t05-Jan-2026\tApproved\tA\tM\tsku-1\t",
        "1\t05-Jan-2026\tApproved\tA\tM\tsku-2\t",
        "1\t05-Jan-2026\tCompleted\tA\tM\tsku-1\t",
        "2\t2026-01-05\tApproved\t\tM2\tsku-1\t",
        "3\t05-Jan-2026\tApproved\t\t\tsku-1\titem-1",
        "3\t2026-01-05T10:00:00Z\tApproved\t\t\tsku-1\titem-2",
        "4\tsoon\tApproved\t\t\tsku-1\t",
    ]
    found = read_report("\n".join([head, *rows]).encode()).returns
    told = {id_: [line["return_request_status"] for line in lines] for id_, lines in found.items()}
    assert told == {
        "A": ["Completed", "Approved"],
        "M2": ["Approved"],
        "3:2026-01-05": ["Approved", "Approved"],
        "4:soon": ["Approved"],
    }


@pytest.mark.parametrize(
    "document",
    [
        b"", b"\r\n\r\n", b"Access denied", b"a\tb\tc\n1\t2\t3\n", b"<html><body>Access denied</body></html>",
        b"<AmazonEnvelope><Message>", b"<?xml version='1.0' encoding='no-such'?><AmazonEnvelope/>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><AmazonEnvelope><Message>&a;</Message></AmazonEnvelope>",
        b"<a>" * 60 + b"</a>" * 60,
    ],
)  # fmt: skip
def test_what_is_no_report_says_so(document: bytes) -> None:
    with pytest.raises(NotAReport):
        read_report(document)


def test_an_empty_report_is_a_report() -> None:
    head = FLAT.split(b"\r\n")[0]
    assert read_report(head).returns == read_report(b"<AmazonEnvelope><Message/></AmazonEnvelope>").returns == {}


def test_a_namespace_and_an_odd_encoding_in_the_xml() -> None:
    text = XML.decode().replace("UTF-8", "windows-1252").replace("AmazonEnvelope", "x:AmazonEnvelope", 1)
    text = text.replace("</AmazonEnvelope", "</x:AmazonEnvelope").replace(
        "<x:AmazonEnvelope", '<x:AmazonEnvelope xmlns:x="u"'
    )
    assert read_report(text.encode("cp1252")).returns == EXPECTED["xml"]


@settings(max_examples=200, deadline=None)
@given(document=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_report_or_say_why_not(document: bytes) -> None:
    try:
        read_report(document)
    except NotAReport as fault:
        assert str(fault)


CELLS = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\t\u2028\u2029\x85"), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.dictionaries(st.sampled_from(sorted(simulated_returns.LABELS)), CELLS, max_size=10), max_size=5)
)
def test_any_cells_make_returns_that_can_be_read(lines: list[dict[str, str]]) -> None:
    rows = [{"order_id": f"o{n}", "return_request_status": "Approved", **line} for n, line in enumerate(lines)]
    for write in (simulated_returns.flat, simulated_returns.xml):
        for id_, found in read_report(write(rows)).returns.items():
            read = Return({"lines": found}, "USD")
            assert read.id == id_ and read.snapshot()["return_required"] is True
            assert set().union(*found) <= FIELDS


def test_both_forms_of_the_simulator_tell_the_same() -> None:
    now = dates.moment_of("2026-01-05")
    assert now is not None
    lines = [simulated_returns.made_up(f"902-0000000-000000{n}", now, {"a_to_z_claim": "Y"}) for n in range(3)]
    assert read_report(simulated_returns.flat(lines)).returns == read_report(simulated_returns.xml(lines)).returns


@pytest.mark.parametrize(
    ("text", "day"),
    [("10-Jul-2025", "2025-07-10"), ("3-sep-2025", "2025-09-03"), ("10 July 2025", "2025-07-10"), ("2026-09-22", "2026-09-22"),
     ("2020-05-09T22:12:06Z", "2020-05-09"), ("2020-05-09T23:30:00-07:00", "2020-05-10"), ("2020-05-09 22:12:06", "2020-05-09"),
     ("", None), ("soon", None), ("31-Feb-2025", None), ("10/07/2025", None), ("10-Juil-2025", None), (None, None)],
)  # fmt: skip
def test_dates(text: str | None, day: str | None) -> None:
    assert day_of(text) == day
    assert (moment_of(text) is None) == (day is None)


@pytest.mark.parametrize(
    ("text", "currency", "value"),
    [("12.5", "USD", "12.50"), ("12,50", "EUR", "12.50"), ("1200", "JPY", "1200"), ("1,234.50", "USD", None),
     ("12.5", None, None),
     ("12.555", "USD", None), ("-3", "USD", None), ("", "USD", None), ("1e3", "USD", None), (None, "USD", None)],
)  # fmt: skip
def test_amounts_are_exact_or_left_out(text: str | None, currency: str | None, value: str | None) -> None:
    found = money_of(text, currency)
    assert (found.value if found else None) == value


def test_statuses_in_any_spelling_and_unknown_ones_word_for_word() -> None:
    for status in STATUSES:
        assert {
            status_of(s) for s in (status.lower(), status.upper(), status.replace(" ", ""), status.replace(" ", "_"))
        } == {status}
    assert status_of("Authorize Required") == "Pending Authorization"
    assert status_of(" Teleported twice ") == "Teleported twice" and status_of(None) == ""


@pytest.mark.parametrize(
    ("code", "reason"),
    [("CR-DEFECTIVE", "defective"), ("AMZ-PG-APP-TOO-SMALL", "change_of_mind"), ("UNWANTED_ITEM", "change_of_mind"),
     ("NO_LONGER_NEEDED", "change_of_mind"), ("CR-ORDERED_WRONG_ITEM", "change_of_mind"), ("CR-SWITCHEROO", "wrong_item"),
     ("CR-MISSING_PARTS", "missing_parts"), ("CR-DAMAGED_BY_CARRIER", "damaged"), ("AMZ-PG-BAD-DESC", "not_as_described"),
     ("CR-MISSED_ESTIMATED_DELIVERY", "late"), ("CHOCOLATE", "other"), ("", "other"), (None, "other")],
)  # fmt: skip
def test_reasons_are_read_by_their_words(code: str | None, reason: str) -> None:
    assert reason_of(code) == reason
