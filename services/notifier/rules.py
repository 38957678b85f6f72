"""Whether a text may leave: a marketplace's rules over the rendered text, whoever wrote it. Pure.

The detectors read normalised text (`normalise.py`) and, where there are any, the same text without its disguise
(`disguises.py`), so evasions by spacing, other alphabets, other digits and hidden signs read the same. Numbers and ids of
the case itself are masked first and are never taken for a telephone.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import msgspec

from services.notifier import contacts
from services.notifier.classifier import likeness
from services.notifier.disguises import Shapes, Undone, undone
from services.notifier.lists import Lists, found_by
from services.notifier.meanings import BARGAINS, MEANINGS, Seen
from services.notifier.normalise import Text, normalise
from services.notifier.own import Searches
from services.notifier.rulebook import Rule, RuleBook

Span = tuple[int, int]
Find = Callable[["Reading", Rule], Iterator[Span]]
_MOST = 20
LIKE = frozenset(MEANINGS) - {"review_mention"}
"""What a text may read like. An address is allowed or not, whatever it reads like."""


_READS_LIKE = "reads like: "


class Violation(msgspec.Struct, frozen=True):
    rule: str
    severity: str
    span: Span
    why: str

    @property
    def by_likeness(self) -> bool:
        """No word of the text is to blame: see `alike`."""
        return self.why.startswith(_READS_LIKE)


class Verdict(msgspec.Struct, frozen=True):
    """`ok` only when `send`. `hold`: a person must agree; `block`: it never leaves."""

    ok: bool
    action: str
    violations: tuple[Violation, ...] = ()


class Sight(NamedTuple):
    """One reading of the text: where its words stand, its places, and which detectors may find anything in it."""

    seen: Seen
    text: Text
    may_mean: frozenset[str]


class Reading(NamedTuple):
    """One text under judgement: as it is, normalised, and normalised with the case's own numbers masked.

    `maybe`: what may be found in it of contacts. `digits`: how many are left in the masked text. `own`: what is to be
    searched for the marketplace's own rules. `sights`: the text first, then without its disguise. `may_find`: detectors
    that may find anything; `earlier`: the last messages of the case. `bare`: the text without the case's own numbers.
    """

    text: Text
    masked: str
    order_id: str | None
    regions: tuple[str, ...]
    maybe: contacts.Maybe
    digits: int
    own: Searches
    sights: list[Sight]
    may_find: frozenset[str]
    earlier: "_Talk"
    bare: Text

    @property
    def wordings(self) -> list[Text]:
        """What is held against what bad texts read like: a number of the case says nothing of it."""
        return [self.bare, *(sight.text for sight in self.sights[1:])]


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
    proven: bool = False,
    agreed: bool = False,
) -> Verdict:
    """`known`: ids, amounts and dates of the case. Without a phase (a preview) rules of phases are not applied.

    `earlier`: the last messages of the case, oldest first: what they offered counts together with what this one asks.
    `proven`: the words are those of a template that we ship; others are also held against what bad texts read like.
    `agreed`: a person has read them, so that what they only read like does not hold them.
    """
    found = list(_shape(text, book, purpose, phase))
    reading = _read(normalise(text), book, known, order_id, regions, earlier)
    broken = [
        one
        for rule in book.rules
        if (rule.id in reading.own or not reading.may_find.isdisjoint(rule.detect)) and rule.concerns(purpose, phase)
        for one in _broken(rule, reading)
    ]
    if not proven and any(one.in_doubt for one in broken):
        broken = looked_at_again(broken, reading.wordings)
    found += [one.violation for one in broken]
    if not found and not proven and not agreed:
        found.extend(alike(reading.wordings, book, purpose, phase))
    action = "block" if any(v.severity == "block" for v in found) else "hold" if found else "send"
    return Verdict(not found, action, tuple(found[:_MOST]))


def prepare(books: Iterable[RuleBook]) -> None:
    """Judges an empty text: what texts are judged by is read then, and the first one need not wait some tenths of a second."""
    for book in books:
        judge("", book, purpose="")


class _Eye(NamedTuple):
    """The word lists, what tells of contacts and what tells of disguises, over one index."""

    lists: Lists
    signs: contacts.Signs
    shapes: Shapes


@lru_cache(maxsize=1)
def _eye() -> _Eye:
    lists = Lists(loose=False)
    eye = _Eye(lists, contacts.Signs(lists.index), Shapes(lists.index))
    lists.index.close()
    return eye


@lru_cache(maxsize=1)
def _loose_lists() -> Lists:
    return Lists(loose=True)


def _read(
    text: Text, book: RuleBook, known: Iterable[str], order_id: str | None, regions: tuple[str, ...],
    earlier: Sequence[str],
) -> Reading:  # fmt: skip
    eye = _eye()
    held = eye.lists.index.held(text.folded)
    others = contacts.without(text.folded, [*known, *([order_id] if order_id else [])])
    masked = contacts.mask(others, eye.signs.maybe(held))
    maybe = eye.signs.maybe(held | eye.lists.index.held(masked) if contacts.cut(masked) else held)
    sights = [Sight(*_seen(text, held))]
    sights += [Sight(*_seen(other, loose=loose)) for other, loose in _undisguised(text, held, others)]
    digits = contacts.digits_in(masked)
    may_find = frozenset(maybe.detectors(digits)).union(_beside_words(text, order_id), *(s.may_mean for s in sights))
    own = book.own.searches(text)
    bare = replace(text, folded=others)
    return Reading(text, masked, order_id, regions, maybe, digits, own, sights, may_find, _Talk(earlier), bare)


def _undisguised(text: Text, held: int, others: str) -> Iterator[Undone]:
    """`others`: the text without the case's own numbers. Letters and digits side by side are no disguise in them."""
    eye, bare = _eye(), replace(text, folded=others)
    if not eye.shapes.maybe(text, held):
        return
    if others == text.folded or (eye.shapes.maybe(bare, eye.lists.index.held(others)) and any(undone(bare))):
        yield from undone(text)


def _beside_words(text: Text, order_id: str | None) -> Iterator[str]:
    """The detectors of what the text is, not of what it says, that may find anything."""
    if "<" in text.original or "&" in text.original:
        yield "html"
    if not text.original.isascii():
        yield "emoji"
    if order_id and order_id not in text.original:
        yield "no_order_id"


def _seen(text: Text, held: int | None = None, *, loose: bool = False) -> tuple[Seen, Text, frozenset[str]]:
    """`loose`: its spaces say nothing of where words begin and end."""
    lists = _loose_lists() if loose else _eye().lists
    seen, may_mean = lists.seen(text, lists.index.held(text.folded) if held is None else held)
    return seen, text, may_mean


def _shape(text: str, book: RuleBook, purpose: str, phase: str | None) -> Iterator[Violation]:
    size = len(text.encode("utf-16-le", "surrogatepass")) // 2
    whole = (0, len(text))
    if not book.allows(purpose, phase):
        yield Violation("purpose", "block", whole, f"{purpose} is not allowed here{f' while {phase}' if phase else ''}")
    if size > book.max_chars:
        yield Violation("max_chars", "block", whole, f"{size} characters, at most {book.max_chars} are allowed")
    if size < book.min_chars or not text.strip():
        yield Violation("min_chars", "block", whole, f"{size} characters, at least {max(book.min_chars, 1)} are needed")


def alike(readings: Sequence[Text], book: RuleBook, purpose: str, phase: str | None) -> Iterator[Violation]:
    """What no list knows and yet reads like something forbidden: a person looks at it, for no word of it is to blame."""
    rules = {name: rule for rule in reversed(book.rules) if rule.concerns(purpose, phase) for name in rule.detect}
    found = [(likeness(text.folded, rules.keys() & LIKE), text) for text in readings]
    like, text = max(found, key=lambda one: one[0].by)
    if like.reads_bad:
        rule = rules[like.detector]
        yield Violation(rule.id, "hold", text.span(*like.span), f"{_READS_LIKE}{rule.about}")


class Broken(NamedTuple):
    """`in_doubt`: found by word lists in this text alone, which honest words may hold as well; not a number, an address, a
    pattern of the marketplace's own, a bargain, nor what this text and the ones before it say together."""

    violation: Violation
    in_doubt: bool
    called_id: bool = False
    """Only numbers that are called an order's, a parcel's …"""

    def doubted(self) -> "Broken":
        """Where the whole reads harmless: a person looks at it."""
        if not self.in_doubt:
            return self
        why = f"{self.violation.why}: so its words, though the whole reads harmless"
        return self._replace(violation=msgspec.structs.replace(self.violation, severity="hold", why=why))


def looked_at_again(broken: Iterable[Broken], readings: Sequence[Text]) -> list[Broken]:
    """By the second witness. What only a number called an id was found in needs no length to be let off a block."""
    like = [likeness(text.folded, LIKE) for text in readings]
    harmless, mild = all(one.reads_harmless for one in like), all(one.reads_mild for one in like)
    return [one.doubted() if harmless or (mild and one.called_id) else one for one in broken]


def _broken(rule: Rule, reading: Reading) -> Iterator[Broken]:
    sure: set[Span] = set()
    meant: set[Span] = set()
    called: set[Span] = set()
    for name in rule.detect:
        if name in MEANINGS:
            (meant if name in LIKE else sure).update(_meant(name, reading))
        if name in _FINDERS and name in reading.may_find:
            sure.update(_FINDERS[name](reading, rule))
            called.update(_CALLED_IDS[name](reading, rule) if name in _CALLED_IDS else ())
    for pattern, text in reading.own.get(rule.id, ()):
        sure.update(found_by(pattern, text))
    spans = sure | meant | called
    if not spans:
        return
    in_doubt = not sure and rule.severity == "block" and not (_bargained(rule, reading) or _joined(rule, reading))
    for start, end in _outermost(spans):
        yield Broken(Violation(rule.id, rule.severity, reading.text.span(start, end), rule.about), in_doubt, not meant)


def _bargained(rule: Rule, reading: Reading) -> bool:
    """Money or a favour against a review or a withdrawal: that must be impossible, however it reads."""
    bargains = [BARGAINS[name] for name in rule.detect if name in BARGAINS]
    return any(True for bargain in bargains for sight in reading.sights for _ in bargain(sight.seen, reading.earlier))


def _joined(rule: Rule, reading: Reading) -> bool:
    """Found only together with what was said before."""
    if not reading.earlier:
        return False
    alone = reading._replace(earlier=_Talk(()))
    return not any(True for name in rule.detect if name in MEANINGS for _ in _meant(name, alone))


def _outermost(spans: set[Span]) -> list[Span]:
    """Overlapping finds as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _meant(name: str, reading: Reading) -> Iterator[Span]:
    """Places of the text itself, whichever reading of it they were found in."""
    for seen, text, may_mean in reading.sights:
        for start, end in MEANINGS[name](seen, reading.earlier) if name in may_mean else ():
            yield (start, end) if text is reading.text else reading.text.place(text.span(start, end))


class _Talk:
    """The last messages of the case; read only where what one detector finds asks for it."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._seen: list[Seen] | None = None

    def __bool__(self) -> bool:
        return bool(self._texts)

    def __iter__(self) -> Iterator[Seen]:
        if self._seen is None:
            self._seen = [_seen(one)[0] for one in map(normalise, self._texts)]
        return iter(self._seen)


def _contact(reading: Reading, _rule: Rule) -> Iterator[Span]:
    yield from contacts.mails(reading.masked, reading.maybe)
    yield from contacts.phones(reading.masked, reading.digits, reading.maybe, reading.regions, trusting=True)


def _numbers_called_ids(reading: Reading, _rule: Rule) -> Iterator[Span]:
    """Numbers said to be an order's or a parcel's, though the case's own are known: another order's, or a telephone."""
    if reading.order_id is not None:
        yield from contacts.phones(reading.masked, reading.digits, reading.maybe, reading.regions)


def _link(reading: Reading, rule: Rule) -> Iterator[Span]:
    for start, end in contacts.links(reading.text.folded, rule.allow_hosts, reading.maybe):
        if not _TWO_SENTENCES.fullmatch(reading.text.original[slice(*reading.text.span(start, end))]):
            yield (start, end)


_TWO_SENTENCES = re.compile(
    r"[^\W\d_]+\.(?:[A-ZÀ-Þ][a-zà-ÿ]|Por|App|Live|Life|Space|Top|World)|(?i:art|ref|kd|best)\.(?i:nr|no)\.?|[\d.]+\.\w+"
)
"""A full stop without its space, or behind what is shortened; no address: `refund.It`, `Art.Nr.`, `5.5.in`."""


def _bank_numbers(reading: Reading, _rule: Rule) -> Iterator[Span]:
    return contacts.bank_numbers(reading.masked, reading.digits, reading.maybe, trusting=True)


def _bank_numbers_called_ids(reading: Reading, _rule: Rule) -> Iterator[Span]:
    return contacts.bank_numbers(reading.masked, reading.digits, reading.maybe)


_HTML = re.compile(r"<[a-z/!][^<>]{0,500}>|&(?:[a-z]{2,8}|#x?[0-9a-f]{1,6});", re.IGNORECASE)
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\ufe0f\u20e3\U000e0000-\U000e007f]")


def _in_original(pattern: re.Pattern[str]) -> Find:
    """Searched in the text as it is, folding would hide it."""

    def find(reading: Reading, _rule: Rule) -> Iterator[Span]:
        at = reading.text.at
        for start, end in found_by(pattern, reading.text.original):
            inside = [n for n, place in enumerate(at) if start <= place < end]
            yield (inside[0], inside[-1] + 1) if inside else (0, len(at))

    return find


def _no_order_id(reading: Reading, _rule: Rule) -> Iterator[Span]:
    yield (0, len(reading.text.folded))


_FINDERS: dict[str, Find] = {
    "contact": _contact,
    "link": _link,
    "off_platform_payment": _bank_numbers,
    "html": _in_original(_HTML),
    "emoji": _in_original(_EMOJI),
    "no_order_id": _no_order_id,
}
_CALLED_IDS: dict[str, Find] = {"contact": _numbers_called_ids, "off_platform_payment": _bank_numbers_called_ids}
"""Finds that need a second witness."""
