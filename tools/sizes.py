"""Size limits: a function has at most 60 lines, a file 400. `# allow: size (why)` on its first line lifts one.

For a file the comment stands on one of its first three lines. Usage: python tools/sizes.py PATH...
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FUNCTION, FILE = 60, 400
_ALLOW = re.compile(r"# allow: size \(\S[^)]*\)")


def faults(path: Path) -> Iterator[str]:
    text = path.read_text("utf-8")
    lines = text.splitlines()
    if len(lines) > FILE and not any(_ALLOW.search(line) for line in lines[:3]):
        yield f"{path}:1 {len(lines)} lines, at most {FILE}"
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION and not _ALLOW.search(lines[node.lineno - 1]):
                yield f"{path}:{node.lineno} {node.name}: {length} lines, at most {FUNCTION}"


def main(roots: list[str]) -> int:
    files = [p for root in roots for p in ([Path(root)] if root.endswith(".py") else sorted(Path(root).rglob("*.py")))]
    found = [fault for path in files for fault in faults(path)]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
