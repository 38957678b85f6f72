"""Rows and what they bring about: guards that can be decided, rows that can be reached, effects that can be carried out."""

from collections.abc import Iterator

from services.policy.core import truth
from services.policy.core.actions import ACTION_NAMES
from services.policy.core.findings import Findings, Place
from services.policy.core.grammar import Node, Unread, names, parse, type_of
from services.policy.core.guards import GuardFault, compiled
from services.policy.core.names import suppliable, types
from shared.domain.case import FIELDS, KINDS, TASK_KINDS
from shared.domain.errands import ACTS
from shared.domain.playbook import Ask, Do, Effects, Row, Tell
from shared.durations import parse_duration

_GOODS_FACTS = frozenset(
    {"return.received", "return.inspected", "delivery.returned_to_sender", "operator.acted:confirm_receipt",
     "operator.acted:inspect"}
)  # fmt: skip
_BACK = frozenset({"received", "inspected"})


def check(found: Findings) -> None:
    rows = Rows(found)
    for where, row in found.rows():
        rows.guard(row.when, row.line, where, row)
        rows.sets(row, where)
    for place in found.places():
        rows.effects(place)
    rows.groups()
    _goods(found)


class Rows:
    def __init__(self, found: Findings) -> None:
        self.found, self.playbook = found, found.playbook
        self.types = types(found.playbook, found.settings)
        self.values = suppliable(found.playbook, frozenset(found.settings))

    def guard(self, text: str | None, line: int, state: str, row: Row | None) -> Node | None:
        """The guard's tree, once it compiles, names what exists and compares what compares."""
        if text is None:
            return None
        try:
            compiled(text)
            node = parse(text)
            unknown = sorted(name for name in names(node) if not self._known(name, row))
            if unknown:
                raise Unread(f"names unknown field {', '.join(unknown)}")
            result = type_of(node, self.types)
        except GuardFault as fault:
            self.found.fault(line, f"guard does not compile: {fault}", state)
            return None
        except Unread as fault:
            self.found.fault(line, f"guard {fault}: {text}", state)
            return None
        if result not in ("bool", "any"):
            self.found.fault(line, f"guard gives {result}, not a truth value: {text}", state)
            return None
        self._closed_values(node, line, state)
        return node

    def _known(self, name: str, row: Row | None) -> bool:
        if name.startswith("param_") or name in ("has_approve", "has_represent"):
            return row is not None and row.fact.startswith("operator.acted:")
        if name.startswith("setting_") and self.found.known.settings is None:
            return True
        return name in self.types

    def _closed_values(self, node: Node, line: int, state: str) -> None:
        for atom in _comparisons(node):
            field = next((p.value for p in atom.parts if p.kind == "name" and p.value in truth.CLOSED), None)
            for value in _texts(atom) if field else ():
                if value not in truth.CLOSED[field or ""]:
                    self.found.fault(line, f"`{field}` is never {value!r}", state)

    def sets(self, row: Row, where: str) -> None:
        kinds = {**FIELDS, **self.playbook.fields}
        for name, given in row.set.items():
            if name not in kinds:
                self.found.fault(row.line, f"sets unknown field `{name}`", where)
            elif isinstance(given, str) and given.startswith("$"):
                self._value(given[1:], row.line, where)
            elif not _fits(given, kinds[name]):
                self.found.fault(row.line, f"sets {name} ({kinds[name]}) to something else", where)

    def _value(self, name: str, line: int, state: str) -> None:
        unjudged = ("param_", "setting_") if self.found.known.settings is None else ("param_",)
        if name not in self.values and not name.startswith(unjudged):
            self.found.fault(line, f"`${name}` is no field the case can supply", state)

    def effects(self, place: Place) -> None:
        wanted = place.effects
        for tell in wanted.tell:
            self.tell(tell, place)
        for do in wanted.act:
            self.act(do, place)
        for ask in wanted.task:
            self.task(ask, place)
        self._others(wanted, place)

    def _others(self, wanted: Effects, place: Place) -> None:
        def fault(text: str) -> None:
            self.found.fault(place.line, text, place.state)

        if wanted.ladder is not None and wanted.ladder not in self.playbook.ladders:
            fault(f"unknown ladder `{wanted.ladder}`")
        for clock in wanted.arm:
            if clock not in self.playbook.clocks:
                fault(f"arms unknown clock `{clock}`")
        if wanted.evidence and not self.playbook.evidence:
            fault("asks for evidence but the playbook has no evidence list")
        if wanted.evidence and not wanted.tell:
            self._purpose("ask_for_evidence", place, place.line)
        if wanted.link is not None and wanted.link not in KINDS:
            fault(f"links unknown kind `{wanted.link}`")
        if wanted.link == self.playbook.kind:
            fault("links a case of its own kind")

    def tell(self, tell: Tell, place: Place) -> None:
        line, state = tell.line or place.line, place.state
        self.guard(tell.when, line, state, place.row)
        self._clock_name(tell.not_after, line, state)
        for name in tell.true_in:
            if name not in self.playbook.states:
                self.found.fault(line, f"`true_in` names unknown state `{name}`", state)
        if self._purpose(tell.purpose, place, line):
            self._variables(tell, place, line)

    def _purpose(self, purpose: str, place: Place, line: int) -> bool:
        known, state = self.found.known, place.state
        if known.purposes is not None and purpose not in known.purposes:
            self.found.fault(line, f"unknown message purpose `{purpose}`", state)
            return False
        if known.templates is not None and purpose not in known.templates:
            self.found.fault(line, f"message {purpose} has no template", state)
        if known.allowed is not None and purpose not in known.allowed:
            self.found.fault(line, f"message {purpose} is not allowed by the marketplace", state)
        phases = (known.allowed or {}).get(purpose, ())
        for name in place.states if phases else ():
            phase = self.playbook.states[name].phase
            if phase not in phases:
                self.found.fault(line, f"message {purpose} is not allowed in phase {phase} (state {name})", state)
        return True

    def _variables(self, tell: Tell, place: Place, line: int) -> None:
        needs = (self.found.known.purposes or {}).get(tell.purpose)
        for name, source in tell.variables.items():
            if needs is not None and name not in needs:
                self.found.fault(line, f"message {tell.purpose} has no variable `{name}`", place.state)
            self._supplied(tell, name, source, place, line)
        for name, need in (needs or {}).items():
            if need.required and name not in tell.variables:
                self._supplied(tell, name, need.source, place, line)

    def _supplied(self, tell: Tell, name: str, source: str, place: Place, line: int) -> None:
        by_operator = place.row is not None and place.row.fact.startswith("operator.acted:")
        if source in self.values or (source.startswith("param_") and by_operator):
            return
        if tell.purpose == "ask_for_evidence" and name == "items":
            return
        text = f"message {tell.purpose} needs {name}, which the case cannot supply from `{source}`"
        self.found.fault(line, text, place.state)

    def _clock_name(self, name: str | None, line: int, state: str) -> None:
        if name is not None and name not in self.playbook.clocks:
            self.found.fault(line, f"`not_after` names unknown clock `{name}`", state)

    def act(self, do: Do, place: Place) -> None:
        line, state = do.line or place.line, place.state
        self.guard(do.when, line, state, place.row)
        self._clock_name(do.not_after, line, state)
        if do.act not in ACTS:
            self.found.fault(line, f"unknown act `{do.act}`", state)
        elif self.found.known.acts is not None and self.found.known.acts.get(do.act, "none") == "none":
            self.found.fault(line, f"act {do.act} cannot be done on this marketplace (capability none)", state)
        for given in do.params.values():
            if isinstance(given, str) and given.startswith("$"):
                self._value(given[1:], line, state)
        if do.keep_item and do.act != "refund":
            self.found.fault(line, f"keep_item is said of {do.act}: only a refund can leave the item", state)

    def task(self, ask: Ask, place: Place) -> None:
        line, state = ask.line or place.line, place.state
        self.guard(ask.when, line, state, place.row)
        if ask.task not in TASK_KINDS:
            self.found.fault(line, f"unknown task kind `{ask.task}`", state)
        if not ask.reason.strip():
            self.found.fault(line, f"task {ask.task} has no reason", state)
        for answer in ask.allowed:
            if answer != "done" and answer not in ACTION_NAMES:
                self.found.fault(line, f"task {ask.task} allows unknown action `{answer}`", state)
        if ask.due in self.playbook.clocks:
            return
        try:
            parse_duration(ask.due)
        except ValueError:
            self.found.fault(line, f"task {ask.task} is due at `{ask.due}`: neither a clock nor a duration", state)

    def groups(self) -> None:
        """Rows of one (state, fact): the last unguarded, none twice, none that can never fire."""
        for where, rows in _grouped(self.found):
            self._group(where, rows, "row")
        for name, rule in self.playbook.clocks.items():
            state = next(iter(sorted(self.found.running_in(name))), "")
            planned = [
                Row(id=f"{name}#{n}", fact=name, when=p.when, set=p.set, line=p.line)
                for n, p in enumerate(rule.planned)
            ]
            for row in planned:
                self.guard(row.when, row.line, state, None)
                self.sets(row, state)
            self._group(state, planned, "planned row")
        for ladder in self.playbook.ladders.values():
            for rung in ladder.rungs:
                self.guard(rung.when, rung.line, "", None)

    def _group(self, where: str, rows: list[Row], what: str) -> None:
        if not rows:
            return
        fact, operator = rows[0].fact, rows[0].fact.startswith("operator.acted:")
        met: dict[str | None, Row] = {}
        for row in rows:
            if met.setdefault(row.when, row) is not row:
                self.found.fault(row.line, f"duplicate {what} for {fact}: the same guard again", where)
        if rows[-1].when is not None and not operator:
            self.found.fault(rows[-1].line, f"the last {what} for {fact} has a guard: the rest has no answer", where)
        try:
            guards = [parse(row.when) if row.when is not None else None for row in rows]
            never = truth.unreachable(guards)
        except Unread:
            return
        except truth.TooMany:
            text = f"the {what}s for {fact} have more than {truth.MAX_ATOMS} conditions: too many to try out"
            self.found.fault(rows[0].line, text, where)
            return
        for index in never:
            if met[rows[index].when] is rows[index]:
                self.found.fault(rows[index].line, f"{what} for {fact} can never be reached", where)


def _grouped(found: Findings) -> Iterator[tuple[str, list[Row]]]:
    scopes = [("", found.playbook.opens_on), ("", found.playbook.everywhere)]
    scopes += [(name, state.rows) for name, state in found.playbook.states.items()]
    for where, rows in scopes:
        for fact in dict.fromkeys(row.fact for row in rows):
            yield where, [row for row in rows if row.fact == fact]


def _comparisons(node: Node) -> Iterator[Node]:
    if node.kind in ("==", "!=", "in"):
        yield node
    for part in node.parts:
        yield from _comparisons(part)


def _texts(atom: Node) -> list[str]:
    sides = [inner for part in atom.parts for inner in (part.parts if part.kind == "list" else (part,))]
    return [side.value for side in sides if side.kind == "const" and isinstance(side.value, str)]


def _fits(given: object, kind: str) -> bool:
    if kind == "bool" or isinstance(given, bool):
        return kind == "bool" and isinstance(given, bool)
    return isinstance(given, int) if kind == "int" else isinstance(given, str) and kind == "text"


def _goods(found: Findings) -> None:
    """No playbook's refund before the goods are back unless it says keep_item. An operator's is the core's to judge."""
    if found.playbook.kind in ("cancellation", "order_care"):
        return
    back = _states_with_goods(found)
    for place in found.places():
        for do in place.effects.act:
            if do.act != "refund" or do.keep_item:
                continue
            sure = bool(place.states) and set(place.states) <= back if place.row is None else _row_sure(place, back)
            if not sure and not _says_back(do.when):
                text = "money before its guard: a refund here can come before the goods are back; say keep_item or guard it"
                found.fault(do.line or place.line, text, place.state)


def _row_sure(place: Place, back: set[str]) -> bool:
    row = place.row
    if row is None or row.fact == "operator.acted:refund":
        return True
    return _brings_back(row) or place.state in back


def _brings_back(row: Row) -> bool:
    return row.fact in _GOODS_FACTS or _says_back(row.when)


def _states_with_goods(found: Findings) -> set[str]:
    """Open states every way into which tells that the goods are back."""
    back = set(found.playbook.states)
    changed = True
    while changed:
        changed = False
        for where, row in found.rows():
            if row.to is None or _brings_back(row) or (where and where in back):
                continue
            lost = set(found.tos(row, where)) & back
            back -= lost
            changed = changed or bool(lost)
    return back


def _says_back(text: str | None) -> bool:
    """Whether the guard holds only with the goods received or inspected."""
    if text is None:
        return False
    try:
        node = parse(text)
    except Unread:
        return False
    return _implies(node)


def _implies(node: Node) -> bool:
    if node.kind == "and":
        return any(map(_implies, node.parts))
    if node.kind == "or":
        return all(map(_implies, node.parts))
    goods = node.kind in ("==", "in") and any(p.kind == "name" and p.value == "goods" for p in node.parts)
    return goods and bool(_texts(node)) and set(_texts(node)) <= _BACK
