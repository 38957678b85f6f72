"""`amends message`: what a message would say in each language, whether it may leave, and how well the rules tell."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amends.commands.playbooks import known_registry, own_templates
from amends.output import show
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from services.notifier.composer import Composer, Written
    from services.notifier.scoring import Figure

app = typer.Typer(help="What messages say, and whether they may leave.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Marketplace = Annotated[str, typer.Option("--marketplace", "-m", help="Whose rules and templates.")]
Earlier = Annotated[
    list[Path] | None, typer.Option("--earlier", help="A message sent before it on the order; oldest first.")
]
Locales = Annotated[list[str] | None, typer.Option("--locale", "-l", help="Only these (default: all there are).")]


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The text (default: stdin).")] = None,
    marketplace: Marketplace = "generic",
    earlier: Earlier = None,
    as_json: Json = False,
) -> None:
    """One line per broken rule and exit 1; nothing to say against it and exit 0."""
    written = _composer(marketplace).preview_text(marketplace, _read(file), earlier=_texts(earlier))
    if as_json:
        show(_shown(written), as_json=True)
    else:
        for line in _told(written) or ["nothing is said against it"]:
            print(line)
    _end([written])


@app.command()
def preview(
    purpose: Annotated[str, typer.Argument(help="What the message is for.")],
    variables: Annotated[Path | None, typer.Option("--variables", "-v", help="YAML or JSON; `-` is stdin.")] = None,
    marketplace: Marketplace = "generic",
    locale: Locales = None,
    earlier: Earlier = None,
    as_json: Json = False,
) -> None:
    """The text as it would leave and the verdict on it, in all languages side by side. Exit 1 if one may not leave."""
    from services.notifier.render import NotRendered

    composer = _composer(marketplace)
    locales = locale or composer.locales(marketplace, purpose)
    if not locales:
        raise ConfigurationError([f"{marketplace} has no template {purpose}"])
    values, said = _mapping(variables), _texts(earlier)
    try:
        found = [composer.preview(marketplace, purpose, one, values, said) for one in locales]
    except NotRendered as fault:
        raise ConfigurationError([f"{purpose}: {fault.why}"]) from None
    if as_json:
        show([_shown(one) for one in found], as_json=True)
    else:
        _side_by_side(found)
    _end(found)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Labelled texts, one <language>.yaml each (docs/rules-format.md).")],
    wrong: Annotated[
        bool, typer.Option("--wrong", help="Also name the texts of the tuned part that went wrong.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Recall and false blocks of the built-in detectors, per part, rule and language."""
    from services.notifier.scoring import by_rule, figure, judged, read

    texts = [one for path in _files(folder) for one in read(path.stem, _mapping(path))]
    results = judged(texts)
    rows = []
    for part in ("tuned", "held_out"):
        mine = [one for one in results if one.labelled.part == part]
        rows.append(_row(part, "all", figure(mine)))
        rows += [_row(part, name, one) for name, one in by_rule(mine).items() if one.bad or one.blocked or one.held]
        for language in sorted({one.labelled.language for one in mine}):
            rows.append(_row(part, language, figure(one for one in mine if one.labelled.language == language)))
    columns = ("part", "of", "bad", "stopped", "recall", "good", "blocked", "false_blocks", "held", "false_holds")
    show(rows, as_json=as_json, columns=columns)
    for one in results if wrong and not as_json else ():
        if one.wrong and one.labelled.part == "tuned":
            print(f"{one.labelled.language} {one.labelled.bad or 'good'}: {one.labelled.text}")


def _row(part: str, of: str, one: "Figure") -> dict[str, Any]:
    figures = {"bad": one.bad, "stopped": one.stopped, "good": one.good, "blocked": one.blocked, "held": one.held}
    return {
        "part": part, "of": of, **figures, "recall": round(one.recall, 4), "false_blocks": round(one.false_blocks, 4),
        "false_holds": round(one.false_holds, 4),
    }  # fmt: skip


def _composer(marketplace: str) -> "Composer":
    from services.notifier.composer import Composer

    known = known_registry()
    if marketplace not in known.names():
        raise ConfigurationError(
            [f"--marketplace {marketplace}: there is none of that name ({', '.join(known.names())})"]
        )
    return Composer(known, {marketplace}, over=own_templates())


def _read(file: Path | None) -> str:
    if file is None or str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationError([f"{file}: cannot be read ({type(fault).__name__})"]) from None


def _texts(files: Iterable[Path] | None) -> list[str]:
    return [_read(one) for one in files or ()]


def _mapping(file: Path | None) -> dict[str, Any]:
    from shared.yaml_lines import YamlFault, load

    try:
        data, _lines = load(_read(file) if file else "{}", str(file))
    except YamlFault as fault:
        raise ConfigurationError([str(fault)]) from None
    if not isinstance(data, dict):
        raise ConfigurationError([f"{file}: must be a mapping of names to values"])
    return data


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.yaml"))
    if not found:
        raise ConfigurationError([f"{folder}: holds no labelled texts (*.yaml)"])
    return found


def _shown(written: "Written") -> dict[str, Any]:
    import msgspec

    return {
        "locale": written.locale, "subject": written.subject, "text": written.body,
        "verdict": msgspec.to_builtins(written.verdict),
    }  # fmt: skip


def _told(written: "Written") -> list[str]:
    body, verdict = written.body or "", written.verdict
    return [
        f"{v.severity} {v.rule} [{v.span[0]}:{v.span[1]}] {body[slice(*v.span)]!r}: {v.why}"
        for v in (verdict.violations if verdict else ())
    ]


def _side_by_side(found: Iterable["Written"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_lines=True)
    for name in ("locale", "text", "verdict"):
        table.add_column(name, overflow="fold")
    for one in found:
        said = "\n\n".join(part for part in (one.subject, one.body) if part)
        table.add_row(one.locale, said, "\n".join(_told(one)) or "may leave")
    Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False).print(table)


def _end(found: Iterable["Written"]) -> None:
    if not all(one.verdict is not None and one.verdict.ok for one in found):
        raise typer.Exit(1)
