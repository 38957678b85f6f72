"""The smallest bench of all, end to end: the real product and the floor on servers of the bench's own."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import plots

ROOT = Path(__file__).parents[2]


@pytest.mark.pg
@pytest.mark.rabbit
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_tiny_run_tells_everything_and_every_round_is_correct(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    arguments = ["--quick", "--only", "throughput", "cpu", "--contestants", "ours", "floor", "--count", "100"]
    command = [sys.executable, "-m", "bench", *arguments, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(out.read_text())
    assert told["void"] == [], done.stdout[-3000:]
    _whole(told)
    assert "cases/s" in done.stdout
    _shown(told, tmp_path / "docs")


def _whole(told: dict[str, object]) -> None:
    figures = {figure["name"]: figure for figure in told["figures"]}  # type: ignore[attr-defined]
    assert {"throughput_floor", "throughput_idiomatic", "throughput_embedded", "cpu"} <= figures.keys()
    floor = figures["throughput_floor"]
    assert floor["ours"] > 0 and floor["other"] > 0 and floor["ratio"] == pytest.approx(floor["ours"] / floor["other"])
    assert floor["unit"] == "cases/s" and (floor["must"], floor["aim"]) == (0.4, 0.7)
    assert figures["throughput_idiomatic"]["ratio"] is None and figures["throughput_idiomatic"]["note"]
    assert told["machine"]["cores"] and told["machine"]["postgresql"]  # type: ignore[index]
    for name in ("ours", "floor"):
        (load,) = told["contestants"][name]["closed"]  # type: ignore[index]
        assert (load["count"], load["void"]) == (100, "")
        assert {"app", "postgres", "rabbit", "driver"} == load["cpu"].keys()


def _shown(told: dict[str, object], folder: Path) -> None:
    """What is written for the docs: plots that are XML with a bar for each, and a page with each figure's ratio."""
    plots.write(told, folder)
    for name in ("throughput.svg", "cpu.svg"):
        drawn = ElementTree.fromstring((folder / name).read_text())  # noqa: S314 - our own
        names = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
        assert {"ours", "floor"} <= set(names)
    page = (folder / "figures.md").read_text()
    ratio = next(one["ratio"] for one in told["figures"] if one["name"] == "throughput_floor")  # type: ignore[attr-defined]
    assert f"**{ratio:.2f}**" in page and "nothing twice" in page
