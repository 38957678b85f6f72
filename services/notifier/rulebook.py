"""A marketplace's `rules.yaml` as types. `docs/rules-format.md` describes the file; everything wrong in it is said at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from services.notifier.own import Own
from services.notifier.words import DETECTORS
from shared import yaml_lines
from shared.durations import parse_duration
from shared.errors import ConfigurationError

OWN_DETECTORS = (
    "contact", "link", "review_pressure", "withdraw_pressure", "html", "emoji", "no_order_id", "off_platform_payment",
)  # fmt: skip
KNOWN = frozenset(DETECTORS) | set(OWN_DETECTORS)
DEFAULT_MAX_CHARS = 20_000
_LIMITS = (
    "max_chars", "min_chars", "per_day", "unanswered", "per_day_unanswered", "unanswered_per_purpose", "calls_per_second",
)  # fmt: skip
_LONGEST_PATTERN = 1000

Severity = Literal["block", "hold"]


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    severity: Severity
    about: str
    source: str
    detect: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()
    purposes: frozenset[str] = frozenset()
    excepted: frozenset[str] = frozenset()
    phases: frozenset[str] = frozenset()

    def concerns(self, purpose: str, phase: str | None) -> bool:
        """Whether it holds for this purpose; without a known phase (a preview) phases are not looked at."""
        if purpose in self.excepted or (self.purposes and purpose not in self.purposes):
            return False
        return not self.phases or phase is None or phase in self.phases


@dataclass(frozen=True, slots=True)
class Windows:
    after_buyer_message: timedelta | None = None
    closed_by_default: bool = False
    otherwise: Literal["hold", "assisted", "block"] = "hold"


@dataclass(frozen=True)
class RuleBook:
    """All of one marketplace's rules. `purposes`: what may be sent -> in which phases (empty: all)."""

    marketplace: str
    version: str = ""
    purposes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    max_chars: int = DEFAULT_MAX_CHARS
    min_chars: int = 1
    per_day: int | None = None
    unanswered: int | None = None
    per_day_unanswered: int | None = None
    unanswered_per_purpose: int | None = None
    calls_per_second: int | None = None
    """How fast the marketplace may be called for one account, messages and acts alike."""
    windows: Windows | None = None
    quiet: tuple[time, time] | None = None
    rules: tuple[Rule, ...] = ()

    @cached_property
    def own(self) -> Own:
        """The patterns that its rules bring themselves."""
        return Own({rule.id: rule.patterns for rule in self.rules if rule.patterns})

    def allows(self, purpose: str, phase: str | None) -> bool:
        phases = self.purposes.get(purpose)
        return phases is not None and (not phases or phase is None or phase in phases)


class _Faults(list[str]):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def say(self, where: str, what: str) -> None:
        self.append(f"{self.path} {where}: {what}")

    def keys(self, given: Any, where: str, allowed: tuple[str, ...]) -> dict[str, Any]:
        if given is None:
            return {}
        if not isinstance(given, dict):
            self.say(where, "must be a mapping")
            return {}
        for key in given:
            if key not in allowed:
                self.say(where, f"unknown key {key!r}")
        return {k: v for k, v in given.items() if k in allowed}


def load(path: Path, marketplace: str) -> RuleBook:
    """Reads and checks one file. Raises ConfigurationError naming every fault."""
    try:
        raw, _lines = yaml_lines.load(path.read_text("utf-8"), str(path))
    except yaml_lines.YamlFault as fault:
        raise ConfigurationError([str(fault)]) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationError([f"{path}: cannot be read ({type(fault).__name__})"]) from None
    return parse(raw, marketplace, path)


def parse(raw: Any, marketplace: str, path: Path) -> RuleBook:
    faults = _Faults(path)
    top = faults.keys(raw, "top level", ("version", "purposes", "limits", "windows", "quiet_hours", "rules"))
    limits = faults.keys(top.get("limits"), "limits", _LIMITS)
    for name, value in limits.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            faults.say(f"limits.{name}", "must be a whole number, zero or more")
    book = RuleBook(
        marketplace=marketplace,
        version=str(top.get("version", "")),
        purposes=_purposes(top.get("purposes"), faults),
        windows=_windows(top.get("windows"), faults),
        quiet=_quiet(top.get("quiet_hours"), faults),
        rules=_rules(top.get("rules"), faults),
        **{k: v for k, v in limits.items() if isinstance(v, int)},
    )
    if faults:
        raise ConfigurationError(list(faults))
    return book


def _purposes(raw: Any, faults: _Faults) -> dict[str, tuple[str, ...]]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        faults.say("purposes", "must be a mapping of purpose to phases")
        return {}
    found = {}
    for name, phases in raw.items():
        if not isinstance(phases, list | None):
            faults.say(f"purposes.{name}", "must be a list of phases")
            continue
        found[str(name)] = tuple(str(p) for p in phases or ())
    return found


def _windows(raw: Any, faults: _Faults) -> Windows | None:
    if raw is None:
        return None
    given = faults.keys(raw, "windows", ("after_buyer_message", "closed_by_default", "otherwise"))
    otherwise = given.get("otherwise", "hold")
    if otherwise not in ("hold", "assisted", "block"):
        faults.say("windows.otherwise", "must be hold, assisted or block")
    after = None
    if "after_buyer_message" in given:
        try:
            after = parse_duration(given["after_buyer_message"])
        except ValueError as fault:
            faults.say("windows.after_buyer_message", str(fault))
    return Windows(after, given.get("closed_by_default") is True, otherwise)


def quiet_hours(text: str) -> tuple[time, time]:
    """The account's setting "22:00-08:00". Raises ValueError."""
    start, _, end = text.partition("-")
    return time.fromisoformat(start.strip()), time.fromisoformat(end.strip())


def _quiet(raw: Any, faults: _Faults) -> tuple[time, time] | None:
    if raw is None:
        return None
    given = faults.keys(raw, "quiet_hours", ("from", "to"))
    try:
        start, end = time.fromisoformat(str(given["from"])), time.fromisoformat(str(given["to"]))
    except (KeyError, ValueError):
        faults.say("quiet_hours", 'must be {from: "HH:MM", to: "HH:MM"}')
        return None
    if start == end:
        faults.say("quiet_hours", "must not be the whole day")
    return (start, end)


def _rules(raw: Any, faults: _Faults) -> tuple[Rule, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        faults.say("rules", "must be a list")
        return ()
    rules = tuple(_rule(one, f"rules[{n}]", faults) for n, one in enumerate(raw))
    ids = [rule.id for rule in rules]
    for double in sorted({i for i in ids if ids.count(i) > 1}):
        faults.say("rules", f"id {double!r} is given twice")
    return rules


_RULE_KEYS = (
    "id", "severity", "about", "source", "read", "detect", "allow_hosts", "languages", "purposes", "except", "phases",
)  # fmt: skip


def _rule(raw: Any, where: str, faults: _Faults) -> Rule:
    given = faults.keys(raw, where, _RULE_KEYS)
    where = f"{where} {given.get('id', '')}".strip()
    for name in ("id", "severity", "about", "source"):
        if not given.get(name):
            faults.say(where, f"{name} is missing")
    if given.get("severity") not in ("block", "hold", None):
        faults.say(where, "severity must be block or hold")
    detect = given.get("detect") or []
    detect = tuple(detect) if isinstance(detect, list) else (str(detect),)
    for name in detect:
        if name not in KNOWN:
            faults.say(where, f"unknown detector {name!r}")
    if not detect and not given.get("languages"):
        faults.say(where, "needs detect or languages")
    return Rule(
        id=str(given.get("id", "")),
        severity=given.get("severity", "block"),
        about=str(given.get("about", "")),
        source=str(given.get("source", "")),
        detect=detect,
        allow_hosts=tuple(str(h).lower().lstrip(".") for h in given.get("allow_hosts") or ()),
        patterns=_patterns(given.get("languages"), where, faults),
        purposes=frozenset(given.get("purposes") or ()),
        excepted=frozenset(given.get("except") or ()),
        phases=frozenset(given.get("phases") or ()),
    )


def _patterns(raw: Any, where: str, faults: _Faults) -> tuple[re.Pattern[str], ...]:
    if not isinstance(raw, dict | None):
        faults.say(where, "languages must map a language to a list of patterns")
        return ()
    found = []
    for language, patterns in (raw or {}).items():
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            try:
                if len(str(pattern)) > _LONGEST_PATTERN:
                    raise re.error("longer than 1000 characters")
                found.append(re.compile(str(pattern), re.IGNORECASE))
            except re.error as fault:
                faults.say(where, f"pattern for {language}: {fault}")
    return tuple(found)
