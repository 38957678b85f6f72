"""YAML as configuration and playbooks are written in: safe, without surprises, and with the line of everything.

Narrower than YAML 1.1: keys are always text; only `true`/`false` are booleans (`no` is Norway, `on` a word); whole
numbers without leading zeros are ints; every other plain scalar (dates, `1.10`, `0123`) stays the text as written.
"""

import re
from typing import Any, cast

import yaml

MAX_TEXT = 1_000_000
MAX_ALIASES = 100
MAX_NODES = 100_000
MAX_DEPTH = 40
_TAG = "tag:yaml.org,2002:"


class YamlFault(Exception):
    """`line` counts from 1; `why` never repeats a value of the file."""

    def __init__(self, line: int, why: str, path: str = "") -> None:
        super().__init__(f"{path}:{line}: {why}" if path else f"line {line}: {why}")
        self.line = line
        self.why = why
        self.path = path


class _Loader(yaml.CSafeLoader):
    """Only the plain scalars of the docstring above are resolved to anything but text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"^-?(?:0|[1-9][0-9]{0,17})$"), list("-0123456789"))


def load(text: str, path: str = "") -> tuple[Any, dict[str, int]]:
    """The one document of `text`, and dotted path -> line (list items by index). Raises YamlFault naming `path`."""
    try:
        return _Building().document(text)
    except YamlFault as fault:
        raise YamlFault(fault.line, fault.why, path) from None


class _Building:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._seen: set[int] = set()
        self._above: set[int] = set()
        self._nodes = 0
        self._aliases = 0

    def document(self, text: str) -> tuple[Any, dict[str, int]]:
        root = _compose(text)
        return (None if root is None else self._value(root, "")), self.lines

    def _value(self, node: yaml.Node, path: str) -> Any:
        self._count(node)
        if not node.tag.startswith(_TAG):
            raise YamlFault(_line(node), "tags are not allowed")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        self._above.add(id(node))
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self._above.discard(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        _expect(node, "map")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlFault(_line(key_node), "a key must be plain text")
            key = cast(str, key_node.value)
            if key in result:
                raise YamlFault(_line(key_node), f"key {_shown(key)} stands twice")
            below = f"{path}.{key}" if path else key
            self.lines.setdefault(below, _line(key_node))
            result[key] = self._value(value_node, below)
        return result

    def _sequence(self, node: yaml.Node, path: str) -> list[Any]:
        _expect(node, "seq")
        result = []
        for index, item in enumerate(node.value):
            below = f"{path}.{index}" if path else str(index)
            self.lines.setdefault(below, _line(item))
            result.append(self._value(item, below))
        return result

    def _count(self, node: yaml.Node) -> None:
        """An alias is the same node met again: few are comfort, many are a bomb."""
        self._nodes += 1
        if id(node) in self._above:
            raise YamlFault(_line(node), "an alias that contains itself")
        if id(node) in self._seen:
            self._aliases += 1
        self._seen.add(id(node))
        if self._aliases > MAX_ALIASES or self._nodes > MAX_NODES:
            raise YamlFault(_line(node), "too many aliases or nodes")


def _compose(text: str) -> yaml.Node | None:
    if len(text) > MAX_TEXT:
        raise YamlFault(1, "over 1 MB")
    try:
        _check_depth(text)
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise YamlFault(mark.line + 1 if mark else 1, fault.problem or "not YAML") from None
    except (yaml.YAMLError, UnicodeEncodeError):
        raise YamlFault(1, "holds a character YAML does not allow") from None


def _check_depth(text: str) -> None:
    """On events, before the recursive composer runs."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise YamlFault(_line(event), f"nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _scalar(node: yaml.ScalarNode) -> Any:
    text = cast(str, node.value)
    match node.tag.removeprefix(_TAG):
        case "str":
            return text
        case "int" if re.fullmatch(r"-?[0-9]{1,18}", text):
            return int(text)
        case "bool" if text in ("true", "false"):
            return text == "true"
        case "null" if text in ("", "~", "null"):
            return None
    raise YamlFault(_line(node), "tags are not allowed")


def _expect(node: yaml.Node, kind: str) -> None:
    if node.tag != _TAG + kind:
        raise YamlFault(_line(node), "tags are not allowed")


def _line(node: yaml.Node | yaml.Event) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


def _shown(key: str) -> str:
    return repr(key if len(key) <= 60 else key[:57] + "...")
