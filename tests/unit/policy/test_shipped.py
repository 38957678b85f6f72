"""What a playbook is held against: the templates there are and the statuses a marketplace publishes."""

from pathlib import Path

import pytest

from services.policy import shipped
from shared.errors import ConfigurationError
from shared.marketplaces.aliexpress.issue import STATUSES
from shared.registry import Registry

PLAYBOOK = """
playbook: review
marketplace: place
version: "1"
opens_on:
  review.posted: {to: read, tell: greet}
states:
  read: {phase: resolved, outcome: completed}
everywhere:
  case.closed: {to: read}
"""


def extra(root: Path, *templates: str) -> Registry:
    """A marketplace from outside the tree with one purpose and a playbook that tells it."""
    folder = root / "place"
    for name in ("purposes", "playbooks", "templates/greet"):
        (folder / name).mkdir(parents=True)
    (folder / "manifest.toml").write_text('name = "place"\ntitle = "Place"\n')
    (folder / "rules.yaml").write_text("purposes: {greet: []}\n")
    (folder / "purposes/greet.yaml").write_text("purpose: greet\n")
    (folder / "playbooks/review.yaml").write_text(PLAYBOOK)
    for name in templates:
        (folder / "templates/greet" / name).write_text("Hello")
    return Registry(root)


@pytest.mark.parametrize("templates", [(), ("zh-Hans.j2",), ("en.subject.j2",)])
def test_a_message_without_words_for_every_buyer_is_refused(tmp_path: Path, templates: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as told:
        shipped.read_all(extra(tmp_path, *templates), None)
    (fault,) = told.value.faults
    assert "place/playbooks/review.yaml:" in fault and "greet has no template" in fault


def test_a_marketplaces_own_template_will_do(tmp_path: Path) -> None:
    assert ("place", "review") in shipped.read_all(extra(tmp_path, "en.j2"), None)


def test_a_status_the_marketplace_publishes_must_have_a_state(tmp_path: Path) -> None:
    registry = Registry()
    text = (registry.folder("aliexpress") / "playbooks/dispute.yaml").read_text()
    (tmp_path / "aliexpress").mkdir()
    without = text.replace("  refund_reject: rejected\n", "")
    (tmp_path / "aliexpress/dispute.yaml").write_text(without)
    with pytest.raises(ConfigurationError) as told:
        shipped.read_all(registry, tmp_path)
    assert any("status refund_reject of the marketplace maps to no state" in fault for fault in told.value.faults)


def test_the_manifest_lists_the_statuses_that_are_read() -> None:
    assert tuple(Registry().manifest("aliexpress").statuses["dispute"]) == STATUSES
