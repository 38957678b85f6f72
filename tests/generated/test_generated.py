"""Generated cases break nothing, the same seed gives the same life, and the verdict finds every seeded bug."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.generated.bugs import BUGS, caught
from tests.generated.counting import CHUNK, Counted, total
from tests.generated.markets import charts, playbooks
from tests.generated.play import RULES, Life, shortest

ROOT = Path(__file__).parents[2]
PARTS, EACH = 4, 400


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_generated_cases_break_nothing(part: int) -> None:
    """A share of the 200,000 of `make generated`: some 2,600 cases in all."""
    every = total(Life(seed).run() for seed in range(part * EACH, (part + 1) * EACH))
    assert every.broken == [], "again, and shorter: python -m tests.generated --seed N"
    assert every.counts["cases"] > 1.3 * EACH


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_seeded_bug_is_found_out(name: str) -> None:
    life = caught(name)
    assert life is not None
    assert {rule for rule, _ in life.judge.broken} <= RULES.keys() | _OF_THE_WHOLE


_OF_THE_WHOLE = {
    "replay_gives_the_same_bytes",
    "a_case_is_stored_whole",
    "no_fact_raises",
    "only_operators_are_refused",
    "what_is_refused_changes_nothing",
    "what_is_told_twice_counts_once",
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_several_processes_share_the_lives() -> None:
    command = [sys.executable, "-m", "tests.generated", "--cases", "500", "--jobs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "seeds 0 to" in done.stdout and f"of {2 * CHUNK} orders" in done.stdout


def test_the_same_seed_gives_the_same_life() -> None:
    first, other, again = (Life(seed).run() for seed in (7, 8, 7))
    assert first.history == again.history != other.history
    assert len(first.history) > 5


def test_a_failing_life_is_made_short_and_still_fails_by_the_same_rule() -> None:
    with BUGS["old_news_moves_a_case_back"]():
        whole = next(life for seed in range(200) if (life := Life(seed).run()).judge.broken)
        short = shortest(whole.seed)
    assert short.judge.rule == whole.judge.rule
    assert len(short.history) < len(whole.history)


@pytest.fixture(scope="module")
def some() -> Counted:
    return total(Life(seed).run() for seed in range(10 * len(charts())))


def test_the_lives_do_what_they_are_for(some: Counted) -> None:
    """Generated cases in which nothing happens prove nothing."""
    counts = some.counts
    for effect in ("plan_act", "plan_message", "ask_approval", "withdraw", "open_task", "miss", "resolve"):
        assert counts.get(f"{effect} effects", 0) > 5, effect
    assert counts["refused"] > 50
    assert counts["left open"] > 50
    assert sum(n for name, n in counts.items() if name.startswith("ended")) > 50


def test_every_marketplace_and_kind_is_walked(some: Counted) -> None:
    assert set(some.reached) == {book.name for book in playbooks().current.values()}
