"""Whether a row can ever be the first whose guard holds: all cases of its conditions are tried.

Same-field comparisons are intervals: a number or time that is compared takes a value between, at and beyond each constant
it is compared with, and null. Exact for fields compared with constants and with each other.
"""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from services.policy.core.grammar import Node
from shared.clock import parse_time
from shared.domain.case import GOODS, KINDS, MONEY, PHASES, REASONS

MAX_ATOMS = 12
_MAX_TRIES = 60_000
CLOSED: dict[str, tuple[str, ...]] = {
    "goods": GOODS,
    "money": MONEY,
    "phase": PHASES,
    "kind": KINDS,
    "reason": REASONS,
}
"""Text names with a closed list of values."""
_NEVER_NULL = frozenset(
    {"goods", "money", "phase", "kind", "state", "contacted", "in_doubt", "now", "open_acts", "open_messages",
     "evidence_missing", "same_currency", "has_approve", "has_represent", "fact_kind"}
)  # fmt: skip
_ORDER = ("<", "<=", ">", ">=")
_UNITS = {"h": 3600, "m": 60, "s": 1}


class TooMany(Exception):
    """More conditions than can be tried."""


class _Raises(Exception):
    pass


def unreachable(guards: list[Node | None]) -> list[int]:
    """Indices of the rows that can never fire. Raises TooMany."""
    given = [guard for guard in guards if guard is not None]
    if len({str(atom) for guard in given for atom in _atoms(guard)}) > MAX_ATOMS:
        raise TooMany
    waiting = set(range(len(guards)))
    for values in _worlds(given):
        first = next((n for n, guard in enumerate(guards) if guard is None or _holds(guard, values)), None)
        waiting.discard(-1 if first is None else first)
        if not waiting:
            break
    return sorted(waiting)


def _atoms(node: Node) -> Iterator[Node]:
    if node.kind in ("and", "or", "not"):
        for part in node.parts:
            yield from _atoms(part)
    elif node.kind != "const":
        yield node


def _terms(node: Node) -> Iterator[Node]:
    """What has a value of its own: names, and computed things as a whole."""
    if node.kind in ("and", "or", "not", "==", "!=", "in", "list", *_ORDER):
        for part in node.parts:
            yield from _terms(part)
    elif not _is_constant(node):
        yield node


def _is_constant(node: Node) -> bool:
    return node.kind == "const" or (node.kind == "call" and node.value in ("duration", "timestamp"))


def _constant(node: Node) -> Any:
    if node.kind == "const":
        value = node.value
        return Fraction(value) if isinstance(value, int) and not isinstance(value, bool) else value
    text = str(node.parts[0].value)
    if node.value == "timestamp":
        return Fraction(int(parse_time(text).timestamp()))
    return _seconds(text)


def _seconds(text: str) -> Fraction:
    total, digits = 0, ""
    for char in text:
        if char.isdigit():
            digits += char
        else:
            total, digits = total + int(digits) * _UNITS[char], ""
    return Fraction(total)


def _worlds(guards: list[Node]) -> Iterator[dict[str, Any]]:
    """Every combination of the values that make a difference."""
    terms = {str(term): term for guard in guards for term in _terms(guard)}
    compared = [atom for guard in guards for atom in _atoms(guard)]
    choices = {name: _choices(name, term, compared) for name, term in terms.items()}
    total = 1
    for values in choices.values():
        total *= len(values)
    if total > _MAX_TRIES:
        raise TooMany
    for combination in itertools.product(*choices.values()):
        yield dict(zip(choices, combination, strict=True))


def _choices(name: str, term: Node, compared: list[Node]) -> list[Any]:
    met, ordered, others = _met(name, compared)
    null: list[Any] = [] if name in _NEVER_NULL or (term.kind == "name" and name.startswith("ladder_left_")) else [None]
    if term.kind == "name" and name in CLOSED:
        return [*CLOSED[name], *null]
    numbers = sorted({value for value in met if isinstance(value, Fraction)})
    if ordered or numbers:
        return [*_spread(numbers, others + 1), *null]
    texts = [value for value in met if isinstance(value, str)]
    if texts:
        return [*sorted(set(texts)), "\0other", *null]
    if others:
        return [Fraction(n) for n in range(others + 1)] + null
    if any(value is None for value in met) and not any(isinstance(value, bool) for value in met):
        return [Fraction(0), *null] if not _as_truth(name, compared) else [True, False, *null]
    return [True, False, *null]


def _as_truth(name: str, compared: list[Node]) -> bool:
    return any(str(atom) == name for atom in compared)


def _met(name: str, compared: list[Node]) -> tuple[list[Any], bool, int]:
    """Constants a term is compared with, whether it is put in order, and with how many other terms."""
    constants: list[Any] = []
    others: set[str] = set()
    ordered = False
    for atom in compared:
        sides = [str(part) for part in atom.parts]
        if name not in sides or atom.kind not in ("==", "!=", "in", *_ORDER):
            continue
        other = atom.parts[1 - sides.index(name)]
        ordered = ordered or atom.kind in _ORDER
        if other.kind == "list":
            constants += [_constant(part) for part in other.parts if _is_constant(part)]
        elif _is_constant(other):
            constants.append(_constant(other))
        else:
            others.add(str(other))
            constants += _far(str(other), name, compared)
    return constants, ordered, len(others)


def _far(name: str, asked_by: str, compared: list[Node]) -> list[Any]:
    """Constants of a term that ours is compared with: they cut our values too."""
    found = []
    for atom in compared:
        sides = [str(part) for part in atom.parts]
        if name in sides and asked_by not in sides and atom.kind in ("==", "!=", *_ORDER):
            other = atom.parts[1 - sides.index(name)]
            found += [_constant(other)] if _is_constant(other) else []
    return found


def _spread(numbers: list[Fraction], between: int) -> list[Fraction]:
    """`between` values below, between and above the numbers, and the numbers themselves."""
    if not numbers:
        return [Fraction(n) for n in range(between)]
    values = [numbers[0] - n for n in range(between, 0, -1)]
    for low, high in itertools.pairwise(numbers):
        values += [low, *(low + (high - low) * n / (between + 1) for n in range(1, between + 1))]
    return [*values, numbers[-1], *(numbers[-1] + n for n in range(1, between + 1))]


def _holds(guard: Node, values: dict[str, Any]) -> bool:
    try:
        return _value(guard, values) is True
    except _Raises:
        return False


def _value(node: Node, values: dict[str, Any]) -> Any:
    if _is_constant(node):
        return _constant(node)
    if node.kind in ("and", "or"):
        return _either(node, values)
    if node.kind == "not":
        inner = _value(node.parts[0], values)
        if not isinstance(inner, bool):
            raise _Raises
        return not inner
    if node.kind == "in":
        return _value(node.parts[0], values) in [_value(part, values) for part in node.parts[1].parts]
    if node.kind in ("==", "!="):
        left, right = (_value(part, values) for part in node.parts)
        return (left == right) == (node.kind == "==")
    if node.kind in _ORDER:
        return _ordered(node, values)
    return values[str(node)]


def _either(node: Node, values: dict[str, Any]) -> bool:
    """As CEL: one side decides although the other raises."""
    decisive, raised = node.kind == "or", False
    for part in node.parts:
        try:
            found = _value(part, values)
        except _Raises:
            raised = True
            continue
        if not isinstance(found, bool):
            raised = True
        elif found == decisive:
            return found
    if raised:
        raise _Raises
    return not decisive


def _ordered(node: Node, values: dict[str, Any]) -> bool:
    left, right = (_value(part, values) for part in node.parts)
    if not isinstance(left, Fraction) or not isinstance(right, Fraction):
        raise _Raises
    results = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}
    return bool(results[node.kind])
