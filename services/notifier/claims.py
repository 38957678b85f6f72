"""What is to be done with each errand that is due: nothing any more, wait, send, look it up, or hand it to a person.

A claim is a row on its way to `sending` and a place on its account's line. Both are held before the commit; the call
begins after it, and where there is no commit the place is given back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from services.notifier import protocol, store
from services.notifier.ledger import Ledger, Row, life_of
from services.notifier.lines import Line, Lines
from services.notifier.planner import Planner
from services.notifier.protocol import Ability, Next
from shared.clock import to_micros
from shared.domain.errands import Errand
from shared.ports import Attempt, Found


@dataclass(slots=True, eq=False)
class Work:
    """One claimed errand. `begin_before` is real time; afterwards the lease might not outlive the call."""

    row: Row
    errand: Errand
    do: Literal["send", "look", "prepare"]
    line: Line
    begin_before: float = 0.0
    files: Mapping[str, bytes] | None = None
    """What it takes along, where the channel asks for files."""
    called: bool = False
    """The marketplace was really asked: what came of it says something about the line."""
    doubted: bool = False
    """It may have been sent before: the same key again."""
    result: Attempt | Found | str | None = None
    """Text: why a reading failed, or why a sending could not be begun at all."""

    @property
    def key(self) -> store.Key:
        return (self.row["account"], self.row["id"])

    def lease(self, owner: str, until: int, now: datetime) -> None:
        """Brings the row where it must stand in the table before a byte leaves. `until`: the database's time, microseconds."""
        row = self.row
        row |= {"lease_owner": owner, "lease_until": until, "fence": row["fence"] + 1}
        if self.do == "look":
            row["next_at"] = to_micros(now + protocol.BETWEEN_LOOKS)
            return
        row |= {"status": "sending", "next_at": None}
        if self.do == "send":
            row["attempts"] += 1
            row["first_sending_at"] = row["first_sending_at"] or to_micros(now)

    def begun_at(self, now: datetime) -> Row:
        """The row of this attempt."""
        row = self.row
        return {
            "account": row["account"], "errand_id": row["id"], "attempt": row["attempts"], "at": to_micros(now),
            "ended_at": None, "outcome": None, "why": None,
        }  # fmt: skip


class Claim:
    """Decides, row by row, what is to be done with what is due."""

    def __init__(self, ledger: Ledger, planner: Planner, lines: Lines) -> None:
        self._ledger, self._planner, self._lines = ledger, planner, lines

    def take(self, row: Row, errand: Errand, dead: Mapping[store.Key, str]) -> Work | None:
        """The work to do, None where there is none: it is settled, or waits."""
        return self._doubtful(row, errand) if row["status"] == "in_doubt" else self._fresh(row, errand, dead)

    def _fresh(self, row: Row, errand: Errand, dead: Mapping[store.Key, str]) -> Work | None:
        life = life_of(row, errand)
        gone = row["withdrawn"] or dead.get((row["account"], row["id"]))
        if gone is not None:
            self._ledger.apply(row, Next("suppressed", why=gone))
        elif protocol.expired(life, self._ledger.now):
            self._ledger.apply(row, protocol.too_late(errand))
        elif _waits_for_person(row):
            limit = protocol.expiry(errand)
            row["next_at"] = to_micros(limit) if limit else None
        elif errand.what == "act" or self._planner.govern(row, errand, self._ledger):
            do: Literal["prepare", "send"] = "prepare" if errand.capability == "assisted" else "send"
            return Work(row, errand, do, self._lines[row["account"]])
        return None

    def _doubtful(self, row: Row, errand: Errand) -> Work | None:
        life, line = life_of(row, errand), self._lines[row["account"]]
        ability = cast(Ability, line.ability(errand))
        if protocol.resolves_by_reading(life, ability):
            return Work(row, errand, "look", line)
        if life.withdrawn is not None or protocol.expired(life, self._ledger.now):
            self._ledger.apply(row, protocol.person("it may have been sent, and must not be sent again"))
            return None
        if errand.what == "message" and not self._planner.repeat(row, errand, self._ledger):
            return None
        return Work(row, errand, "send", line, doubted=True)


def _waits_for_person(row: Row) -> bool:
    return not row["approved"] and row["verdict"] is not None and '"action":"hold"' in row["verdict"]
