"""The notifier as policy hears of it: what became of each errand, by the protocol of doubt and in its order."""

from datetime import datetime
from typing import Any

from services.policy.core.decision import Decision
from shared.domain.errands import Errand
from tests.generated.dice import Dice

Told = tuple[Errand, str, dict[str, Any]]
_ACT = ("sent",) * 8 + ("in_doubt", "in_doubt", "refused", "failed", "held", "accepted", "confirmed")
_MESSAGE = ("sent",) * 8 + ("in_doubt", "failed", "held", "assisted", "blocked", "suppressed")
_OVER = ("sent", "refused", "failed", "blocked", "suppressed", "expired", "withdrawn", "confirmed")


class Notifier:
    """`done`: what was sent. An errand that is over is told of no more; one called back is answered first of all."""

    def __init__(self) -> None:
        self.live: dict[str, Errand] = {}
        self.status: dict[str, str] = {}
        self.called_back: set[str] = set()
        self.done: list[Errand] = []

    def hears(self, decision: Decision) -> None:
        for errand in decision.errands:
            self.live[errand.id], self.status[errand.id] = errand, "planned"
        self.called_back |= {withdrawal.errand_id for withdrawal in decision.withdrawals} & self.live.keys()
        for resolution in decision.resolutions:
            if resolution.errand_id in self.live:
                self._answered(resolution.errand_id, resolution.answer)

    def _answered(self, errand_id: str, answer: str) -> None:
        if answer == "send_again":
            self.status[errand_id] = "planned"
        elif answer == "sent":
            self._end(errand_id, "sent")
        else:
            self.live.pop(errand_id)

    def tells(self, dice: Dice, now: datetime) -> Told | None:
        speaks = [id_ for id_ in sorted(self.live) if self.status[id_] != "assisted" or id_ in self.called_back]
        if not speaks:
            return None
        errand = self.live[dice.one(speaks)]
        status = self._becomes(dice, errand, now)
        data: dict[str, Any] = {"errand_id": errand.id, "name": errand.name}
        if status == "held":
            data |= dice.one(({"until": dice.time()}, {"verdict": {"ok": False}, "why": "a rule"}))
        if status in ("refused", "failed"):
            data["why"] = dice.one(("not found", "no"))
        self._end(errand.id, status)
        return errand, status, data

    def _becomes(self, dice: Dice, errand: Errand, now: datetime) -> str:
        if errand.id in self.called_back:
            self.called_back.discard(errand.id)
            return "withdrawn" if self.status[errand.id] != "in_doubt" and dice.some(0.7) else "too_late"
        if self.status[errand.id] == "too_late":
            return dice.one(("sent", "sent", "in_doubt", "failed"))
        if self.status[errand.id] == "in_doubt":
            return dice.one(("sent", "failed"))
        if errand.not_after is not None and now > errand.not_after:
            return "expired"
        if errand.what == "act" and (errand.capability == "assisted" or dice.some(0.1)):
            return "assisted"
        return dice.one(_ACT if errand.what == "act" else _MESSAGE)

    def _end(self, errand_id: str, status: str) -> None:
        self.status[errand_id] = status
        if status not in _OVER:
            return
        errand = self.live.pop(errand_id)
        self.called_back.discard(errand_id)
        if status in ("sent", "confirmed"):
            self.done.append(errand)
