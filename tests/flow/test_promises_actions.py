"""What the interfaces promise of actions, keys, cases by hand, evidence and tasks, asked of one running product."""

import hashlib
import itertools
from typing import Any

import aiohttp
import pytest

from tests.flow.conftest import World
from tests.flow.test_promises_lists import returned

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
_keys = itertools.count()


def eur(value: str) -> dict[str, str]:
    return {"value": value, "currency": "EUR"}


async def act(
    w: World, case_id: str, action: str, *, key: str = "sandbox", why: str | None = None, **params: Any
) -> tuple[int, Any]:
    body = {"action": action, "params": params, "reason": why}
    headers = {"Idempotency-Key": f"k{next(_keys)}"}
    return await w.system.request("POST", f"/v1/cases/{case_id}/actions", json=body, headers=headers, key=key)


async def acts_of(w: World, case_id: str) -> list[dict[str, Any]]:
    await w.system.drain()
    return [c for c in await w.system.calls() if c["case_id"] == case_id and c["kind"] == "act"]


async def test_an_action_needs_its_key_and_answers_a_repeat_the_same(product: World) -> None:
    case, other = await returned(product, "I1"), await returned(product, "I2")
    url, body = f"/v1/cases/{case['id']}/actions", {"action": "contact", "params": {"text": "We are looking into it."}}
    status, problem = await product.system.request("POST", url, json=body)
    assert (status, problem["code"]) == (400, "idempotency_key_missing")
    key = {"Idempotency-Key": "once"}
    first = await product.system.request("POST", url, json=body, headers=key)
    await product.system.drain()
    assert first[0] == 200
    assert first[1]["id"] == case["id"]
    assert await product.system.request("POST", url, json=body, headers=key) == first
    status, problem = await product.system.request("POST", url, json=body | {"reason": "why"}, headers=key)
    assert (status, problem["code"]) == (422, "key_reused")
    status, _ = await product.system.request("POST", f"/v1/cases/{other['id']}/actions", json=body, headers=key)
    assert status == 422
    texts = [m for m in await product.system.messages(case["id"]) if m["purpose"] == "free_text"]
    assert len(texts) == 1


@pytest.mark.parametrize(
    "action",
    ["frobnicate", "", "answer", "confirm_receipt", "inspect", "submit_evidence", "escalate", "withdraw", "cancel", "intercept"],
)  # fmt: skip
async def test_what_is_unknown_or_not_allowed_now_is_409_with_what_is(product: World, action: str) -> None:
    case = await returned(product, f"N-{action}")
    status, problem = await act(product, case["id"], action)
    assert status == 409
    assert problem["allowed"] == case["allowed"]
    assert {"contact", "authorise", "decline", "refund", "propose", "close"} <= set(case["allowed"])


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("contact", {}), ("contact", {"text": ""}), ("contact", {"text": "a", "purpose": "remind_once"}),
        ("contact", {"purpose": "no_such"}), ("contact", {"text": "Hello", "attachments": ["x"]}),
        ("contact", {"text": 5}), ("decline", {}), ("refund", {"amount": "5 EUR"}), ("refund", {"amount": eur("1.234")}),
        ("refund", {"amount": eur("-1.00")}), ("refund", {"keep_item": "yes"}),
        ("refund", {"amount": {"value": "5.00", "currency": "USD"}}), ("propose", {}), ("propose", {"remedy": "cake"}),
        ("close", {"reason": "other", "comment": "x"}), ("ship_replacement", {"carrier": "DHL"}), ("approve", {}),
    ],
)  # fmt: skip
async def test_bad_parameters_are_422(product: World, action: str, params: dict[str, Any]) -> None:
    case = await returned(product, "B1")
    status, problem = await act(product, case["id"], action, **params)
    assert (status, problem["status"]) == (422, 422)
    assert await acts_of(product, case["id"]) == []


async def test_close_takes_a_reason_of_the_list_and_the_operators_own(product: World) -> None:
    case = await returned(product, "C1")
    given = {"reason": "mutual_agreement", "comment": "Agreed with the buyer."}
    assert (await act(product, case["id"], "close", why="we agreed", **(given | {"reason": "tired"})))[0] == 422
    status, problem = await act(product, case["id"], "close", **given)
    assert (status, problem["code"]) == (422, "reason_required")
    status, answer = await act(product, case["id"], "close", why="we agreed", **given)
    assert status in (200, 202)
    if status == 202:
        assert (await act(product, case["id"], "approve", act_id=answer["act_id"]))[0] == 200
    assert [c["name"] for c in await acts_of(product, case["id"])] == ["close"]


async def test_money_above_the_limit_waits_for_a_key_that_may_approve(product: World) -> None:
    case = await returned(product, "M1", "60.00")
    status, first = await act(product, case["id"], "refund", key="sandbox-act", amount=eur("60.00"), keep_item=True)
    assert status == 202
    [task] = await product.system.tasks(f"?status=open&case_id={case['id']}")
    assert (task["kind"], task["allowed"]) == ("approve_act", ["approve", "reject"])
    assert {"approve", "reject"} <= set(first["allowed"])
    assert await acts_of(product, case["id"]) == []
    status, problem = await act(product, case["id"], "approve", key="sandbox-act", act_id=first["act_id"])
    assert (status, problem["code"]) == (403, "needs_scope")
    assert (await act(product, case["id"], "approve", act_id=first["act_id"]))[0] == 200
    [call] = await acts_of(product, case["id"])
    assert (call["name"], call["body"]["money"], call["idempotency_key"]) == ("refund", eur("60.00"), first["act_id"])
    status, again = await act(product, case["id"], "refund", amount=eur("60.00"), keep_item=True)
    assert (status, again["act_id"]) == (200, first["act_id"])
    assert len(await acts_of(product, case["id"])) == 1
    assert await product.system.tasks(f"?status=open&case_id={case['id']}") == []


async def test_a_rejected_act_never_leaves(product: World) -> None:
    case = await returned(product, "M2", "60.00")
    _, waiting = await act(product, case["id"], "refund", key="sandbox-act", keep_item=True)
    assert (await act(product, case["id"], "reject", act_id=waiting["act_id"]))[0] == 200
    assert await acts_of(product, case["id"]) == []
    status, problem = await act(product, case["id"], "approve", act_id=waiting["act_id"])
    assert (status, problem["code"]) == (409, "not_waiting")


async def test_no_more_than_the_order_paid_and_nothing_before_the_goods(product: World) -> None:
    case = await returned(product, "M3")
    for params in ({"amount": eur("20.01"), "keep_item": True}, {"amount": eur("20.00")}):
        assert (await act(product, case["id"], "refund", **params))[0] == 409
    assert await acts_of(product, case["id"]) == []


async def test_a_deadline_plans_nothing_once_somebody_acted_and_a_resolved_case_has_none(product: World) -> None:
    case = await returned(product, "D1", "12.00")
    assert case["deadlines"][0]["planned"]["do"]
    assert (await act(product, case["id"], "authorise"))[0] == 200
    await product.system.drain()
    [deadline] = (await product.system.case_of("D1"))["deadlines"]
    assert (deadline["planned"], deadline["act_at"]) == (None, None)
    ids = {"kind": "return", "external_id": "D1", "order_id": "O-D1"}
    await product.push_generic("refund.issued", "msg_D1-paid", refunded=eur("12.00"), **ids)
    await product.system.drain()
    case = await product.system.case_of("D1")
    assert (case["phase"], case["outcome"], case["deadlines"], case["money_at_risk"]) == (
        "resolved",
        "refunded",
        [],
        None,
    )
    assert case["allowed"] == []
    assert case["closed_at"]
    status, problem = await act(product, case["id"], "refund")
    assert (status, problem["allowed"]) == (409, [])


async def test_a_case_opened_by_hand_is_201_and_the_same_again_200(product: World) -> None:
    body = {
        "account": "shop", "kind": "return", "external_id": "H1", "order_id": "O-H1", "reason": "damaged",
        "amount": eur("5.00"), "buyer": {"id": "b", "locale": "en"}, "facts": {"comment": "It broke."},
    }  # fmt: skip
    status, case = await product.system.request("POST", "/v1/cases", json=body)
    assert (status, case["reason"], case["amount"], case["buyer"]) == (201, "damaged", eur("5.00"), {"locale": "en"})
    status, same = await product.system.request("POST", "/v1/cases", json=body)
    assert (status, same["id"]) == (200, case["id"])
    assert (await product.system.request("POST", "/v1/cases", json=body | {"account": "nobody"}))[0] == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "thing"}, {"reason": "thing"}, {"amount": "5 EUR"}, {"amount": eur("5.001")}, {"external_id": ""},
        {"external_id": "x" * 200}, {"buyer": {"locale": "!!"}}, {"buyer": {"time_zone": "Moon/Base"}},
        {"facts": {"return_required": "maybe"}}, {"facts": {"paid": "much"}}, {"unknown": 1}, {"order_id": None},
    ],
)  # fmt: skip
async def test_a_case_by_hand_is_checked(product: World, wrong: dict[str, Any]) -> None:
    body = {"account": "shop", "kind": "return", "external_id": "H2", "order_id": "O-H2"} | wrong
    status, problem = await product.system.request("POST", "/v1/cases", json=body)
    assert (status, problem["status"]) == (422, 422)


async def test_evidence_of_each_form_is_201_with_its_sha256(product: World) -> None:
    case = await returned(product, "E1")
    url = f"/v1/cases/{case['id']}/evidence"
    form = aiohttp.FormData({"kind": "photo_item", "supplied_by": "buyer"})
    form.add_field("file", b"not really a picture", filename="a.jpg", content_type="image/jpeg")
    status, kept = await product.system.request("POST", url, data=form)
    assert (status, kept["sha256"]) == (201, hashlib.sha256(b"not really a picture").hexdigest())
    for given in ({"text": "It arrived broken."}, {"url": "https://example.com/a.jpg"}):
        status, kept = await product.system.request("POST", url, json={"kind": "note", "supplied_by": "seller"} | given)
        assert status == 201
        assert kept["id"]
        assert kept["sha256"] == hashlib.sha256(next(iter(given.values())).encode()).hexdigest()
    for wrong in ({}, {"text": ""}, {"text": "a", "url": "https://b"}, {"url": "ftp://x"}, {"text": "a", "kind": ""}):
        body = {"kind": "note", "supplied_by": "seller"} | wrong
        assert (await product.system.request("POST", url, json=body))[0] == 422
    bad = {"kind": "note", "supplied_by": "somebody", "text": "a"}
    assert (await product.system.request("POST", url, json=bad))[0] == 422
    await product.system.drain()
    facts = [row["fact"]["kind"] for row in await product.system.timeline(case["id"])]
    assert facts.count("evidence.submitted") == 3


async def test_a_letter_takes_along_evidence_of_its_case_only(product: World) -> None:
    case, other = await returned(product, "E2"), await returned(product, "E3")
    note = {"kind": "note", "supplied_by": "seller", "text": "What we found."}
    kept = await product.system.post(f"/v1/cases/{case['id']}/evidence", note)
    say = {"text": "Please see what we found.", "attachments": [kept["sha256"]]}
    status, problem = await act(product, other["id"], "contact", **say)
    assert (status, problem["code"]) == (422, "unknown_attachment")
    assert (await act(product, case["id"], "contact", **say))[0] == 200
    await product.system.drain()
    letters = [body["data"] for body in product.shop.effects().values() if body["data"]["case_id"] == case["id"]]
    assert [letter["attachments"] for letter in letters if letter["text"] == say["text"]] == [[kept["sha256"]]]


@pytest.mark.parametrize(
    ("action", "params", "status"),
    [
        ("represent", {"text": "short"}, 422), ("represent", {"text": "x" * 200}, 409), ("represent", {}, 409),
        ("appeal", {"cause": "a", "handling_plan": "b", "prevention_plan": "c"}, 422), ("appeal", {}, 409),
    ],
)  # fmt: skip
async def test_short_representations_are_422_in_any_state(
    product: World, action: str, params: dict[str, Any], status: int
) -> None:
    case = await returned(product, "R1")
    assert (await act(product, case["id"], action, **params))[0] == status
    assert (await act(product, case["id"], action, key="sandbox-act", **params))[0] == 403


@pytest.mark.parametrize(
    ("by", "paid", "outcome", "liability"),
    [
        ("buyer", False, "withdrawn", "none"),
        ("seller", False, "rejected", "none"),
        ("seller", True, "refunded", "seller"),
    ],
)
@pytest.mark.parametrize("kind", ["return", "refund", "dispute"])
async def test_who_closed_it_and_whether_money_went_decide_the_outcome(
    product: World, kind: str, by: str, paid: bool, outcome: str, liability: str
) -> None:
    name = f"{kind}-{by}-{paid}"
    ids = {"kind": kind, "external_id": name, "order_id": f"O-{name}"}
    opening = "dispute.opened" if kind == "dispute" else f"{kind}.requested"
    await product.push_generic(opening, f"msg-{name}", amount=eur("9.00"), paid=eur("9.00"), **ids)
    if paid:
        await product.push_generic("refund.issued", f"msg-{name}-paid", refunded=eur("9.00"), **ids)
    await product.push_generic("case.closed", f"msg-{name}-closed", closed_by=by, **ids)
    await product.system.drain()
    case = await product.system.case_of(name)
    assert (case["phase"], case["outcome"], case["liability"]) == ("resolved", outcome, liability)


async def test_news_told_twice_or_too_late_is_a_row_that_changes_nothing(product: World) -> None:
    ids = {"kind": "return", "external_id": "W1", "order_id": "O-W1"}
    case = await returned(product, "W1", revision=5)
    again = {"reason": "change_of_mind", "amount": eur("20.00"), "paid": eur("20.00")}
    buyer = {"id": "B-W1", "name": "Ada", "locale": "en"}
    await product.push_generic("return.requested", "msg_W1-again", revision=5, buyer=buyer, **again, **ids)
    await product.push_generic("return.authorised", "msg_W1-late", revision=4, **ids)
    await product.system.drain()
    rows = await product.system.timeline(case["id"])
    assert rows[0]["from_state"] is None
    told = [(row["fact"]["kind"], row["no_op"]) for row in rows if row["fact"]["source"] == "push"]
    assert told == [("return.requested", False), ("return.requested", True), ("return.authorised", True)]
    assert (await product.system.case_of("W1"))["state"] == case["state"]


async def test_a_money_setting_in_another_currency_never_applies(product: World) -> None:
    usd = {"value": "5.00", "currency": "USD"}
    case = await returned(product, "U1", amount=usd, paid=usd)
    assert (await act(product, case["id"], "refund", key="sandbox-act", keep_item=True))[0] == 202


async def test_a_task_takes_one_of_its_answers_once(product: World) -> None:
    case = await returned(product, "T1")
    await act(product, case["id"], "contact", text="Write to me at shop@example.com instead.")
    await product.system.drain()
    [task] = await product.system.tasks(f"?status=open&case_id={case['id']}")
    assert set(task) >= {"id", "case_id", "kind", "due_at", "reason", "allowed", "status"}
    assert (task["kind"], task["status"]) == ("message_blocked", "open")
    [blocked] = [m for m in await product.system.messages(case["id"]) if m["status"] == "blocked"]
    assert {(v["rule"], v["severity"]) for v in blocked["verdict"]["violations"]} == {("CR-ALL-01", "block")}
    spans = [blocked["body"][slice(*v["span"])] for v in blocked["verdict"]["violations"]]
    assert any(span and span in "shop@example.com" for span in spans)
    url = f"/v1/tasks/{task['id']}/done"
    status, problem = await product.system.request("POST", url, json={"answer": "cake", "reason": "x"})
    assert (status, problem["allowed"]) == (409, task["allowed"])
    answer = {"answer": "drop", "reason": "not needed"}
    status, done = await product.system.request("POST", url, json=answer)
    assert (status, done["status"], done["answer"]) == (200, "done", "drop")
    assert (await product.system.request("POST", url, json=answer | {"reason": "again"}))[0] in (409, 422)
    assert await product.system.tasks(f"?status=open&case_id={case['id']}") == []


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ({"text": "Thank you, we are looking into it."}, "send"),
        ({"text": "Write to me at shop@example.com."}, "block"),
        ({"purpose": "acknowledge_request", "locale": "en", "variables": {"order_id": "O-1"}}, "send"),
    ],
)
async def test_a_preview_shows_text_and_verdict(product: World, given: dict[str, Any], action: str) -> None:
    status, shown = await product.system.request(
        "POST", "/v1/messages/preview", json={"marketplace": "generic"} | given
    )
    assert status == 200
    assert shown["text"]
    assert (shown["verdict"]["action"], shown["verdict"]["ok"]) == (action, action == "send")
    assert all(set(v) == {"rule", "severity", "span", "why"} for v in shown["verdict"]["violations"])


@pytest.mark.parametrize(
    "wrong",
    [{}, {"text": "a", "purpose": "b"}, {"purpose": "nothing"}, {"text": "a", "marketplace": "nowhere"},
     {"purpose": "acknowledge_request", "variables": {}}],
)  # fmt: skip
async def test_a_preview_of_nothing_is_422(product: World, wrong: dict[str, Any]) -> None:
    body = {"marketplace": "generic"} | wrong
    assert (await product.system.request("POST", "/v1/messages/preview", json=body))[0] == 422
