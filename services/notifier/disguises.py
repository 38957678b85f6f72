"""Text read once more with its disguise taken off: letters set apart, signs between letters, digits for letters. Pure.

`undone` gives such readings beside the text, never instead of it: what is an evasion in one text is a hyphen in another.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from services.notifier.normalise import Text
from services.notifier.scan import Index

_ONE_GAP = r"[ \t\u3000._*\-·•|/~^]"
_GAP = _ONE_GAP + "{1,2}"
_LETTER = r"[^\W\d_]"
_SPACED = re.compile(rf"(?<![^\W_]){_LETTER}(?:{_GAP}{_LETTER}){{3,}}(?![^\W_])")
_ALONE = re.compile(rf"(?<![^\W_]){_LETTER}(?![^\W_])")
_FLAT = bytes(
    97 if chr(code).isalpha() or code == 63 else 32 if re.match(_ONE_GAP, chr(code)) else 46 for code in range(256)
)
_HAN = r"[\u3040-\u9fff]"
_APART = re.compile(rf"{_ONE_GAP}(?<={_HAN}{_ONE_GAP}){_ONE_GAP}?(?={_HAN})")
_SIGN = r"[*_~^|=+·•/\\.\-]"
_BETWEEN = re.compile(rf"{_SIGN}(?<={_LETTER}{_SIGN}){_SIGN}?(?={_LETTER})")
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
    loose = _may_be_spaced(text.folded) and _SPACED.search(text.folded) is not None
    closed = _closed(text, loose) if loose or _BETWEEN.search(text.folded) or _APART.search(text.folded) else text
    if closed is not text:
        yield Undone(closed, loose)
    if _MIXED.search(closed.folded):
        for table in (_LATIN, _LATIN_L):
            yield Undone(_spelled(closed, table), loose)


class Shapes:
    """What a text must hold for `undone` to give anything."""

    def __init__(self, index: Index) -> None:
        self._joined = index.gate(_BETWEEN) | index.gate(_MIXED)
        self._alone, self._han = index.gate(_ALONE), index.gate(re.compile(_HAN))

    def maybe(self, text: Text, held: int) -> bool:
        """Where nothing is to be closed and no word holds a sign for a letter, none of the readings would differ."""
        return bool(
            held & self._joined
            or (held & self._alone and _may_be_spaced(text.folded))
            or (held & self._han and _APART.search(text.folded))
        )


def _may_be_spaced(folded: str) -> bool:
    """Two letters alone, one after the other, with gaps around them; any sign that is not ASCII may be a letter here."""
    flat = folded.encode("ascii", "replace").translate(_FLAT)
    return b" a a " in flat or b" a  a " in flat or "·" in folded or "•" in folded


def _closed(text: Text, loose: bool) -> Text:
    """Without what stands between single letters, between Chinese signs, and between letters of a word."""
    drop: set[int] = set()
    for match in _SPACED.finditer(text.folded) if loose else ():
        drop.update(n for n in range(*match.span()) if not text.folded[n].isalpha())
    for pattern in (_APART, _BETWEEN):
        for match in pattern.finditer(text.folded):
            drop.update(range(*match.span()))
    kept = list(_kept(sorted(drop), len(text.folded)))
    at = tuple([place for piece in kept for place in text.at[piece]])
    return Text(text.original, _picked(text.plain, kept), _picked(text.folded, kept), at)


def _kept(drop: list[int], size: int) -> Iterator[slice]:
    start = 0
    for place in (*drop, size):
        if place > start:
            yield slice(start, place)
        start = place + 1


def _picked(text: str, kept: list[slice]) -> str:
    return "".join([text[piece] for piece in kept])


def _spelled(text: Text, table: dict[int, int]) -> Text:
    """Digits and signs within words as the letters they stand for; every place is kept."""

    def word(match: re.Match[str]) -> str:
        there = text.plain[match.start() : match.end()]
        return match.group().translate(_RUSSIAN if _CYRILLIC.search(there) else table)

    replaced: Callable[[re.Match[str]], str] = word
    return Text(text.original, text.plain, _MIXED.sub(replaced, text.folded), text.at)
