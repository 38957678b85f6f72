"""The part of CEL that playbooks use, read into a tree: the checker types it and tries it out. Evaluation is CEL's own.

Names, text, whole numbers, true/false/null, lists, `&& || !`, comparisons, `in`, `+ - * / %`, `duration('24h')`,
`timestamp('…')`, `size(x)`, and the text predicates startsWith, endsWith, contains, matches.
"""

import re
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<int>\d+)(?![\w.])|(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<op>\|\||&&|[=!<>]=|[<>!()\[\],.+\-*/%]))"
)
PREDICATES = ("startsWith", "endsWith", "contains", "matches")
_COMPARE = ("==", "!=", "<", "<=", ">", ">=", "in")


class Unread(Exception):
    """The guard uses something that playbooks do not."""


@dataclass(frozen=True, slots=True)
class Node:
    """`kind`: name, const, list, call, not, and, or, or an operator; `value` its name or constant."""

    kind: str
    value: Any = None
    parts: tuple["Node", ...] = ()

    def __str__(self) -> str:
        if self.kind in ("name", "const"):
            return repr(self.value) if self.kind == "const" else str(self.value)
        return f"{self.kind}:{self.value}({','.join(map(str, self.parts))})"


def parse(text: str) -> Node:
    """Raises Unread."""
    reader = _Reader(_tokens(text))
    node = reader.either()
    if reader.left:
        raise Unread(f"does not read on at {reader.left[0][1]!r}")
    return node


def names(node: Node) -> set[str]:
    own = {node.value} if node.kind == "name" else set()
    return own.union(*(names(part) for part in node.parts)) if node.parts else own


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unread(f"{text[at:].strip()[:20]!r} is not used in guards")
        found.append((str(match.lastgroup), match.group(str(match.lastgroup))))
        at = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.left = tokens

    def take(self, *wanted: str) -> str | None:
        if self.left and self.left[0][0] != "text" and self.left[0][1] in wanted:
            return self.left.pop(0)[1]
        return None

    def must(self, wanted: str) -> None:
        if self.take(wanted) is None:
            raise Unread(f"{wanted!r} is missing")

    def either(self) -> Node:
        node = self.both()
        while self.take("||"):
            node = Node("or", None, (node, self.both()))
        return node

    def both(self) -> Node:
        node = self.compared()
        while self.take("&&"):
            node = Node("and", None, (node, self.compared()))
        return node

    def compared(self) -> Node:
        node = self.sum()
        sign = self.take(*_COMPARE)
        return Node(sign, None, (node, self.sum())) if sign else node

    def sum(self) -> Node:
        node = self.product()
        while sign := self.take("+", "-"):
            node = Node(sign, None, (node, self.product()))
        return node

    def product(self) -> Node:
        node = self.single()
        while sign := self.take("*", "/", "%"):
            node = Node(sign, None, (node, self.single()))
        return node

    def single(self) -> Node:
        if self.take("!"):
            return Node("not", None, (self.single(),))
        if self.take("-"):
            return Node("-", None, (Node("const", 0), self.single()))
        node = self.plain()
        while self.take("."):
            kind, name = self.left.pop(0) if self.left else ("", "")
            if kind != "name" or name not in PREDICATES:
                raise Unread(f".{name} is not used in guards")
            self.must("(")
            node = Node("call", name, (node, *self.listed(")")))
        return node

    def plain(self) -> Node:
        if self.take("("):
            node = self.either()
            self.must(")")
            return node
        if self.take("["):
            return Node("list", None, tuple(self.listed("]")))
        if not self.left:
            raise Unread("ends too early")
        kind, text = self.left.pop(0)
        if kind == "int":
            return Node("const", int(text))
        if kind == "text":
            return Node("const", re.sub(r"\\(.)", r"\1", text[1:-1]))
        if kind != "name":
            raise Unread(f"{text!r} stands where a value is wanted")
        if text in ("true", "false", "null"):
            return Node("const", {"true": True, "false": False, "null": None}[text])
        return Node("call", text, tuple(self.listed(")"))) if self.take("(") else Node("name", text)

    def listed(self, end: str) -> list[Node]:
        if self.take(end):
            return []
        found = [self.either()]
        while self.take(","):
            found.append(self.either())
        self.must(end)
        return found


_DURATION = re.compile(r"(?:\d+(?:h|m|s))+")


def type_of(node: Node, types: dict[str, str]) -> str:
    """text, int, bool, time, duration, null, any, or `list of …`. Raises Unread for what cannot be compared or added."""
    if node.kind == "const":
        return _constant(node.value)
    if node.kind == "name":
        return types.get(node.value, "any")
    parts = [type_of(part, types) for part in node.parts]
    if node.kind == "list":
        return "list of " + _one(parts, "a list")
    if node.kind == "call":
        return _call(node, parts)
    if node.kind in ("and", "or", "not"):
        if any(part not in ("bool", "any") for part in parts):
            raise Unread(f"{_shown(node)} takes truth values, not {', '.join(parts)}")
        return "bool"
    return _compared(node, parts) if node.kind in _COMPARE else _computed(node, parts)


def _shown(node: Node) -> str:
    return {"and": "&&", "or": "||", "not": "!"}.get(node.kind, node.kind)


def _constant(value: Any) -> str:
    if value is None:
        return "null"
    return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "text"


def _one(parts: list[str], where: str) -> str:
    known = {part for part in parts if part != "any"}
    if len(known) > 1:
        raise Unread(f"{where} mixes {', '.join(sorted(known))}")
    return known.pop() if known else "any"


def _compared(node: Node, parts: list[str]) -> str:
    left, right = parts
    if node.kind == "in":
        if not right.startswith("list of "):
            raise Unread("`in` takes a list")
        _one([left, right.removeprefix("list of ")], "`in`")
    elif node.kind in ("==", "!="):
        _one([part for part in parts if part != "null"], f"`{node.kind}`")
    elif _one(parts, f"`{node.kind}`") not in ("int", "time", "duration", "any"):
        raise Unread(f"`{node.kind}` orders numbers and times, not {left} and {right}")
    return "bool"


def _computed(node: Node, parts: list[str]) -> str:
    left, right = parts
    if set(parts) <= {"int", "any"}:
        return "int"
    if node.kind in "+-" and right in ("duration", "any") and left in ("time", "duration", "any"):
        return left
    if node.kind == "-" and parts == ["time", "time"]:
        return "duration"
    raise Unread(f"`{node.kind}` cannot take {left} and {right}")


def _call(node: Node, parts: list[str]) -> str:
    if node.value in PREDICATES and all(part in ("text", "any") for part in parts) and len(parts) == 2:
        return "bool"
    if node.value == "size" and parts in (["text"], ["any"]):
        return "int"
    if node.value in ("duration", "timestamp") and parts == ["text"] and node.parts[0].kind == "const":
        if node.value == "duration" and not _DURATION.fullmatch(node.parts[0].value):
            raise Unread(f"no duration: {node.parts[0].value!r}")
        return "duration" if node.value == "duration" else "time"
    raise Unread(f"{node.value}({', '.join(parts)}) is not used in guards")
