"""What the checks of a playbook share: what they know, what they found, and every row and effect with its place."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from services.policy.core.load import Fault
from services.policy.core.names import APPROVE_ABOVE, KEEP_ITEM
from shared.domain.playbook import Effects, Need, Playbook, Row

EVERYWHERE = ""
"""The state under which faults outside any state are told."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the checker knows of the house and the marketplace. None: not known here, not judged."""

    purposes: dict[str, dict[str, Need]] | None = None
    """Message purposes with their variables."""
    templates: frozenset[str] | None = None
    """Purposes that have a template."""
    allowed: dict[str, tuple[str, ...]] | None = None
    """Purposes of the marketplace's rules -> phases (empty: all)."""
    acts: dict[str, str] | None = None
    """Act -> api, assisted, none."""
    settings: dict[str, str] | None = None
    """Setting -> money, text, bool, int, duration, list."""
    statuses: frozenset[str] | None = None
    """Every raw status the marketplace has for this kind."""


@dataclass(frozen=True, slots=True)
class Place:
    """Effects with where they stand. `states`: those a case may be in when they happen."""

    effects: Effects
    state: str
    line: int
    states: tuple[str, ...]
    row: Row | None = None
    clock: str | None = None


@dataclass
class Findings:
    playbook: Playbook
    known: Known
    faults: list[Fault] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """With the two that the core itself reads."""
        return {KEEP_ITEM: "money", APPROVE_ABOVE: "money"} | (self.known.settings or {})

    def fault(self, line: int, text: str, state: str = EVERYWHERE) -> None:
        found = Fault(self.playbook.path, line, state, text)
        if found not in self.faults:
            self.faults.append(found)

    def line(self, *path: str) -> int:
        names = [*path]
        while names:
            found = self.playbook.lines.get(".".join(names))
            if found is not None:
                return found
            names.pop()
        return 1

    @property
    def open_states(self) -> list[str]:
        return [name for name, state in self.playbook.states.items() if not state.is_end]

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Every row with the state it stands in (empty: `opens_on`, `everywhere`)."""
        for row in self.playbook.opens_on:
            yield EVERYWHERE, row
        for name, state in self.playbook.states.items():
            for row in state.rows:
                yield name, row
        for row in self.playbook.everywhere:
            yield EVERYWHERE, row

    def tos(self, row: Row, state: str) -> tuple[str, ...]:
        """The states a row may lead to; its own where it stays."""
        if row.to == "status":
            return tuple(dict.fromkeys(s for s in self.playbook.statuses.values() if s in self.playbook.states))
        if row.to in self.playbook.states:
            return (row.to or "",)
        if row in self.playbook.everywhere:
            return tuple(self.open_states)
        return (state,) if state else ()

    def places(self) -> Iterator[Place]:
        for state, row in self.rows():
            yield Place(row.effects, state, row.line, self.tos(row, state), row=row)
        for name, chart in self.playbook.states.items():
            yield Place(chart.enter, name, self.line("states", name, "enter"), (name,))
        for name, rule in self.playbook.clocks.items():
            where = tuple(sorted(self.running_in(name)))
            for planned in rule.planned:
                yield Place(planned.effects, where[0] if where else EVERYWHERE, planned.line, where, clock=name)

    def running_in(self, clock: str) -> set[str]:
        """States in which a clock may run: those that name it, and those in which something arms it."""
        states = {name for name, chart in self.playbook.states.items() if clock in chart.clocks}
        states |= {name for name, chart in self.playbook.states.items() if clock in chart.enter.arm}
        for state, row in self.rows():
            if clock in row.effects.arm:
                states |= set(self.tos(row, state))
        return states & set(self.open_states)
