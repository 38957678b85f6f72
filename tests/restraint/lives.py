"""A life: some days of one account, its buyers and orders, as the notifier is told of them. The same seed, the same life."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from shared.domain.case import PHASES
from shared.domain.errands import Conversation, Errand, Resolution, Withdrawal
from shared.domain.order import Buyer
from tests.restraint import laws, texts
from tests.restraint.laws import Law

Told = Errand | Withdrawal | Resolution | Conversation
ACCOUNT = "shop"
TURNS = (
    ("Europe/Berlin", date(2026, 3, 29)), ("Europe/Berlin", date(2026, 10, 25)), ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)), ("Africa/Cairo", date(2026, 4, 24)), ("Africa/Cairo", date(2026, 10, 30)),
    ("Australia/Lord_Howe", date(2026, 4, 5)), ("Australia/Lord_Howe", date(2026, 10, 4)), ("America/Havana", date(2026, 3, 8)),
    ("America/Havana", date(2026, 11, 1)), ("America/Santiago", date(2026, 4, 5)), ("America/Santiago", date(2026, 9, 6)),
    ("Pacific/Chatham", date(2026, 4, 5)), ("Asia/Beirut", date(2026, 3, 29)), ("Asia/Shanghai", date(2026, 6, 1)),
    ("Pacific/Kiritimati", date(2026, 1, 1)), ("Pacific/Pago_Pago", date(2026, 12, 31)),
)  # fmt: skip
"""Zones with a day on which their clocks change, and some whose never do."""
FOLDED = (
    ("Europe/Berlin", date(2026, 10, 25), "22:00-02:30"), ("Europe/Berlin", date(2026, 10, 25), "02:15-02:45"),
    ("Europe/Berlin", date(2026, 3, 29), "22:00-02:30"), ("Pacific/Chatham", date(2026, 4, 5), "01:30-03:30"),
    ("Australia/Lord_Howe", date(2026, 4, 5), "22:00-01:45"), ("Africa/Cairo", date(2026, 10, 30), "23:30-06:15"),
)  # fmt: skip
"""With quiet hours that begin or end in the hour that comes twice, or not at all."""
LOCALES = ("en", "zh-CN", "zh-TW", "ru", "es-MX", "de", "fr", "pt-PT", "it", "ja", "tlh", None)
MICRO = timedelta(microseconds=1)


@dataclass(frozen=True)
class Step:
    """`things` are told together at `at`; then, with `dies`, the process ends and another one starts."""

    at: datetime
    things: tuple[Told, ...] = ()
    dies: bool = False


@dataclass(frozen=True)
class Life:
    seed: int
    law: Law
    ability: str
    zone: str
    """The account's."""
    script: tuple[Step, ...]
    jams: tuple[tuple[datetime, datetime], ...]
    """While the line to the marketplace lets nothing through."""
    end: datetime
    triggers: int
    """How often a message was asked for, repeats included."""

    def fate(self, errand_id: str, attempt: int) -> tuple[str, timedelta]:
        """What becomes of an attempt, and when that is known: done, refused, not_sent, lost (taken, the answer is lost) or
        cut (not taken, nobody knows)."""
        drawn = zlib.crc32(f"{self.seed}/{errand_id}/{attempt}".encode())
        what = ("lost", "lost", "lost", "cut", "cut", "cut", "not_sent", "not_sent", "not_sent", "refused")
        waits = (0, 0, 0, 0, 1, 11)
        return (what[drawn % 64] if drawn % 64 < len(what) else "done"), timedelta(seconds=waits[drawn // 64 % 6])


@dataclass
class _Order:
    id: str
    buyer: Buyer
    seq: int = 0
    last_word: datetime | None = None
    out: bool = False
    errands: list[Errand] = field(default_factory=list)


def drawn(seed: int, triggers: int = 50) -> Life:
    return _Author(seed).life(triggers)


class _Author:
    """`buyers`: with the zone each lives in, which the marketplace may not tell."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seed, self.law = seed, laws.drawn(self.random)
        self.zone, day = self.random.choice(TURNS)
        if self.random.random() < 0.15:
            self.zone, day, self.law.settings["quiet_hours"] = self.random.choice(FOLDED)
        self.now = datetime.combine(day - timedelta(days=2), time(0), UTC) + timedelta(hours=self.random.uniform(0, 24))
        buyers = [self._buyer(n) for n in range(self.random.randint(1, 3))]
        self.orders = [_Order(f"O-200{n}", self.random.choice(buyers)) for n in range(4)]
        self.later: list[Errand] = []
        self.n = self.triggers = 0

    def life(self, triggers: int) -> Life:
        start, script = self.now, []
        while self.triggers < triggers:
            self.now += self._pause()
            script.append(Step(self.now, tuple(self._things()), self.random.random() < 0.02))
        script += [Step(self.now, tuple(self._again(errand) for errand in self.later))]
        ability = self.random.choice(("keyed", "readable", "blind"))
        jams = tuple(self._jam(start) for _ in range(self.random.randint(0, 3)))
        account_zone = self.random.choice((self.zone, "Asia/Shanghai", "UTC"))
        end = self.now + timedelta(days=4)
        return Life(self.seed, self.law, ability, account_zone, tuple(script), jams, end, self.triggers)

    def _buyer(self, n: int) -> Buyer:
        known = self.random.random()
        zone = self.zone if known < 0.7 else None if known < 0.9 else "Mars/Olympus"
        return Buyer(
            id=f"b{n}" if self.random.random() < 0.8 else None,
            name=self.random.choice(texts.NAMES),
            locale=self.random.choice(LOCALES),
            time_zone=zone,
        )

    def _jam(self, start: datetime) -> tuple[datetime, datetime]:
        begins = start + (self.now - start) * self.random.random()
        return begins, begins + timedelta(minutes=self.random.choice((1, 20, 90, 700)))

    def _pause(self) -> timedelta:
        kind = self.random.random()
        if kind < 0.35:
            return timedelta(0)
        if kind < 0.6:
            return timedelta(seconds=self.random.uniform(0, 900))
        if kind < 0.85:
            return timedelta(hours=self.random.uniform(0, 9))
        return max(self._edge() - self.now, timedelta(0))

    def _edge(self) -> datetime:
        """Midnight or an end of the quiet hours where the buyers live, to the microsecond or just beside it."""
        zone, limits = ZoneInfo(self.zone), self.law.raw.get("quiet_hours")
        said = self.law.settings.get("quiet_hours")
        hours = said.split("-") if said else list(limits.values()) if limits else []
        wall = time.fromisoformat(self.random.choice(["00:00", *hours]))
        day = self.now.astimezone(zone).date() + timedelta(days=self.random.randint(0, 1))
        edge = datetime.combine(day, wall, zone).replace(fold=self.random.randint(0, 1)).astimezone(UTC)
        return edge + self.random.choice((timedelta(0), -MICRO, MICRO, timedelta(minutes=20)))

    def _things(self) -> Sequence[Told]:
        """One to four, as the relay packs what belongs to one moment."""
        return [self._thing() for _ in range(self.random.choice((1, 1, 1, 2, 4)))]

    def _thing(self) -> Told:
        order, kind = self.random.choice(self.orders), self.random.random()
        if kind < 0.14:
            return self._talk(order)
        if kind < 0.22 and order.errands:
            return self._withdrawal(self.random.choice(order.errands))
        if kind < 0.29 and order.errands:
            asked = [errand for errand in order.errands if texts.words(errand.text) in texts.DOUBTFUL]
            return self._answer(self.random.choice(asked or order.errands))
        if kind < 0.38 and order.errands:
            return self._again(self.random.choice(order.errands))
        if kind < 0.42 and self.later:
            return self._again(self.later.pop())
        errand = self._errand(order)
        order.errands.append(errand)
        if kind > 0.98:
            self.later.append(errand)
            return self._withdrawal(errand)
        return self._again(errand)

    def _again(self, errand: Errand) -> Errand:
        self.triggers += 1
        return errand

    def _talk(self, order: _Order) -> Conversation:
        order.seq += 1
        if self.random.random() < 0.6:
            order.last_word = self.now - timedelta(minutes=self.random.choice((0, 0, 30)))
        if self.random.random() < (0.3 if order.out else 0.05):
            order.out = not order.out
        window = self.random.choice((None, None, timedelta(hours=72), timedelta(hours=1), timedelta(0), -MICRO))
        return Conversation(
            account=ACCOUNT,
            order_id=order.id,
            buyer=order.buyer if self.random.random() < 0.7 else Buyer(id=order.buyer.id),
            seq=order.seq if self.random.random() < 0.9 else max(0, order.seq - 2),
            last_buyer_message_at=order.last_word,
            window_until=None if window is None else self.now + window,
            closed_chats=(f"chat-{order.id}",) if self.random.random() < 0.06 else (),
            opted_out=order.out,
        )

    def _withdrawal(self, errand: Errand) -> Withdrawal:
        return Withdrawal(
            errand_id=errand.id, account=ACCOUNT, order_id=errand.order_id, case_id=errand.case_id, what="message",
            name=errand.name, why="no longer true",
        )  # fmt: skip

    def _answer(self, errand: Errand) -> Resolution:
        answer: Any = self.random.choice(("send_again", "send_again", "drop", "sent", "not_sent"))
        return Resolution(
            errand_id=errand.id,
            account=ACCOUNT,
            order_id=errand.order_id,
            case_id=errand.case_id,
            answer=answer,
            by="sam",
        )

    def _errand(self, order: _Order) -> Errand:
        self.n += 1
        allowed: dict[str, list[str] | None] = self.law.raw["purposes"]
        own_words = self.random.random() < 0.2
        name = "free_text" if own_words else self.random.choice([p for p in allowed if p != "free_text"])
        phases = allowed[name] or PHASES
        unallowed = self.random.random() < 0.03
        base = Errand(
            id=f"m{self.random.randrange(10**6):06}{self.n:03}", what="message", name=name, account=ACCOUNT,
            marketplace=self.law.marketplace, order_id=order.id, case_id=f"case-{order.id}", case_kind="return",
            phase=self.random.choice(PHASES if unallowed else tuple(phases)), created_at=self.now, buyer=order.buyer,
            urgent=self.random.random() < 0.12,
        )  # fmt: skip
        return msgspec.structs.replace(base, **self._content(base, own_words), **self._terms(order))

    def _content(self, errand: Errand, own_words: bool) -> dict[str, Any]:
        if own_words:
            return {"text": texts.own_words(self.random, errand.order_id)}
        return {"params": texts.variables(self.random, errand.name, errand.order_id, errand.buyer.name)}

    def _terms(self, order: _Order) -> dict[str, Any]:
        terms: dict[str, Any] = {}
        if self.random.random() < 0.3:
            terms["not_after"] = self.now + timedelta(hours=self.random.choice((0, 1, 9, 30, 80)))
        if self.random.random() < 0.3 and order.last_word is not None:
            terms["last_buyer_message_at"] = order.last_word
        if self.random.random() < 0.5:
            terms["refs"] = {"chat_id": f"chat-{order.id}"}
        if self.random.random() < 0.04:
            terms["capability"] = "assisted"
        return terms
