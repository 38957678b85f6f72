"""What a text reads like: the same for the same text, in time linear in its length, with a place, and never the last word."""

import json
from itertools import pairwise
from pathlib import Path
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifier import classifier, rules
from services.notifier.normalise import normalise
from services.notifier.rulebook import KNOWN, RuleBook, parse
from services.notifier.rules import judge
from tests.support import messages

DETECTORS = frozenset(classifier.model().classes) - {classifier.GOOD}
KIND = "Thank you for the photos. The new lamp left our warehouse today and should be with you on Friday."
HINT = "Help us and we help you: when the words on our page are kinder, your money goes out."


def book(*detectors: str, severity: str = "block") -> RuleBook:
    listed = [
        {"id": one, "severity": severity, "about": one, "source": "this test", "detect": one} for one in detectors
    ]
    return parse({"purposes": {"free_text": []}, "rules": listed}, "test", Path("rules.yaml"))


def by(text: str) -> float:
    return classifier.likeness(normalise(text).folded, DETECTORS).by


def test_its_classes_are_detectors_and_its_weights_a_byte_for_each() -> None:
    model = classifier.model()
    assert set(model.classes) - {classifier.GOOD} <= KNOWN
    assert len(model.bias) == len(model.classes)
    assert len(model.weights) % len(model.classes) == 0
    told = json.loads((classifier.FOLDER / "model.json").read_text("utf-8"))
    assert told["texts"] > 20_000


def test_what_is_held_out_was_never_read() -> None:
    """Nor is a text labelled with what nobody knows."""
    trained = [one for folder in sorted(messages.TRAINED.iterdir()) for one in messages.load(folder)]
    held_out = [one for folder in messages.UNSEEN.glob("held_out*") for one in messages.load(folder)]
    assert {one.part for one in trained} == {"tuned"} and {one.part for one in held_out} == {"held_out"}
    assert {one.bad for one in (*trained, *held_out)} - {None} <= KNOWN
    alone = {normalise(one.text).folded for one in trained if not one.earlier}
    assert [one.text for one in held_out if not one.earlier and normalise(one.text).folded in alone] == []


def test_words_give_themselves_their_parts_and_pairs() -> None:
    first, second = classifier.tokens("remove it")
    assert first.start == 0 and second.start == 7
    assert first.grams == ("wremove", "c<rem", "cremo", "cemov", "cmove", "cove>", "b^ remove", "s^ remove")
    assert second.grams == ("wit", "bremove it", "s^ it")


def test_signs_go_up_to_four_together_and_numbers_by_their_length() -> None:
    one, two = classifier.tokens("删掉吧 1500")
    assert one.grams == ("删", "掉", "吧", "删掉", "掉吧", "删掉吧", "删_2吧")
    assert two.grams[0] == "w0000"


def test_a_hint_without_a_listed_word_is_held_with_its_sentence() -> None:
    text = f"{KIND} {HINT}"
    verdict = judge(text, book("review_pressure", "withdraw_pressure"), purpose="free_text")
    assert verdict.action == "hold"
    [violation] = verdict.violations
    assert violation.severity == "hold"
    assert violation.why.startswith("reads like: ")
    start, end = violation.span
    assert HINT in text[start:end]


def test_a_kind_text_is_sent() -> None:
    assert judge(KIND, book(*DETECTORS), purpose="free_text").action == "send"


def test_where_no_rule_names_the_detector_nothing_is_held() -> None:
    assert judge(f"{KIND} {HINT}", book("html"), purpose="free_text").action == "send"


def test_a_text_of_ours_is_not_read() -> None:
    assert judge(HINT, book("review_pressure"), purpose="free_text", proven=True).action == "send"


def test_many_good_sentences_make_no_bad_one_good() -> None:
    alone = by(HINT)
    hidden = f"{KIND} {KIND} {HINT} {KIND} {KIND} {KIND}"
    assert alone > 0
    assert 0 <= by(hidden) <= alone + 0.5


def test_where_a_list_finds_something_it_is_not_asked() -> None:
    """However good a text reads: plain words are plain."""
    around = " ".join([KIND] * 5)
    asking = f"{around} Please remove your review. {around}"
    assert judge(asking, book("review_pressure"), purpose="free_text").action == "block"


def test_an_address_is_never_held_for_what_it_reads_like() -> None:
    assert judge("Look here: https://www.aliexpress.com/p/order", book("link"), purpose="free_text").action == "block"
    assert "link" not in rules.LIKE


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_and_the_same_each_time(text: str) -> None:
    folded = normalise(text).folded
    found = classifier.likeness(folded, DETECTORS)
    assert found == classifier.likeness(folded, DETECTORS)
    assert 0 <= found.span[0] <= found.span[1] <= len(folded)


@pytest.mark.parametrize("piece", ["please change it. ", "a" * 50 + " ", "改一下吧，", "!?.;\n", "5 ", "\u200bx "])
def test_a_long_text_takes_time_in_proportion(piece: str) -> None:
    def taken(size: int) -> float:
        folded = normalise((piece * size)[:size]).folded
        began = thread_time()
        classifier.likeness(folded, DETECTORS)
        return thread_time() - began

    times = [min(taken(size) for _ in range(3)) for size in (5_000, 20_000)]
    assert all(after < 12 * before + 0.02 for before, after in pairwise(times)), times


def test_what_was_learnt_is_what_is_added() -> None:
    """Against the sum made the plain way, a class and a gram at a time."""
    model, grams = (
        classifier.model(),
        [g for token in classifier.tokens("kindly adjust it for us") for g in token.grams],
    )
    lanes = sum(map(classifier._lanes, grams))
    width = len(model.classes)
    rows = [classifier.bucket(gram, len(model.weights) // width) * width for gram in grams]
    for n, name in enumerate(model.classes):
        plain = sum(model.weights[row + n] - 128 for row in rows) * model.scale / len(grams) ** 0.5 + model.bias[n]
        assert classifier._scores(lanes, len(grams))[name] == pytest.approx(plain)
