"""What a text must hold for a pattern to match in it at all, read off the pattern itself. Pure.

From a parsed pattern follow *atoms*: runs of letters, single signs, or some digit. There are several *ways* to match; on
each of them every match holds at least one atom of each group. `^` before letters says that no letter or digit stands
before them in any match, `$` behind them that none follows. What cannot be read off demands nothing.
"""

import re
from collections.abc import Iterable, Sequence
from re import _parser as sre  # type: ignore[attr-defined]  # the standard library's own parser has no public name
from typing import Any

Groups = list[frozenset[str]]
Ways = list[Groups]
"""None: nothing is demanded."""
Item = tuple[Any, Any]
"""One step of a parsed pattern: what it does, and with what."""
DIGIT = "0-9"
"""The atom that any digit is."""
LETTERS = re.compile(r"[^\W\d_]+")
_EVERYWHERE = frozenset(".,:;!?'-")
_RARE_SIGN = 3
_WHOLE = 2
"""An atom that begins or ends a word is rarer by so much."""
_MOST_WAYS = 32
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
_NO_LETTER = frozenset(str(list(sre.parse(one))) for one in (r"[^\W_]", r"\w"))
"""What the patterns say is not beside a word; `\\w` is a sign more."""
ODD_CASE = re.compile(
    r"[^\x00-\x7f\xa0-\xb4\xb6-\xbf\u0430-\u044f\u0451-\u045f\u2010-\u2027\u20a0-\u20bf\u2190-\u21ff\u2600-\u27bf"
    r"\u3000-\u30ff\u3400-\u9fff\uac00-\ud7a3\U0001f300-\U0001faff]"
)
"""Any other sign is the same as its own capital and nothing else where case does not count."""


def bare(atom: str) -> str:
    """Without the marks of where words begin and end."""
    return atom.strip("^$") if len(atom) > 1 else atom


def demanded(pattern: re.Pattern[str]) -> Ways:
    """Every match holds what one of these ways demands. Nothing for a pattern without regard to case."""
    return [] if pattern.flags & re.IGNORECASE else demanded_as_written(pattern.pattern, pattern.flags)


def demanded_as_written(pattern: str, flags: int = 0) -> Ways:
    """The same of a pattern that is not compiled yet."""
    return _of_sequence(list(sre.parse(pattern, flags & ~re.UNICODE)), False, False)


def demanded_of_small(pattern: re.Pattern[str]) -> Ways:
    """The same for texts in small letters without an `ODD_CASE`; there a pattern's capitals do not count."""
    if pattern.flags & (re.ASCII | re.LOCALE | re.VERBOSE):
        return []
    written = list(sre.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    return _of_sequence(_small(written) if pattern.flags & re.IGNORECASE else written, False, False)


def _small(part: Any) -> Any:
    """The parsed pattern with small letters; a letter with more than one small form as anything."""
    if isinstance(part, tuple) and len(part) == 2 and part[0] is sre.LITERAL:
        small = chr(part[1]).lower()
        return (part[0], ord(small)) if len(small) == 1 and not ODD_CASE.match(small) else (sre.ANY, None)
    if isinstance(part, list | tuple | sre.SubPattern):
        return tuple(map(_small, part)) if isinstance(part, tuple) else [_small(one) for one in part]
    return part


def _of_sequence(items: Sequence[Item], begins: bool, ends: bool) -> Ways:
    """All that a row of things, one after the other, demands. `begins`, `ends`: no letter or digit is beside the row."""
    ways: Ways = []
    place, followed = 0, _followed(items, ends)
    while place < len(items):
        literal = _literal_at(items, place)
        behind = place + max(len(literal), 1)
        branches = _branches(items[behind]) if literal and behind < len(items) else None
        if branches is not None:  # `r(?:ub|mb)`: the parser has taken out what the branches have in common
            behind += 1
            found = _of_branches([_of_sequence([*literal, *one], begins, followed[behind]) for one in branches])
        elif literal:
            found = _of_literal(literal, begins, followed[behind])
        else:
            found = _of_one(*items[place], begins, followed[behind])
        ways = _together(ways, found)
        begins = _behind(items[place:behind], begins)
        place = behind
    return ways


def _literal_at(items: Sequence[Item], place: int) -> list[Item]:
    literal: list[Item] = []
    while place < len(items) and items[place][0] is sre.LITERAL:
        literal.append(items[place])
        place += 1
    return literal


def _branches(item: Item) -> list[list[Item]] | None:
    operation, argument = item
    if operation is sre.BRANCH:
        return [list(branch) for branch in argument[1]]
    if operation is sre.IN and all(kind is sre.LITERAL for kind, _ in argument):
        return [[one] for one in argument]
    return None


def _together(first: Ways, second: Ways) -> Ways:
    """Both are demanded."""
    if not first or not second:
        return first or second
    if len(first) * len(second) > _MOST_WAYS:
        first, second = sorted((first, second), key=len)
        second = [[_one_of(second)]]
    return [a + b for a in first for b in second]


def _one_of(ways: Ways) -> frozenset[str]:
    """Of each way the group that says most, together one group."""
    return frozenset[str]().union(*(max(groups, key=_telling) for groups in ways))


def _of_literal(literal: Sequence[Item], begins: bool, ends: bool) -> Ways:
    text = "".join(chr(code) for _, code in literal)
    groups: Groups = []
    for match in LETTERS.finditer(text):
        start, end = match.span()
        first = begins if start == 0 else not text[start - 1].isalnum()
        last = ends if end == len(text) else not text[end].isalnum()
        groups.append(frozenset({"^" * first + match.group() + "$" * last}))
    signs = (char for char in text if not LETTERS.match(char) and not char.isspace())
    groups += [frozenset({_sign(char)}) for char in signs]
    return [groups] if groups else []


def _sign(char: str) -> str:
    return DIGIT if char.isdecimal() else char


def _of_one(operation: Any, argument: Any, begins: bool, ends: bool) -> Ways:
    match operation:
        case sre.SUBPATTERN if not argument[1] and not argument[2]:
            return _of_sequence(list(argument[-1]), begins, ends)
        case sre.ATOMIC_GROUP:
            return _of_sequence(list(argument), begins, ends)
        case _ if operation in _REPEATS and argument[0] > 0:
            once = argument[1] == 1
            return _of_sequence(list(argument[2]), begins and once, ends and once)
        case sre.BRANCH:
            return _of_branches([_of_sequence(list(branch), begins, ends) for branch in argument[1]])
        case sre.IN:
            return _of_set(argument, begins, ends)
    return []


def _of_set(argument: Sequence[Item], begins: bool, ends: bool) -> Ways:
    found: set[str] = set()
    for kind, value in argument:
        if kind is sre.LITERAL and not chr(value).isspace():
            found |= _of_literal([(kind, value)], begins, ends)[0][0]
        elif value is sre.CATEGORY_DIGIT:
            found.add(DIGIT)
        else:
            return []
    return [[frozenset(found)]]


def _of_branches(branches: Sequence[Ways]) -> Ways:
    """One of them matches. Those of one group are together one way. Nothing if one demands nothing."""
    if not all(branches):
        return []
    ways = [groups for branch in branches for groups in branch]
    short = [groups for groups in ways if len(groups) == 1]
    return [groups for groups in ways if len(groups) > 1] + ([[_one_of(short)]] if short else [])


def _behind(items: Iterable[Item], edge: bool) -> bool:
    """Whether no letter or digit stands before what follows these items; `edge`: before the items none does."""
    for item in items:
        edge = _edge(item, edge, ahead=True)
    return edge


def _before(items: Sequence[Item], edge: bool) -> bool:
    """The same read from the end: whether none follows what stands before these items."""
    return _followed(items, edge)[0]


def _followed(items: Sequence[Item], edge: bool) -> list[bool]:
    """Of each place between the items whether no letter or digit follows what stands before it."""
    edges = [edge]
    for item in reversed(items):
        edges.append(_edge(item, edges[-1], ahead=False))
    return edges[::-1]


def _edge(item: Item, edge: bool, *, ahead: bool) -> bool:
    walk = _behind if ahead else _before
    operation, argument = item
    match operation:
        case sre.LITERAL:
            return not chr(argument).isalnum()
        case sre.IN:
            return all(_apart(*one) for one in argument)
        case sre.SUBPATTERN:
            return not argument[1] and walk(list(argument[-1]), edge)
        case sre.ATOMIC_GROUP:
            return walk(list(argument), edge)
        case sre.BRANCH:
            return all(walk(list(branch), edge) for branch in argument[1])
        case sre.ASSERT_NOT:
            return edge or (argument[0] == (-1 if ahead else 1) and str(list(argument[1])) in _NO_LETTER)
        case sre.AT:
            return edge or argument is sre.AT_BOUNDARY
        case sre.ASSERT:
            return edge
    return operation in _REPEATS and walk(list(argument[2]), False) and (edge or argument[0] > 0)


def _apart(kind: Any, value: Any) -> bool:
    return value is sre.CATEGORY_SPACE or (kind is sre.LITERAL and not chr(value).isalnum())


def _telling(group: frozenset[str]) -> tuple[int, int]:
    """Groups of rare atoms say most, and few of them more than many."""
    return (min(map(_rarity, group)), -len(group))


def _rarity(atom: str) -> int:
    """A Han sign is as rare as several letters; marks of a sentence and digits are everywhere."""
    letters = bare(atom)
    if atom == DIGIT or letters in _EVERYWHERE:
        return 0
    if not LETTERS.match(letters):
        return _RARE_SIGN
    return len(letters.encode()) + _WHOLE * (len(atom) - len(letters))
