"""From an errand to the text that would leave and the verdict on it, per account. Pure once its files are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.notifier import rulebook, trial
from services.notifier.governor import Limits
from services.notifier.render import NotRendered, Rendered, Templates, canonical, chain
from services.notifier.rulebook import RuleBook
from services.notifier.rules import Verdict, judge, prepare
from shared.domain.errands import Errand
from shared.errors import ConfigurationError
from shared.manifest import Purpose
from shared.ports import Account
from shared.registry import Registry

FREE_TEXT = "free_text"
MOST_SAID = 5
"""So many of an order's last messages are judged together with a new one."""
_COMMON = Path(__file__).parent / "templates"
_KNOWN_PARAMS = ("tracking_number", "return_tracking_number", "carrier_tracking", "external_id", "return_number")
_LONGEST_PHONE = 12


@dataclass(frozen=True, slots=True)
class Written:
    """`fault`: no text could be made, and why. Without a fault there are a body and a verdict."""

    subject: str | None = None
    body: str | None = None
    locale: str | None = None
    template_hash: str | None = None
    verdict: Verdict | None = None
    fault: str | None = None


class Composer:
    """Templates and rules of the marketplaces in use. Raises ConfigurationError, all faults at once.

    `over`: the seller's own templates, `<purpose>/<locale>.j2` for all marketplaces or under a marketplace's name for one.
    `waiting`: which of these, with file and line, a person has to agree to each time.
    """

    def __init__(
        self, registry: Registry, marketplaces: set[str], common: Path = _COMMON, over: Path | None = None
    ) -> None:
        self._registry, self._common, self._over = registry, common, over
        self._purposes: Mapping[str, Purpose] = registry.purposes()
        self._books: dict[str, RuleBook] = {}
        self._templates: dict[str, Templates] = {}
        waiting: list[str] = []
        faults = [] if over is None else list(trial.strays(over, {*self._purposes, *registry.names()}))
        worded = {name for name in registry.names() if over is not None and (over / name).is_dir()}
        for name in sorted(marketplaces | worded):
            try:
                self._load(name)
                if over is not None:
                    found = list(trial.found(over, self._templates[name], self._books[name], self._purposes))
                    faults += [one.said for one in found if not one.held]
                    waiting += [one.said for one in found if one.held]
            except ConfigurationError as fault:
                faults += fault.faults
        if faults:
            raise ConfigurationError(list(dict.fromkeys(faults)))
        self.waiting = tuple(dict.fromkeys(waiting))

    def _load(self, name: str) -> None:
        path = self._registry.rules_file(name)
        book = rulebook.load(path, name) if path else RuleBook(name)
        drafts = [p for p in book.purposes if p in self._purposes and self._purposes[p].audience != "buyer"]
        if drafts:
            raise ConfigurationError([f"{path} purposes: {draft} is no message to a buyer" for draft in drafts])
        own = [] if self._over is None else [self._over / name, self._over]
        folders = [*own, *self._registry.template_dirs(name)]
        self._templates[name] = Templates(folders, self._purposes, self._common)
        self._books[name] = book

    def prepare(self) -> None:
        """Before the first text: else it waits while the word lists are read."""
        prepare(self._books.values())

    def knows(self, marketplace: str) -> bool:
        return marketplace in self._books

    def learn(self, marketplace: str) -> bool:
        """For previews: a marketplace no account uses is loaded when first asked for."""
        if marketplace not in self._books and marketplace in self._registry.names():
            self._load(marketplace)
        return self.knows(marketplace)

    def has_purpose(self, purpose: str) -> bool:
        return purpose in self._purposes

    def book(self, marketplace: str) -> RuleBook:
        return self._books[marketplace]

    def locales(self, marketplace: str, purpose: str) -> list[str]:
        return self._templates[marketplace].locales(purpose)

    def limits(self, account: Account) -> Limits:
        book = self._books[account.marketplace]
        per_day = account.settings.get("daily_messages_per_buyer", book.per_day)
        quiet = account.settings.get("quiet_hours")
        return Limits(book, per_day, rulebook.quiet_hours(quiet) if quiet else book.quiet)

    def write(self, errand: Errand, account: Account, earlier: Sequence[str] = ()) -> Written:
        """`earlier`: the last messages of the order, oldest first."""
        locales = chain(errand.locale, errand.buyer.locale, account.locale)
        if errand.text is not None:
            return self._judged(errand, Rendered(None, errand.text.strip(), locales[0], ""), earlier)
        try:
            zone = errand.buyer.time_zone or account.time_zone
            rendered = self._templates[errand.marketplace].render(errand.name, locales, errand.params, zone)
        except NotRendered as fault:
            return Written(fault=fault.why)
        return self._judged(errand, rendered, earlier)

    def _judged(self, errand: Errand, rendered: Rendered, earlier: Sequence[str]) -> Written:
        verdict = judge(
            rendered.body,
            self._books[errand.marketplace],
            purpose=errand.name,
            phase=errand.phase,
            order_id=errand.order_id,
            known=_known(errand, rendered),
            earlier=earlier,
            proven=self._proven(rendered),
            agreed=rendered.agreed,
        )
        return Written(rendered.subject, rendered.body, rendered.locale, rendered.template_hash or None, verdict)

    def _proven(self, rendered: Rendered) -> bool:
        """A template of ours: its tests have held it against every rule."""
        path = rendered.path
        return path is not None and (self._over is None or self._over not in path.parents)

    def preview(
        self, marketplace: str, purpose: str, locale: str, variables: Mapping[str, Any], earlier: Sequence[str] = ()
    ) -> Written:
        """A draft for the marketplace is judged as an operator's own words. `earlier`: what was sent on the order before
        it, oldest first; the last `MOST_SAID` count, as when it is sent. Raises NotRendered."""
        rendered = self._templates[marketplace].render(purpose, chain(locale), variables)
        judged_as = purpose if self._purposes[purpose].audience == "buyer" else FREE_TEXT
        known = [str(v) for n, v in variables.items() if n == "order_id" or n in _KNOWN_PARAMS]
        verdict = judge(
            rendered.body,
            self._books[marketplace],
            purpose=judged_as,
            known=[*known, *rendered.written],
            earlier=earlier[-MOST_SAID:],
            proven=self._proven(rendered),
            agreed=rendered.agreed,
        )
        return Written(rendered.subject, rendered.body, rendered.locale, rendered.template_hash, verdict)

    def preview_text(
        self, marketplace: str, text: str, locale: str | None = None, earlier: Sequence[str] = ()
    ) -> Written:
        """`earlier`: as in `preview`."""
        verdict = judge(text.strip(), self._books[marketplace], purpose=FREE_TEXT, earlier=earlier[-MOST_SAID:])
        return Written(None, text.strip(), canonical(locale) if locale else None, None, verdict)


def _known(errand: Errand, rendered: Rendered) -> list[str]:
    """Ids of the case, and what the template wrote out. A parameter counts only where it cannot pass for a telephone."""
    known = [errand.case_id, *errand.refs.values(), *rendered.written]
    for name in _KNOWN_PARAMS:
        value = str(errand.params.get(name, ""))
        if any(c.isalpha() for c in value) or len(value) > _LONGEST_PHONE:
            known.append(value)
    return known
