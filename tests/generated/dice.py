"""What may be said of a case, drawn by chance: news of its marketplace, operators' words, sums, times, odd values."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from services.policy.core.actions import CLOSE_REASONS, CONDITIONS, REMEDIES, RESULTS
from shared.clock import format_time
from shared.domain.case import REASONS, FieldType
from shared.domain.errands import ACTIONS
from shared.domain.facts import ERRAND_RESULTS, KINDS
from shared.domain.playbook import Playbook, Terms
from tests.generated.markets import words

T = TypeVar("T")
NEWS = sorted(KINDS - ERRAND_RESULTS - {"operator.acted", "timer.elapsed"})
SCOPES = (["read", "act"], ["read", "act"], ["read", "act", "approve"], ["read", "act", "approve", "represent"], [])
_SUMS = ("0.01", "3.00", "8.99", "9.00", "14.99", "15.00", "20.01", "39.90", "50.00", "64.50", "1200.00")
_ODD: tuple[Any, ...] = (None, True, -1, "", "?", "12,50", [], {"value": "1.234", "currency": "XXZ"}, "2026-13-45")
LONG = "What happened, in order: the parcel left on the day of the order and arrived whole. " * 4


class Dice:
    """One step's chances. `paid`: what the order was sold for, as text; `now`: the moment."""

    def __init__(self, chance: Random, currency: str, paid: str, now: datetime) -> None:
        self.chance, self.currency, self.paid, self.now = chance, currency, paid, now

    def some(self, likely: float) -> bool:
        return self.chance.random() < likely

    def one(self, given: Sequence[T]) -> T:
        return self.chance.choice(given)

    def money(self) -> dict[str, str]:
        currency = "GBP" if self.some(0.03) else self.currency
        return {"value": self.paid if self.some(0.35) else self.one(_SUMS), "currency": currency}

    def time(self) -> str:
        return format_time(self.now + timedelta(hours=self.one((-50, -1, 1, 12, 30, 100, 240))))

    def news_kind(self, book: Playbook, state: str) -> str:
        """Mostly what the case's state answers, else what the playbook opens on, else anything."""
        if book.evidence and self.some(0.12):
            return "evidence.submitted"
        known = answered(book, state, ends=self.some(0.25))
        if known and self.some(0.8):
            return self.one(known)
        return self.one([row.fact for row in book.opens_on]) if book.opens_on and self.some(0.5) else self.one(NEWS)

    def code(self, book: Playbook) -> str | None:
        """Mostly of a status that is no end."""
        lasting = self.some(0.7)
        codes = [code for code in words(book).codes if not (lasting and _is_end(book, book.statuses.get(code)))]
        if codes and self.some(0.8):
            return self.one(codes)
        return self.one((None, None, "never seen before", "状态_99"))

    def data(self, book: Playbook, kind: str) -> dict[str, Any]:
        """Typed facts the playbook knows, now and then of a wrong type; what this kind of fact is about always."""
        fields = words(book).fields
        drawn = self.chance.sample(sorted(fields), min(len(fields), self.one((0, 1, 2, 4))))
        found = {name: self.field(book, name, fields[name]) for name in drawn}
        return {**found, **self._about(book, kind)}

    def field(self, book: Playbook, name: str, kind: FieldType) -> Any:
        if self.some(0.02):
            return self.one(_ODD)
        if kind == "text":
            return (
                self.reason(book) if name == "reason" else self.one((*words(book).values.get(name, ()), "A blue scarf"))
            )
        drawn = {
            "bool": self.some(0.5),
            "int": self.one((0, 1, 2, 3, 5, 1000)),
            "time": self.time(),
            "money": self.money(),
        }
        return drawn[kind]

    def reason(self, book: Playbook) -> str:
        """Mostly one the playbook has remedies for."""
        laddered = [reason for ladder in book.ladders.values() for reason in ladder.reasons]
        return self.one(laddered) if laddered and self.some(0.7) else self.one(REASONS)

    def _about(self, book: Playbook, kind: str) -> dict[str, Any]:
        if kind == "refund.issued":
            return {"refunded": self.money()}
        if kind == "dispute.resolved":
            return {"winner": self.one(("seller", "buyer", "split", "none"))}
        if kind == "evidence.submitted":
            items = sorted({item.what for listed in book.evidence.values() for item in listed}) or ["photo_item"]
            return {"what": self.one(items), "supplied_by": self.one(("buyer", "buyer", "seller"))}
        return {"text": "Where is my parcel?"} if kind == "message.received" else {}

    def action(self, allowed: Sequence[str]) -> str:
        if "refund" in allowed and self.some(0.25):
            return "refund"
        return self.one(allowed) if allowed and self.some(0.8) else self.one((*ACTIONS, "fly"))

    def params(self, book: Playbook, action: str, terms: Terms, acts: Sequence[str]) -> dict[str, Any]:
        """What an operator gives with an action: sound mostly. `acts`: those that wait for approval."""
        drawn = {name: value for name, value in self._sound(action, acts).items() if self.some(0.93)}
        for name in terms.params.get(action, ()):
            if self.some(0.6):
                drawn[name] = self.one((*words(book).values.get(f"param_{name}", ()), True, 7, "A 17"))
        if self.some(0.02):
            drawn[self.one(("amount", "keep_item", "colour"))] = self.one(_ODD)
        if self.some(0.5):
            drawn["override"] = {"rule": "contact_first", "reason": "He was told by telephone."}
        return drawn

    def _sound(self, action: str, acts: Sequence[str]) -> dict[str, Any]:
        drawn: dict[str, dict[str, Any]] = {
            "contact": {"text": "We have read what you wrote."},
            "refund": {"amount": self.money(), "keep_item": self.some(0.6)},
            "propose": {"remedy": self.one(REMEDIES), "amount": self.money()},
            "decline": {"reason": "used", "comment": "It was used."},
            "close": {"reason": self.one(CLOSE_REASONS), "comment": "We close this as agreed."},
            "confirm_receipt": {"condition": self.one(CONDITIONS)},
            "inspect": {"result": self.one(RESULTS), "note": "a scratch"},
            "submit_evidence": {"text": "The carrier's weights."},
            "represent": {"text": LONG},
            "appeal": {"cause": LONG, "handling_plan": LONG, "prevention_plan": LONG},
            "ship_replacement": {"carrier": "Post", "tracking": "RR1"},
            "approve": {"act_id": self.one(acts or ["act_x"])},
            "reject": {"act_id": self.one(acts or ["act_x"])},
        }
        return drawn.get(action, {})


def answered(book: Playbook, state: str, *, ends: bool) -> list[str]:
    """The news a state answers by name. Without `ends`: those that do not always end the case."""
    chart = book.states.get(state)
    rows = [row for row in (*(chart.rows if chart else ()), *book.everywhere) if row.fact in NEWS]
    return sorted({row.fact for row in rows if ends or not _is_end(book, row.to)})


def _is_end(book: Playbook, state: str | None) -> bool:
    return state in book.states and book.states[state].is_end
