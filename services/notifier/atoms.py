"""What a text must hold for a pattern to match in it at all, read off the pattern itself. Pure.

From a parsed pattern follow *atoms*: runs of letters, single signs, or some digit, in groups of which every match holds
at least one each. One scan of a text tells which atoms it holds (the words of templates come again and again, so what a
word holds is remembered), and a pattern that cannot match is not searched. What cannot be read off demands nothing.
"""

import re
from collections.abc import Iterable, Sequence
from re import _parser  # type: ignore[attr-defined]  # the standard library's own parser has no public name
from typing import Any

Groups = list[frozenset[str]]
Item = tuple[Any, Any]
"""One step of a parsed pattern: what it does, and with what."""
DIGIT = "0-9"
"""The atom that any digit is."""
_LETTERS = re.compile(r"[^\W\d_]+")
_EVERYWHERE = frozenset(".,:;!?'-")
_RARE_SIGN = 3
_SOME_DIGIT = re.compile(r"\d")
_MOST_WORDS = 20_000
_LONGEST_WORD = 64
_BEGINNING = 2
"""Atoms of letters are found by so many of their first letters."""


def demanded(pattern: re.Pattern[str]) -> Groups:
    """Groups of atoms: every match holds at least one atom of each. Nothing for a pattern without regard to case."""
    if pattern.flags & re.IGNORECASE:
        return []
    return demanded_as_written(pattern.pattern, pattern.flags)


def demanded_as_written(pattern: str, flags: int = 0) -> Groups:
    """The same of a pattern that is not compiled yet."""
    return _of_sequence(_parser.parse(pattern, flags & ~re.UNICODE))


def _of_sequence(parsed: Iterable[Item]) -> Groups:
    """All that a row of things, one after the other, demands."""
    groups: Groups = []
    literal: list[Item] = []
    for item in parsed:
        if str(item[0]) == "LITERAL":
            literal.append(item)
            continue
        branches = _branches(item) if literal else None
        if branches is not None:  # `r(?:ub|mb)`: the parser has taken out what the branches have in common
            groups += _of_branches([_of_sequence([*literal, *branch]) for branch in branches])
        else:
            groups += _of_literal(literal) + _of_one(*item)
        literal = []
    return groups + _of_literal(literal)


def _branches(item: Item) -> list[list[Item]] | None:
    name, argument = str(item[0]), item[1]
    if name == "BRANCH":
        return [list(branch) for branch in argument[1]]
    if name == "IN" and all(str(kind) == "LITERAL" for kind, _ in argument):
        return [[one] for one in argument]
    return None


def _of_literal(literal: Sequence[Item]) -> Groups:
    text = "".join(chr(code) for _, code in literal)
    signs = (char for char in text if not _LETTERS.match(char) and not char.isspace())
    return [frozenset({one}) for one in (*_LETTERS.findall(text), *map(_sign, signs))]


def _sign(char: str) -> str:
    return DIGIT if char.isdecimal() else char


def _of_one(operation: Any, argument: Any) -> Groups:
    match str(operation):
        case "SUBPATTERN" if not argument[1] & re.IGNORECASE:
            return _of_sequence(argument[-1])
        case "ATOMIC_GROUP":
            return _of_sequence(argument)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT" if argument[0] > 0:
            return _of_sequence(argument[2])
        case "BRANCH":
            return _of_branches([_of_sequence(branch) for branch in argument[1]])
        case "IN":
            return _of_set(argument)
    return []


def _of_set(argument: Sequence[Item]) -> Groups:
    found: set[str] = set()
    for kind, value in argument:
        if str(kind) == "LITERAL" and not chr(value).isspace():
            found.add(_sign(chr(value)))
        elif str(value) == "CATEGORY_DIGIT":
            found.add(DIGIT)
        else:
            return []
    return [frozenset(found)]


def _of_branches(branches: Sequence[Groups]) -> Groups:
    """One of them matches: of each the group that says most, together one group. Nothing if one demands nothing."""
    if not all(branches):
        return []
    return [frozenset[str]().union(*(max(groups, key=_telling) for groups in branches))]


def _telling(group: frozenset[str]) -> tuple[int, int]:
    """Groups of rare atoms say most, and few of them more than many."""
    return (min(map(_rarity, group)), -len(group))


def _rarity(atom: str) -> int:
    """A Han sign is as rare as several letters; marks of a sentence and digits are everywhere."""
    if atom == DIGIT or atom in _EVERYWHERE:
        return 0
    return len(atom.encode()) if _LETTERS.match(atom) else _RARE_SIGN


class Index:
    """The atoms of many patterns as bits, and how to read them off a text. Patterns are added before the first text."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._letters: dict[str, list[tuple[str, int]]] = {}
        self._signs: list[tuple[str, int]] = []
        self._gates: list[tuple[re.Pattern[str], int]] = []
        self._words: dict[str, int] = {}
        self._runs: dict[str, int] = {}

    def add(self, pattern: re.Pattern[str] | str) -> tuple[int, ...]:
        """The pattern's demand: it may match only where each of these masks meets what the text holds."""
        groups = demanded_as_written(pattern) if isinstance(pattern, str) else demanded(pattern)
        return tuple(self._mask(group) for group in groups)

    def gate(self, pattern: re.Pattern[str]) -> int:
        """A mask that a text meets exactly when `pattern` is in it. No match of `pattern` holds or looks at a space."""
        bit = self._new_bit(f"gate {len(self._gates)}")
        self._gates.append((pattern, bit))
        return bit

    def _mask(self, group: frozenset[str]) -> int:
        mask = 0
        for atom in group:
            mask |= self._bits.get(atom) or self._new_bit(atom)
        return mask

    def _new_bit(self, atom: str) -> int:
        self._bits[atom] = bit = 1 << len(self._bits)
        if _LETTERS.fullmatch(atom):
            self._letters.setdefault(atom[:_BEGINNING], []).append((atom, bit))
        elif len(atom) == 1:
            self._signs.append((atom, bit))
        self._words.clear()
        self._runs.clear()
        return bit

    def held(self, text: str) -> int:
        """Which atoms stand in the text, and which gates it passes."""
        words, found = self._words, 0
        for word in text.split():
            known = words.get(word)
            found |= self._of_word(word) if known is None else known
        return found

    def _of_word(self, word: str) -> int:
        found = self._bits.get(DIGIT, 0) if _SOME_DIGIT.search(word) else 0
        for run in _LETTERS.findall(word):
            known = self._runs.get(run)
            found |= self._of_run(run) if known is None else known
        for sign, bit in self._signs:
            if sign in word:
                found |= bit
        for pattern, bit in self._gates:
            if pattern.search(word):
                found |= bit
        return _kept(self._words, word, found)

    def _of_run(self, run: str) -> int:
        found, letters = 0, self._letters
        for place in range(len(run)):
            for length in range(1, _BEGINNING + 1):
                for atom, bit in letters.get(run[place : place + length], ()):
                    if run.startswith(atom, place):
                        found |= bit
        return _kept(self._runs, run, found)


def _kept(known: dict[str, int], key: str, found: int) -> int:
    """Remembered, within bounds."""
    if len(key) <= _LONGEST_WORD:
        if len(known) >= _MOST_WORDS:
            known.clear()
        known[key] = found
    return found


def possible(demand: Iterable[int], held: int) -> bool:
    """Whether a text that holds these atoms may match a pattern of this demand."""
    return all(mask & held for mask in demand)
