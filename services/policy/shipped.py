"""The playbooks of the marketplaces' folders with the seller's own laid over them, checked before a case runs on one."""

from pathlib import Path

from services.policy.core.check import Known, check
from services.policy.core.load import PlaybookFault, load
from services.policy.playbooks import Chart
from services.policy.terms import needs_of, purposes_of
from shared.accounts import COMMON_SETTINGS
from shared.domain.errands import ACTS
from shared.domain.playbook import Playbook
from shared.errors import ConfigurationError
from shared.registry import Registry

_LAST_RESORT = "en"


def read_all(registry: Registry, overlay: Path | None) -> dict[Chart, Playbook]:
    """The shipped files with the seller's laid over them. Raises ConfigurationError naming every fault of every file."""
    found: dict[Chart, Playbook] = {}
    faults: list[str] = []
    for name in registry.names():
        for path in registry.playbook_files(name, overlay):
            try:
                playbook = load(path.read_text("utf-8"), str(path))
            except PlaybookFault as fault:
                faults += map(str, fault.faults)
                continue
            faults += map(str, check(playbook, known(registry, name, playbook.kind)))
            if playbook.marketplace != name:
                faults.append(f"{path}:1 -: marketplace must be {name}, the folder it lies in")
            found[name, playbook.kind] = playbook
    if faults:
        raise ConfigurationError(faults)
    return found


def known(registry: Registry, marketplace: str, kind: str) -> Known:
    """What the checker holds a playbook of this marketplace and kind against.

    A purpose counts as written when it stands in the language that every choice of languages ends with.
    """
    manifest = registry.manifest(marketplace)
    settings = {**COMMON_SETTINGS, **manifest.settings}
    statuses = manifest.statuses.get(kind)
    return Known(
        purposes={name: needs_of(purpose) for name, purpose in registry.purposes().items()},
        templates=frozenset(purpose for purpose, locale in registry.templates(marketplace) if locale == _LAST_RESORT),
        allowed=purposes_of(registry, marketplace),
        acts={act: manifest.capability(act) for act in ACTS},
        settings={name: setting.type for name, setting in settings.items()},
        statuses=None if statuses is None else frozenset(statuses),
    )
