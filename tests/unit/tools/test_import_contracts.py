"""The contracts of pyproject.toml catch what they are there for: each violation is planted in a copy and seen."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow
TOY = "shared/marketplaces/toy"

PLANTED = [
    ("services/intake/planted.py", "import services.policy.core.decision", "services never import each other"),
    ("services/policy/planted.py", "import services.notifier", "services never import each other"),
    ("shared/planted.py", "import services.intake", "shared imports no service and not the product's face"),
    ("shared/store/planted.py", "import amends", "shared imports no service and not the product's face"),
    ("services/notifier/planted.py", "import amends.remote", "services do not import the product's face"),
    ("services/policy/core/planted.py", "import sqlalchemy", "pure rooms do no I/O"),
    ("services/policy/core/planted.py", "import random", "pure rooms do no I/O"),
    ("services/policy/core/planted.py", "from shared.store import session", "pure rooms do no I/O"),
    ("shared/domain/planted.py", "import shared.settings", "pure rooms do no I/O"),
    (f"{TOY}/webhook.py", "import structlog", "pure rooms do no I/O"),
    (f"{TOY}/records.py", "import socket", "pure rooms do no I/O"),
    (f"{TOY}/webhook.py", "import asyncio", "pure facets never import I/O themselves"),
    ("services/policy/core/planted.py", "import os", "pure facets never import I/O themselves"),
    (f"{TOY}/records.py", "import shared.http", "pure facets never import I/O themselves"),
    ("services/policy/planted.py", f"import {TOY.replace('/', '.')}.channel", "no service names a marketplace"),
    ("services/intake/planted.py", f"import {TOY.replace('/', '.')}.webhook", "no service names a marketplace"),
    ("services/policy/planted.py", "import aiohttp", "policy sees neither channel nor client"),
    (f"{TOY}/webhook.py", "from . import client", "facets know each other only through client"),
    (f"{TOY}/records.py", "from . import source", "facets know each other only through client"),
    (f"{TOY}/channel.py", "from . import source", "intake's and notifier's facets are apart"),
    (f"{TOY}/source.py", "from . import simulator", "no facet leans on its simulator"),
    (f"{TOY}/channel.py", "import shared.marketplaces.other.client", "marketplaces do not import each other"),
    (f"{TOY}/channel.py", "import shared.settings", "facets get secrets as arguments"),
    (f"{TOY}/source.py", "import shared.store.session", "facets get secrets as arguments"),
    ("services/intake/planted.py", "import aio_pika", "only the rabbit end knows aio-pika"),
    ("shared/bus/embedded.py", "import aio_pika", "only the rabbit end knows aio-pika"),
    ("shared/store/planted.py", "import shared.bus.embedded", "the store does not know the bus's ends"),
]  # fmt: skip


def copied(folder: Path) -> Path:
    """The source tree with two toy marketplaces, which no contract knows by name."""
    for part in ("amends", "services", "shared"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for toy in ("toy", "other"):
        (folder / "shared/marketplaces" / toy).mkdir()
        for facet in ("__init__", "webhook", "records", "source", "channel", "client", "simulator"):
            (folder / "shared/marketplaces" / toy / f"{facet}.py").write_text("")
    return folder


def broken(folder: Path) -> set[str]:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert any(" KEPT" in line for line in lines), done.stdout + done.stderr
    return {line.partition(" BROKEN")[0] for line in lines if " BROKEN" in line}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return broken(copied(tmp_path_factory.mktemp("clean")))


def test_the_tree_itself_keeps_every_contract(before: set[str]) -> None:
    assert before == set()


@pytest.mark.parametrize(("where", "line", "contract"), PLANTED)
def test_a_planted_violation_is_caught(tmp_path: Path, where: str, line: str, contract: str) -> None:
    path = copied(tmp_path) / where
    path.write_text(f"{line}\n" + (path.read_text() if path.exists() else ""))
    assert contract in broken(tmp_path)


def test_every_contract_has_a_planted_violation() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    named = {
        line.split('"')[1] for line in text.partition("[tool.importlinter]")[2].splitlines() if line.startswith("name")
    }
    assert named == {contract for _, _, contract in PLANTED}
