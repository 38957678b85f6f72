"""Import contracts cannot see what the registry imports by name: which service asks it for what is held here."""

import ast
from collections.abc import Iterator
from pathlib import Path

from shared.registry import Registry

ROOT = Path(__file__).parents[3]
FACETS = {"webhooks", "records", "sources", "playbook_files", "channels", "rules_file", "template_dirs", "simulators"}
MAY = {
    "services/intake": {"webhooks", "records", "sources"},
    "services/policy": {"playbook_files", "rules_file"},
    "services/notifier": {"channels", "rules_file", "template_dirs"},
    "shared": set(),
}


def calls(folder: str) -> Iterator[tuple[Path, ast.Call]]:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def asked(folder: str) -> set[str]:
    """Functions of a registry that the folder's code calls, under whatever path the registry is reached."""
    found = set()
    for _, call in calls(folder):
        match call.func:
            case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=attr) if "registry" in name:
                found.add(attr)
    return found


def test_each_service_asks_for_its_own_facets_only() -> None:
    assert all(callable(getattr(Registry, facet)) for facet in FACETS)
    assert {folder: asked(folder) & FACETS for folder in MAY} == MAY


def test_nothing_but_the_registry_imports_marketplaces_by_name() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for folder in ("services", "shared")
        for path, call in calls(folder)
        if ast.unparse(call.func).rpartition(".")[2] in ("import_module", "__import__", "spec_from_file_location")
    }
    assert importing == {"shared/registry.py"}


def test_policy_is_handed_no_secrets() -> None:
    touching = [
        f"{path}:{node.lineno}"
        for path in (ROOT / "services/policy").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("secrets", "secrets_for")
    ]
    assert touching == []
