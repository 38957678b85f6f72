import json
import time
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.json_reader import Unreadable, exact, read


def test_exact_values() -> None:
    body = (
        b'{"id": 123456789012345678901234567890, "n": 9007199254740992, "m": -5, "p": 12.10, "e": 1e2, "t": "\xc3\xa9"}'
    )
    found = read(body)
    assert found == {
        "id": "123456789012345678901234567890", "n": 9007199254740992, "m": -5, "p": Decimal("12.10"),
        "e": Decimal("1e2"), "t": "é",
    }  # fmt: skip
    assert str(found["p"]) == "12.10"
    assert read(b"9007199254740993") == "9007199254740993"


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"7", b"  {} \n"])
def test_any_single_value_is_read(body: bytes) -> None:
    assert read(body) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "path", "why"),
    [
        (b"", "$", "empty"),
        (b"  \n", "$", "empty"),
        (b"[" * 1_100 + b"]" * 1_100, "$", "nested deeper"),
        (b"[" * 100_000, "$", "nested deeper"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "$", "nested deeper"),
        (b'{"a": {"b": [1, NaN]}}', "$.a.b[1]", "not a number"),
        (b'{"a": -Infinity}', "$.a", "not a number"),
        (b'{"a": 1e999}', "$.a", "too large"),
        (b'{"a": 1e-999}', "$.a", "too large or too small"),
        (b'{"a": 1e99999999999999999999}', "$.a", "too large"),
        (b"[" + b"9" * 5_000 + b"]", "$[0]", "40 digits"),
        (b"[0." + b"9" * 5_000 + b"]", "$[0]", "40 digits"),
        (b'{"x": {"amount": 1, "other": 2, "amount": 999}}', "$.x", "'amount' stands twice"),
        (b'{"name": "\\ud800"}', "$.name", "surrogate"),
        (b'{"\\udfff": 1}', "$.<key>", "surrogate"),
        (b'{"name": "a\\u0000b"}', "$.name", "U+0000"),
        (b'\xef\xbb\xbf{"a": 1}', "$", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "$", "not UTF-8"),
        (b'{"a": "\xff"}', "$", "not UTF-8 at byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "$", "not UTF-8"),
        (b'{"a": 1} {"b": 2}', "$", "no JSON at line 1, column 10"),
        (b'{"a": 1} // x', "$", "no JSON"),
        (b"{'a': 1}", "$", "no JSON"),
        (b'{"a": 01}', "$", "no JSON"),
        (b'{"a": 1,}', "$", "no JSON"),
        (b'{"a": "x\ny"}', "$", "no JSON"),
        (b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}", "$", "more than 10000 keys"),
        (b'{"' + b"k" * 1_000_000 + b'": 1}', "$", "over 1000000 bytes"),
        (b'{"a": 1, "a": [', "$", "no JSON"),
    ],
)
def test_refused_with_its_place(body: bytes, path: str, why: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(body)
    assert caught.value.path == path
    assert why in caught.value.why


def test_depth_64_is_read_and_brackets_in_text_do_not_count() -> None:
    assert read(b"[" * 64 + b"]" * 64)
    assert read(json.dumps({"a": "[" * 500 + '\\"{{'}).encode())["a"].startswith("[[[")


def test_an_escaped_backslash_before_u0000_is_just_text() -> None:
    assert read(rb'{"a": "\\u0000 \ud83d\ude00"}') == {"a": "\\u0000 \U0001f600"}


def test_odd_keys_are_data() -> None:
    body = b'{"__proto__": 1, "__class__": "{{7*7}}", "$ref": "${x}"}'
    assert read(body) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%d":1' % (n % 9_999) for n in range(10_000)) + b"}",
        b"{" + b",".join(b'"%d":1' % (n % 89_999) for n in range(90_000)) + b"}",
        b'{"a": "' + b'\\"' * 450_000,
        b"[" + b'"\\' * 300_000,
        b"[" * 60 + b'"]",' * 200_000,
        b'["' + b"{" * 900_000,
    ],
)
def test_hostile_text_takes_linear_time(body: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(Unreadable):
        read(body)
    assert time.perf_counter() - start < 2


def test_one_kilobyte_is_read_quickly() -> None:
    body = msgspec.json.encode({"items": [{"id": n, "name": f"item {n}", "price": n + 0.5} for n in range(25)]})
    assert 800 < len(body) < 1200
    rounds = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(20):
            read(body)
        rounds.append((time.perf_counter() - start) / 20)
    assert min(rounds) < 100e-6


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=20,
)


@given(_values, st.booleans())
def test_reads_what_json_writes(value: object, ascii_only: bool) -> None:
    assert read(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_bytes_are_read_or_unreadable(body: bytes) -> None:
    try:
        found = read(body)
    except Unreadable as fault:
        assert fault.path.startswith("$")
    else:
        json.dumps(found, default=str).encode()


def test_a_record_keeps_its_numbers_as_they_were_written() -> None:
    told = exact(read(b'{"amount": 12.50, "ids": [12345678901234567890, 7], "deep": [{"x": 1e2}], "ok": true}'))
    assert told == {"amount": "12.50", "ids": ["12345678901234567890", 7], "deep": [{"x": "1E+2"}], "ok": True}
