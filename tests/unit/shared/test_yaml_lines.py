import pytest

from shared import yaml_lines
from shared.yaml_lines import YamlFault, load


def test_data_and_lines() -> None:
    text = "a: 1\nb:\n  - x\n  - {c: true, d: null}\n'e.f':\n  1304: {to: done}\n"
    data, lines = load(text, "f.yaml")
    assert data == {"a": 1, "b": ["x", {"c": True, "d": None}], "e.f": {"1304": {"to": "done"}}}
    assert lines == {
        "a": 1,
        "b": 2,
        "b.0": 3,
        "b.1": 4,
        "b.1.c": 4,
        "b.1.d": 4,
        "e.f": 5,
        "e.f.1304": 6,
        "e.f.1304.to": 6,
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no", "no"), ("on", "on"), ("Yes", "Yes"), ("2026-11-21", "2026-11-21"), ("1.10", "1.10"), ("0123", "0123"),
        ("12:30", "12:30"), ("0x1F", "0x1F"), ("-5", -5), ("0", 0), ("'7'", "7"), ("", None), ("~", None), ("1e3", "1e3"),
        ("12345678901234567890", "12345678901234567890"), ("<<", "<<"), ("!!str 5", "5"),
    ],
)  # fmt: skip
def test_scalars_hold_no_surprise(written: str, read: object) -> None:
    assert load(f"k: {written}\n")[0] == {"k": read}


def test_keys_are_text() -> None:
    assert load("on: 1\nno: 2\n10: 3\ntrue: 4\n")[0] == {"on": 1, "no": 2, "10": 3, "true": 4}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "key 'a' stands twice"),
        ("a: 1\n\tb: 2\n", 2, ""),
        ("a: !!python/object:os.system x\n", 1, "tags are not allowed"),
        ("a: !secret x\n", 1, "tags are not allowed"),
        ("a: 1\nb: !!int 12x\n", 2, "tags are not allowed"),
        ("a: !!set {x}\n", 1, "tags are not allowed"),
        ("a: 1\n---\nb: 2\n", 2, ""),
        ("a: [1, 2\n", 2, ""),
        ("? [1, 2]\n: x\n", 1, "a key must be plain text"),
        ("x: 1\na: &a\n  b: *a\n", 2, "an alias that contains itself"),
        (BOMB, 2, "too many aliases or nodes"),
        ("a: *nowhere\n", 1, ""),
        ("[" * 100_000, 1, "nested deeper"),
        ("x: " + "y" * yaml_lines.MAX_TEXT, 1, "over 1 MB"),
        ("a: \x00\n", 1, ""),
        ("a: \ud800\n", 1, "character"),
    ],
)  # fmt: skip
def test_faults_name_their_line(text: str, line: int, why: str) -> None:
    with pytest.raises(YamlFault) as caught:
        load(text, "my.yaml")
    if text is not BOMB:
        assert caught.value.line == line
    assert why in caught.value.why
    assert str(caught.value).startswith(f"my.yaml:{caught.value.line}: ")


def test_a_few_aliases_are_fine() -> None:
    data, _ = load("base: &b {x: 1}\none: *b\ntwo: *b\n")
    assert data["one"] == data["two"] == {"x": 1}


def test_empty_is_none() -> None:
    assert load("") == (None, {})
    assert load("# nothing\n") == (None, {})
