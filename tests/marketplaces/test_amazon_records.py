"""Records into facts beyond the fixtures: nothing twice, nothing lost over skipped readings, one claim, the queue's news."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.domain.facts import Draft
from shared.json_reader import Unreadable
from shared.marketplaces.amazon import records, webhook
from shared.marketplaces.amazon.records import Unknown
from shared.ports import Account

FIXTURES = Path(webhook.__file__).parent / "fixtures"
NOW = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
ACCOUNT = Account("amz", "amazon")
WAY = ["return_pending", "return_approved", "return_on_its_way", "return_arrived", "return_refunded"]


def told(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
    return body


def facts(record: dict[str, Any], previous: dict[str, Any] | None = None, **settings: Any) -> list[Draft]:
    return list(records.facts(record, previous, Account("amz", "amazon", settings=settings), NOW))


def line(name: str = "return_pending", **laid_over: Any) -> dict[str, Any]:
    return {"lines": [{**told(name)["lines"][0], **laid_over}]}


@pytest.mark.parametrize(
    "name", [*WAY, "return_of_two_lines", "return_claimed", "finances_claim", "finances_second_refund"]
)
def test_the_same_record_again_says_nothing(name: str) -> None:
    assert facts(told(name), told(name)) == []


def test_readings_that_were_missed_lose_no_fact() -> None:
    """Whatever subset of a return's readings is seen, in their order: the kinds of facts seen in the end are the same."""
    whole = kinds_of(WAY)
    assert whole == [
        "return.requested",
        "return.authorised",
        "return.shipped",
        "return.received",
        "refund.issued",
        "case.closed",
    ]
    for seed in range(40):
        chosen = [name for name in WAY[:-1] if random.Random(f"{seed}{name}").random() < 0.5]
        seen = kinds_of([*chosen, WAY[-1]])
        assert [kind for kind in seen if kind != "return.authorised"] == [k for k in whole if k != "return.authorised"]
        assert len(seen) == len(set(seen)), "nothing twice"


def kinds_of(names: list[str]) -> list[str]:
    found, previous = [], None
    for name in names:
        found += [draft.kind for draft in facts(told(name), previous)]
        previous = told(name)
    return found


def test_every_fact_of_one_reading_tells_the_same_of_the_return() -> None:
    drafts = facts(told("return_refunded"))
    assert {draft.raw_code for draft in drafts} == {"Completed"}
    shared = [{k: v for k, v in draft.data.items() if k != "refunded"} for draft in drafts]
    assert all(one == shared[0] for one in shared)


def test_the_lines_of_a_return_are_one_return() -> None:
    body = told("return_of_two_lines")
    assert [draft.kind for draft in facts(body)] == ["return.requested"]
    done = [{**one, "return_request_status": "Completed", "refund_amount": "10.00"} for one in body["lines"]]
    first = {"lines": [done[0], body["lines"][1]]}
    (refund,) = facts(first, body)
    assert (refund.kind, refund.data["refunded"]["value"]) == ("refund.issued", "10.00"), "one line is still open"
    second, closed = facts({"lines": done}, first)
    assert (second.data["refunded"]["value"], closed.kind) == ("10.00", "case.closed")
    assert refund.refs["refund_id"] != second.refs["refund_id"], "the same amount again is another refund"


def test_an_unknown_status_of_one_line_is_seen() -> None:
    body = told("return_of_two_lines")
    odd = {"lines": [body["lines"][0], {**body["lines"][1], "return_request_status": "Teleported"}]}
    (draft,) = facts(odd, body)
    assert (draft.kind, draft.raw_code) == ("case.updated", "Teleported")


def test_a_claim_is_told_once_and_stays_with_its_order() -> None:
    marked, status = line(a_to_z_claim="Y"), line(a_to_z_claim="Y", return_request_status="With A-to-z claim")
    claims = [draft for draft in facts(marked, line()) if draft.case_kind == "claim"]
    assert [(draft.kind, draft.external_id) for draft in claims] == [("dispute.opened", "902-1234567-7654321")]
    assert [draft.case_kind for draft in facts(status, marked)] == ["return"]
    (gone,) = facts(line(), marked)
    assert (gone.kind, gone.data["a_to_z"]) == ("case.updated", False)


def test_a_refund_that_shrinks_is_no_refund() -> None:
    drafts = facts(line(refund_amount="5.00"), line(refund_amount="9.00"))
    assert [draft.kind for draft in drafts] == []


def test_amounts_without_a_currency_are_left_out_or_in_the_account_s() -> None:
    bare = {name: value for name, value in line()["lines"][0].items() if name not in ("currency_code", "label_cost")}
    assert "paid" not in facts({"lines": [bare]})[0].data
    assert facts({"lines": [bare]}, currency="EUR")[0].data["paid"] == {"value": "39.90", "currency": "EUR"}


def test_only_the_whole_order_coming_back_asks_for_all_that_was_paid() -> None:
    (part,) = facts(line(order_quantity="3"))
    assert part.data["paid"]["value"] == "39.90" and "amount" not in part.data
    assert (part.data["quantity"], part.data["order_quantity"]) == (1, 3)


@pytest.mark.parametrize("odd", [{}, {"return_request_date": "soon"}, {"return_quantity": "many"}, {"order_amount": "a lot"},
                                 {"return_delivery_date": "?"}, {"in_policy": "maybe"}, {"return_reason_code": ""}])  # fmt: skip
def test_odd_cells_never_stop_a_return(odd: dict[str, str]) -> None:
    assert facts(line(**odd))[0].kind == "return.requested"


def test_the_queue_s_news_is_the_webhook_s() -> None:
    raw = json.dumps(told("cancel_requested"))
    (draft,) = facts({"notification": raw})
    assert (draft.kind, draft.order_id) == ("order.cancel_requested", "902-1234567-7654321")
    assert facts({"notification": json.dumps(told("report_ready"))}) == []
    assert facts({"notification": json.dumps(told("order_tip"))}) == []
    assert facts({"notification": json.dumps(told("order_change_unknown"))})[0].kind == "case.updated"


def test_what_the_queue_holds_and_nobody_knows_is_kept_as_failed() -> None:
    """Raising is how a record is kept with its bytes, counted, and replayed once it is mapped."""
    with pytest.raises(Unknown, match="A_TO_Z"):
        facts({"notification": json.dumps(told("type_unknown"))})
    with pytest.raises(Unknown, match="another seller"):
        facts({"notification": json.dumps(told("cancel_requested"))}, seller_id="A2")
    with pytest.raises(Unreadable):
        facts({"notification": "no json"})


def test_a_reading_that_keeps_failing_is_told_once() -> None:
    fatal, well = {"what": "returns", "status": "FATAL"}, {"what": "returns", "status": "DONE"}
    assert [draft.raw_code for draft in facts(fatal)] == ["READING:returns:FATAL"]
    assert facts(fatal, fatal) == facts(well) == facts(well, fatal) == facts({**well, "status": "CANCELLED"}) == []
    assert len(facts(fatal, well)) == 1
