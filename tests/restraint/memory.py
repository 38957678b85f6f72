"""The notifier without its database and network: its own planner, batch, claims and protocol over rows in memory.

What is not its own is small: how rows are kept and found (`store.py` says it in SQL; `test_sqlite.py` runs the same lives
through that), and a marketplace that does what a life's fate says.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

import msgspec

from services.notifier import handlers, protocol, store
from services.notifier.claims import Claim, Work
from services.notifier.composer import MOST_SAID
from services.notifier.desk import Desk
from services.notifier.ledger import BY_OUTCOME, COUNTED, Ledger, Row, buyer_key, errand_of, life_of
from services.notifier.lines import Line, Lines
from services.notifier.outcomes import Outcomes
from services.notifier.planner import Planner
from shared.accounts import AccountEntry
from shared.clock import TestClock, from_micros, to_micros
from shared.domain.errands import Conversation, Errand, Resolution, Withdrawal
from shared.domain.facts import encode
from shared.pace import Pace
from shared.ports import Account, Assisted, Done, Found, InDoubt, NotSent, Refused
from shared.store.partitions import SoleOwner
from tests.restraint import laws
from tests.restraint.lives import ACCOUNT, Life, Told

MOST_ROUNDS = 5000
"""So often at most anything is due in one life; more is a notifier that spins."""


class Heard(NamedTuple):
    at: datetime
    thing: Told


class Begun(NamedTuple):
    """An attempt. `taken`: the marketplace has the text now (`again`: it had it already, and knew the key)."""

    at: datetime
    errand_id: str
    body: str
    taken: bool
    again: bool


@dataclass
class History:
    """What an outsider sees, in order, and what is in the table in the end."""

    events: list[Heard | Begun] = field(default_factory=list)
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """`<kind> <errand id>` of each fact for policy."""
    spun: bool = False


class _Channel:
    def __init__(self, ability: str) -> None:
        self._ability = ability

    def ability(self, _errand: Errand) -> str:
        return self._ability


class _Lines:
    """As `Lines`, of one account whose line is as fast as anybody likes."""

    def __init__(self, account: Account, ability: str) -> None:
        channel: Any = _Channel(ability)
        self._line = Line(account, channel, None, Pace(1e9, 0.0), window=1000)

    def get(self, account: str) -> Line | None:
        return self._line if account == ACCOUNT else None

    def __getitem__(self, _account: str) -> Line:
        return self._line

    def all(self) -> Mapping[str, Line]:
        return {ACCOUNT: self._line}


class Machine:
    def __init__(self, life: Life) -> None:
        self.life, self.history = life, History()
        account = Account(ACCOUNT, life.law.marketplace, "en", life.zone, settings=life.law.settings)
        self._accounts = {ACCOUNT: AccountEntry(account, {}, {})}
        self._composer = laws.composer(life.law)
        self._clock = TestClock(life.script[0].at)
        self._rows: dict[store.Key, Row] = {}
        self._talks: dict[store.Key, tuple[int, str]] = {}
        self._dead: dict[store.Key, str] = {}
        self._taken: set[str] = set()
        self._lines = _Lines(account, life.ability)
        self._begin_anew()

    def run(self) -> History:
        for step in self.life.script:
            self._until(step.at)
            self._hear(step.things)
            if step.dies:
                self._die()
        self._until(self.life.end)
        self.history.rows = {id_: row for (_, id_), row in self._rows.items()}
        return self.history

    # time

    def _until(self, target: datetime) -> None:
        """From one due moment to the next, each handled when it comes."""
        for _ in range(MOST_ROUNDS):
            self._work()
            moment = min((m for m in self._moments() if m <= target), default=None)
            if moment is None:
                self._clock.set(target)
                return
            self._clock.set(max(moment, self._clock.now()))
        self.history.spun = True

    def _moments(self) -> Sequence[datetime]:
        free = self._free_at()
        due = [r["next_at"] for r in self._rows.values() if r["next_at"] is not None]
        earliest = [max(from_micros(min(due)), free)] if due else []
        return [*earliest, *(at for at, _ in self._calls)]

    def _free_at(self) -> datetime:
        """When the line lets something through: now, or when the jam is over."""
        now = self._clock.now()
        return max((end for begin, end in self.life.jams if begin <= now < end), default=now)

    def _work(self) -> None:
        while self._end_calls() or self._dispatch():
            pass

    # what comes in

    def _hear(self, things: Sequence[Told]) -> None:
        now, things = self._clock.now(), [self._looked_up(thing) for thing in things]
        self.history.events += [Heard(now, thing) for thing in things]
        self._desk.closing = self._free_at() > now
        ledger = Ledger(1, now)
        talks = self._conversations([t for t in things if isinstance(t, Conversation)], now)
        planner = Planner(self._accounts, self._composer, now)
        errands = [t for t in things if isinstance(t, Errand)]
        orders = [t for t in things if isinstance(t, Withdrawal | Resolution)]
        known = self._known(errands, now, planner, [(t.account, t.errand_id) for t in orders])
        planner.know(known, talks)
        there = {
            (o.account, o.errand_id): dict(row) for o in orders if (row := self._rows.get((o.account, o.errand_id)))
        }
        batch = handlers._Batch(ledger, there, known, planner, self._accounts)
        for thing in things:
            batch.take(thing)
        with self._desk.claiming() as claimed:
            batch.claim(claimed)
            self._rows |= batch.new | {key: batch.known[key] for key in batch.touched}
            self._dead |= {key: row["why"] for key, row in batch.tombstones.items()}
            self._committed(ledger)
            claimed.begin()

    def _looked_up(self, thing: Told) -> Told:
        """A person who is asked whether it left looks before he answers."""
        if isinstance(thing, Resolution) and thing.answer != "sent" and thing.errand_id in self._taken:
            return msgspec.structs.replace(thing, answer="sent")
        return thing

    def _conversations(self, talks: Sequence[Conversation], now: datetime) -> dict[store.Key, Conversation]:
        latest = handlers._newest(talks)
        news = {key: t for key, t in latest.items() if key not in self._talks or self._talks[key][0] < t.seq}
        self._talks |= {key: (t.seq, encode(t).decode()) for key, t in news.items()}
        self._release({order for _, order in news}, now)
        return news

    def _release(self, orders: set[str], now: datetime, buyers: Set[str] = frozenset()) -> None:
        for row in self._rows.values() if orders or buyers else ():
            waits = not row["approved"] and row["verdict"] is not None and '"action":"hold"' in row["verdict"]
            concerned = row["order_id"] in orders or row["buyer_key"] in buyers
            if row["status"] == "held" and concerned and not waits:
                row["next_at"] = to_micros(now)

    def _known(
        self, errands: Sequence[Errand], now: datetime, planner: Planner, others: Sequence[store.Key] = ()
    ) -> store.Known:
        keys = {*((e.account, e.id) for e in errands), *others}
        orders, buyers = {(e.account, e.order_id) for e in errands}, {buyer_key(e) for e in errands}
        since, counted = to_micros(planner.since), [r for r in self._rows.values() if r["status"] in COUNTED]
        said: dict[store.Key, list[Row]] = {}
        for row in counted:
            if row["body"] is not None and (row["account"], row["order_id"]) in orders:
                said.setdefault((row["account"], row["order_id"]), []).append(row)
        return store.Known(
            to_micros(now),
            {key for key in keys if key in self._rows},
            {key: self._dead[key] for key in keys if key in self._dead},
            {key: self._talks[key][1] for key in orders if key in self._talks},
            {key: [r["body"] for r in sorted(rows, key=_told_at)[-MOST_SAID:]] for key, rows in said.items()},
            [r for r in counted if r["buyer_key"] in buyers and r["slot_at"] is not None and r["slot_at"] >= since],
        )

    # what leaves

    def _begin_anew(self) -> None:
        """A process that has just started."""
        clock, lines = self._clock, cast(Lines, self._lines)
        self._desk = Desk(lines, clock, SoleOwner(1), 1, "me", self._start)
        self._lines[ACCOUNT].under_way, self._lines[ACCOUNT].behind = 0, False
        self._calls: list[tuple[datetime, Work]] = []

    def _dispatch(self) -> bool:
        now = self._clock.now()
        self._desk.closing = self._free_at() > now
        micros = to_micros(now)
        due = [r for r in self._rows.values() if r["next_at"] is not None and r["next_at"] <= micros]
        if not due or self._desk.closing:
            return False
        self._lines[ACCOUNT].behind = False
        rows = [dict(row) for row in sorted(due, key=lambda r: (r["next_at"], r["id"]))]
        ledger, planner = Ledger(1, now), Planner(self._accounts, self._composer, now)
        pairs = [(row, errand_of(row)) for row in rows]
        known = self._known([e for _, e in pairs], now, planner)
        planner.know(known)
        claim = Claim(ledger, planner, cast(Lines, self._lines))
        with self._desk.claiming() as claims:
            for row, errand in pairs:
                line = self._desk.take_place(ACCOUNT)
                assert line is not None
                work = claim.take(row, errand, known.dead)
                if work is None:
                    self._desk.leave_place(line, 1)
                else:
                    claims.keep(work, now, micros)
                self._rows[row["account"], row["id"]] = row
            self._committed(ledger)
            claims.begin()
        return True

    def _start(self, work: Work) -> None:
        now, row = self._clock.now(), work.row
        work.row = dict(row)
        fate, wait = self.life.fate(row["id"], row["attempts"])
        work.called = True
        match work.do:
            case "send":
                self._attempt(work, fate)
            case "look":
                lags = row["look_ups"] == 0 and fate in ("lost", "cut") and row["attempts"] % 2 == 0
                work.result = Found(row["id"] in self._taken and not lags)
            case "prepare":
                work.result, wait = Assisted(row["body"]), timedelta(0)
        self._calls.append((now + wait, work))

    def _attempt(self, work: Work, fate: str) -> None:
        row = work.row
        taken, again = fate in ("done", "lost"), row["id"] in self._taken and self.life.ability == "keyed"
        self.history.events.append(Begun(self._clock.now(), row["id"], row["body"], taken, again))
        if taken:
            self._taken.add(row["id"])
        work.result = {
            "done": Done("there"), "lost": InDoubt("no answer in time"), "cut": InDoubt("the line was cut"),
            "not_sent": NotSent("come again", 30.0 if row["attempts"] % 2 else None), "refused": Refused("no"),
        }[fate]  # fmt: skip

    def _end_calls(self) -> bool:
        now = self._clock.now()
        ended = [work for at, work in self._calls if at <= now]
        self._calls = [(at, work) for at, work in self._calls if at > now]
        ledger = Ledger(1, now)
        for work in ended:
            self._desk.leave_place(work.line)
            row = self._rows[work.key]
            if row["fence"] != work.row["fence"]:
                continue
            after = {**work.row, "withdrawn": row["withdrawn"]}
            ledger.apply(after, Outcomes._follows(cast(Outcomes, None), after, work, now))
            self._rows[work.key] = {**row, **{name: after[name] for name in BY_OUTCOME}}
        self._committed(ledger)
        return bool(ended)

    def _die(self) -> None:
        """Whatever was under way is not heard of any more; what stands in `sending` is in doubt."""
        self._begin_anew()
        ledger = Ledger(1, self._clock.now())
        for row in [r for r in self._rows.values() if r["status"] == "sending"]:
            errand = errand_of(row)
            lost = InDoubt("the process ended while it was being sent")
            attempt = NotSent("being prepared", 0.0) if errand.capability == "assisted" else lost
            ability = cast(protocol.Ability, self.life.ability)
            ledger.apply(row, protocol.after_attempt(replace(life_of(row, errand)), attempt, ability, ledger.now))
        self._committed(ledger)

    def _committed(self, ledger: Ledger) -> None:
        self._release({order for _, order in ledger.freed}, ledger.now, ledger.freed_buyers)
        self.history.told += [_fact(row) for row in ledger.results]


def _told_at(row: Row) -> tuple[int, str]:
    return row["created_at"], row["id"]


def _fact(row: Mapping[str, Any]) -> str:
    fact = msgspec.json.decode(row["body"])
    return f"{fact['kind']} {fact['data']['errand_id']}"
