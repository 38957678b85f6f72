"""What a template may hold: an allow-list over Jinja2's own tree, looked at when the template is loaded. Pure.

A template may say the values of its purpose, choose and repeat; nothing it may say grows by more than what it is given.
Whatever is not named here is refused, with its line.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError, localedata
from babel.lists import format_list
from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shared.manifest import Purpose

MAX_BYTES = 20_000
Kinds = tuple[tuple[str, str], ...]
"""Variables with their types, sorted by name."""

_DEEPEST = 25
_MOST_FILTERS = 50
"""Inside a loop of fifty: what they take at most stays within the time of a rendering."""
_LONGEST_TEXT, _LONGEST_SEPARATOR, _LARGEST = 200, 20, 10**9
_OF_TEXT = frozenset({"upper", "lower", "title", "capitalize", "trim"})
_OF_LISTS: Mapping[str, str] = {"join": "text", "listed": "text", "first": "text", "last": "text", "length": "int"}
_FILTERS = _OF_TEXT | frozenset(_OF_LISTS) | {"plural"}
_TESTS = frozenset({"none", "defined", "true", "false"})
_OF_LOOP: Mapping[str, str] = {"first": "bool", "last": "bool", "index": "int"}
_SAYABLE = frozenset({"text", "int", "money", "date"})
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.Const, nodes.For, nodes.Test, nodes.Filter, nodes.Getattr,
)  # fmt: skip
_BY_SIZE = ("lt", "lteq", "gt", "gteq")
_NOT_ASKED_FOR = (
    "languages", "territories", "scripts", "variants", "currency_names", "currency_names_plural", "unit_patterns",
    "unit_display_names", "compound_unit_patterns", "meta_zones", "time_zones", "date_fields", "compact_decimal_formats",
    "compact_currency_formats", "interval_formats",
)  # fmt: skip
_MANY = 200
"""Counts up to here show every form a language has for the numbers of messages."""


class Absent(StrictUndefined):
    """A value that is not known: it may be asked about, and saying it fails."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]
        return False

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return isinstance(other, Absent)

    def __ne__(self, other: object) -> bool:  # type: ignore[override]
        return not isinstance(other, Absent)

    def __hash__(self) -> int:  # type: ignore[override]
        return 0


def kinds_of(purpose: Purpose) -> Kinds:
    return tuple(sorted((name, variable.type) for name, variable in purpose.variables.items()))


def known_language(locale: str) -> bool:
    return _parsed(locale) is not None


@lru_cache(maxsize=256)
def language(locale: str) -> Locale:
    """Its CLDR data; English where there are none."""
    found = _parsed(locale) or Locale.parse("en")
    _lighten(str(found))
    return found


def _lighten(name: str) -> None:
    """Of a megabyte a language nearly all is names that no message asks for."""
    while name:
        data = localedata.load(name)
        for part in _NOT_ASKED_FOR:
            data[part] = {}
        name = name.rpartition("_")[0]


def _parsed(locale: str) -> Locale | None:
    try:
        return Locale.parse(locale, sep="-")
    except (UnknownLocaleError, ValueError):
        return None


@lru_cache(maxsize=64)
def environment(locale: str) -> ImmutableSandboxedEnvironment:
    """Plain text leaves, so nothing is escaped here; mark-up is a matter of the `html` rule."""
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    made.globals = {}
    own: dict[str, Callable[..., Any]] = {"plural": _plural(locale), "listed": _listed(locale)}
    made.filters = {name: f for name, f in made.filters.items() if name in _FILTERS} | own
    made.tests = {name: test for name, test in made.tests.items() if name in _TESTS}
    made.tests["none"] = lambda value: value is None or isinstance(value, Undefined)
    return made


def _plural(locale: str) -> Callable[..., str]:
    form = language(locale).plural_form

    def plural(value: int, **forms: str) -> str:
        """The form that goes with a number; one that is rare enough to be left out reads as `other`."""
        return forms.get(form(int(value))) or forms["other"]

    return plural


def _listed(locale: str) -> Callable[[list[str]], str]:
    spoken = language(locale)
    return lambda value: format_list(list(value), locale=spoken)


@lru_cache(maxsize=64)
def forms_of(locale: str) -> frozenset[str]:
    """CLDR's plural categories that whole numbers have in a language."""
    form = language(locale).plural_form
    return frozenset(form(n) for n in range(_MANY))


@lru_cache(maxsize=4096)
def faults_of(text: str, kinds: Kinds, locale: str = "en") -> tuple[tuple[int, str], ...]:
    """What a template must not hold, with its line."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return ((1, f"longer than {MAX_BYTES} bytes"),)
    try:
        tree = environment(locale).parse(text)
    except TemplateError as fault:
        return ((getattr(fault, "lineno", None) or 1, str(fault.message or type(fault).__name__)),)
    except (RecursionError, MemoryError):
        return ((1, "nested too deeply"),)
    except ValueError as fault:
        return ((1, str(fault)),)
    line = _too_deep(tree)
    if line:
        return ((line, "nested too deeply"),)
    filters = list(tree.find_all(nodes.Filter))
    if len(filters) > _MOST_FILTERS:
        return ((filters[_MOST_FILTERS].lineno, f"more than {_MOST_FILTERS} filters"),)
    return tuple(_Look(dict(kinds), forms_of(locale)).refused(tree))


def _too_deep(tree: nodes.Node) -> int:
    """The line of the first node that lies too deep, 0 where none does: nothing below walks further down than this allows."""
    level: list[nodes.Node] = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in node.iter_child_nodes()]
    return level[0].lineno if level else 0


class _Look:
    """One template, or the inside of its loop. `kinds`: what each name stands for there."""

    def __init__(self, kinds: Mapping[str, str], forms: frozenset[str], *, in_loop: bool = False) -> None:
        self._kinds, self._forms, self._in_loop = kinds, forms, in_loop

    def refused(self, node: nodes.Node) -> Iterator[tuple[int, str]]:
        why = self._why(node)
        if why:
            yield node.lineno or 1, why
        elif isinstance(node, nodes.For):
            yield from self._loop(node)
        elif isinstance(node, nodes.Filter):
            assert node.node is not None  # noqa: S101
            yield from self.refused(node.node)
        else:
            for child in node.iter_child_nodes():
                yield from self.refused(child)

    def _loop(self, node: nodes.For) -> Iterator[tuple[int, str]]:
        assert isinstance(node.target, nodes.Name)  # noqa: S101
        inner = _Look({**self._kinds, node.target.name: "text", "loop": "loop"}, self._forms, in_loop=True)
        for child in [*node.body, *node.else_]:
            yield from inner.refused(child)

    def _why(self, node: nodes.Node) -> str | None:
        match node:
            case nodes.Name():
                return self._name(node)
            case nodes.Filter():
                return self._filter(node)
            case nodes.For():
                return self._plain_loop(node)
            case nodes.Getattr():
                return None if self._of_loop(node) else "attributes are not allowed"
            case nodes.Const():
                return _constant(node.value)
            case nodes.Test():
                plain = node.name in _TESTS and not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
                return None if plain else f"test {node.name} is not allowed"
            case nodes.Compare():
                return self._compare(node)
            case nodes.Output():
                return next(filter(None, map(self._unsayable, node.nodes)), None)
        return None if isinstance(node, _NODES) else f"{type(node).__name__} is not allowed"

    def _name(self, node: nodes.Name) -> str | None:
        if node.name not in self._kinds:
            return f"{node.name} is no variable of this purpose"
        return None if node.ctx == "load" else "assignments are not allowed"

    def _plain_loop(self, node: nodes.For) -> str | None:
        plain = not (self._in_loop or node.recursive or node.test) and isinstance(node.target, nodes.Name)
        if plain and isinstance(node.iter, nodes.Name):
            if node.iter.name not in self._kinds:
                return f"{node.iter.name} is no variable of this purpose"
            if self._kinds[node.iter.name] == "list":
                return None
        return "only a plain loop over one list, not inside another"

    def _of_loop(self, node: nodes.Getattr) -> bool:
        return isinstance(node.node, nodes.Name) and node.node.name == "loop" and node.attr in _OF_LOOP

    def _compare(self, node: nodes.Compare) -> str | None:
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        if any(operand.op in _BY_SIZE for operand in node.ops) and any(self._kinds_said(s) != {"int"} for s in sides):
            return "only whole numbers are compared by size"
        return None

    def _unsayable(self, node: nodes.Node) -> str | None:
        if isinstance(node, nodes.TemplateData):
            return None
        if isinstance(node, nodes.CondExpr) and node.expr2 is None:
            return "a choice that is said needs its `else`"
        others = self._kinds_said(node) - _SAYABLE - {"?"}
        return f"a {min(others)} cannot be said as it is" if others else None

    def _kinds_said(self, node: nodes.Node | None) -> set[str]:
        """What a value may be; `?` where another fault says it already."""
        match node:
            case nodes.Name():
                return {self._kinds.get(node.name, "?")}
            case nodes.CondExpr():
                return self._kinds_said(node.expr1) | self._kinds_said(node.expr2)
            case nodes.And() | nodes.Or():
                return self._kinds_said(node.left) | self._kinds_said(node.right)
            case nodes.Filter():
                return {_OF_LISTS.get(node.name, "text")}
            case nodes.Getattr():
                return {_OF_LOOP.get(node.attr, "?")}
            case nodes.Const(value=value):
                return {{str: "text", int: "int", bool: "bool"}.get(type(value), "none")}
            case nodes.Compare() | nodes.Test() | nodes.Not():
                return {"bool"}
        return {"?"}

    def _filter(self, node: nodes.Filter) -> str | None:
        refused = f"filter {node.name} is not allowed"
        if node.name not in _FILTERS or node.node is None or node.dyn_args or node.dyn_kwargs:
            return refused
        if node.name == "plural":
            return self._plural(node)
        if node.kwargs or (node.args and not (node.name == "join" and _separator(node.args))):
            return f"filter {node.name} is not allowed with these arguments"
        if node.name in _OF_TEXT:
            fits = self._kinds_said(node.node) <= _SAYABLE | {"?"}
        else:
            fits = isinstance(node.node, nodes.Name) and self._kinds.get(node.node.name, "list") == "list"
        return None if fits else f"filter {node.name} is not allowed here"

    def _plural(self, node: nodes.Filter) -> str | None:
        """Of a whole number, with each form the language has, as plain text."""
        if node.args or self._kinds_said(node.node) != {"int"} or not isinstance(node.node, nodes.Name | nodes.Filter):
            return "plural goes with a whole number and named forms"
        given = {pair.key: pair.value for pair in node.kwargs}
        if not all(isinstance(v, nodes.Const) and isinstance(v.value, str) and v.value for v in given.values()):
            return "plural's forms are plain texts"
        if not self._forms <= set(given) <= self._forms | {"other"}:
            return f"plural needs the forms {', '.join(sorted(self._forms))}"
        return next(filter(None, (_constant(v.value) for v in given.values() if isinstance(v, nodes.Const))), None)


def _constant(value: object) -> str | None:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return "a text this long must not be a constant"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > _LARGEST):
        return "only small whole numbers may be constants"
    return None


def _separator(args: list[nodes.Expr]) -> bool:
    (first, *others) = args
    return (
        not others
        and isinstance(first, nodes.Const)
        and isinstance(first.value, str)
        and len(first.value) <= _LONGEST_SEPARATOR
    )
