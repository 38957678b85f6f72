"""Whether a text may leave: a marketplace's rules over the rendered text, whoever wrote it. Pure.

The detectors read normalised text (`normalise.py`) and, where there are any, the same text without its disguise
(`disguises.py`), so evasions by spacing, other alphabets, other digits and hidden signs read the same. Numbers and ids of
the case itself are masked first and are never taken for a telephone.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import msgspec

from services.notifier import contacts, words
from services.notifier.atoms import Index, possible
from services.notifier.disguises import undone
from services.notifier.meanings import MEANINGS, Seen
from services.notifier.normalise import Text, normalise
from services.notifier.rulebook import Rule, RuleBook

Span = tuple[int, int]
Find = Callable[["Reading", Rule], Iterator[Span]]
_MOST = 20
_MOST_KEPT = 4096


class Violation(msgspec.Struct, frozen=True):
    rule: str
    severity: str
    span: Span
    why: str


class Verdict(msgspec.Struct, frozen=True):
    """`ok` only when `send`. `hold`: a person must agree; `block`: it never leaves."""

    ok: bool
    action: str
    violations: tuple[Violation, ...] = ()


class Reading(NamedTuple):
    """One text under judgement: as it is, normalised, and normalised with the case's own numbers masked.

    `maybe`: what may be found in it at all. `digits`: how many are left in the masked text. `seen`: where its words stand,
    with the places of each reading of it; `earlier`: the last messages of the case.
    """

    text: Text
    masked: str
    order_id: str | None
    regions: tuple[str, ...]
    maybe: contacts.Maybe
    digits: int
    seen: tuple[tuple[Seen, Text], ...]
    earlier: "_Talk"


def judge(
    text: str,
    book: RuleBook,
    *,
    purpose: str,
    phase: str | None = None,
    order_id: str | None = None,
    known: Iterable[str] = (),
    regions: tuple[str, ...] = contacts.REGIONS,
    earlier: Sequence[str] = (),
) -> Verdict:
    """`known`: ids, amounts and dates of the case. Without a phase (a preview) rules of phases are not applied.

    `earlier`: the last messages of the case, oldest first: what they offered counts together with what this one asks.
    """
    found = list(_shape(text, book, purpose, phase))
    reading = _read(normalise(text), known, order_id, regions, earlier)
    for rule in book.rules:
        if rule.concerns(purpose, phase):
            found.extend(_broken(rule, reading))
    action = "block" if any(v.severity == "block" for v in found) else "hold" if found else "send"
    return Verdict(not found, action, tuple(found[:_MOST]))


def _read(
    text: Text, known: Iterable[str], order_id: str | None, regions: tuple[str, ...], earlier: Sequence[str]
) -> Reading:
    lists = _lists()
    maybe = lists.maybe(text)
    masked = contacts.mask(text.folded, [*known, *([order_id] if order_id else [])], maybe.contacts)
    readings = [(_seen(text, maybe), text)]
    readings += [(_seen(other, lists.maybe(other), loose=loose), other) for other, loose in undone(text)]
    return Reading(
        text, masked, order_id, regions, maybe.contacts, contacts.digits_in(masked), tuple(readings), _Talk(earlier)
    )  # fmt: skip


def _shape(text: str, book: RuleBook, purpose: str, phase: str | None) -> Iterator[Violation]:
    size = len(text.encode("utf-16-le", "surrogatepass")) // 2
    whole = (0, len(text))
    if not book.allows(purpose, phase):
        yield Violation("purpose", "block", whole, f"{purpose} is not allowed here{f' while {phase}' if phase else ''}")
    if size > book.max_chars:
        yield Violation("max_chars", "block", whole, f"{size} characters, at most {book.max_chars} are allowed")
    if size < book.min_chars or not text.strip():
        yield Violation("min_chars", "block", whole, f"{size} characters, at least {max(book.min_chars, 1)} are needed")


def _broken(rule: Rule, reading: Reading) -> Iterator[Violation]:
    spans: set[Span] = set()
    for name in rule.detect:
        if name in MEANINGS:
            spans.update(_meant(name, reading))
        if name in _FINDERS:
            spans.update(_FINDERS[name](reading, rule))
    for pattern in rule.patterns:
        spans.update(_search(pattern, reading.text.plain), _search(pattern, reading.text.folded))
    for start, end in _outermost(spans) if spans else ():
        yield Violation(rule.id, rule.severity, reading.text.span(start, end), rule.about)


def _outermost(spans: set[Span]) -> list[Span]:
    """Overlapping finds as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _search(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if match.end() > match.start():
            yield match.span()


def _meant(name: str, reading: Reading) -> Iterator[Span]:
    """Places of the text itself, whichever reading of it they were found in."""
    for seen, text in reading.seen:
        for start, end in MEANINGS[name](seen, reading.earlier):
            yield (start, end) if text is reading.text else reading.text.place(text.span(start, end))


class _Compiled(NamedTuple):
    """Patterns with their demands: where the text does not hold what a pattern demands, it is not searched."""

    patterns: tuple[tuple[str, bool, tuple[int, ...]], ...]
    """With whether it is one of signs; compiled when first searched."""
    names: tuple[tuple[str, re.Pattern[str]], ...]


class _Maybe(NamedTuple):
    """Of each list the patterns that may match, and what may be found of contacts."""

    lists: Mapping[str, tuple[tuple[str, bool], ...]]
    contacts: contacts.Maybe


class _Lists:
    """All word lists over one index of what they demand."""

    def __init__(self) -> None:
        self._index = Index()
        self._signs = contacts.Signs(self._index)
        self.by_name = {name: self._compiled(listed) for name, listed in words.lexicon().lists.items()}
        self._opened = lru_cache(maxsize=_MOST_KEPT)(self._open)

    def _compiled(self, listed: words.Words) -> _Compiled:
        written = [*((p, False) for p in listed.patterns), *((p, True) for p in listed.signs)]
        return _Compiled(
            tuple((p, signs, self._index.add(p)) for p, signs in written),
            tuple((words.squashed(n), re.compile(words.disguised(n))) for n in listed.names),
        )

    def maybe(self, text: Text) -> _Maybe:
        """Texts of one template hold the same as a rule, so what follows from it is remembered."""
        return self._opened(self._index.held(text.folded))

    def _open(self, held: int) -> _Maybe:
        lists = {
            name: tuple((pattern, signs) for pattern, signs, demand in one.patterns if possible(demand, held))
            for name, one in self.by_name.items()
        }
        return _Maybe(lists, self._signs.maybe(held))


@lru_cache(maxsize=1)
def _lists() -> _Lists:
    """Read when the first text is judged."""
    return _Lists()


@cache
def _pattern(written: str, loose: bool) -> re.Pattern[str]:
    return re.compile(words.loose(written) if loose else written, re.DOTALL)


def _seen(text: Text, maybe: _Maybe, *, loose: bool = False) -> Seen:
    """`loose`: its spaces say nothing of where words begin and end."""
    squashed, apart = words.squashed(text.folded), words.apart(text.folded)

    def search(name: str) -> Iterator[Span]:
        if name not in maybe.lists:
            return
        for same, pattern in _lists().by_name[name].names:
            if same in squashed:
                yield from _search(pattern, text.folded)
        for written, signs in maybe.lists[name]:
            yield from _search(_pattern(written, loose), text.folded if signs else apart)

    return Seen(text.folded, search)


class _Talk:
    """The last messages of the case; read only where what one detector finds asks for it."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._seen: list[Seen] | None = None

    def __iter__(self) -> Iterator[Seen]:
        if self._seen is None:
            self._seen = [_seen(one, _lists().maybe(one)) for one in map(normalise, self._texts)]
        return iter(self._seen)


def _contact(reading: Reading, _rule: Rule) -> Iterator[Span]:
    yield from contacts.mails(reading.masked, reading.maybe)
    yield from contacts.phones(
        reading.masked, reading.digits, reading.maybe, reading.regions, trusting=reading.order_id is None
    )


def _link(reading: Reading, rule: Rule) -> Iterator[Span]:
    for start, end in contacts.links(reading.text.folded, rule.allow_hosts, reading.maybe):
        if not _TWO_SENTENCES.fullmatch(reading.text.original[slice(*reading.text.span(start, end))]):
            yield (start, end)


_TWO_SENTENCES = re.compile(
    r"[^\W\d_]+\.(?:It|Is|In|So|To|Me|My|At|Am|As|Be|Do|No|Us|Es|De|La|Se|Si|Su|Tu|Il|Ne|Ma|Ce|En|Er|Im|Et|Os|Na|Por)"
)
"""A full stop without its space, no address: `refund.It`."""


def _bank_numbers(reading: Reading, _rule: Rule) -> Iterator[Span]:
    return contacts.bank_numbers(reading.masked, reading.digits, reading.maybe)


_HTML = re.compile(r"<[a-z/!][^<>]{0,500}>|&(?:[a-z]{2,8}|#x?[0-9a-f]{1,6});", re.IGNORECASE)
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\ufe0f\u20e3\U000e0000-\U000e007f]")


def _in_original(pattern: re.Pattern[str], signs: str) -> Find:
    """Searched in the text as it is, folding would hide it; only where one of `signs` is (none: where it is not ASCII)."""

    def find(reading: Reading, _rule: Rule) -> Iterator[Span]:
        if not any(sign in reading.text.original for sign in signs) if signs else reading.text.original.isascii():
            return
        at = reading.text.at
        for start, end in _search(pattern, reading.text.original):
            inside = [n for n, place in enumerate(at) if start <= place < end]
            yield (inside[0], inside[-1] + 1) if inside else (0, len(at))

    return find


def _no_order_id(reading: Reading, _rule: Rule) -> Iterator[Span]:
    if reading.order_id and reading.order_id not in reading.text.original:
        yield (0, len(reading.text.folded))


_FINDERS: dict[str, Find] = {
    "contact": _contact,
    "link": _link,
    "off_platform_payment": _bank_numbers,
    "html": _in_original(_HTML, "<&"),
    "emoji": _in_original(_EMOJI, ""),
    "no_order_id": _no_order_id,
}
