"""`python -m bench.plots [RESULTS [FOLDER]]`: the document as SVG bars and a page of tables, for the docs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree as Xml

from bench.contestant import ROOT
from bench.pages import number, page
from bench.report import RESULTS

FOLDER = ROOT / "docs" / "performance"
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 760, 150, 150, 30, 54
_OURS, _PEER, _INK, _FAINT = "#0b6e4f", "#8a94a6", "#1f2933", "#5c6773"
_FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Bar:
    """`least`, `most`: of the rounds, drawn as a thin line."""

    name: str
    value: float
    least: float
    most: float
    ours: bool


@dataclass(frozen=True)
class Chart:
    file: str
    title: str
    under: str
    bars: Sequence[Bar]


def charts(found: dict[str, Any]) -> list[Chart]:
    rounds = f"medians of {found['rounds']} interleaved rounds, line: least to most; {found['machine']['cores']} cores"
    told = [
        Chart(
            "throughput.svg", "Cases per second", rounds, _bars(found, "closed", lambda one: one["cases_per_second"])
        ),
        Chart("cpu.svg", "CPU seconds per 1,000 cases, all processes", rounds, _bars(found, "closed", _cost)),
        Chart("latency.svg", "End to end at 50 a second, p50 in ms", rounds, _bars(found, "modest", _travel)),
    ]
    return [chart for chart in told if chart.bars]


def _bars(found: dict[str, Any], load: str, value: Any) -> list[Bar]:
    """Best first as the reader expects: in the order of the value, ours told by colour."""
    bars = []
    for name, one in found["contestants"].items():
        values = [value(kept) for kept in one.get(load, []) if not kept["void"]]
        if values:
            bars.append(Bar(name, median(values), min(values), max(values), one["kind"] == "ours"))
    return sorted(bars, key=lambda bar: bar.value, reverse=True)


def _cost(one: dict[str, Any]) -> float:
    return float(one["cpu_per_1000"])


def _travel(one: dict[str, Any]) -> float:
    return float(one["end_to_end_ms"]["p50"])


def drawn(chart: Chart) -> str:
    """One SVG document."""
    height = _TOP + _ROW * len(chart.bars) + 12
    size = {"width": str(_WIDTH), "height": str(height), "viewBox": f"0 0 {_WIDTH} {height}"}
    root = Xml.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "font-family": _FONT, "role": "img", **size})
    Xml.SubElement(root, "title").text = chart.title
    Xml.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    _text(root, 16, 22, chart.title, size=15, weight="600")
    _text(root, 16, 40, chart.under, size=11, fill=_FAINT)
    scale = (_WIDTH - _LEFT - _RIGHT) / max(bar.most for bar in chart.bars)
    for place, bar in enumerate(chart.bars):
        _bar(root, bar, _TOP + place * _ROW, scale)
    return Xml.tostring(root, encoding="unicode") + "\n"


def _bar(root: Xml.Element, bar: Bar, top: int, scale: float) -> None:
    middle = top + _ROW // 2
    _text(root, _LEFT - 8, middle + 4, bar.name, anchor="end", weight="600" if bar.ours else "400")
    rect = {"x": str(_LEFT), "y": str(top + 5), "height": str(_ROW - 12), "width": f"{max(bar.value * scale, 1):.1f}"}
    Xml.SubElement(root, "rect", {**rect, "fill": _OURS if bar.ours else _PEER, "rx": "2"})
    ends = {"x1": f"{_LEFT + bar.least * scale:.1f}", "x2": f"{_LEFT + bar.most * scale:.1f}"}
    level = {"y1": str(middle - 1), "y2": str(middle - 1), "stroke": _INK, "stroke-width": "1.5"}
    Xml.SubElement(root, "line", {**ends, **level})
    _text(root, _LEFT + bar.most * scale + 8, middle + 4, number(bar.value))


def _text(
    root: Xml.Element, x: float, y: float, said: str, *, size: int = 13, fill: str = _INK, anchor: str = "start",
    weight: str = "400",
) -> None:  # fmt: skip
    at = {"x": f"{x:.1f}", "y": f"{y:.1f}", "font-size": str(size), "font-weight": weight}
    Xml.SubElement(root, "text", {**at, "fill": fill, "text-anchor": anchor}).text = said


def write(found: dict[str, Any], folder: Path = FOLDER) -> None:
    """Into the docs; what another run left is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for chart in charts(found):
        (folder / chart.file).write_text(drawn(chart))
    (folder / "figures.md").write_text(page(found))


def main() -> None:
    given = [Path(one) for one in sys.argv[1:]]
    results, folder = given + [RESULTS / "latest.json", FOLDER][len(given) :]
    write(json.loads(results.read_text()), folder)


if __name__ == "__main__":
    main()
