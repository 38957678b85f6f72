"""The test playbook and cases on it."""

import pytest
from core_scene import Scene, shipped_text, usd

from services.policy.core.load import load
from shared.domain.playbook import Playbook


@pytest.fixture(scope="session")
def playbook() -> Playbook:
    return load(shipped_text("core_return"), "core_return.yaml")


@pytest.fixture
def scene(playbook: Playbook) -> Scene:
    return Scene(playbook)


@pytest.fixture
def opened(scene: Scene) -> Scene:
    """A return of 40 USD on an order that paid 60, in `deciding`."""
    scene.tell("return.requested", {"amount": usd("40.00"), "paid": usd("60.00"), "reason": "damaged"})
    return scene
