"""How a channel's attempt ends, and what the clients share on the way there."""

import asyncio

import pytest

from shared.attempts import Stop, attempt_of, tried
from shared.calling import in_time, object_in, texts
from shared.http import Answer, Call, Http, HttpFault, InDoubtFault, NotSentFault, RefusedFault
from shared.ports import Assisted, Attempt, Done, InDoubt, NotSent, Refused, each_secret, secret_of


@pytest.mark.parametrize(
    ("fault", "asking", "reading"),
    [
        (NotSentFault("away", 5.0), NotSent("away", 5.0), NotSent("away", 5.0)),
        (InDoubtFault("reset"), InDoubt("reset"), NotSent("reset")),
        (RefusedFault("no", 400), Refused("no"), Refused("no")),
        (RefusedFault("no", 401), Refused("no", account_wide=True), Refused("no", account_wide=True)),
        (RefusedFault("no", 403), Refused("no"), Refused("no")),
    ],
)
def test_only_what_went_out_can_be_in_doubt(fault: HttpFault, asking: Attempt, reading: Attempt) -> None:
    assert (attempt_of(fault), attempt_of(fault, before=True)) == (asking, reading)


def test_a_marketplace_says_which_noes_are_meant_for_our_credentials() -> None:
    assert attempt_of(RefusedFault("no", 403), account_wide=(401, 403)) == Refused("no", account_wide=True)


@pytest.mark.asyncio
async def test_an_act_ends_with_its_own_answer_or_is_done() -> None:
    async def act(found: object) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    prepared = Assisted("by hand")
    ends = [{"ok": True}, Done("7"), prepared, Stop(prepared), InDoubtFault("reset")]
    assert [await tried(act(end)) for end in ends] == [Done(), Done("7"), prepared, prepared, InDoubt("reset")]


@pytest.mark.asyncio
async def test_a_call_without_an_answer_in_time_is_in_doubt() -> None:
    class Silent(Http):
        async def call(self, call: Call) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(InDoubtFault, match=r"^refund: no answer in 0 s$"):
        await in_time(Silent(), Call("POST", "https://x.invalid", "refund"), 0.01)


@pytest.mark.parametrize("body", [b"", b"nonsense", b'["a"]', b'{"a": 1, "a": 2}'])
def test_a_reply_that_is_no_object_is_in_doubt(body: bytes) -> None:
    with pytest.raises(InDoubtFault, match=r"^refund: "):
        object_in(body, "refund")


def test_replies_stay_exact_and_parameters_become_texts() -> None:
    assert object_in(b'{"id": 12345678901234567890, "sum": 1.10}', "x") == {"id": "12345678901234567890", "sum": "1.10"}
    given = {"a": 1, "b": True, "c": {"d": [1]}, "e": ["f"], "g": None, "h": "i"}
    assert texts(given) == {"a": "1", "b": "true", "c": '{"d":[1]}', "e": '["f"]', "h": "i"}


def test_during_rotation_two_secrets_are_known_and_the_first_is_used() -> None:
    secrets = {"old": "a", "both": ("a", "b")}
    assert [each_secret(secrets, name) for name in ("old", "both", "none")] == [("a",), ("a", "b"), ()]
    assert (secret_of(secrets, "old"), secret_of(secrets, "both")) == ("a", "a")
    with pytest.raises(KeyError):
        secret_of(secrets, "none")
