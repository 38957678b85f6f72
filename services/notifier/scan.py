"""Which atoms a text holds, in one scan of it, and so which patterns may match in it. Pure.

The words of templates come again and again, so what a word holds is remembered. A word here is what is between spaces,
with the comma behind it.
"""

import re
from functools import reduce
from operator import or_
from typing import TypeVar

from services.notifier.atoms import DIGIT, LETTERS, Ways, bare, demanded, demanded_as_written

K = TypeVar("K")
Demand = tuple[tuple[int, ...], ...]
"""Ways as masks: a text that holds one bit of each mask of a way may match."""
EVERYTHING = -1
"""Held where nothing can be said of a text: every demand is met."""
_SOME_DIGIT = re.compile(r"\d")
_FIRST_SIGN, _LAST_SIGN = "\u3040", "\u9fff"
"""Chinese and Japanese: beside them a Latin word counts as one of its own (`words.apart`)."""
_MOST_WORDS = 8_000
_LONGEST_WORD = 128
_EACH_LETTER = 6.0
"""So many times rarer is an atom with each letter more: a guess, good enough to ask the rarer ones first."""
_BEGINNING = 2
"""Atoms of letters are found by so many of their first letters."""


class Index:
    """The atoms of many patterns as bits, and how to read them off a text. Patterns are added before the first text."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        """Which bit is an atom's. As numbers of their own thousands of bits would take a kilobyte each."""
        self._groups: dict[frozenset[str], int] = {}
        self._letters: dict[str, list[tuple[str, bool, bool, int]]] = {}
        self._signs: dict[str, int] = {}
        self._gates: list[tuple[re.Pattern[str], Demand, int]] = []
        self._words: dict[str, int] = {}
        self._runs: dict[tuple[str, bool, bool], int] = {}
        self._masks: dict[int, int] = {}

    def add(self, pattern: re.Pattern[str] | str, *, anywhere: bool = False) -> Demand:
        """`anywhere`: where words begin and end may look otherwise in the text that the pattern will be searched in."""
        ways = demanded_as_written(pattern) if isinstance(pattern, str) else demanded(pattern)
        if anywhere:
            ways = [[frozenset(map(bare, group)) for group in groups] for groups in ways]
        return self.add_ways(ways)

    def add_ways(self, ways: Ways) -> Demand:
        """Of each way what few texts hold comes first."""
        return tuple(tuple(map(self._mask, sorted(groups, key=_commonness))) for groups in ways)

    def close(self) -> None:
        """No more patterns: what numbered them is let go, which takes as much room as the rest."""
        self._groups.clear()

    def gate(self, pattern: re.Pattern[str]) -> int:
        """A mask that a text meets when `pattern` is in one of its words, spaces and commas being no part of any match."""
        demand, place = self.add(pattern), self._new_place(f"gate {len(self._gates)}")
        self._gates.append((pattern, demand, 1 << place))
        return 1 << place

    def _mask(self, group: frozenset[str]) -> int:
        """The same group has one number."""
        known = self._groups.get(group)
        if known is None:
            places = [self._places[one] if one in self._places else self._new_place(one) for one in group]
            self._groups[group] = known = reduce(or_, (1 << place for place in places), 0)
        return known

    def _new_place(self, atom: str) -> int:
        self._places[atom] = place = len(self._places)
        letters = bare(atom)
        if LETTERS.fullmatch(letters):
            one = (letters, atom[0] == "^", atom[-1] == "$", place)
            self._letters.setdefault(letters[:_BEGINNING], []).append(one)
        elif len(atom) == 1:
            self._signs[atom] = place
        self._words.clear()
        self._runs.clear()
        return place

    def _kept(self, known: dict[K, int], key: K, size: int, found: int) -> int:
        """Remembered, within bounds; what holds the same shares one number."""
        if size <= _LONGEST_WORD:
            if len(known) >= _MOST_WORDS:
                known.clear()
                self._masks.clear()
            known[key] = self._masks.setdefault(found, found)
        return found

    def held(self, text: str) -> int:
        """Which atoms stand in the text, and which gates it passes."""
        words = text.replace(",", ", ").split()
        masks = list(map(self._words.get, words))
        if None in masks:
            masks = [self._of_word(word) if known is None else known for word, known in zip(words, masks, strict=True)]
        return reduce(or_, masks, 0)

    def _of_word(self, word: str) -> int:
        found = 1 << self._places[DIGIT] if DIGIT in self._places and _SOME_DIGIT.search(word) else 0
        for match in LETTERS.finditer(word):
            start, end = match.span()
            first = start == 0 or not word[start - 1].isdecimal()
            last = end == len(word) or not word[end].isdecimal()
            known = self._runs.get((match.group(), first, last))
            found |= self._of_run(match.group(), first, last) if known is None else known
        for sign in self._signs.keys() & set(word):
            found |= 1 << self._signs[sign]
        for pattern, demand, bit in self._gates:
            if possible(demand, found) and pattern.search(word):
                found |= bit
        return self._kept(self._words, word, len(word), found)

    def _of_run(self, run: str, first: bool, last: bool) -> int:
        found, letters, end = 0, self._letters, len(run)
        for place in range(end):
            begins = first if place == 0 else _is_sign(run[place - 1])
            for length in range(1, _BEGINNING + 1):
                for atom, at_first, at_last, which in letters.get(run[place : place + length], ()):
                    if (begins or not at_first) and run.startswith(atom, place):
                        behind = place + len(atom)
                        if not at_last or (last if behind == end else _is_sign(run[behind])):
                            found |= 1 << which
        return self._kept(self._runs, (run, first, last), end, found)


def _commonness(atoms: frozenset[str]) -> float:
    """How likely one of them stands in a text: the shorter, the likelier."""
    return sum(_EACH_LETTER ** -len(bare(atom)) for atom in atoms)


def _is_sign(char: str) -> bool:
    return _FIRST_SIGN <= char <= _LAST_SIGN


def needed(demand: Demand) -> int:
    """The first mask of each way, together: a text that holds none of their atoms is not worth the whole question."""
    return reduce(or_, (way[0] for way in demand)) if demand and all(demand) else EVERYTHING


def possible(demand: Demand, held: int) -> bool:
    """Whether a text that holds these atoms may match a pattern of this demand."""
    for way in demand:
        for mask in way:
            if not mask & held:
                break
        else:
            return True
    return not demand
