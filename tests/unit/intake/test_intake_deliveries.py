"""From bytes or a record to facts with identity, without a database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake import deliveries
from shared import ids
from shared.domain.facts import Draft
from shared.json_reader import Unreadable
from shared.ports import Account, Facts, Inbound, NeedsFetch, Parsed, Record, Unmapped

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
ACCOUNT = Account("a", "toy")
INBOUND = Inbound(b"{}", {"x-kept": ("1",), "authorization": ("no",), "x-toy-signature": ("no",)}, query="q=1")


class Facet:
    """A webhook facet that parses to what it was given, or raises it."""

    def __init__(self, parsed: Parsed | Exception, key: str | Exception = "k1") -> None:
        self._parsed, self._key = parsed, key

    def dedupe_key(self, inbound: Inbound) -> str:
        if isinstance(self._key, Exception):
            raise self._key
        return self._key

    def parse(self, inbound: Inbound, account: Account) -> Parsed:
        if isinstance(self._parsed, Exception):
            raise self._parsed
        return self._parsed


def read(parsed: Any, key: Any = "k1") -> deliveries.Delivery:
    return deliveries.read_push(Facet(parsed, key), INBOUND, ACCOUNT, NOW)  # type: ignore[arg-type]


def draft(kind: str = "order.shipped", **more: Any) -> Draft:
    return Draft(kind=kind, occurred_at=NOW, **({"order_id": "O1"} | more))


def test_ids_come_from_account_key_ordinal_and_kind() -> None:
    found = read(Facts((draft(), draft("order.placed"))))
    assert [fact.id for fact in found.facts] == [
        ids.fact_id("a", "k1", 0, "order.shipped"),
        ids.fact_id("a", "k1", 1, "order.placed"),
    ]
    assert found.raw.headers == {"x-kept": ["1"]}
    assert found.id.startswith("dlv_")


@pytest.mark.parametrize(
    "bad",
    [
        draft("order.vanished"),
        draft(order_id=17),
        draft(refs={"a": 1}),
        draft(data={"x": object()}),
        draft(revision="1"),
    ],
)
def test_a_draft_that_is_no_fact_makes_the_delivery_failed(bad: Draft) -> None:
    found = read(Facts((draft(), bad)))
    assert (found.outcome, found.code, found.facts) == ("failed", "bad_draft", ())


@pytest.mark.parametrize(
    ("fault", "outcome", "why"),
    [
        (Unreadable("$.a", "must be text"), "unreadable", "$.a: must be text"),
        (KeyError("buyer's name"), "failed", "KeyError"),
        (RecursionError(), "failed", "RecursionError"),
    ],
)
def test_faults_of_parsing_never_quote_what_was_sent(fault: Exception, outcome: str, why: str) -> None:
    found = read(fault)
    assert (found.outcome, found.why) == (outcome, why)


def test_outcomes_with_drafts_keep_them() -> None:
    assert read(NeedsFetch("r", (draft("case.updated"),))).ref == "r"
    odd = read(Unmapped("odd\x00code", (draft("case.updated"),)))
    assert (odd.code, odd.facts[0].kind) == ("odd?code", "case.updated")


@given(st.text(max_size=400))
def test_any_key_becomes_one_that_every_database_holds(key: str) -> None:
    found = deliveries.plain(key)
    assert 1 <= len(found) <= 200 and found.isascii() and found.isprintable()
    assert deliveries.plain(key) == found


def test_a_key_that_cannot_be_told_is_the_content() -> None:
    assert read(Facts(()), ValueError()).key == "sha256:" + ids.content_hash(b"{}")


def test_a_record_and_what_was_before_survive_being_kept() -> None:
    record = Record("r", {"b": 1, "a": {"n": "12.50"}}, 7)
    kept, previous = deliveries.record_of(deliveries.record_raw(record, {"a": 1}))
    assert (kept, previous) == (record, {"a": 1})
    same = Record("r", {"a": {"n": "12.50"}, "b": 1}, 8)
    assert deliveries.record_hash(record) == deliveries.record_hash(same), "order of keys is no difference"


@pytest.mark.parametrize(
    ("fact", "anchor"),
    [
        (draft(external_id="E"), "O1"),
        (draft(order_id=None, external_id="E"), "E"),
        (draft(order_id=None, refs={"b": "2", "a": "1"}), "1"),
        (draft(order_id=None), ""),
    ],
)
def test_facts_of_one_matter_share_their_anchor(fact: Draft, anchor: str) -> None:
    assert deliveries.anchor(fact) == anchor


def test_records_that_break_are_failed_with_their_reference() -> None:
    class Broken:
        def facts(self, *_: Any) -> Sequence[Draft]:
            raise ZeroDivisionError

    reading = deliveries.compare(Broken(), Record("r", {}), None, ACCOUNT, NOW)
    assert (reading.outcome, reading.code, reading.ref) == ("failed", "ZeroDivisionError", "r")
