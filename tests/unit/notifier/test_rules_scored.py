"""The detectors over the labelled set, both parts: what must be found, what must pass, disguised as well, and how fast."""

import random
from collections.abc import Callable
from functools import cache
from statistics import median
from time import thread_time

import pytest

from services.notifier.rules import judge
from services.notifier.scoring import KNOWN_IDS, ORDER, Judged, book, by_rule, figure, judged
from tests.support import messages

SEED = 20261121
SCORED = {"en", "zh", "ru", "es", "de", "fr", "pt"}


@cache
def results() -> list[Judged]:
    return judged(messages.load())


def part(name: str, languages: set[str] | None = None) -> list[Judged]:
    return [
        one
        for one in results()
        if one.labelled.part == name and (languages is None or one.labelled.language in languages)
    ]


def wrong(of: list[Judged]) -> list[tuple[str, str]]:
    return [(one.labelled.bad or "good", one.labelled.text) for one in of if one.wrong]


def test_the_set_is_as_large_as_promised() -> None:
    texts = [one.labelled.text for one in results()]
    assert len(texts) >= 500
    languages = [one.labelled.language for one in results()]
    assert set(languages) == {"de", "en", "es", "fr", "it", "ja", "pt", "ru", "zh", "zh-Hant"}
    for name in set(languages):
        assert languages.count(name) >= (100 if name in ("en", "zh", "ru") else 30)


@pytest.mark.parametrize(("name", "recall", "false_blocks"), [("tuned", 0.97, 0.02), ("held_out", 0.97, 0.02)])
def test_bad_ones_are_stopped_and_good_ones_pass(name: str, recall: float, false_blocks: float) -> None:
    of = figure(part(name, SCORED))
    assert of.recall >= recall, of
    assert of.false_blocks <= false_blocks, of


@pytest.mark.parametrize(
    ("name", "recall", "reviews", "false_blocks", "false_holds"),
    [
        ("tuned", 0.99, 0.99, 0.0, 0.02),
        ("held_out", 0.963, 0.93, 0.024, 0.095),
        ("held_out_2", 0.914, 0.92, 0.018, 0.149),
        ("held_out_3", 0.922, 0.91, 0.051, 0.096),
        ("held_out_4", 0.915, 0.93, 0.039, 0.136),
        ("held_out_5", 0.976, 0.98, 0.015, 0.186),
        ("held_out_6", 1.0, 1.0, 0.0, 0.144),
        ("held_out_7", 0.985, 0.98, 0.025, 0.236),
        ("held_out_8", 0.985, 1.0, 0.015, 0.258),
        ("held_out_9", 0.985, 1.0, 0.008, 0.183),
        ("held_out_10", 0.995, 0.98, 0.015, 0.218),
        ("held_out_11", 0.99, 1.0, 0.011, 0.172),
        ("held_out_12", 0.99, 0.98, 0.025, 0.175),
        ("held_out_13", 1.0, 1.0, 0.004, 0.165),
        ("held_out_14", 0.985, 0.98, 0.029, 0.175),
    ],
)
def test_texts_of_another_author_fare_no_worse_than_measured(
    name: str, recall: float, reviews: float, false_blocks: float, false_holds: float
) -> None:
    """Held out: never tuned on nor trained on; docs/rules-format.md has the figures."""
    found = judged(messages.load(messages.UNSEEN / name))
    assert {one.labelled.part for one in found} == {name.rstrip("_0123456789")}
    of, about_reviews = figure(found), by_rule(found)["review_pressure"]
    assert of.bad >= 80 and of.good >= 120
    assert of.recall >= recall, of
    assert of.false_blocks <= false_blocks, wrong(found) if name == "tuned" else of
    assert of.false_holds <= false_holds, of
    assert about_reviews.recall >= reviews, about_reviews


@pytest.mark.parametrize(("name", "recall"), [("tuned", 0.99), ("held_out", 0.98)])
def test_what_touches_reviews_is_stopped(name: str, recall: float) -> None:
    reviews = by_rule(part(name))["review_pressure"]
    assert reviews.stopped >= recall * reviews.bad, reviews


def test_no_language_is_left_behind() -> None:
    for language in {one.labelled.language for one in results()}:
        of = [one for one in results() if one.labelled.language == language]
        assert figure(of).recall >= 0.93, wrong(of)
        assert figure(of).false_blocks <= 0.1, wrong(of)


def hidden(text: str, rng: random.Random) -> str:
    """Signs that are not seen, at some places."""
    return "".join(char + ("\u200b" if rng.random() < 0.3 else "") for char in text)


def wide(text: str, _rng: random.Random) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def look_alike(text: str, rng: random.Random) -> str:
    alike = dict(zip("aeopcyxiAEOPCTXH", "аеорсухіАЕОРСТХН", strict=True))
    return "".join(alike[char] if char in alike and rng.random() < 0.4 else char for char in text)


def marked(text: str, rng: random.Random) -> str:
    """A stroke over some letters."""
    return "".join(char + ("\u0336" if char.isalpha() and rng.random() < 0.3 else "") for char in text)


def shouted(text: str, _rng: random.Random) -> str:
    return text.upper()


@pytest.mark.parametrize("disguise", [hidden, wide, look_alike, marked, shouted])
def test_a_disguise_hides_nothing(disguise: Callable[[str, random.Random], str]) -> None:
    rng = random.Random(SEED)
    rules, missed = book(), []
    found = [
        one for one in results() if one.labelled.bad not in (None, "html") and one.found and not one.labelled.earlier
    ]
    for one in found:
        text = disguise(one.labelled.text, rng)
        if judge(text, rules, purpose="free_text", order_id=ORDER, known=KNOWN_IDS).ok:
            missed.append(text)
    assert len(missed) <= 0.01 * len(found), missed


def test_a_verdict_is_quick() -> None:
    """Median over texts seen for the first time by an engine that has judged others of each language, in CPU time."""
    rules, texts = book(), [one.text for one in messages.load()]

    def taken(text: str) -> float:
        began = thread_time()
        judge(text, rules, purpose="free_text", order_id=ORDER, known=KNOWN_IDS)
        return thread_time() - began

    for text in texts[::2]:
        taken(text)
    # the machine's other work only ever adds: of five medians the least
    assert min(median(map(taken, texts[n::10])) for n in range(1, 10, 2)) < 0.002
