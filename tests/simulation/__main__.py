# ruff: noqa: T201
"""Many schedules by command, or one again:

    python -m tests.simulation --schedules 100000 [--from-seed N] [--jobs 2] [--report]
    python -m tests.simulation --seed 4711            # that one again, with its history
    python -m tests.simulation --bugs                 # every seeded bug must be caught

Exit 1 at any violation. The same seed gives the same history, whatever ran before it and wherever it runs.
"""

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from tests.simulation.bugs import BUGS, SEEDS, caught
from tests.simulation.schedule import Outcome, Simulation

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "guarantees" / "simulation.json"
_CHUNK = 250
_SHOWN = 10


def main() -> int:
    asked = _parsed()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606
    if asked.seed is not None:
        return _one(asked.seed)
    if asked.bugs:
        return _bugs()
    return _many(asked)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="schedules of the simulation")
    parser.add_argument("--schedules", type=int, default=2000)
    parser.add_argument("--from-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--report", action="store_true", help=f"write {REPORT.relative_to(ROOT)}")
    parser.add_argument("--seed", type=int, help="this one only, with its history")
    parser.add_argument("--bugs", action="store_true", help="seed each bug and see that it is caught")
    return parser.parse_args()


def _one(seed: int) -> int:
    simulation = Simulation()
    outcome = simulation.run(seed)
    simulation.close()
    print("\n".join(outcome.history))
    print(f"digest {outcome.digest}")
    _show([outcome])
    return 1 if outcome.violations else 0


def _bugs() -> int:
    simulation, missed = Simulation(), []
    for name in BUGS:
        found = caught(simulation, name)
        if found is None:
            missed.append(name)
        where = f"caught at seed {found.seed}: {found.violations[0]}" if found else f"NOT caught in {SEEDS} seeds"
        print(f"{name:32} {where}"[:200], flush=True)
    simulation.close()
    print(f"{len(BUGS) - len(missed)} of {len(BUGS)} seeded bugs caught")
    return 1 if missed else 0


def _many(asked: argparse.Namespace) -> int:
    """In chunks of seeds; the first violations are shown, all are counted."""
    began, bad, summed = time.monotonic(), [], Counter[str]()
    for outcomes in _chunks(asked.from_seed, asked.schedules, asked.jobs):
        for outcome in outcomes:
            summed.update(_counted(outcome))
        bad += [outcome for outcome in outcomes if outcome.violations]
        _progress(summed["schedules"], asked.schedules, len(bad), time.monotonic() - began)
    print(file=sys.stderr)
    _show(bad[:_SHOWN])
    last = asked.from_seed + asked.schedules - 1
    print(f"{summed['schedules']} schedules, seeds {asked.from_seed} to {last}, {len(bad)} with a violation")
    if asked.report:
        _write(asked.from_seed, last, summed, bad, time.monotonic() - began)
    return 1 if bad else 0


def _counted(outcome: Outcome) -> dict[str, int]:
    own = {"schedules": 1, "steps": outcome.steps, "turns": outcome.turns, "deaths": outcome.deaths}
    return {**own, **{name: outcome.counts.get(name, 0) for name in _COUNTS}}


_COUNTS = (
    "requests", "accepted", "repeats_counted", "facts", "applied", "waiting", "parked", "lost", "unexplained", "cases",
    "decisions", "errands", "errands_sent", "errands_in_doubt", "errands_suppressed", "calls", "effects", "duplicate_messages",
)  # fmt: skip


def _chunks(first: int, count: int, jobs: int) -> Iterator[list[Outcome]]:
    starts = range(first, first + count, _CHUNK)
    work = [(start, min(_CHUNK, first + count - start)) for start in starts]
    if jobs == 1:
        yield from (chunk(*one) for one in work)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(chunk, *one) for one in work]):
            yield done.result()


_kept: list[Simulation] = []


def chunk(first: int, count: int) -> list[Outcome]:
    """One stage per process. What holds is let go at once; histories are kept where something does not."""
    if not _kept:
        _kept.append(Simulation())
    outcomes = []
    for seed in range(first, first + count):
        outcome = _kept[0].run(seed)
        if not outcome.violations:
            outcome.history = []
        outcomes.append(outcome)
    return outcomes


def _progress(done: int, of: int, bad: int, seconds: float) -> None:
    told = f"{done}/{of} schedules, {bad} with a violation, {done / max(seconds, 0.001):.0f}/s"
    print(f"\r{told}", end="", file=sys.stderr, flush=True)


def _show(bad: list[Outcome]) -> None:
    for outcome in bad:
        for violation in outcome.violations:
            print(f"seed {outcome.seed}: {violation}"[:1000])
        print(f"  again: python -m tests.simulation --seed {outcome.seed}")


def _write(first: int, last: int, summed: Counter[str], bad: list[Outcome], seconds: float) -> None:
    """Adds this run to the report: many schedules may take several sittings, each with its commit and seeds."""
    run: dict[str, Any] = {
        "seeds": {"from": first, "to": last},
        "violations": [{"seed": o.seed, "violations": [str(v) for v in o.violations]} for o in bad],
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--", "services", "shared", "tests/simulation")),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "seconds": round(seconds),
        "counts": dict(summed),
    }
    before = msgspec.json.decode(REPORT.read_bytes())["runs"] if REPORT.exists() else []
    runs = [*(one for one in before if one["seeds"] != run["seeds"]), run]
    report = {
        "what": "schedules of the simulation: the real services, a seeded scheduler, the verdict of tests/crash/verdict.py",
        "schedules": sum(one["counts"]["schedules"] for one in runs),
        "with_a_violation": sum(len(one["violations"]) for one in runs),
        "runs": runs,
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
