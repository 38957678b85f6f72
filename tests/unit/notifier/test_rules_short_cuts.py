"""What makes the verdict quick changes no verdict: against its plainest form, over the corpus, over texts made to be hard."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.notifier import atoms, contacts, disguises, rules, scan, trial, wiring, words
from services.notifier.composer import Composer
from services.notifier.meanings import MEANINGS, Seen, may_mean
from services.notifier.normalise import Text, normalise
from services.notifier.render import NotRendered
from services.notifier.rulebook import KNOWN, RuleBook, parse
from shared.accounts import AccountEntry, Config
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
ATOMS = sorted({atoms.bare(atom) for p in LISTED for way in atoms.demanded(p) for group in way for atom in group})
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


def renders(composer: Composer, name: str, every: int) -> Iterator[str]:
    """Each message to a buyer in each language, with all that can be known and with what is needed only."""
    purposes = [one for one in composer._purposes.values() if one.audience == "buyer"]
    texts = [(purpose, locale) for purpose in purposes for locale in composer.locales(name, purpose.purpose)]
    for purpose, locale in texts[::every]:
        for sample in islice(trial.samples(purpose), 2):
            with suppress(NotRendered):
                yield composer._templates[name].render(purpose.purpose, [locale], sample).body


@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_what_the_shipped_templates_say_is_judged_alike(every: int) -> None:
    """All marketplaces' own rules over all renders, as they stand and with what is somebody's own in them."""
    registry = Registry(None)
    composer = Composer(registry, set(registry.names()))
    own = (replace(rule, id=f"{name} {rule.id}") for name in registry.names() for rule in composer.book(name).rules)
    book = replace(BOOK, rules=(*BOOK.rules, *(rule for rule in own if rule.patterns)))
    texts = dict.fromkeys(text for name in registry.names() for text in renders(composer, name, every))
    assert len(texts) > 500 / every
    for n, text in enumerate(texts):
        end = " Order 8012345678901234, 12.50 USD, Ann (ann), http://x.example" if n % 3 == 0 else ""
        quick, plain = both(text + end, book)
        assert quick == plain, text


def other_patterns() -> list[re.Pattern[str]]:
    spoken = contacts.spoken()
    return [*spoken.mails, *spoken.mail_marks, contacts._AMOUNT, spoken.maybe_dot_word, contacts._MAYBE_URL,
            contacts._DISGUISED]  # fmt: skip


def test_what_every_listed_pattern_finds_holds_what_it_demands() -> None:
    """Over the whole set: each find goes one of the pattern's ways, and holds an atom of each group there."""
    for text in SET:
        folded = normalise(text).folded
        for pattern in LISTED:
            for match in pattern.finditer(folded):
                assert demand_met(match, pattern), (pattern.pattern, text)


@cache
def demanded(pattern: re.Pattern[str]) -> atoms.Ways:
    return atoms.demanded(pattern)


def demand_met(match: re.Match[str], pattern: re.Pattern[str]) -> bool:
    ways = demanded(pattern)
    return not ways or any(all(any(stands(atom, match) for atom in group) for group in way) for way in ways)


def stands(atom: str, match: re.Match[str]) -> bool:
    if atom == atoms.DIGIT:
        return any(char.isdecimal() for char in match.group())
    letters, (start, end), text = atoms.bare(atom), match.span(), match.string
    places = [at for at in range(start, end) if text.startswith(letters, at, end)]
    first = [at for at in places if len(atom) == 1 or atom[0] != "^" or not text[at - 1 : at].isalnum()]
    return any(len(atom) == 1 or atom[-1] != "$" or not text[at + len(letters) :][:1].isalnum() for at in first)


@given(st.sampled_from(other_patterns()), st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_matches_holds_what_its_pattern_demands(pattern: re.Pattern[str], data: st.DataObject) -> None:
    match = data.draw(st.from_regex(pattern))
    found = pattern.search(match)
    if found is not None:
        assert demand_met(found, pattern)


@pytest.mark.parametrize(
    ("pattern", "ways"),
    [
        (r"rub|rmb", [[{"rub", "rmb"}]]),
        (r"ab?cd", [[{"a"}, {"cd"}]]),
        (r"(?:a|b)*x", [[{"x"}]]),
        (r"(?:a|\d|)", []),
        (r"[$€]\s?\d+", [[{"$", "€"}, {atoms.DIGIT}]]),
        (r"(?<=never)this(?!that)", [[{"this"}]]),
        (r"(?i:no)yes", [[{"yes"}]]),
        (r"[^a]b.", [[{"b"}]]),
        (r"us(?:\$|d)", [[{"us$"}, {"$"}], [{"usd"}]]),
        (r"\bno\s+(?:one|body)\b", [[{"^no$"}, {"^one$", "^body$"}]]),
        (r"\bno\s*one\b", [[{"^no"}, {"one$"}]]),
        (r"(?<![^\W_])re(?:ad|views?)(?![^\W_])", [[{"^read$", "^review"}]]),
        (
            r"(?<!\w)as (?:if|it were) (?:-|so)?so(?!\w)",
            [[{"^as$"}, {"^if$"}, {"so$"}], [{"^as$"}, {"^it$"}, {"^were$"}, {"so$"}]],
        ),
        (r"a(?a:\b)b", [[{"a"}, {"b"}]]),
    ],
)
def test_what_a_pattern_demands(pattern: str, ways: list[list[set[str]]]) -> None:
    assert atoms.demanded(re.compile(pattern)) == ways


def test_without_regard_to_case_nothing_is_demanded() -> None:
    assert atoms.demanded(re.compile("abc", re.IGNORECASE)) == []


def test_without_regard_to_case_small_texts_hold_the_small_letters() -> None:
    ways = atoms.demanded_of_small(re.compile("No(?:NE|Body)", re.IGNORECASE))
    assert ways == [[{"none", "nobody"}]]
    assert atoms.demanded_of_small(re.compile("straße|ſo", re.IGNORECASE)) == [[{"stra"}, {"e"}], [{"o"}]]
    assert atoms.demanded_of_small(re.compile(r"a\b", re.IGNORECASE | re.ASCII)) == []


def test_what_has_no_odd_case_is_its_own_capital_and_nothing_else() -> None:
    plain = "".join(chr(code) for code in range(0x1FFFF) if not atoms.ODD_CASE.match(chr(code)))
    for char in filter(str.isalpha, plain):
        if char.lower() != char.upper():
            found = re.findall(re.escape(char), plain, re.IGNORECASE)
            assert {one.lower() for one in found} == {char.lower()}


signs = st.text(st.sampled_from("aé微5 \t._*-·•|/~^+=\\,"), max_size=14)


@given(signs)
@settings(max_examples=500, deadline=None)
def test_a_quick_look_misses_no_disguise(text: str) -> None:
    index = scan.Index()
    shapes = disguises.Shapes(index)
    held = index.held(text)
    as_it_is = Text(text, text, text, range(len(text)))
    if disguises._SPACED.search(text):
        assert disguises._may_be_spaced(text)
    if not shapes.maybe(as_it_is, held):
        assert list(disguises.undone(as_it_is)) == []
    between = [m.span() for m in re.finditer(r"(?<=[^\W\d_])[*_~^|=+·•/\\.\-]{1,2}(?=[^\W\d_])", text)]
    assert [m.span() for m in disguises._BETWEEN.finditer(text)] == between


LIST_NAMES = sorted(LISTS)


@given(
    st.dictionaries(st.sampled_from(LIST_NAMES), st.lists(st.integers(0, 60), min_size=1, max_size=3)), st.booleans()
)
@settings(max_examples=500, deadline=None)
def test_what_may_not_be_meant_is_not_found(standing: dict[str, list[int]], talked: bool) -> None:
    """Whatever lists stand wherever, also after earlier messages that hold everything."""
    all_over = Seen("x " * 60, lambda name: [(0, 1)])
    seen = Seen("x " * 60, lambda name: [(at, at + 2) for at in standing.get(name, ())])
    for name, meaning in MEANINGS.items():
        if name not in may_mean(standing.keys()):
            assert list(meaning(seen, [all_over] if talked else [])) == []


def test_what_may_be_meant_needs_all_its_lists() -> None:
    """A row of lists is no wider than its detector: with a list less it says nothing."""
    assert may_mean({"drop", "claim"}) == {"withdraw_request", "withdraw_pressure"}
    assert may_mean({"drop"}) == may_mean({"review"}) - {"review_mention"} == frozenset()
    assert set(MEANINGS) == may_mean(set(LISTS))


@pytest.mark.parametrize(
    ("pattern", "text", "possible"),
    [
        (r"(?<![^\W_])add(?![^\W_])", "add me", True),
        (r"(?<![^\W_])add(?![^\W_])", "your address", False),
        (r"(?<![^\W_])add(?![^\W_])", "请add我", True),
        (r"(?<![^\W_])add(?![^\W_])", "_add_", True),
        (r"(?<![^\W_])add(?![^\W_])", "5add", False),
        (r"(?<![^\W_])add\w*", "please,address", True),
        (r"five\s+stars", "five bright stars", True),
        (r"five\s+stars", "five star", False),
    ],
)
def test_what_a_text_may_hold(pattern: str, text: str, possible: bool) -> None:
    index = scan.Index()
    demand = index.add(pattern)
    assert scan.possible(demand, index.held(text)) is possible


def test_words_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_MOST_WORDS", 500)
    index = scan.Index()
    index.add(re.compile("abc"))
    for n in range(3 * scan._MOST_WORDS // 2):
        index.held(f"word{n} x{'y' * 200}{n}")
    assert len(index._words) <= scan._MOST_WORDS
    assert len(index._runs) <= scan._MOST_WORDS


def test_the_lists_are_read_before_the_first_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notifier that stands has read them."""
    rules._eye.cache_clear()
    account = SimpleNamespace(account=SimpleNamespace(marketplace="generic"))
    composer = wiring._composer(Config({"shop": cast(AccountEntry, account)}, Registry(None)))
    monkeypatch.setattr(rules, "Lists", None)
    assert composer.preview_text("generic", "Call me at 138 0013 8000").verdict is not None
