"""The last run's tables as a page for people: docs/performance/figures.md."""

from collections.abc import Iterable
from statistics import median
from typing import Any

_PARTS = ("app", "postgres", "rabbit")


def page(found: dict[str, Any]) -> str:
    return (
        "\n\n".join((_head(found), _figures(found["figures"]), _field(found["contestants"]), _void(found["void"])))
        + "\n"
    )


def _head(found: dict[str, Any]) -> str:
    on = found["machine"]
    machine = (
        f"{on['cores']} cores ({on['cpu']}), {on['memory_gib']} GiB, {on['system']}, PostgreSQL {on['postgresql']}"
    )
    kind = "Quick run: it shows that all works and proves nothing about speed. " if found["quick"] else ""
    busy = f"load average at the end {on['load_average'][0]:g}"
    run = f"Written by the run itself, {found['date']}, commit {found['commit']}: `{found['command']}`."
    return f"# Figures of the last run\n\n{run} {kind}{found['rounds']} rounds; {machine}; {busy}."


def _figures(figures: Iterable[dict[str, Any]]) -> str:
    rows = [_figure(one) for one in figures]
    return _table(("figure", "ours", "other", "unit", "ratio", "least … most", "must", "aim", ""), rows)


def _figure(one: dict[str, Any]) -> list[str]:
    sign = "≥" if one["more_is_better"] else "≤"
    span = one["ratio_range"]
    spread = f"{span[0]:.2f} … {span[1]:.2f}" if span and span[0] != span[1] else ""
    ratio = "–" if one["ratio"] is None else f"**{one['ratio']:.2f}**"
    promised = [f"{sign} {one['must']:.3g}", f"{sign} {one['aim']:.3g}", one["verdict"] or one["note"]]
    other = f"{number(one['other'])} {one['other_name']}".strip()
    return [one["about"], number(one["ours"]), other, one["unit"], ratio, spread, *promised]


def _field(contestants: dict[str, Any]) -> str:
    rows = [_contestant(name, one) for name, one in contestants.items()]
    return _table(
        ("contestant", "cases/s", "CPU s per 1,000", "app / PostgreSQL / RabbitMQ", "at 50/s p50 / p99 ms"), rows
    )


def _contestant(name: str, one: dict[str, Any]) -> list[str]:
    closed, modest = (
        [load for load in one.get(kind, []) if not load["void"] and load["count"]] for kind in ("closed", "modest")
    )
    shares = (
        [median(1000 * load["cpu"].get(part, 0.0) / load["count"] for load in closed) for part in _PARTS]
        if closed
        else []
    )
    times = [median(load["end_to_end_ms"][share] for load in modest) for share in ("p50", "p99")] if modest else []
    rate = number(median(load["cases_per_second"] for load in closed)) if closed else "–"
    cost = number(median(load["cpu_per_1000"] for load in closed)) if closed else "–"
    return [f"{name} ({one['kind']})", rate, cost, " / ".join(map(number, shares)), " / ".join(map(number, times))]


def _void(void: list[str]) -> str:
    told = "\n".join(f"- {line.splitlines()[0]}" for line in void)
    return f"Void, not counted:\n\n{told}" if told else "No round was void: all accepted, all recorded, nothing twice."


def _table(head: Iterable[str], rows: Iterable[list[str]]) -> str:
    lines = [list(head)]
    lines.append(["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *rows])


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
