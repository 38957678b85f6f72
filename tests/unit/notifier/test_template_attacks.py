"""No template, shipped or laid over ours, runs code, shows an object of ours, or uses up memory or time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifier.template_syntax import faults_of, kinds_of
from tests.unit.notifier.template_attacks import ESCAPES, EXHAUSTS, PURPOSE, WORST, held_by

ROOT = Path(__file__).parents[3]
REFUSED = [*ESCAPES, *EXHAUSTS]


def test_the_corpus_is_large_and_says_nothing_twice() -> None:
    assert len(set(REFUSED)) == len(REFUSED) > 200


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_an_attack_is_refused_when_it_is_loaded_with_its_line(text: str) -> None:
    faults = faults_of(text, kinds_of(PURPOSE))
    assert faults
    assert all(line >= 1 and why for line, why in faults)


def test_the_whole_corpus_is_held_in_a_process_with_little_memory_and_time() -> None:
    """What the allow-list takes is rendered with the worst values; each rendering has its own bound of CPU and size."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.unit.notifier.template_attacks"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["held"][: len(REFUSED)] == ["refused"] * len(REFUSED)
    assert all("refused" not in held for held in said["held"][len(REFUSED) :]), "the allow-list lets these in"
    assert said["grown"] < 100 << 20


NAMES = st.sampled_from(
    ["name", "amount", "items", "urgent", "day", "count", "loop", "self", "config", "one", "'x'", "7", "none"]
)
FILTERS = st.sampled_from(
    [
        "upper",
        "trim",
        "join",
        "join(', ')",
        "join(items)",
        "listed",
        "first",
        "length",
        "plural(one='a', other='b')",
        "attr('x')",
    ]
)
EXPRESSIONS = st.recursive(
    NAMES,
    lambda inner: st.one_of(
        st.builds("{}|{}".format, inner, FILTERS),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "==", "<", "in", "~", "+", "*"]), inner),
        st.builds("{}.{}".format, inner, st.sampled_from(["index", "first", "__class__", "upper()"])),
        st.builds("({} is {})".format, inner, st.sampled_from(["none", "defined", "callable"])),
        st.builds("{}[{}]".format, inner, inner),
    ),
    max_leaves=6,
)
PIECES = st.recursive(
    st.one_of(st.builds("{{{{ {} }}}}".format, EXPRESSIONS), st.sampled_from(["x", "\n", "{{", "%}"])),
    lambda inner: st.one_of(
        st.builds("{{% for one in {} %}}{}{{% endfor %}}".format, NAMES, inner),
        st.builds("{{% if {} %}}{}{{% else %}}{}{{% endif %}}".format, EXPRESSIONS, inner, inner),
        st.builds("{}{}".format, inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(text=PIECES)
def test_whatever_the_allow_list_takes_shows_no_object_and_stays_within_its_bounds(text: str) -> None:
    assert held_by(text)


@pytest.mark.parametrize("text", WORST, ids=range(len(WORST)))
def test_what_is_taken_holds_nothing_that_is_refused(text: str) -> None:
    assert faults_of(text, kinds_of(PURPOSE)) == ()


@pytest.mark.parametrize(
    "text", ["{{ items }}", "{{ urgent }}", "{% for a in items %}{{ loop }}{% endfor %}", "{{ items|join(name) }}"]
)
def test_without_the_allow_list_the_same_check_finds_the_harm(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("services.notifier.render", "tests.unit.notifier.template_attacks"):
        monkeypatch.setattr(f"{module}.faults_of", lambda *_: ())
    if "join" in text:
        assert "failed" in held_by(text), "the bound of the size is the second line"
        return
    with pytest.raises(AssertionError):
        held_by(text)
