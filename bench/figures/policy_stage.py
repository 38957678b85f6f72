"""Policy alone on a prefilled queue: facts per second in batches of up to 500 beside one by one."""

import asyncio
import json
import sys

from bench.bench import Bench
from bench.contestant import ROOT, number
from bench.figure import Figure, compare
from bench.processes import clean_environ
from bench.rounds import LoadName

LOADS: frozenset[LoadName] = frozenset()
_BATCH = 500
_SLOWER = 8
"""One by one gets so many times fewer facts, to take about as long."""

_PATIENCE = 300.0
"""Seconds for one round."""


async def measure(bench: Bench) -> list[Figure]:
    rates: dict[int, list[float]] = {_BATCH: [], 1: []}
    void: list[str] = []
    for _ in range(bench.plan.rounds):
        for batch, found in rates.items():
            try:
                found.append(await _round(bench, batch, bench.plan.stage_facts // (1 if batch > 1 else _SLOWER)))
            except (RuntimeError, TimeoutError) as fault:
                void.append(f"policy stage, batch {batch}: {fault or 'took too long'}")
    about = "policy stage, facts/s: batches ÷ one by one"
    args = ("policy_stage", about, "facts/s", rates[_BATCH], "one by one", rates[1])
    return [compare(*args, must=5, aim=8, void=void)]


async def _round(bench: Bench, batch: int, facts: int) -> float:
    """Raises RuntimeError for a round that does not count."""
    async with bench.ground.place() as (database, host):
        command = ["-m", "bench.ours.policy_stage", "--postgres", database, "--amqp", host]
        said = await _said([sys.executable, *command, "--batch", str(batch), "--facts", str(facts)])
        opened = await number(database, "SELECT count(*) FROM cases WHERE seq = 1")
    if opened != facts:
        raise RuntimeError(f"{opened} cases of {facts} facts")
    told = json.loads(said.splitlines()[-1])
    bench.say(f"policy   batch {batch:<4} {told['facts'] / told['seconds']:8,.0f} facts/s")
    return float(told["facts"] / told["seconds"])


async def _said(command: list[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=clean_environ(), stdout=asyncio.subprocess.PIPE
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"ended with {process.returncode}")
    return said
