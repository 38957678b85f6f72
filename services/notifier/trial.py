"""A seller's own templates, tried out when they are loaded: with all that can be known and not known, against the rules. Pure."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from services.notifier.render import NotRendered, Rendered, Templates, chain
from services.notifier.rulebook import RuleBook
from services.notifier.rules import Violation, judge
from shared.manifest import Purpose, Variable

ORDER = "O-2001"
_PLAIN: Mapping[str, Any] = {
    "text": "A-1",
    "money": {"value": "12.50", "currency": "EUR"},
    "date": "2026-01-20",
    "int": 2,
    "bool": True,
    "list": ["A-1"],
}
COUNTS = (1, 2, 5, 21)
"""One of each plural form."""


def samples(purpose: Purpose) -> Iterator[dict[str, Any]]:
    """All known, each optional variable left out, only the needed; then each example and count in its turn."""
    full = {name: ORDER if name == "order_id" else _plain(variable) for name, variable in purpose.variables.items()}
    optional = [name for name, variable in purpose.variables.items() if not variable.required]
    yield full
    yield {name: value for name, value in full.items() if name not in optional}
    for left_out in optional:
        yield {name: value for name, value in full.items() if name != left_out}
    for name, variable in purpose.variables.items():
        for value in COUNTS if variable.type == "int" else variable.examples:
            yield {**full, name: [value] if variable.type == "list" else value}


def _plain(variable: Variable) -> Any:
    return variable.examples or ["A-1"] if variable.type == "list" else _PLAIN[variable.type]


def strays(over: Path, known: set[str]) -> Iterator[str]:
    """What lies in the seller's folder and would never be used."""
    for path in sorted(over.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield f"{path}: templates lie in a folder with their purpose's name"
        elif path.name not in known:
            yield f"{path}: {path.name} is neither a purpose nor a marketplace"


class Found(NamedTuple):
    """With file and line. `held`: no fault, but a person has to agree to each of its messages."""

    said: str
    held: bool = False


def found(over: Path, templates: Templates, book: RuleBook, purposes: Mapping[str, Purpose]) -> Iterator[Found]:
    """What there is to say of each template from the folder `over`, each thing once."""
    for purpose, locale, path in templates.files_under(over):
        tried = (
            _tried(templates, book, purposes[purpose], locale, path, sample) for sample in samples(purposes[purpose])
        )
        yield from dict.fromkeys(filter(None, tried))


def _tried(
    templates: Templates, book: RuleBook, purpose: Purpose, locale: str, path: Path, sample: dict[str, Any]
) -> Found | None:
    try:
        rendered = templates.render(purpose.purpose, chain(locale), sample)
    except NotRendered as fault:
        absent = ", ".join(sorted(set(purpose.variables) - set(sample))) or "nothing"
        return Found(f"{path}:1: {fault.why} where {absent} is not known")
    if not rendered.body:
        return Found(f"{path}:1: says nothing")
    if not book.allows(purpose.purpose, None):
        return None
    text = f"{rendered.subject or ''}\n{rendered.body}".strip()
    verdict = judge(
        text, book, purpose=purpose.purpose, order_id=ORDER, known=[*rendered.written], agreed=rendered.agreed
    )
    worst = min(verdict.violations, key=lambda v: v.severity != "block", default=None)
    return None if worst is None else _named(worst, text, rendered, book, path)


def _named(broken: Violation, text: str, rendered: Rendered, book: RuleBook, path: Path) -> Found:
    """With the line of the template that holds what the rule found, the first where it cannot be told."""
    start, end = broken.span
    words = text[start:end].partition("\n")[0].strip()
    beside = path.with_name(f"{path.name.removesuffix('.j2')}.subject.j2")
    inside = beside if rendered.subject and start < len(rendered.subject) and beside.is_file() else path
    lines = inside.read_text("utf-8").splitlines()
    at = next((n for n, line in enumerate(lines, 1) if words and words in line), 1)
    rule = f"{broken.rule} of {book.marketplace}: {broken.why}"
    if broken.severity == "block":
        return Found(f"{inside}:{at}: breaks {rule}")
    return Found(f"{inside}:{at}: waits for a person each time, by {rule}", held=True)
