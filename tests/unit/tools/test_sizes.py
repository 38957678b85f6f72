import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run(*paths: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "sizes.py", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def function(lines: int, comment: str = "") -> str:
    return f"def long():{comment}\n" + "    x = 1\n" * (lines - 1)


def test_a_long_function_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        function(60) + "\n\nclass A:\n" + "    async " + function(61).replace("\n", "\n    ")
    )
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/a.py:64 long: 61 lines, at most 60\n"


def test_a_long_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n" * 401)
    (tmp_path / "b.py").write_text("x = 1\n" * 400)
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}/a.py:1 401 lines, at most 400\n")


def test_an_escape_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(function(70, "  # allow: size (wire table)"))
    assert run(tmp_path).returncode == 0
    (tmp_path / "a.py").write_text(function(70, "  # allow: size ()"))
    assert run(tmp_path).returncode == 1
    (tmp_path / "a.py").write_text("# allow: size (generated)\n" + "x = 1\n" * 500)
    assert run(tmp_path).returncode == 0


def test_the_tree_keeps_the_limits() -> None:
    done = run("amends", "services", "shared", "tools")
    assert done.returncode == 0, done.stderr
