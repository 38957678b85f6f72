"""What makes the verdict quick changes no verdict: against its plainest form, over the corpus, over texts made to be hard."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.notifier import atoms, contacts, rules, words
from services.notifier.composer import Composer
from services.notifier.normalise import normalise
from services.notifier.rulebook import KNOWN, RuleBook, parse
from shared.registry import Registry
from tests.support import messages
from tests.unit.notifier import plain_rules
from tests.unit.notifier.test_rules_corpus import BAD, GOOD

ORDER, KNOWN_IDS = "8012345678901234", ("LP00123456789012", "cs-20391", "12.50 usd")


def whole_book() -> RuleBook:
    """Every detector there is, and patterns of a marketplace's own."""
    detectors = [
        {"id": name, "severity": "block", "about": name, "source": "this test", "detect": name,
         **({"allow_hosts": ["aliexpress.com", "17track.net"]} if name == "link" else {})}
        for name in sorted(KNOWN)
    ]  # fmt: skip
    own = {
        "id": "own",
        "severity": "hold",
        "about": "own",
        "source": "this test",
        "languages": {"en": ["find us", "K\\w+"]},
    }
    return parse({"purposes": {"free_text": []}, "rules": [*detectors, own]}, "test", Path("rules.yaml"))


BOOK = whole_book()
LISTS = words.lexicon().lists
LISTED = [re.compile(p, re.S) for one in LISTS.values() for p in (*one.patterns, *one.signs)]
ATOMS = sorted({atom for p in LISTED for group in atoms.demanded(p) for atom in group})
NAMES = sorted({name for one in LISTS.values() for name in one.names})
SET = [text for one in messages.load() for text in (one.text, *one.earlier)]
ODD = [
    ORDER, "LP00123456789012", "12.50", "$", "€ 5", "usd", "元", "2026-11-21", "20.11.2026", "9:30", "138 0013 8000", "+86", "00",
    "one", "three", "oh", "一三八", "@", "(at)", "[dot]", " at ", " dot ", "点", "艾特", ".", "com", ".com", "www", "//", "http",
    "https://aliexpress.com/a", "1.2.3.4", "4111 1111 1111 1111", "gb82west12345698765432", "<b>", "&amp;", "☆", "\u200b", "ı",
    "ſ", "K", "\u0430", "ｗ", "٣", "²", "①", "፩", "рф", ".рф", "。", "\u3000", "\n", "\t", "\x1c", "e\u0301", "İ", "% off", "5",
    "localhost", "ftp:", "mailto:a@b.com", "x.co.uk", ".中国",
]  # fmt: skip
piece = st.one_of(
    st.sampled_from(ATOMS),
    st.sampled_from(NAMES),
    st.sampled_from(ODD),
    st.sampled_from([text for _, text in BAD] + GOOD + SET),
    st.text(max_size=6),
)
glue = st.sampled_from([" ", "", " ", ". ", ", ", "\n", "-", " your ", " the ", "s ", "ed ", "ing "])
text_made = st.lists(st.tuples(piece, glue), max_size=10).map(lambda parts: "".join(a + b for a, b in parts))


def both(text: str, book: RuleBook = BOOK) -> tuple[rules.Verdict, rules.Verdict]:
    quick = rules.judge(text, book, purpose="free_text", order_id=ORDER, known=KNOWN_IDS)
    return quick, plain_rules.judge(text, book, purpose="free_text", order_id=ORDER, known=KNOWN_IDS)


def test_the_corpus_is_judged_alike() -> None:
    for text in [*(text for _, text in BAD), *GOOD, *SET]:
        quick, plain = both(text)
        assert quick == plain, text


def test_texts_with_earlier_ones_are_judged_alike() -> None:
    for one in messages.load():
        if one.earlier:
            said = {"purpose": "free_text", "order_id": ORDER, "known": KNOWN_IDS, "earlier": one.earlier}
            assert rules.judge(one.text, BOOK, **said) == plain_rules.judge(one.text, BOOK, **said)


@given(text_made)
@settings(max_examples=300, deadline=None)
@example("6one")
@example("20.11.2026one two 3456789")
def test_made_up_texts_are_judged_alike(text: str) -> None:
    quick, plain = both(text)
    assert quick == plain


@given(st.lists(st.sampled_from([t for _, t in BAD] + GOOD), min_size=1, max_size=3).map(" ".join), st.data())
@settings(max_examples=150, deadline=None)
def test_texts_with_a_character_changed_are_judged_alike(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    text = text[:place] + data.draw(st.text(max_size=2)) + text[place + data.draw(st.integers(0, 2)) :]
    quick, plain = both(text)
    assert quick == plain


def test_shipped_templates_are_judged_alike() -> None:
    """Marketplaces' own rules over every ninth text of the templates, as it stands."""
    registry = Registry(None)
    composer = Composer(registry, {"generic", "aliexpress"})
    for name in ("generic", "aliexpress"):
        for source in list(composer._templates[name]._sources.values())[::9]:
            for end in ("", " Order 8012345678901234, 12.50 USD, Ann (ann), http://x.example"):
                quick, plain = both(source.body + end, composer.book(name))
                assert quick == plain


def other_patterns() -> list[re.Pattern[str]]:
    return [*contacts.spoken().mails, contacts._AMOUNT, contacts.spoken().maybe_dot, contacts._MAYBE_URL]


def test_what_every_listed_pattern_finds_holds_what_it_demands() -> None:
    """Over the whole set: what is found holds an atom of each group."""
    for text in SET:
        folded = normalise(text).folded
        for pattern in LISTED:
            for match in pattern.finditer(folded):
                assert all(holds(match.group(), group) for group in atoms.demanded(pattern)), (pattern.pattern, text)


def holds(found: str, group: frozenset[str]) -> bool:
    return any(any(c.isdecimal() for c in found) if atom == atoms.DIGIT else atom in found for atom in group)


@given(st.sampled_from(other_patterns()), st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_matches_holds_what_its_pattern_demands(pattern: re.Pattern[str], data: st.DataObject) -> None:
    match = data.draw(st.from_regex(pattern))
    found = pattern.search(match)
    if found is not None:
        assert all(holds(found.group(), group) for group in atoms.demanded(pattern))


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"rub|rmb", [{"rub", "rmb"}]),
        (r"ab?cd", [{"a"}, {"cd"}]),
        (r"(?:a|b)*x", [{"x"}]),
        (r"(?:a|\d|)", []),
        (r"[$€]\s?\d+", [{"$", "€"}, {atoms.DIGIT}]),
        (r"(?<=never)this(?!that)", [{"this"}]),
        (r"(?i:no)yes", [{"yes"}]),
        (r"[^a]b.", [{"b"}]),
        (r"us(?:\$|d)", [{"$", "usd"}]),
    ],
)
def test_what_a_pattern_demands(pattern: str, groups: list[set[str]]) -> None:
    assert atoms.demanded(re.compile(pattern)) == groups


def test_without_regard_to_case_nothing_is_demanded() -> None:
    assert atoms.demanded(re.compile("abc", re.IGNORECASE)) == []


def test_words_are_remembered_within_bounds() -> None:
    index = atoms.Index()
    index.add(re.compile("abc"))
    for n in range(3 * atoms._MOST_WORDS // 2):
        index.held(f"word{n} x{'y' * 100}{n}")
    assert len(index._words) <= atoms._MOST_WORDS
    assert len(index._runs) <= atoms._MOST_WORDS
