"""How well the built-in detectors tell good messages from bad ones: a labelled set judged, and what came of it.

The set is data (`bad: {detector: [text]}`, `good: [text]`, `joined: [{text, earlier, bad}]`), one file per language. Which part
a text belongs to says `part` of its file, or without it the text's own hash: `held_out` is never looked at when the word
lists are tuned.
"""

from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from services.notifier.rulebook import KNOWN, RuleBook, load, parse
from services.notifier.rules import judge
from shared.registry import Registry

NOT_SCORED = frozenset({"no_order_id", "review_mention"})
"""Detectors that tell nothing good from bad by themselves."""
ORDER, KNOWN_IDS = "8012345678901234", ("LP00123456789012",)
OF_SHAPE = frozenset({"emoji", "html"})
"""What only some marketplaces forbid: looked for in a set that names it."""
_HELD_OUT = 2
"""Of five parts."""


class Labelled(NamedTuple):
    """`bad`: the detector that must find it; None: it must pass."""

    language: str
    text: str
    bad: str | None
    earlier: tuple[str, ...] = ()
    told: str | None = None

    @property
    def part(self) -> str:
        """`tuned` or `held_out`."""
        return self.told or self._by_hash()

    def _by_hash(self) -> str:
        return "held_out" if sha256(self.text.encode()).digest()[0] % 5 < _HELD_OUT else "tuned"


class Judged(NamedTuple):
    """`held`: what was found only reads like it, a person may let it go; else it is blocked."""

    labelled: Labelled
    found: frozenset[str]
    held: bool = False

    @property
    def wrong(self) -> bool:
        return bool(self.found) if self.labelled.bad is None else not self.found


class Figure(NamedTuple):
    """Of `bad` texts so many were stopped, blocked or held (`named`: by the detector they are labelled with); of `good` ones
    so many were blocked, so many held."""

    bad: int
    stopped: int
    named: int
    good: int
    blocked: int
    held: int

    @property
    def recall(self) -> float:
        return self.stopped / self.bad if self.bad else 1.0

    @property
    def false_blocks(self) -> float:
        return self.blocked / self.good if self.good else 0.0

    @property
    def false_holds(self) -> float:
        return self.held / self.good if self.good else 0.0


def read(language: str, raw: Mapping[str, Any]) -> list[Labelled]:
    """One file of the set. Raises KeyError, TypeError for what is none."""
    bad = [Labelled(language, text, name) for name, texts in raw.get("bad", {}).items() for text in texts]
    good = [Labelled(language, text, None) for text in raw.get("good", ())]
    joined = [
        Labelled(language, one["text"], one["bad"][0] if one["bad"] else None, tuple(one["earlier"]))
        for one in raw.get("joined", ())
    ]
    return [one._replace(told=raw.get("part")) for one in (*bad, *good, *joined)]


@lru_cache(maxsize=1)
def _own_hosts() -> list[str]:
    """The marketplaces' own pages: a set does not say on which of them its texts are sent."""
    registry = Registry(None)
    books = [load(path, name) for name in registry.names() if (path := registry.rules_file(name))]
    return sorted({host for one in books for rule in one.rules for host in rule.allow_hosts})


def book(besides: Set[str] = OF_SHAPE) -> RuleBook:
    """Every detector as a rule of its own name; of shape only those `besides`."""
    own = _own_hosts()
    rules = [
        {"id": name, "severity": "block", "about": name, "source": "this set", "detect": name, "allow_hosts": own}
        for name in sorted(KNOWN - NOT_SCORED - (OF_SHAPE - besides))
    ]
    return parse({"purposes": {"free_text": []}, "rules": rules}, "set", Path("rules.yaml"))


def judged(labelled: Iterable[Labelled]) -> list[Judged]:
    found, labelled = [], list(labelled)
    rules = book({one.bad for one in labelled if one.bad})
    for one in labelled:
        verdict = judge(
            one.text, rules, purpose="free_text", order_id=ORDER, known=KNOWN_IDS, earlier=one.earlier
        )  # fmt: skip
        found.append(Judged(one, frozenset(v.rule for v in verdict.violations), verdict.action == "hold"))
    return found


def figure(results: Iterable[Judged]) -> Figure:
    results = list(results)
    bad = [one for one in results if one.labelled.bad is not None]
    good = [one for one in results if one.labelled.bad is None]
    return Figure(
        len(bad), sum(bool(one.found) for one in bad), sum(one.labelled.bad in one.found for one in bad),
        len(good), sum(bool(one.found) and not one.held for one in good), sum(bool(one.found) and one.held for one in good),
    )  # fmt: skip


def by_rule(results: Iterable[Judged]) -> dict[str, Figure]:
    """Of each detector its own bad texts; of all good ones those that it stops."""
    results = list(results)
    figures = {}
    for name in sorted(KNOWN - NOT_SCORED):
        mine = [one for one in results if one.labelled.bad == name]
        good = [one._replace(found=one.found & {name}) for one in results if one.labelled.bad is None]
        figures[name] = figure([*mine, *good])
    return figures
