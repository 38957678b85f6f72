"""Grafana's dashboards from deploy/grafana/dashboards.yaml: `python tools/dashboards.py` writes deploy/grafana/dashboards/."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

GRAFANA = Path(__file__).parents[1] / "deploy" / "grafana"
_SOURCE = {"type": "prometheus", "uid": "amends"}
_COLUMNS = 24
_HEIGHTS = {"stat": 4, "lines": 8, "bars": 8, "table": 8}
_TYPES = {"stat": "stat", "lines": "timeseries", "bars": "timeseries", "table": "table"}
Json = dict[str, Any]


def rendered() -> dict[str, str]:
    """File name -> JSON of each dashboard. Raises KeyError for a panel of an unknown kind."""
    described = yaml.safe_load((GRAFANA / "dashboards.yaml").read_text())
    return {f"{name}.json": json.dumps(_dashboard(name, one), indent=1) + "\n" for name, one in described.items()}


def _dashboard(name: str, described: Mapping[str, Any]) -> Json:
    return {
        "uid": f"amends-{name}",
        "title": described["title"],
        "tags": ["amends"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "tags": ["amends"], "title": "Amends", "asDropdown": True, "keepTime": True}],
        "panels": list(_panels(described["panels"])),
    }


def _panels(described: list[Mapping[str, Any]]) -> Iterator[Json]:
    """Laid out from left to right, a new row where one does not fit any more."""
    x = y = row = 0
    for n, one in enumerate(described, 1):
        width, height = one["width"], _HEIGHTS[one["kind"]]
        if x + width > _COLUMNS:
            x, y, row = 0, y + row, 0
        yield {"id": n, **_panel(one), "gridPos": {"x": x, "y": y, "w": width, "h": height}}
        x, row = x + width, max(row, height)


def _panel(one: Mapping[str, Any]) -> Json:
    kind = one["kind"]
    defaults: Json = {"unit": one.get("unit", "short")}
    if kind == "bars":
        defaults["custom"] = {"drawStyle": "bars", "fillOpacity": 80, "stacking": {"mode": "normal"}}
    if kind == "stat":
        steps = [{"color": "green", "value": None}]
        steps += [{"color": "red", "value": one["alarm"]}] if "alarm" in one else []
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "title": one["title"],
        "type": _TYPES[kind],
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [_target(kind, n, *pair) for n, pair in enumerate(one["queries"].items())],
    }


def _target(kind: str, n: int, legend: str, query: str) -> Json:
    shape = {"instant": True, "format": "table"} if kind == "table" else {"instant": kind == "stat"}
    return {"refId": chr(ord("A") + n), "datasource": _SOURCE, "expr": query, "legendFormat": legend, **shape}


def main() -> int:
    for name, text in rendered().items():
        (GRAFANA / "dashboards" / name).write_text(text)
        print(f"deploy/grafana/dashboards/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
