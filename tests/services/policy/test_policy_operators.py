"""The same request at two replicas at once; facts and a person at the same order at once."""

import asyncio
from datetime import timedelta

import pytest

from services.policy import answers
from services.policy.answers import Reply
from services.policy.operators import Operators
from shared.auth import Principal
from shared.errors import Conflict, Invalid
from tests.services.policy.policy_rig import Rig

pytestmark = pytest.mark.asyncio
ANN = Principal("ann", frozenset({"read", "act", "approve"}))
BOB = Principal("bob", frozenset({"read", "act", "approve"}))
BODY = {
    "action": "authorise",
    "params": {},
    "reason": None,
    "override": {"rule": "contact_first", "reason": "spoken to by telephone"},
}


async def asked(operators: Operators, who: Principal, case_id: str, key: str) -> Reply | Conflict:
    try:
        return await operators.act(who, case_id, BODY, key)
    except Conflict as refused:
        return refused


async def test_one_key_at_two_replicas_is_one_action(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    case = await rig.case()
    replicas = [Operators(rig.policy), Operators(rig.policy)]
    found = await asyncio.gather(*(asked(replica, ANN, case.id, "k") for replica in replicas))
    answers = [reply.body for reply in found if isinstance(reply, Reply)]
    assert answers
    assert all(body == answers[0] for body in answers)
    kinds = [kind for _, kind in await rig.timeline(case.id)]
    assert kinds.count("operator.acted") == 1


async def test_the_same_key_of_two_people_is_two_requests(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    case = await rig.case()
    operators = Operators(rig.policy)
    first, second = await asked(operators, ANN, case.id, "k"), await asked(operators, BOB, case.id, "k")
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    kinds = [kind for _, kind in await rig.timeline(case.id)]
    assert kinds.count("operator.acted") == 2


async def test_an_answer_is_kept_for_a_month_and_its_key_is_never_another_action(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    case = await rig.case()
    operators = Operators(rig.policy)
    first = await asked(operators, ANN, case.id, "old")
    await asked(operators, ANN, case.id, "new")
    rig.clock.advance(timedelta(days=90))
    assert await answers.forget(rig.policy.database) == 0, "a test clock that is moved makes no key older"
    async with rig.policy.database.transaction() as tx:
        by = answers.KEPT_FOR // timedelta(microseconds=1)
        await tx.run("UPDATE idempotency SET created_at = created_at - :by WHERE key = 'old'", by=by)
    assert await answers.forget(rig.policy.database) == 1
    assert await answers.forget(rig.policy.database) == 0
    assert isinstance(first, Reply) and isinstance(await asked(operators, ANN, case.id, "new"), Reply)
    with pytest.raises(Invalid) as refused:
        await operators.act(ANN, case.id, BODY, "old")
    assert refused.value.code == "key_reused"
    kinds = [kind for _, kind in await rig.timeline(case.id)]
    assert kinds.count("operator.acted") == 2


async def test_a_person_and_the_marketplace_at_once_are_one_gapless_story(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    case = await rig.case()
    operators = Operators(rig.policy)
    news = [rig.fact("delivery.updated", key=str(n), case_kind=None, external_id=None) for n in range(10)]
    people = [asked(operators, ANN, case.id, f"k{n}") for n in range(10)]
    await asyncio.gather(*(rig.take(fact) for fact in news), *people)
    story = await rig.timeline(case.id)
    assert [seq for seq, _ in story] == list(range(1, len(story) + 1))
    kinds = [kind for _, kind in story]
    assert kinds.count("delivery.updated") == 10
    assert kinds.count("operator.acted") >= 1
    acts = [errand for errand in (await rig.case()).errands.values() if errand.what == "act"]
    assert len({errand.id for errand in acts}) == len(acts)


async def test_a_refused_action_leaves_nothing_and_may_be_asked_again(rig: Rig) -> None:
    await rig.take(rig.fact("return.requested"))
    case = await rig.case()
    operators = Operators(rig.policy)
    body = {"action": "escalate", "params": {}, "reason": None}
    with pytest.raises(Conflict) as refused:
        await operators.act(ANN, case.id, body, "k")
    assert "authorise" in refused.value.extra["allowed"]
    assert await rig.rows("SELECT key FROM idempotency") == []
    assert (await rig.case()).seq == case.seq
    await rig.take(rig.fact("return.received"))
    assert (await operators.act(ANN, case.id, body, "k")).status == 200
