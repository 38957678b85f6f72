"""The documents say what is there: tests they name, links they give, variables they explain."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from shared import settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def names_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_promise_names_tests_that_exist() -> None:
    rows = [row for row in (ROOT / "docs/guarantees.md").read_text().splitlines() if row.startswith("| ")]
    promises = [row for row in rows if not row.startswith("| promise ")]
    assert len(promises) > 20
    for row in promises:
        assert named_in(row), row


def named_in(row: str) -> int:
    """How many; each of them exists."""
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
    for path, name in named:
        assert name in names_in(ROOT / "tests" / path), f"{path}::{name}"
    return len(named)


def test_every_bad_input_names_tests_that_exist_or_says_why_later() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|(.*)\|$", (ROOT / "docs/bad-inputs.md").read_text(), re.M)
    assert [int(number) for number, *_ in rows] == list(range(1, 83))
    for number, _, happens, shown in rows:
        assert named_in(shown) or happens.startswith("later: "), number
    assert sum(happens.startswith("later: ") for _, _, happens, _ in rows) <= 4


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8")):
        assert "://" in target or (path.parent / target).exists(), target


def test_the_readme_explains_variables_that_exist() -> None:
    table = [row for row in (ROOT / "README.md").read_text().splitlines() if row.startswith("| `AMENDS_")]
    named = {name for row in table for name in re.findall(r"AMENDS_(\w+)", row.partition(" | ")[0] + row)}
    assert len(named) >= 8
    assert named <= settings.NAMES


def test_the_readme_names_make_targets_that_exist() -> None:
    text, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    named = {a or b for a, b in re.findall(r"`make ([a-z-]+)`|^ *make ([a-z-]+)", text, re.M)}
    assert {"demo", "test", "up", "help"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.M))
