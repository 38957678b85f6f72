"""Finds what each marketplace's folder offers, by file name, and validates its manifest. No list to edit anywhere.

A folder is a marketplace when it holds a `manifest.toml`: those beside `shared/marketplaces/__init__.py`, and those of
an extra folder from outside the tree. Each service calls only the functions of its own facets.
"""

import importlib
import sys
import types
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from shared.errors import ConfigurationError
from shared.ids import digest
from shared.manifest import Manifest, Purpose, read_manifest, read_purpose
from shared.ports import ChannelFactory, ListenerFactory, Records, SourceFactory, Webhook

_SHIPPED = Path(__file__).parent / "marketplaces"
_TEMPLATES = Path(__file__).parents[1] / "services" / "notifier" / "templates"
_PURPOSES = Path(__file__).parent / "domain" / "purposes"
_NEEDED = {
    "webhook": ("verify", "dedupe_key", "parse", "reply"),
    "records": ("facts",),
    "source": ("Source",),
    "listener": ("Listener",),
    "channel": ("Channel",),
    "simulator": (),
}


class Registry:
    """`extra`: a folder of marketplaces from outside the tree. Raises ConfigurationError naming every fault."""

    def __init__(self, extra: Path | None = None) -> None:
        self._folders: dict[str, Path] = {}
        self._packages: dict[str, str] = {}
        self._manifests: dict[str, Manifest] = {}
        self._facets: dict[tuple[str, str], Any] = {}
        faults = self._add(_SHIPPED, "shared.marketplaces", strict=False)
        if extra is not None:
            faults += self._add_extra(extra)
        if faults:
            raise ConfigurationError(faults)

    def names(self) -> list[str]:
        return sorted(self._manifests)

    def folder(self, name: str) -> Path:
        return self._folders[self._known(name)]

    def manifest(self, name: str) -> Manifest:
        """Raises ConfigurationError for a marketplace there is no folder for."""
        return self._manifests[self._known(name)]

    # intake
    def webhooks(self, name: str) -> Webhook | None:
        return cast(Webhook | None, self._facet(name, "webhook"))

    def records(self, name: str) -> Records | None:
        return cast(Records | None, self._facet(name, "records"))

    def sources(self, name: str) -> SourceFactory | None:
        module = self._facet(name, "source")
        return None if module is None else cast(SourceFactory, module.Source)

    def listeners(self, name: str) -> ListenerFactory | None:
        module = self._facet(name, "listener")
        return None if module is None else cast(ListenerFactory, module.Listener)

    # policy
    def playbook_files(self, name: str, over: Path | None = None) -> list[Path]:
        """Sorted by kind. `over/<marketplace>/<kind>.yaml` replaces the shipped file of the same name or adds one."""
        found = {p.name: p for p in sorted((self.folder(name) / "playbooks").glob("*.yaml"))}
        if over is not None:
            found |= {p.name: p for p in (over / name).glob("*.yaml")}
        return [found[key] for key in sorted(found)]

    # notifier
    def channels(self, name: str) -> ChannelFactory | None:
        module = self._facet(name, "channel")
        return None if module is None else cast(ChannelFactory, module.Channel)

    def rules_file(self, name: str) -> Path | None:
        path = self.folder(name) / "rules.yaml"
        return path if path.is_file() else None

    def template_dirs(self, name: str) -> list[Path]:
        """The marketplace's own templates (`<purpose>/<locale>.j2`), which go before the common ones."""
        path = self.folder(name) / "templates"
        return [path] if path.is_dir() else []

    def templates(self, name: str) -> frozenset[tuple[str, str]]:
        """(purpose, locale) of every template a message of this marketplace may be rendered from."""
        found = (path for folder in (*self.template_dirs(name), _TEMPLATES) for path in folder.glob("*/*.j2"))
        return frozenset((p.parent.name, p.name.removesuffix(".j2")) for p in found if p.name.count(".") == 1)

    # sandbox, demo, tests
    def simulators(self, name: str) -> Any:
        """The module `simulator`, None where there is none."""
        return self._facet(name, "simulator")

    def purposes(self) -> dict[str, Purpose]:
        """All message purposes by name: the common ones and those of single marketplaces."""
        return dict(self._all_purposes)

    @cached_property
    def _all_purposes(self) -> dict[str, Purpose]:
        found: dict[str, Purpose] = {}
        faults: list[str] = []
        for path, marketplace in self._purpose_files():
            try:
                purpose = read_purpose(path, marketplace)
            except ConfigurationError as fault:
                faults += fault.faults
                continue
            if purpose.purpose in found:
                faults.append(f"{path}:1 purpose: {purpose.purpose} exists already")
            found[purpose.purpose] = purpose
        if faults:
            raise ConfigurationError(faults)
        return found

    def _purpose_files(self) -> list[tuple[Path, str | None]]:
        files: list[tuple[Path, str | None]] = [(p, None) for p in sorted(_PURPOSES.glob("*.yaml"))]
        for name in self.names():
            files += [(p, name) for p in sorted((self.folder(name) / "purposes").glob("*.yaml"))]
        return files

    def _known(self, name: str) -> str:
        if name not in self._manifests:
            raise ConfigurationError([f"unknown marketplace {name!r}; there are: {', '.join(self.names())}"])
        return name

    def _add(self, root: Path, package: str, *, strict: bool) -> list[str]:
        faults: list[str] = []
        for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "_"))):
            if not (folder / "manifest.toml").is_file():
                if strict:
                    faults.append(f"{folder}: no manifest.toml")
                continue
            try:
                manifest = read_manifest(folder / "manifest.toml")
            except ConfigurationError as fault:
                faults += fault.faults
                continue
            if manifest.name in self._manifests:
                faults.append(f"{folder}: a marketplace {manifest.name} is shipped already")
                continue
            self._folders[manifest.name] = folder
            self._packages[manifest.name] = f"{package}.{manifest.name}"
            self._manifests[manifest.name] = manifest
        return faults

    def _add_extra(self, extra: Path) -> list[str]:
        """Its folders become submodules of a package made up for this path, so relative imports work in them."""
        if not extra.is_dir():
            return [f"{extra}: no such folder of marketplaces"]
        package = f"amends_marketplaces_{digest(str(extra.resolve()))[:12]}"
        module = types.ModuleType(package)
        module.__path__ = [str(extra.resolve())]
        sys.modules.setdefault(package, module)
        importlib.invalidate_caches()
        return self._add(extra, package, strict=True)

    def _facet(self, name: str, facet: str) -> Any:
        """Looked for once: folders do not change while a process runs."""
        if (name, facet) not in self._facets:
            self._facets[name, facet] = self._load(name, facet)
        return self._facets[name, facet]

    def _load(self, name: str, facet: str) -> Any:
        path = self.folder(name) / f"{facet}.py"
        if not path.is_file():
            return None
        try:
            module = importlib.import_module(f"{self._packages[name]}.{facet}")
        except Exception as fault:
            raise ConfigurationError([f"{path}: does not load: {type(fault).__name__}: {fault}"]) from fault
        missing = [needed for needed in _NEEDED[facet] if not callable(getattr(module, needed, None))]
        if missing:
            raise ConfigurationError([f"{path}: has no {', '.join(missing)}"])
        return module
