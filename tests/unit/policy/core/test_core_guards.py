"""Guards: what the checker reads and tries out is what CEL decides."""

from fractions import Fraction
from typing import Any

import pytest
from core_scene import Scene
from hypothesis import given, settings
from hypothesis import strategies as st

from services.policy.core import truth
from services.policy.core.decision import View
from services.policy.core.grammar import Node, Unread, parse, type_of
from services.policy.core.guards import GuardFault, compiled, evaluate
from services.policy.core.names import for_guard, types
from services.policy.core.working import looking

TYPES = {"a": "int", "b": "int", "t": "text", "f": "bool", "at": "time", "now": "time"}

number = st.one_of(st.sampled_from(["a", "b"]), st.integers(0, 3).map(str))
signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
atom = st.one_of(
    st.builds(lambda name, sign, other: f"{name} {sign} {other}", st.sampled_from(["a", "b"]), signs, number),
    st.sampled_from(
        ["a == null", "b != null", "t == 'x'", "t in ['x', 'y']", "t != 'y'", "f", "!f", "f == true", "t == null"]
    ),
)
guard = st.recursive(
    atom,
    lambda inner: st.one_of(
        st.builds(lambda left, right: f"({left} && {right})", inner, inner),
        st.builds(lambda left, right: f"({left} || {right})", inner, inner),
        st.builds(lambda i: f"!({i})", inner),
    ),
    max_leaves=5,
)
values = st.fixed_dictionaries(
    {
        "a": st.one_of(st.none(), st.integers(-1, 4)),
        "b": st.one_of(st.none(), st.integers(-1, 4)),
        "t": st.sampled_from([None, "x", "y", "z"]),
        "f": st.sampled_from([None, True, False]),
    }
)


def by_cel(text: str, given_values: dict[str, Any]) -> bool:
    program, names = compiled(text)
    try:
        return program.execute({name: given_values[name] for name in names}) is True
    except Exception:
        return False


def exact(given_values: dict[str, Any]) -> dict[str, Any]:
    whole = {n: Fraction(v) for n, v in given_values.items() if isinstance(v, int) and not isinstance(v, bool)}
    return {**given_values, **whole}


@settings(max_examples=600, deadline=None)
@given(guard, values)
def test_the_tree_decides_as_cel_does(text: str, given_values: dict[str, Any]) -> None:
    assert truth._holds(parse(text), exact(given_values)) == by_cel(text, given_values)


@settings(max_examples=200, deadline=None)
@given(st.lists(guard, min_size=1, max_size=4), st.lists(values, min_size=20, max_size=20))
def test_a_row_called_unreachable_never_fires(guards: list[str], tried: list[dict[str, Any]]) -> None:
    try:
        never = truth.unreachable([*map(parse, guards), None])
    except truth.TooMany:
        return
    for given_values in tried:
        first = next((n for n, text in enumerate(guards) if by_cel(text, given_values)), len(guards))
        assert first not in never


@pytest.mark.parametrize(
    ("guards", "never"),
    [
        (["a > 5", "a <= 5", None], []),  # null: neither holds
        (["a == null", "a > 5", "a <= 5", None], [3]),
        (["a > 5 && a < 3", None], [0]),
        (["a > 5", "a > 7", None], [1]),
        (["a > 7", "a > 5", None], []),
        (["a < b", "a >= b", None], []),
        (["a == null || b == null", "a < b", "a >= b", None], [3]),
        (["f", "!f", "f == null", None], [3]),
        (["goods == 'none'", "goods != 'none'", None], [2]),
        (["goods in ['none', 'advised', 'in_transit', 'received', 'inspected', 'refused', 'lost']", None], [1]),
        (["reason == 'damaged'", "reason in ['damaged', 'late']", None], []),
        (["reason in ['damaged', 'late']", "reason == 'late'", None], [1]),
        (["now - at > duration('24h')", "now - at > duration('36h')", None], [1]),
        (["a + b > 5", "a + b > 6", None], [1]),
        (["t.startsWith('x')", "t.startsWith('x')", None], [1]),
        (["true", None], [1]),
        ([None, "f"], [1]),
    ],
)
def test_rows_that_never_fire(guards: list[str | None], never: list[int]) -> None:
    assert truth.unreachable([None if text is None else parse(text) for text in guards]) == never


def test_too_many_conditions_are_said_to_be_too_many() -> None:
    with pytest.raises(truth.TooMany):
        truth.unreachable([parse(" && ".join(f"x{n} == {n}" for n in range(13)))])


@pytest.mark.parametrize(
    "text",
    ["a < 'x'", "t < 'x'", "a == 'x'", "f && a", "!a", "a + t > 1", "at < 5", "t in ['x', 5]", "at - at == 5",
     "size(a) > 1", "duration('1 day') == duration('1h')", "a in 5", "t + t == 'xx'", "nope(a)", "a ? f : f", "t['x']",
     "[1].exists(x, x == a)", "a ==", "(a == 1", "a == 1.5", "a b", "t.trim() == 'x'", "timestamp(t) < now"],
)  # fmt: skip
def test_what_a_guard_may_not_say(text: str) -> None:
    with pytest.raises(Unread):
        type_of(parse(text), TYPES)


@pytest.mark.parametrize(
    "text",
    ["a <= 5 && b != null", "now - at > duration('24h')", "at < timestamp('2026-01-01T00:00:00Z')", "t in ['x', 'y']",
     "!f || t.contains('x')", "size(t) > 3", "at + duration('1h30m') < now", "a * 2 - b / 3 % 2 <= -5", "null == t",
     '"it\\"s" == t', "f"],
)  # fmt: skip
def test_what_a_guard_may_say(text: str) -> None:
    node = parse(text)
    assert isinstance(node, Node) and type_of(node, TYPES) == "bool"
    compiled(text)


@pytest.mark.parametrize(
    "text", ["amount_minor", "offered_minor > 1", "1 / 0 == 1", "amount_minor * 9000000000000000000 > 1"]
)
def test_a_guard_that_cannot_be_decided_says_so(opened: Scene, text: str) -> None:
    work = looking(opened.playbook, View(case=opened.case, order=opened.order, terms=opened.terms))
    with pytest.raises(GuardFault):
        evaluate(text, work)


def test_a_verdict_is_not_taken_for_that_of_an_equal_value_of_another_type(opened: Scene) -> None:
    work = looking(opened.playbook, View(case=opened.case, order=opened.order, terms=opened.terms))
    for given_value in (1, True, 1, "1"):
        work.params = {"n": given_value}
        try:
            held = evaluate("param_n == 1", work)
        except GuardFault:
            held = False
        assert held == by_cel("param_n == 1", {"param_n": given_value})


def test_every_name_has_the_type_it_is_said_to_have(opened: Scene) -> None:
    maximum = {"value": "5.00", "currency": "USD"}
    told = {"due_at": "2026-12-24T00:00:00Z", "return_required": True, "max_refund": maximum}
    opened.tell("return.received", told)
    work = looking(opened.playbook, View(case=opened.case, order=opened.order, terms=opened.terms))
    python = {"text": "str", "int": "int", "bool": "bool", "time": "datetime"}
    said = types(opened.playbook, {})
    found = {name: value for name in said if (value := for_guard(work, name)) is not None}
    assert {name: value for name, value in found.items() if type(value).__name__ != python[said[name]]} == {}
    assert set(found) >= {
        "amount_minor", "paid_minor", "refundable_minor", "keep_item_below_minor", "due_at", "state_entered_at",
        "return_received_at", "max_refund_minor", "ladder_left_small", "evidence_missing", "goods", "return_required", "now",
    }  # fmt: skip
