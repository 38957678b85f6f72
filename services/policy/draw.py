"""A playbook as a picture: a Mermaid state diagram, or SVG with the states in columns by their distance from the start."""

from collections.abc import Iterator
from html import escape

from shared.domain.playbook import TO_STATUS, Playbook, Row, State

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 190, 44, 90, 24, 20
_STYLE = (
    "text{font:12px sans-serif;fill:#1b1f24} .phase{font-size:10px;fill:#57606a} rect{fill:#f6f8fa;stroke:#57606a} "
    ".end rect{fill:#ddf4e4} path{fill:none;stroke:#8c959f} path:hover{stroke:#0969da;stroke-width:3}"
)
_ARROW = (
    '<marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z" style="fill:#8c959f"/></marker>'
)
Arrow = tuple[str, str, str]
"""(from state, to state, label); from `` is the start."""


def arrows(playbook: Playbook) -> Iterator[Arrow]:
    """One per row that leads to another state, in the file's order."""
    for row in playbook.opens_on:
        yield from (("", target, _label(row)) for target in _targets(playbook, row))
    for state in playbook.states.values():
        rows = state.rows if state.is_end else (*state.rows, *playbook.everywhere)
        for row in rows:
            yield from ((state.name, to, _label(row)) for to in _targets(playbook, row) if to != state.name)


def mermaid(playbook: Playbook) -> str:
    lines = ["stateDiagram-v2", f"  %% {playbook.name} {playbook.version}"]
    lines += [f'  state "{s.name} ({_end(s)})" as {s.name}' for s in playbook.states.values()]
    # Mermaid takes `;` and `:` inside a label for its own.
    told = ((a, b, label.replace(";", ",").replace(":", "∶")) for a, b, label in arrows(playbook))
    lines += [f"  {source or '[*]'} --> {target}: {label}" for source, target, label in told]
    lines += [f"  {state.name} --> [*]" for state in playbook.states.values() if state.is_end]
    return "\n".join(lines) + "\n"


def svg(playbook: Playbook) -> str:
    """What leads where; the fact and guard of each arrow show when the pointer is on it."""
    places = _places(playbook)
    width = max(x for x, _ in places.values()) + _WIDTH + _EDGE
    height = max(y for _, y in places.values()) + _HEIGHT + _EDGE
    drawn = [_arrow(places[a], places[b], label) for a, b, label in arrows(playbook) if a and b in places]
    drawn += [_box(state, *places[state.name]) for state in playbook.states.values()]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    title = f"<title>{escape(playbook.name)} {escape(playbook.version)}</title>"
    return "\n".join([head, title, f"<style>{_STYLE}</style><defs>{_ARROW}</defs>", *drawn, "</svg>"]) + "\n"


def _targets(playbook: Playbook, row: Row) -> list[str]:
    named = sorted(set(playbook.statuses.values())) if row.to == TO_STATUS else [row.to]
    return [name for name in named if name in playbook.states]


def _end(state: State) -> str:
    return ", ".join(part for part in (state.phase, state.outcome, state.liability) if part)


def _label(row: Row) -> str:
    return (row.fact if row.when is None else f"{row.fact} [{row.when}]").replace("\n", " ")


def _places(playbook: Playbook) -> dict[str, tuple[int, int]]:
    """Upper left corners. States nothing leads to stand in the last column."""
    column = {"": 0}
    edges = list(arrows(playbook))
    layer = [""]
    while layer:
        layer = list(dict.fromkeys(b for a, b, _ in edges if a in layer and b not in column))
        column |= {name: len(set(column.values())) for name in layer}
    last = max(column.values(), default=0) + 1
    places: dict[str, tuple[int, int]] = {}
    filled: dict[int, int] = {}
    for name in playbook.states:
        across = column.get(name, last) - 1
        down = filled.get(across, 0)
        filled[across] = down + 1
        places[name] = (_EDGE + across * (_WIDTH + _GAP_X), _EDGE + down * (_HEIGHT + _GAP_Y))
    return places


def _box(state: State, x: int, y: int) -> str:
    kind = ' class="end"' if state.is_end else ""
    return (
        f'<g{kind}><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text x="{x + 10}" y="{y + 19}">{escape(state.name)}</text>'
        f'<text x="{x + 10}" y="{y + 35}" class="phase">{escape(_end(state))}</text></g>'
    )


def _arrow(source: tuple[int, int], target: tuple[int, int], label: str) -> str:
    """Forward from edge to edge; back or within a column in a bow."""
    (x1, y1), (x2, y2) = source, target
    forward = x2 > x1
    x1, x2 = x1 + _WIDTH, x2 if forward else x2 + _WIDTH
    y1, y2 = y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
    bend = _GAP_X // 2
    curve = f"M{x1},{y1} C{x1 + bend},{y1} {x2 - bend if forward else x2 + bend},{y2} {x2},{y2}"
    return f'<path d="{curve}" marker-end="url(#tip)"><title>{escape(label)}</title></path>'
