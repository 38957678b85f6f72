"""How much a text reads like those that people called bad: a linear classifier over words, their parts and pairs. Pure.

Word lists find what somebody thought of; this finds what reads alike. It was trained on labelled texts (`make train`,
docs/rules-format.md) and says which detector's texts a text resembles and in which sentence. Its word is never the last:
what only resembles is held for a person, and so is what only holds a listed word.
"""

import json
import re
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import pairwise
from math import exp, inf, log, sqrt
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "learnt"
GOOD = "good"
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+|\d+|[^\W\d_]+(?:'[^\W\d_]+)?|[?!$€£¥₽%@→*+]")
_SENTENCE = re.compile(r"[.!?;\n]+(?:\s+|$)|(?<=[\u3040-\u9fff])[.!?,;\s]+")
_PART = 4
"""Letters of a part of a word, its ends counted as one each."""
_LONGEST_SIGNS = 4
_MOST_KEPT = 16_384
_PART_OF_IT = 0.5
"""What two sentences alone are allowed to sound worse than the whole."""
_AGREES = 1.2
"""So far above the bar stands what is blocked where a list finds something; what is less far is held."""
_LITTLE = 24
"""Grams: three words or six signs read like nothing at all."""
_ENOUGH = 80
"""Grams: some ten words, or twenty signs."""
_NOUGHT = 128
_LANE = 32
_ONE_LANE = (1 << _LANE) - 1
"""Bits of a whole number that hold one class's sum: adding such numbers adds all classes at once."""


class Model(NamedTuple):
    """`classes`: what `weights` tell of each bucket, one byte a class, 128 for nought.

    `bar`: so far above the good ones stands what reads like a bad one, all classes together; `bars`: one class by itself.
    """

    classes: tuple[str, ...]
    bias: tuple[float, ...]
    scale: float
    bar: float
    bars: Mapping[str, float]
    weights: bytes


class Likeness(NamedTuple):
    """`detector`: whose bad texts it reads like most. `by`: how far above the bar, below nought it does not. `span`: where.
    `read`: how many grams of the text were."""

    detector: str
    by: float
    span: tuple[int, int]
    read: int = 0

    @property
    def reads_bad(self) -> bool:
        return self.by >= 0 and self.read >= _LITTLE

    @property
    def reads_mild(self) -> bool:
        """Not much like a bad one."""
        return self.by < _AGREES

    @property
    def reads_harmless(self) -> bool:
        """And long enough to tell: of a few words all texts read alike."""
        return self.reads_mild and self.read >= _ENOUGH


class Token(NamedTuple):
    """`grams`: what is looked up for it."""

    start: int
    grams: tuple[str, ...]


def tokens(folded: str) -> Iterator[Token]:
    """Of a word itself, its parts, and the pairs it makes with the two before it; signs one to four together."""
    before = last = "^"
    for match in _TOKEN.finditer(folded):
        word = match.group()
        if "\u3040" <= word[0] <= "\u9fff":
            yield Token(match.start(), _signs(word))
            word = "#"
        else:
            word = "0" * min(len(word), 8) if word.isdigit() and len(word) > 1 else word
            yield Token(match.start(), (*_parts(word), f"b{last} {word}", f"s{before} {word}"))
        before, last = last, word


@lru_cache(maxsize=_MOST_KEPT)
def _parts(word: str) -> tuple[str, ...]:
    ends = f"<{word}>"
    parts = range(len(ends) - _PART + 1) if len(word) > 2 else ()
    return (f"w{word}", *(f"c{ends[n : n + _PART]}" for n in parts))


def _signs(run: str) -> tuple[str, ...]:
    """Also two signs with one or two others between them."""
    together = (run[n : n + size] for size in range(1, _LONGEST_SIGNS + 1) for n in range(len(run) - size + 1))
    apart = (f"{run[n]}_{gap}{run[n + gap]}" for gap in (2, 3) for n in range(len(run) - gap))
    return (*together, *apart)


def likeness(folded: str, detectors: Set[str]) -> Likeness:
    """What a text reads like, of these detectors; `folded`: see `normalise`.

    Read as a whole, and two sentences at a time: a bad one is not made good by many good ones around it.
    """
    parts = list(_sentences(folded))
    whole = _worst(_sum(parts), detectors, (0, len(folded)))
    pairs = [_worst(_sum(parts[n : n + 2]), detectors, _around(parts[n : n + 2])) for n in range(len(parts))]
    worst = max(pairs, key=lambda one: one.by, default=whole)
    read = sum(part.grams for part in parts)
    if worst.by - _PART_OF_IT > whole.by:
        return worst._replace(by=worst.by - _PART_OF_IT, read=read)
    return whole._replace(span=worst.span, read=read)


class _Part(NamedTuple):
    """A sentence: where it stands, all its grams' lanes added, and how many grams there are."""

    span: tuple[int, int]
    lanes: int
    grams: int


def _sentences(folded: str) -> Iterator[_Part]:
    bounds = [0, *(match.end() for match in _SENTENCE.finditer(folded)), len(folded)]
    read = list(tokens(folded))
    starts = [token.start for token in read]
    for start, end in pairwise(bounds):
        grams = [gram for token in read[bisect_left(starts, start) : bisect_left(starts, end)] for gram in token.grams]
        if grams:
            yield _Part((start, end), sum(map(_lanes, grams)), len(grams))


def _sum(parts: Sequence[_Part]) -> tuple[int, int]:
    return sum(part.lanes for part in parts), sum(part.grams for part in parts)


def _around(parts: Sequence[_Part]) -> tuple[int, int]:
    return parts[0].span[0], parts[-1].span[1]


def _worst(read: tuple[int, int], detectors: Set[str], span: tuple[int, int]) -> Likeness:
    """The likeliest of these classes, and how far above a bar."""
    to, scores = model(), _scores(*read)
    bad = {name: score for name, score in scores.items() if name in detectors and name != GOOD}
    if not bad:
        return Likeness("", -inf, span)
    worst = max(bad, key=lambda name: bad[name])
    together = bad[worst] + log(sum(exp(score - bad[worst]) for score in bad.values()))
    by = together - scores[GOOD] - to.bar
    own, name = max(((bad[n] - scores[GOOD] - bar, n) for n, bar in to.bars.items() if n in bad), default=(by, worst))
    return Likeness(worst, by, span) if by >= min(0, own) else Likeness(name, own, span)


def _scores(lanes: int, many: int) -> dict[str, float]:
    """By class: the sum of its weights, less for longer texts, and its bias."""
    to = model()
    share = to.scale / sqrt(many or 1)
    return {
        name: (((lanes >> _LANE * n) & _ONE_LANE) - _NOUGHT * many) * share + to.bias[n]
        for n, name in enumerate(to.classes)
    }


@lru_cache(maxsize=_MOST_KEPT)
def _lanes(gram: str) -> int:
    to = model()
    at = bucket(gram, len(to.weights) // len(to.classes)) * len(to.classes)
    return sum(weight << _LANE * n for n, weight in enumerate(to.weights[at : at + len(to.classes)]))


def bucket(gram: str, buckets: int) -> int:
    """Where a gram's weights lie; some share a place."""
    return zlib.crc32(gram.encode("utf-8", "surrogatepass")) % buckets


@lru_cache(maxsize=1)
def model() -> Model:
    """Read when the first text that somebody wrote is judged."""
    told = json.loads((FOLDER / "model.json").read_text("utf-8"))
    weights = zlib.decompress((FOLDER / "weights.z").read_bytes())
    return Model(tuple(told["classes"]), tuple(told["bias"]), told["scale"], told["bar"], told["bars"], weights)
