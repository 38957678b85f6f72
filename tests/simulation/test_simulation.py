"""Schedules without a violation, the same history from the same seed, and a verdict that finds every seeded bug."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.schedule import STEPS, Simulation

ROOT = Path(__file__).parents[2]
PARTS, EACH = 4, 500


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_two_thousand_schedules_hold(part: int) -> None:
    done = _command("--schedules", str(EACH), "--from-seed", str(part * EACH))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert f"{EACH} schedules" in done.stdout
    assert "0 with a violation" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_seeded_bug_is_caught() -> None:
    done = _command("--bugs")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert len(BUGS) >= 16
    assert f"{len(BUGS)} of {len(BUGS)} seeded bugs caught" in done.stdout


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    made = Simulation()
    yield made
    made.close()


def test_the_same_seed_gives_the_same_history(simulation: Simulation) -> None:
    first = simulation.run(7)
    assert len(first.history) > 20
    other = simulation.run(8)
    again = simulation.run(7)
    assert again.history == first.history
    assert (again.turns, again.counts) == (first.turns, first.counts)
    assert other.digest != first.digest


@pytest.mark.timeout(400)
def test_the_same_seed_gives_the_same_history_in_another_process() -> None:
    once, again = (_command("--seed", "11") for _ in range(2))
    assert once.returncode == 0, once.stdout[-2000:] + once.stderr[-2000:]
    assert once.stdout == again.stdout
    assert "digest " in once.stdout


@pytest.mark.timeout(400)
def test_the_schedules_do_what_they_are_for(simulation: Simulation) -> None:
    """A simulation in which nothing happens proves nothing."""
    outcomes = [simulation.run(seed) for seed in range(60)]
    told = "\n".join(line for outcome in outcomes for line in outcome.history)
    for word in (
        "dies at",
        "crash",
        "freeze",
        "thaw",
        "broker goes",
        "doubled",
        "reordered",
        "resync",
        "poison",
        "reload",
    ):
        assert word in told, word
    summed = {name: sum(outcome.counts.get(name, 0) for outcome in outcomes) for name in outcomes[0].counts}
    assert summed["lost"] == summed["unexplained"] == summed["duplicate_messages"] == 0
    assert sum(outcome.deaths for outcome in outcomes) > 100
    assert min(summed[name] for name in ("repeats_counted", "effects", "decisions", "tasks_open")) > 20
    assert len(STEPS) >= 20
