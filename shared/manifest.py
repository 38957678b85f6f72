"""A marketplace's `manifest.toml` and a message purpose's YAML: their types and how they are read."""

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from shared.domain.case import KINDS
from shared.domain.errands import ACTIONS, ACTS, Capability
from shared.domain.money import Money
from shared.durations import parse_duration
from shared.errors import ConfigurationError
from shared.yaml_lines import YamlFault, load

Facet = Literal["webhook", "source", "channel"]
SettingType = Literal["text", "bool", "int", "money", "duration", "list"]
Stage = Literal["contact", "order", "shipment", "return", "offer", "decision", "refund", "escalation"]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: SettingType
    default: Any = None
    about: str = ""


class Exempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exempt: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a marketplace's folder says about itself. Secret names ending in `?` in the file are optional ones."""

    name: str
    title: str
    docs: str | list[str] | dict[str, str] = []
    """Links to the marketplace's own documentation."""
    events: list[str] = []
    """Each has a fixture `<event>.json`."""
    secrets: dict[Facet, list[str]] = {}
    settings: dict[str, Setting] = {}
    capabilities: dict[str, Capability] = {}
    """By act; an act that is not named has capability `none`."""
    abilities: dict[str, Literal["keyed", "readable", "blind"]] = {}
    """By act, `message` for messages: how an ambiguous send is resolved."""
    params: dict[str, list[str]] = {}
    """Parameters an action takes here beyond the common ones."""
    statuses: dict[str, list[str]] = {}
    """By case kind: every raw status the marketplace has; the kind's playbook must place each."""
    scale: dict[str, Literal["done", "todo"] | Exempt] = {}
    poll_every: str = "PT5M"

    def secret_names(self, facet: Facet) -> dict[str, bool]:
        """Key name -> whether it must be given."""
        return {name.removesuffix("?"): not name.endswith("?") for name in self.secrets.get(facet, [])}

    def capability(self, act: str) -> Capability:
        return self.capabilities.get(act, "none")


class Variable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """`from_`: the case or order field it takes its value from unless the playbook maps it; default: its own name."""

    type: Literal["text", "money", "date", "int", "list", "bool"]
    required: bool = True
    from_: str | None = None
    examples: list[str] = []
    """Texts that templates tell apart; what a template is tried out with."""


class Purpose(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a message is written, and what its templates may say."""

    purpose: str
    stage: Stage | None = None
    """Where in a case's life it belongs."""
    audience: Literal["buyer", "marketplace"] = "buyer"
    """`marketplace`: the draft of a text that a person hands in there; it is never sent to a buyer."""
    about: str = ""
    variables: dict[str, Variable] = {}
    marketplace: str | None = None
    """None: for all of them."""


def read_manifest(path: Path) -> Manifest:
    """Raises ConfigurationError, one line per fault, each with the file."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigurationError([f"{path}: {fault}"]) from None
    unknown = sorted(set(data) - set(Manifest.__struct_fields__))
    if unknown:
        raise ConfigurationError([f"{path}: unknown key {key}" for key in unknown])
    try:
        manifest = msgspec.convert(data, Manifest)
    except msgspec.ValidationError as fault:
        raise ConfigurationError([f"{path}: {fault}"]) from None
    faults = [f"{path}: {fault}" for fault in _faults(manifest, path.parent.name)]
    if faults:
        raise ConfigurationError(faults)
    return manifest


def _faults(manifest: Manifest, folder: str) -> Iterator[str]:
    if manifest.name != folder or not _NAME.fullmatch(manifest.name):
        yield f"name must be the folder's ({folder}): lower case letters, digits and _"
    for act in sorted(set(manifest.capabilities) - set(ACTS)):
        yield f"capabilities.{act}: no such act"
    for act in sorted(set(manifest.abilities) - set(ACTS) - {"message"}):
        yield f"abilities.{act}: no such act"
    for action in sorted(set(manifest.params) - set(ACTIONS)):
        yield f"params.{action}: no such action"
    for kind in sorted(set(manifest.statuses) - set(KINDS)):
        yield f"statuses.{kind}: no such kind of case"
    for name, setting in manifest.settings.items():
        if setting.default is not None and (why := setting_fault(setting.type, setting.default)):
            yield f"settings.{name}.default: {why}"
    if duration_fault(manifest.poll_every):
        yield "poll_every: not an ISO 8601 duration"


def setting_fault(type_: SettingType, value: Any) -> str | None:
    """Why `value` is no setting of this type; None when it is. Money settings may be lists, one per currency."""
    match type_:
        case "text":
            return None if isinstance(value, str | int) and not isinstance(value, bool) else "must be text"
        case "bool":
            return None if isinstance(value, bool) else "must be true or false"
        case "int":
            return None if isinstance(value, int) and not isinstance(value, bool) else "must be a whole number"
        case "list":
            return None if isinstance(value, list) else "must be a list"
        case "duration":
            return duration_fault(value)
        case "money":
            return _money_fault(value)


def duration_fault(value: Any) -> str | None:
    try:
        sound = isinstance(value, str) and parse_duration(value) > timedelta(0)
    except ValueError:
        sound = False
    return None if sound else 'must be an ISO 8601 duration above zero, like "PT5M"'


def money_by_currency(value: Any) -> dict[str, int]:
    """A money setting ("15.00 USD", or a list of such) as currency -> minor units. Raises ValueError."""
    texts = value if isinstance(value, list) else [value]
    found = [Money.parse(text) for text in texts if isinstance(text, str)]
    if len(found) != len(texts) or len({m.currency for m in found}) != len(found):
        raise ValueError("not amounts, one per currency")
    return {m.currency: m.minor for m in found}


def _money_fault(value: Any) -> str | None:
    try:
        return None if money_by_currency(value) else "must be an amount"
    except ValueError:
        return 'must be an amount with its currency, like "15.00 USD", or a list with one per currency'


def read_purpose(path: Path, marketplace: str | None = None) -> Purpose:
    """Raises ConfigurationError with file and line."""
    try:
        data, lines = load(path.read_text("utf-8"), str(path))
        purpose = msgspec.convert(data, Purpose)
    except YamlFault as fault:
        raise ConfigurationError([str(fault)]) from None
    except (msgspec.ValidationError, UnicodeDecodeError) as fault:
        raise ConfigurationError([f"{path}: {fault}"]) from None
    if purpose.purpose != path.stem:
        raise ConfigurationError([f"{path}:{lines['purpose']} purpose: must be the file's name ({path.stem})"])
    return msgspec.structs.replace(purpose, marketplace=marketplace)
