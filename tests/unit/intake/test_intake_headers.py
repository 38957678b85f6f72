"""The header layer alone: whatever comes, it answers with a refusal of ours or lets it pass; and what passes is sound."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.intake import wire
from shared.errors import Refusal
from shared.ports import NotGenuine

LIMIT = 1000
NAMES = st.sampled_from(
    [b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"x-toy-signature", b"x-a"]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"0", b"17", b"1001", b"-1", b"+5", b"\xb2", b"1e3", b"chunked", b"gzip", b"text/plain", b"here"]
    ),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
@example([(b"host", b"here"), (b"content-length", b"\xd9\xa3")])
def test_whatever_the_headers_are_it_is_refused_or_sound(headers: list[tuple[bytes, bytes]]) -> None:
    collected = wire.collect(headers)
    try:
        wire.check(collected, LIMIT)
    except Refusal as refusal:
        assert refusal.status in (400, 413, 415)
        return
    assert collected["host"][0].strip()
    assert not ("content-length" in collected and "transfer-encoding" in collected)
    assert int(collected.get("content-length", ("0",))[0]) <= LIMIT
    for name in ("host", "content-length", "content-type", "content-encoding"):
        assert len(collected.get(name, ())) <= 1


@given(st.integers(0, 300), st.integers(0, 2000))
def test_number_and_size_are_bounded(count: int, size: int) -> None:
    headers = [(b"x", b"v" * size)] * count
    too_many = count > 100 or count * (size + 1) > 32_768
    if too_many:
        with pytest.raises(Refusal) as refused:
            wire.check_size(headers, 100, 32_768)
        assert refused.value.status == 431
    else:
        wire.check_size(headers, 100, 32_768)


@pytest.mark.parametrize(
    "name", ["authorization", "x-toy-signature", "webhook-id", "webhook-timestamp", "x-api-key", "sign"]
)
def test_a_proof_sent_twice_is_not_genuine(name: str) -> None:
    wire.check_proofs({name: ("a",), "x-other": ("a", "b")})
    with pytest.raises(NotGenuine):
        wire.check_proofs({name: ("a", "a")})


@pytest.mark.parametrize(
    "type_", ["application/json", "application/json; charset=UTF-8", "application/x-www-form-urlencoded", ""]
)
def test_content_types_that_pass(type_: str) -> None:
    wire.check({"host": ("here",), "content-type": (type_,)}, LIMIT)
