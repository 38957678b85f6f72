"""What one account may send: a shipped `rules.yaml`, partly laid over, as plain data and as the product reads it."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import yaml

from services.notifier import rulebook
from services.notifier.composer import Composer, Written
from services.notifier.rulebook import RuleBook
from shared.domain.errands import Errand
from shared.ports import Account
from shared.registry import Registry

SHARED = Path(__file__).parents[2] / "shared"
MARKETPLACES = ("aliexpress", "amazon", "dhgate", "generic", "ozon", "pinduoduo")
QUIET = (
    ("22:00", "08:00"), ("21:00", "09:00"), ("23:30", "06:15"), ("00:00", "07:00"), ("13:00", "15:00"), ("02:15", "02:45"),
    ("23:00", "00:00"), ("00:00", "01:00"), ("22:00", "02:30"), ("01:30", "03:30"),
)  # fmt: skip
WINDOWS: tuple[dict[str, Any], ...] = (
    {"after_buyer_message": "PT48H", "otherwise": "hold"},
    {"after_buyer_message": "PT24H", "closed_by_default": True, "otherwise": "hold"},
    {"after_buyer_message": "PT6H", "closed_by_default": True, "otherwise": "assisted"},
    {"closed_by_default": True, "otherwise": "block"},
)


@dataclass(frozen=True)
class Law:
    """`raw`: the file's content, with what was laid over it. `settings`: the account's own. `book`: the product's reading."""

    marketplace: str
    raw: dict[str, Any]
    settings: dict[str, Any]
    book: RuleBook


def drawn(random: Random) -> Law:
    """A marketplace as shipped, or with other limits, windows and quiet hours, and an account's settings over them."""
    name = random.choice(MARKETPLACES)
    raw, book = _shipped(name)
    over: dict[str, Any] = {}
    if random.random() < 0.6:
        over["limits"] = {**raw.get("limits", {}), **_limits(random)}
    if random.random() < 0.4:
        over["windows"] = random.choice(WINDOWS)
    if random.random() < 0.3:
        start, end = random.choice(QUIET)
        over["quiet_hours"] = {"from": start, "to": end}
    return Law(name, {**raw, **over}, _settings(random), _laid_over(book, over))


def _limits(random: Random) -> dict[str, int]:
    wanted = {
        "per_day": random.randint(1, 4),
        "unanswered": random.randint(1, 4),
        "per_day_unanswered": random.randint(1, 3),
        "unanswered_per_purpose": random.randint(1, 2),
    }
    return {name: most for name, most in wanted.items() if random.random() < 0.5}


def _settings(random: Random) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if random.random() < 0.4:
        settings["daily_messages_per_buyer"] = random.randint(1, 3)
    if random.random() < 0.4:
        settings["quiet_hours"] = "-".join(random.choice(QUIET))
    return settings


@cache
def _shipped(name: str) -> tuple[dict[str, Any], RuleBook]:
    path = SHARED / "marketplaces" / name / "rules.yaml"
    return yaml.safe_load(path.read_text("utf-8")), rulebook.load(path, name)


def _laid_over(book: RuleBook, over: dict[str, Any]) -> RuleBook:
    """Read by the product's own reader; the rules on texts stay as they are."""
    read = rulebook.parse(over, book.marketplace, Path("drawn"))
    limits = {name: getattr(read, name) for name in over.get("limits", {}) if name != "calls_per_second"}
    windows = {"windows": read.windows} if "windows" in over else {}
    quiet = {"quiet": read.quiet} if "quiet_hours" in over else {}
    return replace(book, **limits, **windows, **quiet)


@cache
def _composer() -> Composer:
    return _Remembering(Registry(), set(MARKETPLACES))


class _Watched(tuple[str, ...]):
    """The messages before: whether anybody looked at them."""

    seen = False

    def __iter__(self) -> Iterator[str]:
        self.seen = True
        return super().__iter__()


class _Remembering(Composer):
    """The product's own, which does not make the same text, of the same values and judged by the same rules, again. A verdict
    for which the messages before were looked at is never remembered."""

    written: ClassVar[dict[Any, Written]] = {}

    def write(self, errand: Errand, account: Account, earlier: Sequence[str] = ()) -> Written:
        zone, refs = errand.buyer.time_zone or account.time_zone, tuple(errand.refs.values())
        said = (errand.name, errand.text, repr(errand.params), errand.buyer.locale, zone)
        key = (errand.marketplace, errand.phase, errand.order_id, refs, *said)
        found = self.written.get(key)
        if found is None:
            watched = _Watched(earlier)
            found = super().write(errand, account, watched)
            if not watched.seen:
                self.written[key] = found
        return found


def composer(law: Law) -> Composer:
    """With this law's book for its marketplace."""
    made = copy.copy(_composer())
    made._books = {**made._books, law.marketplace: law.book}
    return made


@cache
def purposes() -> dict[str, dict[str, Any]]:
    """As the files say: purpose -> {variables: {name: {type, required}}}."""
    files = [*SHARED.glob("domain/purposes/*.yaml"), *SHARED.glob("marketplaces/*/purposes/*.yaml")]
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(files)}
