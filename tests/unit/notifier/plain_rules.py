"""The verdict in its plainest form, for comparison: every pattern of every list is searched in the whole text.

It shares with the product the word lists, the patterns of contacts, what texts read like and the shape of a verdict, and none
of the short cuts:
no scan beforehand, nothing remembered, every character normalised by itself.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from services.notifier import contacts, normalise, rules, words
from services.notifier.disguises import undone
from services.notifier.meanings import BARGAINS, MEANINGS, Seen
from services.notifier.rulebook import Rule, RuleBook
from services.notifier.rules import Span, Verdict, Violation

_MAYBE_LINK = re.compile(r"[.][a-z\u0080-\uffff]|//|\d\.\d+\.\d+\.\d|www")


class Reading:
    def __init__(self, text: str, known: Iterable[str], order_id: str | None, earlier: Sequence[str]) -> None:
        whole = spelled_out(text)
        self.original, self.plain, self.folded, self.at = text, whole.plain, whole.folded, list(whole.at)
        known = [*known, *([order_id] if order_id else [])]
        self.masked = masked(self.folded, known)
        self.order_id = order_id
        self.spans = whole
        self.bare = replace(whole, folded=without(self.folded, known))
        disguised = any(undone(self.bare))
        others = undone(whole) if disguised else ()
        self.seen = [(seen(whole, loose=False), whole), *((seen(o, loose=loose), o) for o, loose in others)]
        self.earlier = [seen(spelled_out(one), loose=False) for one in earlier]


def spelled_out(text: str) -> normalise.Text:
    parts = [normalise._plain(char) for char in text]
    plain = "".join(parts)
    at = tuple(place for place, part in enumerate(parts) for _ in part)
    return normalise.Text(text, plain, plain.translate(normalise._LOOK_ALIKES), at)


def judge(
    text: str, book: RuleBook, *, purpose: str, order_id: str | None, known: Iterable[str], earlier: Sequence[str] = ()
) -> Verdict:
    found = list(rules._shape(text, book, purpose, None))
    reading = Reading(text, known, order_id, earlier)
    alone = Reading(text, known, order_id, ())
    texts = [reading.bare, *(one for _, one in reading.seen[1:])]
    for rule in book.rules:
        if rule.concerns(purpose, None):
            spans = {span for name in rule.detect for span in finds(name, reading, rule)}
            sure = {span for name in rule.detect for span in finds(name, alone, rule, by_words=False)}
            called = {span for name in rule.detect if name in CALLED for span in CALLED[name](reading)}
            meant = any(True for name in rule.detect if name in rules.LIKE for _ in by_meaning(name, reading))
            for pattern in rule.patterns:
                sure |= {*searched(pattern, reading.plain), *searched(pattern, reading.folded)}
            bargained = any(
                True
                for name in rule.detect
                if name in BARGAINS
                for sight, _ in reading.seen
                for _ in BARGAINS[name](sight, reading.earlier)
            )
            said_here = called or any(True for name in rule.detect for _ in finds(name, alone, rule))
            for start, end in rules._outermost(spans | sure | called):
                one = Violation(rule.id, rule.severity, reading.spans.span(start, end), rule.about)
                in_doubt = not (sure or bargained) and bool(said_here) and rule.severity == "block"
                broken = rules.Broken(one, in_doubt, not meant)
                found += [again.violation for again in rules.looked_at_again([broken], texts)]
    if not found:
        found += rules.alike(texts, book, purpose, None)
    action = "block" if any(v.severity == "block" for v in found) else "hold" if found else "send"
    return Verdict(not found, action, tuple(found[: rules._MOST]))


def finds(name: str, reading: Reading, rule: Rule, *, by_words: bool = True) -> Iterator[Span]:
    """`by_words`: those too whose words may also be meant honestly."""
    if name in MEANINGS and (by_words or name not in rules.LIKE):
        yield from by_meaning(name, reading)
    if name in FINDERS:
        yield from FINDERS[name](reading, rule)


def by_meaning(name: str, reading: Reading) -> Iterator[Span]:
    for sight, text in reading.seen:
        for start, end in MEANINGS[name](sight, reading.earlier):
            yield (start, end) if text is reading.spans else reading.spans.place(text.span(start, end))


def searched(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (match.span() for match in pattern.finditer(text) if match.end() > match.start())


def without(text: str, known: Iterable[str]) -> str:
    for value in sorted({k.strip().lower() for k in known}, key=len, reverse=True):
        if len(value) >= 5 and any(c.isdigit() for c in value):
            text = contacts._blotted(text, value)
    return text


def masked(text: str, known: Iterable[str]) -> str:
    text = without(text, known)
    for pattern in (contacts._DATE, contacts._AMOUNT):
        text = pattern.sub(lambda m: contacts.MASK * len(m.group()), text)
    return text


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def seen(text: normalise.Text, *, loose: bool) -> Seen:
    def search(name: str) -> Iterator[Span]:
        chosen = words.lexicon().lists.get(name, words.Words())
        for one in chosen.names:
            yield from searched(compiled(words.disguised(one)), text.folded)
        for listed, where in ((chosen.patterns, words.apart(text.folded)), (chosen.signs, text.folded)):
            for pattern in listed:
                yield from searched(compiled(words.loose(pattern) if loose else pattern), where)

    return Seen(text.folded, search)


def contact(reading: Reading, _rule: Rule) -> Iterator[Span]:
    text = reading.masked
    if any(mark.search(text) for mark in contacts.spoken().mail_marks):
        for pattern in contacts.spoken().mails:
            yield from (match.span() for match in pattern.finditer(text))
    for match in contacts._RUN.finditer(text):
        if contacts._is_phone(match, text, contacts.REGIONS) and not contacts._is_called_id(match, text):
            yield match.span()
    if "+" in text or contacts._has_number_words(text):
        yield from contacts._said(text)
    if contacts._HAN_DIGIT.search(text):
        yield from (m.span() for m in contacts._HAN_RUN.finditer(text) if contacts._HAN_DIGIT.search(m.group()))


def telephones_called_ids(reading: Reading) -> Iterator[Span]:
    for match in contacts._RUN.finditer(reading.masked) if reading.order_id is not None else ():
        of_a_telephone = 9 <= sum(c.isdigit() for c in match.group()) < 12
        if contacts._is_phone(match, reading.masked, contacts.REGIONS) and of_a_telephone:
            yield match.span()


def links(reading: Reading, rule: Rule) -> Iterator[Span]:
    text, taken = reading.folded, []
    for match in (
        (contacts._linkify().match(contacts._NO_HOST.sub(" ", text)) or []) if _MAYBE_LINK.search(text) else []
    ):
        if match.schema == "mailto:":
            continue
        taken.append((match.index, match.last_index))
        if match.schema not in ("", "https:") or not contacts._allowed(contacts._host(match.url), rule.allow_hosts):
            yield (match.index, match.last_index)
    url, dot = contacts._MAYBE_URL, contacts.spoken().maybe_dot
    patterns = (
        (contacts._URL, url),
        (contacts.spoken().bare_dot, dot),
        (contacts._IP, url),
        (contacts._DISGUISED,) * 2,
    )
    for pattern, maybe in patterns:
        for found in pattern.finditer(text) if maybe.search(text) else ():
            if not any(start <= found.start() < end or found.start() <= start < found.end() for start, end in taken):
                yield found.span()


def link(reading: Reading, rule: Rule) -> Iterator[Span]:
    for start, end in links(reading, rule):
        if not rules._TWO_SENTENCES.fullmatch(reading.original[reading.at[start] : reading.at[end - 1] + 1]):
            yield start, end


def cards(reading: Reading) -> Iterator[re.Match[str]]:
    for match in contacts._BANK.finditer(reading.masked):
        if contacts._luhn("".join(c for c in match.group() if c.isdigit())):
            yield match


def bank_numbers(reading: Reading, _rule: Rule) -> Iterator[Span]:
    for match in cards(reading):
        if not contacts._is_called_id(match, reading.masked):
            yield match.span()
    for match in contacts._IBAN.finditer(reading.masked):
        if contacts._iban("".join(match.group().split())):
            yield match.span()


def in_original(pattern: re.Pattern[str]):
    def find(reading: Reading, _rule: Rule) -> Iterator[Span]:
        for start, end in searched(pattern, reading.original):
            inside = [n for n, place in enumerate(reading.at) if start <= place < end]
            yield (inside[0], inside[-1] + 1) if inside else (0, len(reading.at))

    return find


def no_order_id(reading: Reading, _rule: Rule) -> Iterator[Span]:
    if reading.order_id and reading.order_id not in reading.original:
        yield (0, len(reading.folded))


FINDERS = {
    "contact": contact,
    "link": link,
    "off_platform_payment": bank_numbers,
    "html": in_original(rules._HTML),
    "emoji": in_original(rules._EMOJI),
    "no_order_id": no_order_id,
}
CALLED = {
    "contact": telephones_called_ids,
    "off_platform_payment": lambda reading: (match.span() for match in cards(reading)),
}
