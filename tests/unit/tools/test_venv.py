import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "venv.py"


@pytest.fixture
def venv(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOL.parents[1]))
    from tools import venv

    return venv


@pytest.mark.slow
def test_it_is_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, TOOL, tmp_path / "v"], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "v" / "bin" / "pip").exists()


def test_an_old_python_is_told_apart(venv: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(venv, "OLDEST", (99, 0))
    said = venv.main(str(tmp_path / "v"))
    assert "needs Python 3.11 or newer" in said and "make PYTHON=" in said
    assert not (tmp_path / "v").exists()


def test_without_venv_and_without_rights_it_says_what_to_install(
    venv: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(venv, "quietly", lambda command: False)
    monkeypatch.setattr(venv.os, "geteuid", lambda: 1000)
    assert (
        venv.main(str(tmp_path / "v")) == "this Python cannot make a virtual environment: apt-get install python3-venv"
    )


def test_root_on_debian_fetches_it_and_tries_again(
    venv: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def quietly(command: list[str]) -> bool:
        asked.append(command[-1])
        return "python3-venv" in asked

    monkeypatch.setattr(venv, "quietly", quietly)
    monkeypatch.setattr(venv.os, "geteuid", lambda: 0)
    monkeypatch.setattr(venv.shutil, "which", lambda name: "/usr/bin/apt-get")
    folder = str(tmp_path / "v")
    assert venv.main(folder) is None
    assert asked == [folder, "update", "python3-venv", folder]


def test_it_is_written_for_old_pythons() -> None:
    """What says "too old" must itself be readable by an old Python."""
    import ast

    ast.parse(TOOL.read_text(), feature_version=(3, 7))
