"""Where the words of each list stand in a text: of all patterns only those are searched that may match there. Pure."""

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from services.notifier import words
from services.notifier.meanings import Search, Seen, Span, may_mean
from services.notifier.normalise import Text
from services.notifier.scan import Demand, Index, needed, possible

_MOST_KEPT = 1024
Present = Mapping[str, tuple[tuple[str, bool], ...]]
"""Of each list that may stand in a text the patterns that may match, with whether one is of signs."""


class _Listed(NamedTuple):
    """A pattern, whether it is of signs, what it demands, and what it demands at the least."""

    written: str
    signs: bool
    demand: Demand
    needed: int


class Lists:
    """All word lists over one index of what they demand. `loose`: for text whose spaces say nothing of words."""

    def __init__(self, *, loose: bool) -> None:
        self.index = Index()
        self._loose = loose
        listed = words.lexicon().lists
        self._patterns = {name: tuple(self._demanding(one)) for name, one in listed.items()}
        self._names = {name: _names(one.names) for name, one in listed.items() if one.names}
        self._opened = lru_cache(maxsize=_MOST_KEPT)(self._open)

    def _demanding(self, listed: words.Words) -> Iterator[_Listed]:
        for signs, patterns in ((False, listed.patterns), (True, listed.signs)):
            for written in patterns:
                demand = self.index.add(words.loose(written) if self._loose else written)
                yield _Listed(written, signs, demand, needed(demand))

    def _open(self, held: int) -> tuple[Present, frozenset[str]]:
        each = (
            (
                name,
                tuple((one.written, one.signs) for one in listed if one.needed & held and possible(one.demand, held)),
            )
            for name, listed in self._patterns.items()
        )
        present = {name: found for name, found in each if found}
        return present, may_mean(present.keys())

    def seen(self, text: Text, held: int) -> tuple[Seen, frozenset[str]]:
        """With what its lists may mean together. Texts of one template hold the same as a rule: that is remembered."""
        present, meant = self._opened(held)
        named = self._named(text.folded)
        if named:
            meant = may_mean(present.keys() | named.keys())
        return Seen(text.folded, self._search(text.folded, present, named)), meant

    def _named(self, folded: str) -> dict[str, list[re.Pattern[str]]]:
        squashed, found = words.squashed(folded), dict[str, list[re.Pattern[str]]]()
        for name, each in self._names.items():
            for same, pattern in each:
                if same in squashed:
                    found.setdefault(name, []).append(pattern)
        return found

    def _search(self, folded: str, present: Present, named: Mapping[str, list[re.Pattern[str]]]) -> Search:
        def search(name: str) -> Iterator[Span]:
            for pattern in named.get(name, ()):
                yield from found_by(pattern, folded)
            for written, signs in present.get(name, ()):
                yield from found_by(_compiled(written, self._loose), folded if signs else words.apart(folded))

        return search


def _names(names: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((words.squashed(name), re.compile(words.disguised(name))) for name in names)


@cache
def _compiled(written: str, loose: bool) -> re.Pattern[str]:
    return re.compile(words.loose(written) if loose else written, re.DOTALL)


def found_by(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if match.end() > match.start():
            yield match.span()
