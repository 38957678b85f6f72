"""A playbook's YAML text into the types of `shared.domain.playbook`. Shape only; `check` judges the meaning."""

from typing import Any, TypeVar

import msgspec

from shared.domain.playbook import (
    Ask,
    ClockRule,
    Do,
    Effects,
    EvidenceItem,
    Ladder,
    PlannedRow,
    Playbook,
    Row,
    Rung,
    State,
    Tell,
)
from shared.ids import content_hash
from shared.yaml_lines import YamlFault
from shared.yaml_lines import load as read_yaml

S = TypeVar("S", bound=msgspec.Struct)
_ROW = ("when", "to", "set", "rule")
_EFFECTS = ("tell", "act", "task", "ladder", "evidence", "arm", "link")
_TOP = (
    "playbook", "marketplace", "version", "fields", "opens_on", "statuses", "autonomy", "clocks", "states",
    "everywhere", "ladders", "evidence",
)  # fmt: skip
_OWN = frozenset({"line", "name", "id"})
"""Fields of the types that the file never gives."""


class Fault(msgspec.Struct, frozen=True, order=True):
    """One thing wrong with a playbook. `state` is empty where it concerns none."""

    path: str
    line: int
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.state or '-'}: {self.text}"


class PlaybookFault(Exception):
    """The text is no playbook: all faults of its shape at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def load(text: str, path: str) -> Playbook:
    """Raises PlaybookFault. The result still needs `check.check` before a case may run on it."""
    try:
        data, lines = read_yaml(text, path)
    except YamlFault as fault:
        raise PlaybookFault([Fault(path, fault.line, "", fault.why)]) from None
    reader = _Reader(path, lines)
    playbook = reader.playbook(data, content_hash(text.encode()))
    if reader.faults or playbook is None:
        raise PlaybookFault(sorted(reader.faults))
    return playbook


class _Reader:
    """Walks the parsed YAML. `where` is the dotted path of a node, under which its line is known."""

    def __init__(self, path: str, lines: dict[str, int]) -> None:
        self.path, self.lines = path, lines
        self.faults: list[Fault] = []
        self.state = ""

    def fault(self, where: str, text: str) -> None:
        self.faults.append(Fault(self.path, self.line(where), self.state, text))

    def line(self, where: str) -> int:
        while where and where not in self.lines:
            where = where.rpartition(".")[0]
        return self.lines.get(where, 1)

    def playbook(self, raw: Any, digest: str) -> Playbook | None:
        data = self.mapping(raw, "")
        self.only(data, _TOP, "")
        everything: dict[str, Any] = dict(  # noqa: C408
            marketplace=self.text(data, "marketplace"),
            kind=self.text(data, "playbook"),
            version=self.text(data, "version"),
            path=self.path,
            hash=digest,
            fields=self.mapping(data.get("fields"), "fields"),
            opens_on=self.moves(data.get("opens_on"), "opens_on", "opens_on"),
            statuses={str(k): v for k, v in self.mapping(data.get("statuses"), "statuses").items()},
            clocks={name: self.clock(name, v) for name, v in self.mapping(data.get("clocks"), "clocks").items()},
            states={name: self.a_state(name, v) for name, v in self.mapping(data.get("states"), "states").items()},
            everywhere=self.moves(data.get("everywhere"), "everywhere", "everywhere"),
            ladders={name: self.ladder(name, v) for name, v in self.mapping(data.get("ladders"), "ladders").items()},
            evidence={r: self.evidence(r, v) for r, v in self.mapping(data.get("evidence"), "evidence").items()},
            autonomy=self.mapping(data.get("autonomy"), "autonomy"),
        )
        playbook = None if self.faults else self.convert(everything, Playbook, "")
        return playbook and msgspec.structs.replace(playbook, lines=self.lines)

    def text(self, data: dict[str, Any], name: str) -> str:
        value = data.get(name)
        if isinstance(value, str) and value:
            return value
        self.fault(name, f"`{name}` must be a text in quotes")
        return ""

    def mapping(self, raw: Any, where: str) -> dict[str, Any]:
        if raw is None:
            return {}
        if isinstance(raw, dict) and all(isinstance(key, str | int) for key in raw):
            return {str(key): value for key, value in raw.items()}
        self.fault(where, "must be a mapping of names")
        return {}

    def many(self, raw: Any) -> list[Any]:
        return raw if isinstance(raw, list) else [] if raw is None else [raw]

    def only(self, data: dict[str, Any], names: tuple[str, ...], where: str) -> None:
        for name in data:
            if name not in names:
                self.fault(f"{where}.{name}" if where else name, f"unknown key `{name}`")

    def convert(self, data: dict[str, Any], kind: type[S], where: str) -> S | None:
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as fault:
            self.fault(where, str(fault).replace("$.", ""))
            return None

    def simple(self, raw: Any, kind: type[S], where: str, short: str = "", **fixed: Any) -> S | None:
        """One flat struct; `short` is the field a bare text stands for."""
        data = {short: raw} if short and isinstance(raw, str) else self.mapping(raw, where)
        self.only(data, tuple(n for n in kind.__struct_fields__ if n not in _OWN), where)
        known = {k: v for k, v in data.items() if k in kind.__struct_fields__}
        return self.convert({**known, **fixed, "line": self.line(where)}, kind, where)

    def each(self, raw: Any, kind: type[S], where: str, short: str) -> tuple[S, ...]:
        listed = isinstance(raw, list)
        places = ((item, f"{where}.{n}" if listed else where) for n, item in enumerate(self.many(raw)))
        return tuple(made for item, place in places if (made := self.simple(item, kind, place, short)) is not None)

    def effects(self, data: dict[str, Any], where: str) -> Effects:
        made = self.convert(
            {
                "tell": self.each(data.get("tell"), Tell, f"{where}.tell", "purpose"),
                "act": self.each(data.get("act"), Do, f"{where}.act", "act"),
                "task": self.each(data.get("task"), Ask, f"{where}.task", "task"),
                "ladder": data.get("ladder"),
                "evidence": data.get("evidence") or False,
                "arm": tuple(self.many(data.get("arm"))),
                "link": data.get("link"),
            },
            Effects,
            where,
        )
        return made or Effects()

    def moves(self, raw: Any, where: str, owner: str) -> tuple[Row, ...]:
        rows: list[Row] = []
        for fact, given in self.mapping(raw, where).items():
            place = f"{where}.{fact}"
            if given is None or given == []:
                self.fault(place, f"`{fact}` has no row")
            for n, item in enumerate(self.many(given)):
                at = f"{place}.{n}" if isinstance(given, list) else place
                rows += self.row(item, at, fact, f"{owner}/{fact}#{n + 1}")
        return tuple(rows)

    def row(self, raw: Any, where: str, fact: str, name: str) -> list[Row]:
        data = self.mapping(raw, where)
        self.only(data, _ROW + _EFFECTS, where)
        made = self.convert(
            {
                "id": data.get("rule", name),
                "fact": fact,
                "when": data.get("when"),
                "to": data.get("to"),
                "set": self.mapping(data.get("set"), f"{where}.set"),
                "effects": self.effects(data, where),
                "line": self.line(where),
            },
            Row,
            where,
        )
        return [made] if made else []

    def a_state(self, name: str, raw: Any) -> State:
        self.state, where = name, f"states.{name}"
        data = self.mapping(raw, where)
        self.only(data, ("phase", "outcome", "liability", "clocks", "enter", "moves", "otherwise"), where)
        if data.get("otherwise", "record") != "record":
            self.fault(f"{where}.otherwise", "`otherwise` can only be `record`")
        enter = self.mapping(data.get("enter"), f"{where}.enter")
        self.only(enter, _EFFECTS, f"{where}.enter")
        made = self.convert(
            {
                "name": name,
                "phase": data.get("phase"),
                "outcome": data.get("outcome"),
                "liability": data.get("liability"),
                "clocks": tuple(self.many(data.get("clocks"))),
                "enter": self.effects(enter, f"{where}.enter"),
                "rows": self.moves(data.get("moves"), f"{where}.moves", name),
                "otherwise": "otherwise" in data,
                "line": self.line(where),
            },
            State,
            where,
        )
        self.state = ""
        return made or State(name=name, phase="")

    def clock(self, name: str, raw: Any) -> ClockRule:
        where = f"clocks.{name}"
        data = self.mapping(raw, where)
        planned = tuple(
            self.planned(item, f"{where}.planned.{n}") for n, item in enumerate(self.many(data.get("planned")))
        )
        late = {} if "late" in data else {"late": "fire" if data.get("deadline", True) else "skip"}
        made = self.simple({**data, "planned": planned}, ClockRule, where, name=name, **late)
        return made or ClockRule(name=name)

    def planned(self, raw: Any, where: str) -> PlannedRow:
        data = self.mapping(raw, where)
        self.only(data, ("when", "set", "tell", "act", "task", "ladder", "evidence"), where)
        given = {"when": data.get("when"), "set": self.mapping(data.get("set"), f"{where}.set")}
        effects = self.effects(data, where)
        made = self.convert({**given, "effects": effects, "line": self.line(where)}, PlannedRow, where)
        return made or PlannedRow()

    def ladder(self, name: str, raw: Any) -> Ladder:
        where = f"ladders.{name}"
        data = self.mapping(raw, where)
        self.only(data, ("reasons", "rungs"), where)
        rungs = (self.rung(item, f"{where}.rungs.{n}") for n, item in enumerate(self.many(data.get("rungs"))))
        made = self.convert(
            {
                "name": name,
                "reasons": tuple(self.many(data.get("reasons"))),
                "rungs": tuple(rung for rung in rungs if rung is not None),
                "line": self.line(where),
            },
            Ladder,
            where,
        )
        return made or Ladder(name=name)

    def rung(self, raw: Any, where: str) -> Rung | None:
        data = self.mapping(raw, where)
        tell = self.each(data.get("tell"), Tell, f"{where}.tell", "purpose")
        return self.simple({**data, "tell": tell[0] if tell else None}, Rung, where)

    def evidence(self, reason: str, raw: Any) -> tuple[EvidenceItem, ...]:
        where = f"evidence.{reason}"
        items = (self.simple(item, EvidenceItem, f"{where}.{n}", "what") for n, item in enumerate(self.many(raw)))
        return tuple(item for item in items if item is not None)
