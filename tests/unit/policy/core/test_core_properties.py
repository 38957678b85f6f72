"""What holds whatever happens: random facts, actions, clocks and answers through one case."""

from datetime import timedelta
from typing import Any

import msgspec
from core_scene import TERMS, Scene, shipped_text, usd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.policy.core.axes import goods_back
from services.policy.core.decide import decide
from services.policy.core.decision import BEFORE, Decision, NotAllowed, View
from services.policy.core.load import load
from services.policy.core.orders import fold
from services.policy.core.replay import replay
from services.policy.core.working import looking
from shared.domain.case import GOODS, MONEY
from shared.domain.errands import ACTIONS, MONEY_ACTS
from shared.domain.facts import ERRAND_RESULTS, KINDS, Fact, encode

PLAYBOOK = load(shipped_text("core_return"), "core_return.yaml")
STORED = msgspec.json.decode(encode(PLAYBOOK), type=type(PLAYBOOK))
"""As policy reads it back: the same, its names in another order."""
NEWS = sorted(KINDS - ERRAND_RESULTS - {"operator.acted", "timer.elapsed"})
STATUSES = sorted({kind.partition(".")[2] for kind in ERRAND_RESULTS})

money = st.builds(
    lambda cents, currency: {"value": f"{cents / 100:.2f}", "currency": currency},
    st.integers(0, 8000),
    st.sampled_from(["USD", "USD", "USD", "EUR", "XXZ"]),
)
odd = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5), st.lists(st.integers(), max_size=2))
data = st.dictionaries(
    st.sampled_from(
        ["amount", "max_refund", "refunded", "paid", "reason", "due_at", "winner", "what", "result", "keep_item"]
    ),
    st.one_of(money, money, st.sampled_from(["damaged", "photo_box", "ok", "2026-11-25T10:00:00Z", "not a time"]), odd),
    max_size=4,
)
params = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.one_of(money, odd),
        "keep_item": st.booleans(),
        "text": st.sampled_from(["", "hello", "x" * 250]),
        "reason": st.sampled_from(["other", "outside_policy", "?"]),
        "comment": st.sampled_from(["c", ""]),
        "result": st.sampled_from(["ok", "faulty", 5]),
        "remedy": st.sampled_from(["part_refund", "exchange", "x"]),
    },
)
good_refund = st.fixed_dictionaries(
    {"amount": st.builds(lambda c: usd(f"{c}.00"), st.integers(1, 60)), "keep_item": st.booleans()}
)
step = st.one_of(
    st.tuples(st.just("news"), st.sampled_from(NEWS), data, st.one_of(st.none(), st.integers(0, 5))),
    st.tuples(
        st.just("news"),
        st.sampled_from(["refund.issued", "return.received", "return.shipped", "case.updated"]),
        data,
        st.none(),
    ),
    st.tuples(st.just("act"), st.sampled_from([*ACTIONS, "answer", "fly"]), params, st.integers(0, 3)),
    st.tuples(st.just("act"), st.sampled_from(["refund", "propose", "approve"]), params, st.integers(0, 3)),
    st.tuples(st.just("result"), st.sampled_from(STATUSES), st.just({}), st.integers(0, 9)),
    st.tuples(
        st.just("result"),
        st.sampled_from(["sent", "in_doubt", "too_late", "withdrawn"]),
        st.just({}),
        st.integers(0, 9),
    ),
    st.tuples(st.just("act"), st.just("refund"), good_refund, st.integers(0, 1)),
    st.tuples(st.just("clock"), st.just(""), st.just({}), st.integers(0, 100)),
    st.tuples(st.just("answer"), st.just(""), st.just({}), st.integers(0, 20)),
)
steps = st.lists(step, max_size=14)
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def to_fact(scene: Scene, kind: str, name: str, given_data: dict[str, Any], number: int | None) -> Fact | None:
    if kind == "news":
        return scene.fact(
            name, given_data, revision=number, raw_code=["WAIT_SELLER", "WAIT_GOODS", "ODD"][(number or 0) % 3]
        )
    pick = number or 0
    if kind == "act":
        scopes = [["act"], ["act", "approve"], [], ["act", "represent"]][pick]
        waiting = [e.id for e in scene.case.errands.values() if e.status == "awaiting_approval"]
        named = {**given_data, **({"act_id": waiting[0]} if waiting else {})}
        body = {"action": name, "params": named, "scopes": scopes, "reason": "r"}
        return scene.fact("operator.acted", body, source="operator")
    if kind == "answer" and scene.case.tasks:
        tasks = sorted(scene.case.tasks.values(), key=lambda task: task.id)
        task = tasks[pick % len(tasks)]
        answer = {"task_id": task.id, "answer": task.allowed[pick % len(task.allowed)], "params": {}}
        body = {"action": "answer", "params": answer, "scopes": ["act"], "reason": "r"}
        return scene.fact("operator.acted", body, source="operator")
    if kind == "result" and scene.case.errands:
        errands = sorted(scene.case.errands.values(), key=lambda errand: errand.id)
        errand = errands[pick % len(errands)]
        what = f"{errand.what}.{name}"
        told = {"errand_id": errand.id, "name": errand.name}
        return (
            scene.fact(what, told, source="channel") if what in KINDS and errand.status != "awaiting_approval" else None
        )
    if kind == "clock" and scene.case.clocks and scene.case.is_open:
        clock = min(scene.case.clocks.values(), key=lambda clock: (clock.next_at, clock.name))
        moment = "due" if clock.acted or clock.act_at is None else "margin"
        scene.now = max(scene.now, clock.next_at + timedelta(hours=pick))
        return scene.fact("timer.elapsed", {"clock": clock.name, "generation": clock.generation, "moment": moment})
    return None


def play(walk: list[tuple[str, str, dict[str, Any], int | None]], visit: Any) -> Scene:
    scene = Scene(PLAYBOOK)
    scene.tell(
        "return.requested",
        {"amount": {"value": "40.00", "currency": "USD"}, "paid": {"value": "60.00", "currency": "USD"}},
    )
    for kind, name, given_data, number in walk:
        scene.now += timedelta(minutes=7)
        fact = to_fact(scene, kind, name, given_data, number)
        if fact is not None:
            before, order = scene.case, fold(scene.order, fact)
            answer = scene.offer(fact)
            visit(scene, fact, before, order, answer)
    return scene


@many
@given(steps)
def test_every_fact_is_answered_and_only_operators_are_refused(walk: list[Any]) -> None:
    def visit(scene: Scene, fact: Fact, before: Any, order: Any, answer: Any) -> None:
        if isinstance(answer, NotAllowed):
            assert fact.kind == "operator.acted" and answer.status in (403, 409, 422) and answer.code
        else:
            assert answer.case.seq == before.seq + 1 and answer.fact_id == fact.id

    play(walk, visit)


@many
@given(steps)
def test_an_open_case_always_has_a_clock_or_a_task(walk: list[Any]) -> None:
    def visit(scene: Scene, *_: Any) -> None:
        case = scene.case
        assert case.state != BEFORE
        assert not case.is_open or case.clocks or case.tasks
        assert case.is_open or not case.clocks

    play(walk, visit)


@many
@given(steps)
def test_money_stays_under_the_ceiling(walk: list[Any]) -> None:
    def visit(scene: Scene, fact: Fact, before: Any, order: Any, answer: Any) -> None:
        if not isinstance(answer, Decision):
            return
        planned = [errand for errand in answer.errands if errand.money is not None]
        assert len([errand for errand in planned if errand.name == "refund"]) <= 1
        for errand in planned:
            assert errand.name in MONEY_ACTS and errand.not_after is not None
            assert order.paid_minor is None or errand.money.minor <= order.refundable_minor
        live = [e for e in answer.case.errands.values() if e.name == "refund"]
        assert len(live) <= 1, "never two live refunds"

    play(walk, visit)


@many
@given(steps)
def test_no_refund_leaves_before_the_goods_are_back_unless_the_item_is_kept(walk: list[Any]) -> None:
    def visit(scene: Scene, fact: Fact, before: Any, order: Any, answer: Any) -> None:
        for errand in answer.errands if isinstance(answer, Decision) else ():
            if errand.name == "refund":
                kept = answer.case.errands[errand.id].keep_item
                back = goods_back(looking(PLAYBOOK, View(case=answer.case, order=order, terms=TERMS)))
                assert kept or back

    play(walk, visit)


@many
@given(steps)
def test_the_axes_move_only_by_facts_about_them(walk: list[Any]) -> None:
    def visit(scene: Scene, fact: Fact, before: Any, order: Any, answer: Any) -> None:
        if not isinstance(answer, Decision):
            return
        case = answer.case
        assert case.goods in GOODS and case.money in MONEY
        goods = fact.kind.startswith(("return.", "delivery.")) or fact.kind == "operator.acted"
        assert case.goods == before.goods or goods
        money_facts = fact.kind.startswith(("refund.", "act.", "dispute.")) or fact.kind == "operator.acted"
        assert case.money == before.money or money_facts

    play(walk, visit)


@many
@given(steps)
def test_the_same_again_gives_the_same_bytes_and_replay_finds_no_difference(walk: list[Any]) -> None:
    def visit(scene: Scene, fact: Fact, before: Any, order: Any, answer: Any) -> None:
        stored = msgspec.json.decode(encode(before), type=type(before))
        terms = msgspec.json.decode(encode(TERMS), type=type(TERMS))
        again = decide(STORED, View(case=stored, order=order, terms=terms), fact, scene.now)
        assert encode(again) == encode(answer)

    scene = play(walk, visit)
    case, different = replay(scene.start, scene.log)
    assert different == [] and case == scene.case


@many
@given(steps)
def test_what_is_called_back_was_planned_and_ids_are_never_given_twice(walk: list[Any]) -> None:
    planned: set[str] = set()
    opened: set[str] = set()
    first = Scene(PLAYBOOK).tell("return.requested", {"amount": usd("40.00"), "paid": usd("60.00")})
    ever = {errand.id for errand in first.errands}

    def visit(scene: Scene, fact: Fact, before: Any, order: Any, answer: Any) -> None:
        if not isinstance(answer, Decision):
            return
        for errand in answer.errands:
            assert errand.id not in planned or errand.what == "act"
            planned.add(errand.id)
            ever.add(errand.id)
        for withdrawal in answer.withdrawals:
            assert withdrawal.errand_id in ever
        fresh = {task.id for task in answer.opened_tasks}
        assert not fresh & opened
        opened.update(fresh)
        assert set(answer.closed_tasks) <= opened

    play(walk, visit)


@many
@given(steps)
def test_money_kept_back_always_belongs_to_something_that_may_still_go_out(walk: list[Any]) -> None:
    def visit(scene: Scene, *_: Any) -> None:
        for errand_id, held in scene.order.reserved.items():
            errand = scene.case.errands.get(errand_id)
            assert held.minor >= 0
            assert errand is None or errand.money is not None
            assert not held.in_doubt or (errand is not None and errand.status == "in_doubt")

    play(walk, visit)


@settings(max_examples=60, deadline=None)
@given(steps, st.randoms())
def test_facts_told_twice_end_where_told_once_did(walk: list[Any], _random: Any) -> None:
    """Every fact of the marketplace comes again in another delivery: nothing is planned twice."""

    def visit(scene: Scene, fact: Fact, before: Any, order: Any, answer: Any) -> None:
        if fact.kind in ERRAND_RESULTS or fact.kind in ("operator.acted", "timer.elapsed"):
            return
        again = scene.offer(msgspec.structs.replace(fact, id=f"{fact.id} again"))
        assert isinstance(again, Decision) and again.no_op and again.errands == ()

    play(walk, visit)
