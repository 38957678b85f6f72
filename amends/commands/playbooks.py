"""`amends playbook`: check, list and draw the charts cases run on."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amends.output import show
from shared.errors import ConfigurationError, Refusal

if TYPE_CHECKING:
    from shared.domain.playbook import Playbook
    from shared.registry import Registry

app = typer.Typer(help="The charts cases run on.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="A file or a folder (default: the shipped ones).")] = None,
    as_json: Json = False,
) -> None:
    """One line per fault (`file:line state: fault`) and exit 1; nothing to say and exit 0 when all are sound."""
    registry = known_registry()
    files = _files(registry, path)
    faults = [fault for file in files for fault in _faults(registry, file)]
    if as_json:
        show([str(fault) for fault in faults], as_json=True)
    else:
        for fault in faults:
            print(fault)
    if faults:
        raise typer.Exit(1)
    if not as_json:
        print(f"{len(files)} playbook{'' if len(files) == 1 else 's'} checked, all sound")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All of them, with version and size."""
    from services.policy.core.load import load

    registry = known_registry()
    found = [load(file.read_text("utf-8"), str(file)) for file in _files(registry, None)]
    rows = [
        {
            "marketplace": p.marketplace,
            "kind": p.kind,
            "version": p.version,
            "states": len(p.states),
            "file": _near(p.path),
        }
        for p in found
    ]
    show(rows, as_json=as_json, columns=("marketplace", "kind", "version", "states", "file"))


@app.command()
def draw(
    marketplace: Annotated[str, typer.Argument()],
    kind: Annotated[str, typer.Argument()],
) -> None:
    """The chart of one playbook as Mermaid text on stdout."""
    from services.policy.draw import mermaid

    print(mermaid(_one(known_registry(), marketplace, kind)), end="")


def _near(path: str) -> str:
    """As seen from here, where it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def known_registry() -> "Registry":
    """With the seller's own marketplaces where the configuration names them."""
    from shared.registry import Registry
    from shared.settings import Process

    process = Process.from_env(os.environ)
    return Registry(_named(process.config, "marketplaces"))


def own_templates() -> Path | None:
    """The seller's own, where the configuration names them."""
    from shared.settings import Process

    config = Process.from_env(os.environ).config
    folder = _named(config, "templates")
    if folder is not None and not folder.is_dir():
        raise ConfigurationError([f"{config} templates: {folder} is no folder"])
    return folder


def _named(config: Path | None, key: str) -> Path | None:
    """A folder named in the accounts file, read without asking for its secrets."""
    if config is None:
        return None
    from shared.yaml_lines import YamlFault, load

    try:
        data, _ = load(config.read_text("utf-8"), str(config))
    except YamlFault as fault:
        raise ConfigurationError([str(fault)]) from None
    except OSError as fault:
        raise ConfigurationError([f"{config}: cannot be read ({fault.strerror})"]) from None
    value = data.get(key) if isinstance(data, dict) else None
    return config.parent / value if isinstance(value, str) else None


def _files(registry: "Registry", path: Path | None) -> list[Path]:
    if path is None:
        from shared.settings import Process

        over = _named(Process.from_env(os.environ).config, "playbooks")
        return [file for name in registry.names() for file in registry.playbook_files(name, over)]
    if path.is_dir():
        found = sorted(path.rglob("*.yaml"))
        if not found:
            raise ConfigurationError([f"{path}: holds no playbook (*.yaml)"])
        return found
    if not path.is_file():
        raise ConfigurationError([f"{path}: no such file"])
    return [path]


def _faults(registry: "Registry", file: Path) -> list[object]:
    from services.policy.core.check import check as judge
    from services.policy.core.load import PlaybookFault, load
    from services.policy.shipped import known

    try:
        playbook = load(file.read_text("utf-8"), str(file))
    except PlaybookFault as fault:
        return list(fault.faults)
    except (OSError, UnicodeDecodeError) as fault:
        return [f"{file}:1 -: cannot be read ({type(fault).__name__})"]
    if playbook.marketplace not in registry.names():
        return [f"{file}:{playbook.lines.get('marketplace', 1)} -: no such marketplace"]
    return list(judge(playbook, known(registry, playbook.marketplace, playbook.kind)))


def _one(registry: "Registry", marketplace: str, kind: str) -> "Playbook":
    from services.policy.core.load import load

    for file in _files(registry, None):
        playbook = load(file.read_text("utf-8"), str(file))
        if (playbook.marketplace, playbook.kind) == (marketplace, kind):
            return playbook
    raise Refusal(f"there is no playbook {marketplace}/{kind}: amends playbook list", code="usage")
