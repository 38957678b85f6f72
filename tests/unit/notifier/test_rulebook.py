"""`rules.yaml`: everything wrong in it is named at once; what is right means what it says."""

from datetime import time, timedelta
from pathlib import Path

import pytest

from services.notifier import rulebook
from services.notifier.rulebook import Windows
from shared.errors import ConfigurationError
from shared.registry import Registry

BROKEN = """
version: "1"
purpose: {}
purposes: {a: no, b: [awaiting_seller]}
limits: {max_chars: many, per_week: 3}
windows: {after_buyer_message: two days, otherwise: shout}
quiet_hours: {from: "22:00"}
rules:
  - {id: A, severity: forbid, about: x, source: y, detect: contact}
  - {id: A, severity: block, about: x, source: y, detect: telepathy}
  - {id: B, severity: block, about: x, source: y}
  - {id: C, severity: block, source: y, languages: {en: ["(unclosed"]}}
"""


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(BROKEN)
    with pytest.raises(ConfigurationError) as caught:
        rulebook.load(path, "t")
    said = "\n".join(caught.value.faults)
    for word in (
        "'purpose'", "purposes.a", "limits.max_chars", "'per_week'", "after_buyer_message", "otherwise", "quiet_hours",
        "severity", "telepathy", "needs detect or languages", "about is missing", "pattern for en", "'A' is given twice",
    ):  # fmt: skip
        assert word in said
    assert all(str(path) in fault for fault in caught.value.faults)


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "purposes: {a: [], b: [inspection]}\nlimits: {max_chars: 10, per_day: 3, unanswered: 2}\n"
        'windows: {after_buyer_message: PT48H, closed_by_default: true}\nquiet_hours: {from: "22:00", to: "08:00"}\n'
        "rules:\n  - {id: A, severity: hold, about: x, source: y, languages: {zh: [加群]}, except: [b]}\n"
    )
    book = rulebook.load(path, "t")
    assert (book.max_chars, book.per_day, book.unanswered) == (10, 3, 2)
    assert book.windows == Windows(timedelta(hours=48), True, "hold")
    assert book.quiet == (time(22), time(8))
    assert book.allows("a", "inspection")
    assert book.allows("b", "inspection")
    assert not book.allows("b", "awaiting_seller")
    assert not book.allows("c", None)
    assert book.rules[0].concerns("a", None)
    assert not book.rules[0].concerns("b", None)


def test_every_shipped_rules_file_loads_and_names_purposes_there_are() -> None:
    registry = Registry()
    purposes = {*registry.purposes(), "free_text"}
    for name in registry.names():
        path = registry.rules_file(name)
        assert path is not None, name
        assert set(rulebook.load(path, name).purposes) <= purposes
