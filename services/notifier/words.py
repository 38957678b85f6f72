"""The word lists behind the built-in detectors: one file per language in `lexicon/`, all of them always searched.

A list is a name and regular expressions over the folded text (`normalise.folded`): they are folded as the text is, so
accents, look-alike letters and traditional signs need not be written out. What the lists mean together is in `meanings.py`.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

from services.notifier.normalise import folded

DETECTORS = (
    "review_mention", "early_receipt", "withdraw_request", "cancel_request", "threat", "insult", "marketing", "personal_data",
)  # fmt: skip
"""Built-in detectors that read words alone."""
LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "pt", "ru", "zh", "zh-Hant")
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FOLDER = Path(__file__).parent / "lexicon"
_SIGNS = re.compile(r"[\u3040-\u9fff]")
BEGINS, ENDS = r"(?<![^\W_])", r"(?![^\W_])"
"""Where a word begins and ends."""
_BEHIND = re.compile(r"\(\?<[!=](?:[^()\\]|\\.)*\)")
_NUMBERS = ("unit", "ten", "hundred")
_PLAIN = ("at", "at_weak", "dot", "dotted", "joint", "phone_word", "id_word", "lot_word", *_NUMBERS)
"""Lists that are parts of other patterns (`contacts.py`), not searched by themselves."""


class Words(NamedTuple):
    """One list, one pattern per language: of words (searched in `apart`), of signs; `names` are found also when disguised."""

    patterns: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Lexicon(NamedTuple):
    lists: dict[str, Words]
    parts: dict[str, tuple[str, ...]]
    """Alternatives without bounds, per list of `_PLAIN`; those of words with their bounds."""


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """Read when the first text is judged."""
    patterns: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
    names: dict[str, tuple[str, ...]] = {}
    parts: dict[str, list[str]] = {name: [] for name in _PLAIN}
    for language in LANGUAGES:
        written = (_FOLDER / f"{language}.yaml").read_text("utf-8")
        raw = yaml.load(written, _SAFE)  # noqa: S506 - it is a safe one
        words = raw["script"] == "words"
        for name, entries in raw["lists"].items():
            if name in _PLAIN:
                parts[name] += [_bound(str(one), words) for one in entries]
            else:
                patterns[words].setdefault(name, []).append(_pattern(entries, words))
        names |= {name: tuple(listed) for name, listed in raw.get("names", {}).items()}
    lists = {
        name: Words(tuple(patterns[True].get(name, ())), tuple(patterns[False].get(name, ())), names.get(name, ()))
        for name in [*patterns[True], *patterns[False], *names]
    }
    return Lexicon(lists, {name: tuple(listed) for name, listed in parts.items()})


def _pattern(entries: list[str], words: bool) -> str:
    return (BEGINS if words else "") + "(?:" + "|".join(map(_written, entries)) + ")"


def _bound(entry: str, words: bool) -> str:
    return f"{BEGINS}(?:{_written(entry)}){ENDS}" if words and entry[-1].isalpha() else _written(entry)


def _written(entry: str) -> str:
    return folded(entry).replace(r"\>", ENDS).replace(r"\<", BEGINS)


def apart(text: str) -> str:
    """Chinese and Japanese signs as what is no letter, every place kept: a Latin word beside them is a word of its own."""
    return text if text.isascii() else _SIGNS.sub("\x1b", text)


def loose(pattern: str) -> str:
    """The same without regard to where words begin and end: for text whose spaces say nothing."""
    return _BEHIND.sub("", pattern.replace(ENDS, "")).replace(r"\s+", r"\s*").replace(" ", r"\s?")


_GAP = r"[\s._*'\-]{0,2}"
_SHAPES = {
    "a": "[a4@]",
    "e": "[e3]",
    "i": "[i1!|]",
    "l": "[l1|i]",
    "o": "[o0]",
    "s": "[s5$]",
    "t": "[t7+]",
    "g": "[g9]",
}


def disguised(name: str) -> str:
    """A name also when its letters are spaced, dotted or written as digits: `w.h.4.t s a p p`."""
    return r"(?<![a-z])" + _GAP.join(_SHAPES.get(c, c) for c in name) + r"(?![a-z])"


_SAME, _GAPS = bytes.maketrans(b"4@3!1|l05$7+9", b"aaeiiiiossttg"), b" \t\n\r._*'-"


def squashed(text: str) -> str:
    """Without gaps, and what stands for one letter as that letter: holds every name that `disguised` would find."""
    return text.encode("ascii", "replace").translate(_SAME, _GAPS).decode("ascii")


MAIL_HOSTS = (
    r"(?:gmail|googlemail|outlook|hotmail|live|yahoo|icloud|proton\w*|qq|163|126|sina|sohu|foxmail|mail|yandex|aol|gmx|zoho"
    r"|web)"
)


def any_of(name: str) -> str:
    """One group of all languages' alternatives of a list that is part of other patterns."""
    return "(?:" + "|".join(lexicon().parts[name]) + ")"


@lru_cache(maxsize=1)
def number_words() -> frozenset[str]:
    """Those that are a word and no pattern."""
    listed = [one for name in _NUMBERS for one in lexicon().parts[name]]
    plain = (one.replace(BEGINS, "").replace(ENDS, "").removeprefix("(?:").removesuffix(")") for one in listed)
    return frozenset(one for one in plain if re.fullmatch(r"\w+", one))
