"""Text of a message from its purpose's template: sandboxed, strict, bounded. Pure.

A template may only say values of its purpose, choose and repeat; everything else is refused when it is loaded.
Values are plain text by the time a template sees them: money and dates are written out in the message's language.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from jinja2 import Template, TemplateError

from services.notifier.template_syntax import (
    MAX_BYTES,
    Absent,
    Kinds,
    environment,
    faults_of,
    kinds_of,
    known_language,
    language,
)
from shared.clock import worked
from shared.errors import ConfigurationError
from shared.ids import content_hash
from shared.manifest import Purpose, Variable

MAX_SECONDS = 0.2
"""Of CPU."""
_PIECES = 32
"""So often the bound is looked at."""
_LONGEST_VALUE = 4_000
_LONGEST_LIST = 50
_LARGEST = 10**9
_TRADITIONAL = ("Hant", "TW", "HK", "MO")
_WORDED: Mapping[str, str] = {"pt": "pt-BR"}
"""Languages we have in one country's wording only: better than another language."""
_SUBJECT = ".subject.j2"
_AGREED = re.compile(r"\{#-?\s*agreed:\s*[^\s#]")


class NotRendered(Exception):
    """No text could be made. `why` is fit for a task; `missing` names variables that were not there."""

    def __init__(self, why: str, missing: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.missing = tuple(missing)


@dataclass(frozen=True, slots=True)
class Rendered:
    """`locale` is the template's, `path` where it lies. `written` are the amounts and dates as they stand in the text.

    `agreed`: its file begins with who has read it and lets it go, `{# agreed: Ann #}`.
    """

    subject: str | None
    body: str
    locale: str
    template_hash: str
    written: tuple[str, ...] = ()
    path: Path | None = None
    agreed: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    body: str
    subject: str | None
    hash: str
    path: Path


def canonical(locale: str) -> str:
    """`zh`, `zh-CN`, `zh_Hans_CN` -> `zh-Hans`; others with hyphens and usual case."""
    parts = locale.replace("_", "-").split("-")
    if parts[0].lower() == "zh":
        return "zh-Hant" if any(p in _TRADITIONAL for p in parts[1:]) else "zh-Hans"
    tail = [p.upper() if len(p) == 2 else p.title() for p in parts[1:]]
    return "-".join([parts[0].lower(), *tail])


@lru_cache(maxsize=4096)
def chain(*wanted: str | None) -> tuple[str, ...]:
    """Locales to try in order: each wanted one, its wider forms, its language as another country writes it, then `en`."""
    found: list[str] = []
    for locale in [*wanted, "en"]:
        text = canonical(locale) if locale else ""
        while text:
            found.append(text)
            text = "" if text.startswith("zh-") else text.rpartition("-")[0]
        if found[-1:] and found[-1] in _WORDED:
            found.append(_WORDED[found[-1]])
    return tuple(dict.fromkeys(found))


class Templates:
    """All templates of one marketplace, the first folder's before the next one's. Raises ConfigurationError, all faults at once.

    A text without a subject of its own takes that of a later folder. `shipped`: the last folder where it came with us and was
    checked before; to look at its thousand files again would take longer than all the rest of a start.
    """

    def __init__(self, folders: Sequence[Path], purposes: Mapping[str, Purpose], shipped: Path | None = None) -> None:
        self._purposes = purposes
        self._sources: dict[tuple[str, str], _Source] = {}
        faults: list[str] = []
        for n, folder in enumerate(folders):
            later = [*folders[n:], *([shipped] if shipped else [])]
            for path in sorted(folder.glob("*/*.j2")):
                faults += self._load(path, later)
        if faults:
            raise ConfigurationError(faults)
        if shipped is not None:
            self._sources = {**_shipped(shipped), **self._sources}

    def locales(self, purpose: str) -> list[str]:
        return sorted(locale for name, locale in self._sources if name == purpose)

    def files_under(self, folder: Path) -> list[tuple[str, str, Path]]:
        """Purpose, locale and file of the templates that were taken from a folder."""
        return [(*key, source.path) for key, source in self._sources.items() if source.path.is_relative_to(folder)]

    def render(
        self, purpose: str, locales: Sequence[str], params: Mapping[str, Any], zone: str | None = None
    ) -> Rendered:
        """The first of `locales` there is a template for. Raises NotRendered."""
        known = self._purposes.get(purpose)
        locale = next((one for one in locales if (purpose, one) in self._sources), None)
        if known is None or locale is None:
            raise NotRendered(f"there is no template {purpose} for {', '.join(locales)}")
        values, written = _values(known, params, _figures(tuple(locales), locale), zone)
        source = self._sources[(purpose, locale)]
        subject = _one_line(_run(_compiled(source.subject, locale), values)) if source.subject else None
        body = _run(_compiled(source.body, locale), values).strip()
        agreed = _AGREED.match(source.body) is not None
        return Rendered(subject, body, locale, source.hash, written, source.path, agreed)

    def _load(self, path: Path, folders: Sequence[Path]) -> list[str]:
        purpose, name = path.parent.name, path.name.removesuffix(".j2").removesuffix(".subject")
        locale = canonical(name)
        if purpose not in self._purposes:
            return [f"{path}: there is no purpose {purpose}"]
        if not known_language(locale):
            return [f"{path}: {name} is no language"]
        if path.name.endswith(_SUBJECT):
            alone = not path.with_name(f"{name}.j2").is_file()
            return [f"{path}: there is no {name}.j2 that it is the subject of"] if alone else []
        if (purpose, locale) in self._sources:
            return []
        beside = next((p for f in folders if (p := f / purpose / f"{name}{_SUBJECT}").is_file()), None)
        kinds = kinds_of(self._purposes[purpose])
        files = [(path, kinds), *([(beside, _short(kinds))] if beside else [])]
        texts, faults = _texts(files, locale)
        if not faults:
            self._sources[(purpose, locale)] = _source(texts, path)
        return faults


@cache
def _shipped(folder: Path) -> Mapping[tuple[str, str], _Source]:
    """Read once in a process; `tests/unit/test_templates.py` is what looks at them."""
    found: dict[tuple[str, str], _Source] = {}
    for path in folder.glob("*/*.j2"):
        name = path.name.removesuffix(".j2")
        if not name.endswith(".subject"):
            beside = path.with_name(f"{name}{_SUBJECT}")
            texts = [one.read_text("utf-8") for one in (path, beside) if one.is_file()]
            found[path.parent.name, canonical(name)] = _source(texts, path)
    return found


def _source(texts: Sequence[str], path: Path) -> _Source:
    """`texts`: the body, then the subject where there is one."""
    return _Source(texts[0], texts[1] if len(texts) > 1 else None, content_hash("\0".join(texts).encode()), path)


def _short(kinds: Kinds) -> Kinds:
    """What a subject may say: it is not judged with each message, so nobody else's words stand in it."""
    return tuple((name, kind) for name, kind in kinds if name == "order_id" or kind not in ("text", "list"))


def _texts(files: Sequence[tuple[Path, Kinds]], locale: str) -> tuple[list[str], list[str]]:
    """What stands in the files, and what is wrong with it."""
    texts: list[str] = []
    faults: list[str] = []
    for path, kinds in files:
        try:
            texts.append(path.read_bytes()[: MAX_BYTES + 1].decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as fault:
            faults.append(f"{path}:1: cannot be read as UTF-8 ({type(fault).__name__})")
            continue
        faults += [f"{path}:{line}: {why}" for line, why in faults_of(texts[-1], kinds, locale)]
    return texts, faults


@cache
def _compiled(text: str, locale: str) -> Template:
    """Compiled once, when first rendered: checking them all at start needs no code, and marketplaces share texts."""
    template = environment(locale).from_string(text)
    template.globals = {}  # there are none; jinja2's own chain of empty ones is walked at each rendering
    return template


@lru_cache(maxsize=4096)
def _figures(locales: tuple[str, ...], template: str) -> str:
    """Whose figures and dates are used: the reader's country where the text is in his language (`es-MX` under `es`)."""
    spoken = template.partition("-")[0]
    if spoken == "zh":
        return template
    return next((one for one in locales if one.partition("-")[0] == spoken and known_language(one)), template)


def _run(template: Template, values: Mapping[str, Any]) -> str:
    out: list[str] = []
    size, end = 0, 0.0
    try:
        for piece in template.generate(values):
            size += len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace"))
            if size > MAX_BYTES:
                raise NotRendered(f"the text is longer than {MAX_BYTES} bytes")
            out.append(piece)
            if len(out) % _PIECES == 0:
                end = end or worked() + MAX_SECONDS
                if worked() > end:
                    raise NotRendered("the text took too long to make")
    except (TemplateError, TypeError, ValueError) as fault:
        raise NotRendered(f"the template failed: {type(fault).__name__}") from None
    return "".join(out)


def _values(
    purpose: Purpose, params: Mapping[str, Any], locale: str, zone: str | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    missing = [
        name for name, v in purpose.variables.items() if v.required and params.get(name) in (None, "", [], {})
    ]  # fmt: skip
    if missing:
        raise NotRendered(f"not known: {', '.join(missing)}", missing)
    values: dict[str, Any] = {}
    written: list[str] = []
    for name, variable in purpose.variables.items():
        value = params.get(name)
        try:
            values[name] = _absent(name) if value is None else _value(variable, value, locale, zone)
        except (ValueError, TypeError, InvalidOperation, KeyError):
            raise NotRendered(f"{name} is no {variable.type}", [name]) from None
        if values[name] in ("", []) and variable.required:
            raise NotRendered(f"not known: {name}", [name])
        if variable.type in ("money", "date") and value is not None:
            written += _as_read(values[name])
    return values, tuple(written)


@cache
def _absent(name: str) -> Absent:
    return Absent(name=name)


@lru_cache(maxsize=4096)
def _as_read(said: str) -> tuple[str, ...]:
    """As it stands in the text, and as the rules read it: a narrow space as a space."""
    plain = unicodedata.normalize("NFKC", said)
    return (said,) if plain == said else (said, plain)


def _value(variable: Variable, value: Any, locale: str, zone: str | None) -> Any:
    match variable.type:
        case "money":
            return _money(str(value["value"]), str(value["currency"]), locale)
        case "date":
            return _date(str(value), locale, zone)
        case "bool":
            if not isinstance(value, bool):
                raise TypeError
            return value
        case "int":
            return _count(value, locale)
        case "list":
            return _list(value)
        case "text":
            return _text(value)


def _text(value: Any) -> str:
    """Hidden control signs taken out; new lines stay (an address has them)."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError
    text = str(value)
    if not text.isprintable():
        text = "".join(c for c in text.replace("\r\n", "\n").replace("\r", "\n") if c in "\n\t" or c.isprintable())
    if len(text) > _LONGEST_VALUE:
        raise ValueError
    return text.strip()


def _list(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > _LONGEST_LIST:
        raise TypeError
    texts = [text for one in value if (text := _text(one))]
    if sum(map(len, texts)) > MAX_BYTES:
        raise NotRendered(f"the text is longer than {MAX_BYTES} bytes")
    return texts


class _Count(int):
    """A whole number that is said as its language writes it."""

    said: str

    def __str__(self) -> str:
        return self.said


def _count(value: Any, locale: str) -> _Count:
    number = int(str(value))
    if abs(number) > _LARGEST:
        raise ValueError
    count = _Count(number)
    count.said = str(format_decimal(number, locale=language(locale)))
    return count


def _one_line(text: str) -> str:
    return " ".join(text.split())


@lru_cache(maxsize=4096)
def _money(value: str, currency: str, locale: str) -> str:
    return str(format_currency(Decimal(value), currency, locale=language(locale)))


def _date(value: str, locale: str, zone: str | None) -> str:
    day = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
    if isinstance(day, datetime) and day.tzinfo is not None:
        day = day.astimezone(ZoneInfo(zone or "UTC"))
    return str(format_date(day, format="long", locale=language(locale)))
