"""What a run leaves: the document `bench/results/latest.json` and a table on the terminal."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.bench import Bench
from bench.contestant import ROOT
from bench.figure import Figure, percentile
from bench.pages import number
from bench.rounds import Runs

RESULTS = Path(__file__).parent / "results"
_OUR_LIBRARIES = ("uvicorn", "uvloop", "httptools", "aio-pika", "asyncpg", "sqlalchemy", "msgspec", "jinja2", "aiohttp")


def document(figures: Sequence[Figure], bench: Bench, command: str, versions: dict[str, str]) -> dict[str, Any]:
    runs = bench.runs
    return {
        "figures": [figure.document() for figure in figures],
        "machine": machine(versions),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": _commit(),
        "rounds": bench.plan.rounds,
        "quick": bench.plan.quick,
        "contestants": _contestants(runs) if runs else {},
        "void": [*(runs.void if runs else []), *bench.faults],
    }


def machine(versions: dict[str, str]) -> dict[str, Any]:
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(one, 2) for one in os.getloadavg()],
        **versions,
        "libraries": {name: version(name) for name in _OUR_LIBRARIES},
    }


def _contestants(runs: Runs) -> dict[str, Any]:
    found: dict[str, Any] = {contestant.name: {"kind": contestant.kind} for contestant in runs.contestants}
    for (name, load), kept in runs.loads.items():
        found[name][load] = [one.brief() | _times(one) for one in kept]
    return found


def _times(load: Any) -> dict[str, Any]:
    """Milliseconds; `late`: how far behind its plan the generator itself was."""
    named = {"answer": load.answers, "end_to_end": load.travels, "late": load.late}
    return {
        f"{name}_ms": {f"p{share * 100:g}": round(1000 * percentile(samples, share), 3) for share in (0.5, 0.99)}
        for name, samples in named.items()
        if samples
    }


def write(found: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def show(found: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    if found["contestants"]:
        console.print(_field(found["contestants"]))
    console.print(_figures(found["figures"]))
    for line in found["void"]:
        console.print(f"void: {line.partition(chr(10))[0]}", markup=False, highlight=False)


def _field(contestants: dict[str, Any]) -> Table:
    table = Table("contestant", "kind", title="closed loop, 64 connections: medians (least … most)")
    for name in ("cases/s", "CPU s per 1,000", "app / postgres / rabbit"):
        table.add_column(name, justify="right")
    for name, one in contestants.items():
        loads = [load for load in one.get("closed", []) if not load["void"]]
        if loads:
            table.add_row(name, one["kind"], *_costs(loads))
    return table


def _costs(loads: list[dict[str, Any]]) -> list[str]:
    rates, costs = [one["cases_per_second"] for one in loads], [one["cpu_per_1000"] for one in loads]
    parts = [
        median(1000 * one["cpu"].get(part, 0.0) / one["count"] for one in loads)
        for part in ("app", "postgres", "rabbit")
    ]
    return [_span(rates, ",.0f"), _span(costs, ".2f"), " / ".join(f"{part:.2f}" for part in parts)]


def _span(values: list[float], how: str) -> str:
    span = f" ({min(values):{how}} … {max(values):{how}})" if len(values) > 1 else ""
    return f"{median(values):{how}}{span}"


def _figures(figures: list[dict[str, Any]]) -> Table:
    table = Table("figure", "ours", "other", "unit", "ratio", "must", "aim", "", title="figures: medians of the rounds")
    for one in figures:
        sign = "≥" if one["more_is_better"] else "≤"
        other = f"{number(one['other'])} {one['other_name']}"
        promised = (f"{sign} {one['must']:g}", f"{sign} {one['aim']:g}")
        table.add_row(one["about"], number(one["ours"]), other, one["unit"], _ratio(one), *promised, one["verdict"])
    return table


def _ratio(one: dict[str, Any]) -> str:
    if one["ratio"] is None:
        return "–"
    span = one["ratio_range"]
    return f"{one['ratio']:.2f}" + (f" ({span[0]:.2f} … {span[1]:.2f})" if span and span[0] != span[1] else "")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
