# ruff: noqa: T201
"""A million triggers by command, or one life again:

    python -m tests.restraint --triggers 1000000 [--from-seed N] [--jobs 2] [--report]
    python -m tests.restraint --seed 4711       # that one again, with what was told and what left
    python -m tests.restraint --bugs            # every seeded bug must be caught

Exit 1 at any broken promise. docs/simulation.md says what is simulated.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.restraint import bugs, run
from tests.restraint.memory import Begun, Heard

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "guarantees" / "restraint.json"
_SHOWN = 10
_EVERY = 60.0
"""Seconds between two lines of progress."""


def main() -> int:
    asked = _parsed()
    if asked.seed is not None:
        return _one(asked.seed)
    return _bugs() if asked.bugs else _many(asked)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.restraint", description="what leaves, and what must not")
    parser.add_argument("--triggers", type=int, default=20_000)
    parser.add_argument("--from-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--report", action="store_true", help=f"write {REPORT.relative_to(ROOT)}")
    parser.add_argument("--seed", type=int, help="this life only, with its history")
    parser.add_argument("--bugs", action="store_true", help="seed each bug and see that it is caught")
    return parser.parse_args()


def _one(seed: int) -> int:
    life, history, faults = run.one(seed)
    print(life.law.marketplace, life.ability, life.zone, life.law.settings)
    print({name: life.law.raw.get(name) for name in ("limits", "windows", "quiet_hours")})
    for event in history.events:
        print(event.at.isoformat(), _line(event))
    return _end(faults)


def _line(event: Heard | Begun) -> str:
    if isinstance(event, Begun):
        return f"    {event.errand_id} {'taken' if event.taken else 'not taken'}{', again' if event.again else ''}"
    return f"{type(event.thing).__name__} {msgspec.json.encode(event.thing).decode()}"


def _bugs() -> int:
    missed = []
    for name in bugs.BUGS:
        found = bugs.caught(name)
        print(f"{name:34} {f'caught: {found}' if found else 'NOT caught'}"[:200], flush=True)
        missed += [] if found else [name]
    print(f"{len(bugs.BUGS) - len(missed)} of {len(bugs.BUGS)} seeded bugs caught")
    return 1 if missed else 0


def _many(asked: argparse.Namespace) -> int:
    first, began = asked.from_seed, time.monotonic()
    told, summed = began, run.Sum()
    for summed in run.many(first, asked.triggers, asked.jobs):
        if time.monotonic() - told > _EVERY:
            told = time.monotonic()
            print(summed, file=sys.stderr, flush=True)
    print(f"{summed}; seeds {first} to {first + summed.lives - 1}, {_cpu_seconds():.0f} s of CPU")
    if asked.report:
        _write(first, summed, time.monotonic() - began)
    return _end(summed.faults)


def _write(first: int, summed: run.Sum, seconds: float) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    said = {
        "triggers": summed.triggers, "lives": summed.lives, "seeds": [first, first + summed.lives - 1],
        "attempts": summed.attempts, "left": summed.left, "ends": dict(summed.ends), "broken": summed.faults,
        "seconds": round(seconds), "cpu_seconds": round(_cpu_seconds()), "commit": commit.stdout.strip(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    REPORT.write_bytes(msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n")


def _cpu_seconds() -> float:
    """Of the jobs too, which have ended."""
    return sum(os.times()[:4])


def _end(faults: Sequence[str]) -> int:
    for fault in faults[:_SHOWN]:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
