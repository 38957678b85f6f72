"""`python -m bench`: measures, prints the table, writes the document."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import asyncpg

from bench import field, figures, plan, plots, report
from bench.bench import Bench
from bench.figure import Figure
from bench.ground import Ground, ground
from bench.rounds import LoadName


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small counts, one round, one idiomatic peer")
    parser.add_argument("--rounds", type=int, help="default 5; 1 with --quick")
    parser.add_argument("--only", nargs="+", choices=figures.known(), metavar="FIGURE", help=", ".join(figures.known()))
    parser.add_argument("--contestants", nargs="+", default=[], metavar="NAME", help="default: all")
    parser.add_argument("--count", type=int, help="cases of each closed loop")
    parser.add_argument("--out", type=Path, help="the document; default: bench/results/latest.json for a full run")
    parser.add_argument(
        "--postgres", default=os.environ.get("AMENDS_BENCH_POSTGRES_URL"), help="default: one of its own"
    )
    parser.add_argument("--amqp", default=os.environ.get("AMENDS_BENCH_AMQP_URL"), help="default: one of its own")
    return parser.parse_args(given)


def planned(args: argparse.Namespace) -> plan.Plan:
    base = plan.quick(args.rounds or 1) if args.quick else plan.Plan(rounds=args.rounds or 5)
    return replace(base, count=args.count, contestants=frozenset(args.contestants))


async def run(args: argparse.Namespace, found: Ground) -> None:
    modules = {name: figures.load(name) for name in args.only or figures.known()}
    loads: frozenset[LoadName] = frozenset(load for module in modules.values() for load in module.LOADS)
    planned_ = planned(args)
    bench = Bench(found, planned_, field.chosen(planned_), loads, lambda line: print(line, flush=True))
    measured = [figure for name, module in modules.items() for figure in await _measured(name, module, bench)]
    told = report.document(measured, bench, _command(sys.argv[1:]), await _versions(found))
    report.show(told)
    whole = not (args.only or args.contestants or args.quick or args.count)
    path = args.out or (report.RESULTS / "latest.json" if whole else None)
    if path:
        report.write(told, path)
    if whole:
        plots.write(told)


def _command(given: list[str]) -> str:
    """How to run it again; where its document went is nobody's business."""
    out = given.index("--out") if "--out" in given else len(given)
    return " ".join(["python -m bench", *given[:out], *given[out + 2 :]])


async def _measured(name: str, module: figures.Measured, bench: Bench) -> list[Figure]:
    """What cannot be measured is said, and the others go on."""
    try:
        return await module.measure(bench)
    except Exception as fault:
        bench.faults.append(f"{name}: {type(fault).__name__}: {fault}")
        bench.say(f"void: {bench.faults[-1]}")
        return []


async def _versions(found: Ground) -> dict[str, str]:
    connection = await asyncpg.connect(found.postgres)
    try:
        return {"postgresql": str(await connection.fetchval("SHOW server_version"))}
    finally:
        await connection.close()


def main() -> None:
    args = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and processes are ended then, too
    with contextlib.suppress(KeyboardInterrupt), ground(args.postgres, args.amqp) as found:
        asyncio.run(run(args, found))


if __name__ == "__main__":
    main()
