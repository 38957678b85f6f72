"""What words mean together: the detectors that need more than one list. Pure.

A detector reads a text as `Seen`: where each list's words stand. Words belong together when they are near and no sentence
ends between them; a sentence is excused by what it says beside (thanks for a review, a refund to the card that paid).
Joined detectors also know the last messages of the case, oldest first: what asks must stand in the text itself.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Set

Span = tuple[int, int]
Search = Callable[[str], Iterable[Span]]
_BREAK = re.compile(r"[!?\n;]|\.(?=\s|$|[^\x00-\x7f])")
_CLAUSE = re.compile(r"[,;:.!?\n]")
_JUST_BEFORE = 20
_NEVER = 50
_NEEDLESS = 25
_DISOWNED = 90
_HONEST = ("no_strings", "not_ours")
"""No condition is meant, or it is said of others."""
_BACK = 160
"""How far a word reaches back to what it stands for."""


class Seen:
    """One text and where the words of each list stand in it; each list is searched once, when first asked for."""

    __slots__ = ("_breaks", "_known", "_search", "text")

    def __init__(self, text: str, search: Search) -> None:
        self.text, self._search = text, search
        self._known: dict[str, list[Span]] = {}
        self._breaks: list[int] | None = None

    def spans(self, name: str) -> list[Span]:
        found = self._known.get(name)
        if found is None:
            self._known[name] = found = sorted(self._search(name))
        return found

    def any(self, *names: str) -> bool:
        return any(self.spans(name) for name in names)

    def sentence(self, span: Span) -> Span:
        """From the end of the sentence before to the end of its own."""
        if self._breaks is None:
            self._breaks = [match.start() for match in _BREAK.finditer(self.text)]
        before, after = bisect_left(self._breaks, span[0]), bisect_left(self._breaks, span[1])
        start = self._breaks[before - 1] + 1 if before else 0
        return start, self._breaks[after] if after < len(self._breaks) else len(self.text)

    def beside(self, span: Span, *names: str) -> bool:
        """One of these words begins in the span's own sentence."""
        start, end = self.sentence(span)
        return any(start <= found[0] < end for name in names for found in self.spans(name))

    def just_before(self, span: Span, name: str, within: int = _JUST_BEFORE) -> bool:
        return any(found[0] <= span[0] <= found[1] + within for found in self.spans(name))

    def near(self, first: str, second: str, gap: int) -> Iterator[Span]:
        """Both within one sentence, `first` before `second` or around it, at most `gap` signs between them."""
        if not self.spans(first):
            return
        for b in self.spans(second):
            for a in self.spans(first):
                around = a[0] < b[0] and b[1] < a[1]
                if (around or 0 <= b[0] - a[1] <= gap) and self.sentence(a) == self.sentence(b):
                    yield (a[0], max(a[1], b[1]))

    def about(self, first: str, second: str, gap: int) -> Iterator[Span]:
        """As `near`, in either order."""
        yield from self.near(first, second, gap)
        yield from self.near(second, first, gap)


Earlier = Iterable[Seen]
Meaning = Callable[[Seen, Earlier], Iterator[Span]]


def _review_pressure(seen: Seen, earlier: Earlier) -> Iterator[Span]:
    """Asking for a change or a good one is enough; asking for any is too much once money or a gift is in the talk."""
    if seen.any("review", "stars", "rate_us"):
        yield from _change_asked(seen)
        yield from _good_one_asked(seen)
        yield from _steered(seen)
        yield from _bought(seen, earlier)
    if seen.any("wrote"):
        yield from _words_changed(seen)
    if seen.any("change_it"):
        yield from _changed_back(seen, earlier)
    if seen.any("in_return") and seen.any("money") and any(list(_requested(one)) for one in earlier):
        yield from seen.spans("in_return")


def _change_asked(seen: Seen) -> Iterator[Span]:
    for span in seen.about("change", "review", 60):
        if (not seen.beside(span, "own_work") or seen.beside(span, "ask")) and not seen.beside(span, *_HONEST):
            yield span
    for span in seen.about("changed", "review", 40):
        if seen.beside(span, "condition", "ask", "money") and not seen.beside(span, "own_work", *_HONEST):
            yield span


def _words_changed(seen: Seen) -> Iterator[Span]:
    """What the buyer wrote, not called a review."""
    for span in seen.about("change", "wrote", 40):
        if not seen.beside(span, "own_work", *_HONEST):
            yield span
    for span in seen.about("changed", "wrote", 40):
        if seen.beside(span, "condition", "ask") and not seen.beside(span, "own_work", *_HONEST):
            yield span


def _changed_back(seen: Seen, earlier: Earlier) -> Iterator[Span]:
    """It, where the review was spoken of before."""
    for span in seen.spans("change_it"):
        if seen.beside(span, "own_work", *_HONEST) and not seen.beside(span, "ask"):
            continue
        if any(start <= span[0] and span[1] <= end for start, end in seen.spans("we_mend")):
            continue
        if _spoken_of("review", span, seen, earlier) or _spoken_of("wrote", span, seen, earlier):
            yield span


def _spoken_of(name: str, span: Span, seen: Seen, earlier: Earlier) -> bool:
    """Shortly before, or, if not in this text at all, in the last messages."""
    if seen.any(name):
        return any(0 <= span[0] - found[1] <= _BACK for found in seen.spans(name))
    return any(one.any(name) for one in earlier)


def _good_one_asked(seen: Seen) -> Iterator[Span]:
    within = [
        one for one in seen.spans("review") if any(one[0] <= p[0] and p[1] <= one[1] for p in seen.spans("praise"))
    ]
    for span in [*seen.near("praise", "review", 25), *seen.near("review", "praise", 12), *within]:
        wanted = seen.beside(span, "ask", "give", "happy_if", "favour") and not seen.beside(span, *_HONEST)
        if wanted and not seen.just_before(span, "thanks"):
            yield span
    for span in seen.spans("stars"):
        given = seen.just_before(span, "thanks") or seen.just_before(span, "praised", 0)
        if not given and not seen.beside(span, "other_stars", *_HONEST):
            yield span


def _steered(seen: Seen) -> Iterator[Span]:
    """Only the happy to the reviews, the others to us first."""
    for happy in seen.spans("happy_if"):
        for review in seen.spans("review"):
            if happy[0] <= review[0] <= happy[1] + 60:
                yield (happy[0], max(happy[1], review[1]))
    for span in seen.about("before", "review", 60):
        if seen.beside(span, "give", "bad_word") and not seen.beside(span, *_HONEST):
            yield span


def _bought(seen: Seen, earlier: Earlier) -> Iterator[Span]:
    return (span for span in _paid_for(seen, earlier) if not _disowned(seen, span))


def _disowned(seen: Seen, span: Span) -> bool:
    """It is said right after that this came from somebody else."""
    return any(
        0 <= found[0] - span[1] <= _DISOWNED or span[0] <= found[0] < span[1] for found in seen.spans("not_ours")
    )


def _paid_for(seen: Seen, earlier: Earlier) -> Iterator[Span]:
    if not (seen.any("money", "money_sign") or any(one.any("money") for one in earlier)):
        return
    for span in _requested(seen):
        if not seen.beside(span, *_HONEST):
            yield span
    for span in [*seen.about("money", "review", 60), *seen.about("money_sign", "review", 60)]:
        if seen.beside(span, "condition", "ask", "favour") and not seen.beside(span, "thanks", "own_work", *_HONEST):
            yield span
    for span in [*seen.about("favour", "review", 60), *seen.spans("for_review")]:
        if not seen.just_before(span, "thanks", 4) and not seen.beside(span, *_HONEST):
            yield span


def _requested(seen: Seen) -> Iterator[Span]:
    for span in [*seen.near("give", "review", 50), *seen.near("ask", "review", 25)]:
        if not any(span[0] - _JUST_BEFORE <= thanks[0] < span[1] for thanks in seen.spans("thanks")):
            yield span
    yield from seen.spans("rate_us")
    for span in seen.spans("requested"):
        if not seen.just_before(span, "thanks"):
            yield span


def _review_mention(seen: Seen, _earlier: Earlier) -> Iterator[Span]:
    yield from seen.spans("review")
    yield from seen.spans("stars")


def _withdraw_request(seen: Seen, earlier: Earlier) -> Iterator[Span]:
    said = [*seen.near("drop", "claim", 40), *seen.near("claim", "drop", 30), *seen.spans("claim_then_drop")]
    back = [span for span in seen.spans("drop_it") if _spoken_of("claim", span, seen, earlier)]
    for span in [*said, *back]:
        if not seen.beside(span, "not_dropping", *_HONEST):
            yield span


def _withdraw_pressure(seen: Seen, earlier: Earlier) -> Iterator[Span]:
    conditions = (span for span in seen.spans("if_dropped") if not seen.beside(span, *_HONEST))
    asked = [*_withdraw_request(seen, earlier), *conditions]
    if asked and any(one.any("money", "money_sign") and one.any("condition") for one in (seen, *earlier)):
        yield from asked


def _early_receipt(seen: Seen, _earlier: Earlier) -> Iterator[Span]:
    asked = [*seen.near("confirm", "received", 40), *seen.near("received", "confirm", 25), *seen.spans("early_receipt")]
    for span in asked:
        if not seen.beside(span, "arrived"):
            yield span
    yield from seen.spans("confirm_early")


def _cancel_request(seen: Seen, _earlier: Earlier) -> Iterator[Span]:
    pairs = [*seen.about("cancel", "order", 30), *seen.about("cancel", "cancel_reason", 80)]
    for span in [*(one for one in pairs if seen.beside(one, "suggest")), *seen.spans("cancel_request")]:
        if not seen.beside(span, "not_cancelling"):
            yield span


def _off_platform(seen: Seen, _earlier: Earlier) -> Iterator[Span]:
    pairs = [*seen.about("past_platform", "pay", 60), *seen.about("privately", "pay", 60)]
    named = [span for span in seen.spans("payment") if not seen.beside(span, "paid_with")]
    for span in [*pairs, *named, *seen.spans("off_platform_payment")]:
        if not _never(seen, span):
            yield span


def _personal_data(seen: Seen, _earlier: Earlier) -> Iterator[Span]:
    for span in seen.spans("personal_data"):
        if (
            not _never(seen, span)
            and not _needless(seen, span)
            and not seen.beside(span, "shown")
            and (seen.beside(span, "ask") or not seen.beside(span, "paid_with"))
        ):
            yield span


def _needless(seen: Seen, span: Span) -> bool:
    """It is said right after that this is not needed."""
    after = (found for found in seen.spans("not_needed") if 0 <= found[0] - span[1] <= _NEEDLESS)
    return any(not _CLAUSE.search(seen.text, span[1], found[0]) for found in after)


def _never(seen: Seen, span: Span) -> bool:
    """It is said that this is never asked for, in the same breath, or that others did."""
    if seen.beside(span, "not_ours"):
        return True
    near = (found for found in seen.spans("never_ask") if found[0] <= span[1] and span[0] - found[1] <= _NEVER)
    return any(not _CLAUSE.search(seen.text, found[1], span[0]) for found in near)


def _contact(seen: Seen, _earlier: Earlier) -> Iterator[Span]:
    for name in ("messenger", "outside", "handle"):
        for span in seen.spans(name):
            if not _never(seen, span):
                yield span


def _unless(name: str, excuse: str) -> Meaning:
    """The words of a list, but for sentences that an excuse stands in."""

    def found(seen: Seen, _earlier: Earlier) -> Iterator[Span]:
        return (span for span in seen.spans(name) if not seen.beside(span, excuse))

    return found


MEANINGS: dict[str, Meaning] = {
    "review_pressure": _review_pressure,
    "review_mention": _review_mention,
    "withdraw_request": _withdraw_request,
    "withdraw_pressure": _withdraw_pressure,
    "early_receipt": _early_receipt,
    "cancel_request": _cancel_request,
    "off_platform_payment": _off_platform,
    "personal_data": _personal_data,
    "contact": _contact,
    "threat": _unless("threat", "not_threat"),
    "insult": _unless("insult", "not_insult"),
    "marketing": _unless("marketing", "not_marketing"),
}

BARGAINS: dict[str, Meaning] = {"review_pressure": _bought, "withdraw_pressure": _withdraw_pressure}
"""Money or a favour against a review, a remedy against a withdrawal."""

_REVIEW = (
    "change", "changed", "praise", "happy_if", "before", "give", "ask", "requested", "money", "money_sign", "favour",
    "for_review",
)  # fmt: skip
_ALONE = ("stars", "rate_us", "change_it", "change wrote", "changed wrote", "in_return money")
_WITHDRAWN = ("drop claim", "claim_then_drop", "drop_it")
_NEEDS: dict[str, tuple[str, ...]] = {
    "review_pressure": (*(f"review {one}" for one in _REVIEW), *_ALONE),
    "review_mention": ("review", "stars"),
    "withdraw_request": _WITHDRAWN,
    "withdraw_pressure": (*_WITHDRAWN, "if_dropped"),
    "early_receipt": ("confirm received", "early_receipt", "confirm_early"),
    "cancel_request": ("cancel order suggest", "cancel cancel_reason suggest", "cancel_request"),
    "off_platform_payment": ("past_platform pay", "privately pay", "payment", "off_platform_payment"),
    "personal_data": ("personal_data",),
    "contact": ("messenger", "outside", "handle"),
    "threat": ("threat",),
    "insult": ("insult",),
    "marketing": ("marketing",),
}
"""Of the lists named together all must stand in a text, or nothing is meant; one such row is enough to look."""
_ROWS = [(name, frozenset(row.split())) for name, rows in _NEEDS.items() for row in rows]


def may_mean(present: Set[str]) -> frozenset[str]:
    """The detectors that may find anything in a text in which words of these lists may stand, and of no others."""
    return frozenset(name for name, row in _ROWS if row <= present)
