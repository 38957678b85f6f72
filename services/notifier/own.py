"""A marketplace's own patterns over a text: only those are searched that may match in it. Pure.

They are searched without regard to case in the text with its own letters and in the folded one. What they demand is said
for letters that have one small form; a text with others is searched for all of them.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from services.notifier.atoms import ODD_CASE, demanded_of_small
from services.notifier.normalise import Text
from services.notifier.scan import EVERYTHING, Index, possible

Searches = Mapping[str, tuple[tuple[re.Pattern[str], str], ...]]
"""By the rule's id: a pattern, and the text it is to be searched in."""
_MOST_KEPT = 1024


class Own:
    """`patterns`: by the rule's id."""

    def __init__(self, patterns: Mapping[str, tuple[re.Pattern[str], ...]]) -> None:
        self._index = Index()
        self._odd = self._index.gate(ODD_CASE)
        self._patterns = [
            (rule, pattern, self._index.add_ways(demanded_of_small(pattern)))
            for rule, listed in patterns.items()
            for pattern in listed
        ]
        self._opened = lru_cache(maxsize=_MOST_KEPT)(self._open)

    def _open(self, held: int) -> list[tuple[str, re.Pattern[str]]]:
        return [(rule, pattern) for rule, pattern, demand in self._patterns if possible(demand, held)]

    def searches(self, text: Text) -> Searches:
        found: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {}
        if not self._patterns:
            return found
        for one in (text.folded,) if text.plain == text.folded else (text.plain, text.folded):
            held = self._index.held(one)
            for rule, pattern in self._opened(EVERYTHING if held & self._odd else held):
                found[rule] = (*found.get(rule, ()), (pattern, one))
        return found
