"""The checker: what may become of any case under a playbook, judged before a case runs on it. Pure; under a second a file."""

from services.policy.core import check_chart, check_clocks, check_rows
from services.policy.core.findings import Findings, Known
from services.policy.core.load import Fault
from shared.domain.playbook import Playbook

__all__ = ["Fault", "Known", "check"]


def check(playbook: Playbook, known: Known) -> list[Fault]:
    """All faults, in the order of the file; empty when a case may run on it."""
    found = Findings(playbook, known)
    check_chart.check(found)
    check_rows.check(found)
    check_clocks.check(found)
    return sorted(found.faults)
