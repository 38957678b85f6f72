"""Tables of docs that are read off the tree: `python tools/tables.py` writes them, `--check` says which is out of date.

`docs/rules.md`: each rule of the seller articles, what its test says, and where it is implemented (the test's docstring).
`docs/marketplaces.md`: per marketplace what it tells, its playbooks, and each act: api, assisted (prepared for a person) or none.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from shared.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
_RULE = re.compile(r"test_([Rr]\d{3}_\d{2})_(\w+)")


def rules() -> str:
    lines = [
        "# The rules of the seller articles, and the test that shows each",
        "",
        "Written by `python tools/tables.py`. R001-07 is implemented as its opposite: the joined text is blocked.",
        "",
        "| rule | what its test shows | where |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {rule} | {says} | {where} |" for rule, says, where in _rules())]) + "\n"


def _rules() -> Iterator[tuple[str, str, str]]:
    for path in sorted((ROOT / "tests/rules").glob("test_r0*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (named := _RULE.fullmatch(node.name)):
                where = " ".join((ast.get_docstring(node) or "").split()).replace("|", "\\|")
                says = f"[{named[2].replace('_', ' ')}](../tests/rules/{path.name})"
                yield named[1].upper().replace("_", "-"), says, where


def marketplaces() -> str:
    registry = Registry()
    names = [name for name in registry.names() if registry.playbook_files(name)]
    manifests = {name: registry.manifest(name) for name in names}
    lines = [
        "# Marketplaces: what each tells and what can be done there",
        "",
        "Written by `python tools/tables.py` from the manifests, which tests hold against channels, playbooks and fixtures.",
        "`api`: done by the marketplace's API; `assisted`: prepared for a person with text, link and checklist; `–`: not there.",
        "",
        "| | " + " | ".join(f"[{name}](../shared/marketplaces/{name}/README.md)" for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines.append("| events with a fixture | " + " | ".join(str(len(manifests[n].events)) for n in names) + " |")
    lines.append("| read by polls | " + " | ".join(_yes(registry.sources(n) is not None) for n in names) + " |")
    kinds = {n: ", ".join(sorted(path.stem for path in registry.playbook_files(n))) for n in names}
    lines.append("| playbooks | " + " | ".join(kinds[n] for n in names) + " |")
    acts = sorted({act for m in manifests.values() for act in m.capabilities})
    for act in acts:
        lines.append(f"| `{act}` | " + " | ".join(_can(manifests[n].capabilities.get(act)) for n in names) + " |")
    return "\n".join(lines) + "\n"


def _yes(value: bool) -> str:
    return "yes" if value else "–"


def _can(how: str | None) -> str:
    return "–" if how in (None, "none") else str(how)


TABLES = {"docs/rules.md": rules, "docs/marketplaces.md": marketplaces}


def stale() -> list[str]:
    """Those whose text is no longer what the tree says."""
    return [path for path, make in TABLES.items() if not (ROOT / path).exists() or (ROOT / path).read_text() != make()]


def main() -> int:
    if "--check" in sys.argv[1:]:
        for path in (found := stale()):
            print(f"{path}: out of date, run python tools/tables.py")
        return 1 if found else 0
    for path, make in TABLES.items():
        (ROOT / path).write_text(make())
    return 0


if __name__ == "__main__":
    sys.exit(main())
