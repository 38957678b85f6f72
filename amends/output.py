"""What commands print: tables for people on a terminal, JSON for machines."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def show(value: Any, *, as_json: bool, columns: Sequence[str] = (), empty: str = "nothing there") -> None:
    """A list of rows as a table of `columns`, or all of it as JSON."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=str))
    elif not isinstance(value, list):
        _pairs(value)
    elif not value:
        print(empty)
    else:
        _table(value, columns or sorted(value[0]))


def _pairs(value: Any) -> None:
    for name, one in (value or {}).items():
        print(f"{name}: {_cell(one)}")


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    console.print(table)


def _cell(value: Any) -> str:
    """Without control signs: what came from outside does not steer the terminal."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "".join(char if char.isprintable() else " " for char in text)
