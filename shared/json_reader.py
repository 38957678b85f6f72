"""The strict JSON reader for what comes from outside: exact, bounded, and no two readings of one text.

Whole numbers up to 2^53 come as `int`, larger ones as the text they were written in (ids), all others as `Decimal`.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_KEYS = 10_000
MAX_DIGITS = 40
_EXACT = 2**53
_STRING = re.compile(r'"(?:[^"\\]+|\\.)*+(?:"|\Z)', re.DOTALL)
_SHADY = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class Unreadable(Exception):
    """`path` is where, as `$.data.items[3].price`; `why` never repeats a value."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class _Fault(Exception):
    pass


def exact(value: Any) -> Any:
    """Numbers a double cannot hold as text, so that ids and amounts of a record survive storage."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    return str(value) if isinstance(value, Decimal) else value


def read(body: bytes, limit: int = MAX_BYTES) -> Any:
    """The one value in `body`. Raises Unreadable."""
    text = _text(body, limit)
    _check_depth(text)
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as fault:
        raise Unreadable("$", f"no JSON at line {fault.lineno}, column {fault.colno}") from None
    except _Fault:
        raise _located(text) from None
    if _SHADY.search(text):
        for path, found in _strings(value, "$"):
            _check_text(path, found)
    return value


def _text(body: bytes, limit: int) -> str:
    if len(body) > limit:
        raise Unreadable("$", f"over {limit} bytes")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise Unreadable("$", f"not UTF-8 at byte {fault.start}") from None
    if text.startswith("\ufeff"):
        raise Unreadable("$", "begins with a byte order mark")
    if not text or text.isspace():
        raise Unreadable("$", "empty")
    return text


def _check_depth(text: str) -> None:
    """Before the parser recurses. Brackets inside strings are left out only when there are many at all."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Unreadable("$", f"nested deeper than {MAX_DEPTH}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise _Fault(f"more than {MAX_KEYS} keys")
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _Fault(f"key {next(key for key, n in counts.items() if n > 1)[:60]!r} stands twice")
    return found


def _int(text: str) -> int | str:
    if len(text) > MAX_DIGITS + 1:
        raise _Fault(f"a number of more than {MAX_DIGITS} digits")
    value = int(text)
    return value if -_EXACT <= value <= _EXACT else text


def _decimal(text: str) -> Decimal:
    if len(text) > MAX_DIGITS + 2:
        raise _Fault(f"a number of more than {MAX_DIGITS} digits")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise _Fault("a number too large or too small") from None
    if value and abs(value.adjusted()) > MAX_DIGITS:
        raise _Fault("a number too large or too small")
    return value


def _constant(_: str) -> Any:
    raise _Fault("not a number")


def _located(text: str) -> Unreadable:
    """Reads once more, leaving each fault in place of its value, to tell where it is."""
    kept = json.JSONDecoder(
        object_pairs_hook=_keeping(_object),
        parse_int=_keeping(_int),
        parse_float=_keeping(_decimal),
        parse_constant=_keeping(_constant),
    )
    try:
        value = kept.decode(text)
    except json.JSONDecodeError as fault:
        return Unreadable("$", f"no JSON at line {fault.lineno}, column {fault.colno}")
    path, why = next((p, str(f)) for p, f in _leaves(value, "$") if isinstance(f, _Fault))
    return Unreadable(path, why)


def _keeping(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def kept(raw: Any) -> Any:
        try:
            return hook(raw)
        except _Fault as fault:
            return fault

    return kept


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield f"{path}.<key>", key
            yield from _leaves(below, f"{path}.{key[:60]}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _leaves(below, f"{path}[{index}]")
    else:
        yield path, value


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    return ((where, found) for where, found in _leaves(value, path) if isinstance(found, str))


def _check_text(path: str, text: str) -> None:
    if "\0" in text:
        raise Unreadable(_plain(path), "holds the character U+0000")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise Unreadable(_plain(path), "holds half a surrogate pair")


def _plain(path: str) -> str:
    """Fit for logs and the database, whatever the keys on the way are."""
    return path.encode("ascii", "replace").decode().replace("\0", "?")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_decimal, parse_constant=_constant, strict=True
)
