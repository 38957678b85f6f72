"""Text read once more with its disguise taken off: letters set apart, signs between letters, digits for letters. Pure.

`undone` gives such readings beside the text, never instead of it: what is an evasion in one text is a hyphen in another.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from services.notifier.normalise import Text

_GAP = r"[ \t\u3000._*\-·•|/~^]{1,2}"
_LETTER = r"[^\W\d_]"
_SPACED = re.compile(rf"(?<![^\W_]){_LETTER}(?:{_GAP}{_LETTER}){{3,}}(?![^\W_])")
_HAN = r"[\u3040-\u9fff]"
_APART = re.compile(rf"(?<={_HAN})[ \t\u3000._*·•|/~^\-]{{1,2}}(?={_HAN})")
_BETWEEN = re.compile(rf"(?<={_LETTER})[*_~^|=+·•/\\.\-]{{1,2}}(?={_LETTER})")
_MIXED = re.compile(rf"(?<![^\W_]){_LETTER}*[0134578@$!|]+{_LETTER}[\w@$!|]*")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_LATIN = str.maketrans("0134578@$!|", "oieastbasii")
_LATIN_L = str.maketrans("0134578@$!|", "oleastbasll")
_RUSSIAN = str.maketrans("0346", "oзч6")


class Undone(NamedTuple):
    """`loose`: where words begin and end is no longer to be seen in it."""

    text: Text
    loose: bool


def undone(text: Text) -> Iterator[Undone]:
    """None for most texts."""
    loose = _SPACED.search(text.folded) is not None
    closed = _closed(text) if loose or _BETWEEN.search(text.folded) or _APART.search(text.folded) else text
    if closed is not text:
        yield Undone(closed, loose)
    if _MIXED.search(closed.folded):
        for table in (_LATIN, _LATIN_L):
            yield Undone(_spelled(closed, table), loose)


def _closed(text: Text) -> Text:
    """Without what stands between single letters, between Chinese signs, and between letters of a word."""
    drop: set[int] = set()
    for match in _SPACED.finditer(text.folded):
        drop.update(n for n in range(*match.span()) if not text.folded[n].isalpha())
    for pattern in (_APART, _BETWEEN):
        for match in pattern.finditer(text.folded):
            drop.update(range(*match.span()))
    keep = [n for n in range(len(text.folded)) if n not in drop]
    at = tuple(text.at[n] for n in keep)
    return Text(text.original, _picked(text.plain, keep), _picked(text.folded, keep), at)


def _picked(text: str, places: list[int]) -> str:
    return "".join([text[n] for n in places])


def _spelled(text: Text, table: dict[int, int]) -> Text:
    """Digits and signs within words as the letters they stand for; every place is kept."""

    def word(match: re.Match[str]) -> str:
        there = text.plain[match.start() : match.end()]
        return match.group().translate(_RUSSIAN if _CYRILLIC.search(there) else table)

    replaced: Callable[[re.Match[str]], str] = word
    return Text(text.original, text.plain, _MIXED.sub(replaced, text.folded), text.at)
