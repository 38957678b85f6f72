"""`python -m bench.clocks.measure fill|claim|lag|backlog|rate --postgres URL …`: one measure of the clocks, printed as JSON.

The real policy service in this process, on PostgreSQL and, with `--amqp`, on RabbitMQ.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from statistics import median
from typing import Any

import msgspec
import uvloop

from bench.clocks.filled import Spread
from bench.clocks.ground import Ground, ground
from bench.figure import percentile
from bench.stages.policy import opening, sent
from services.policy import due
from services.policy.agenda import Agenda
from services.policy.places import Places
from shared.clock import SystemClock
from shared.domain.errands import Errand
from shared.domain.facts import Fact
from shared.store.session import Tx

HOUR, MILLISECOND = timedelta(hours=1), timedelta(milliseconds=1)
_OPEN_FOR = timedelta(days=10)
"""Over which the cases that only lie there fall due; none while it is measured."""
_CLAIMED, _CLAIMS = 200, 25
_AHEAD = timedelta(seconds=5)
"""In which the cases are added and the service starts."""
_BATCH = due.AT_ONCE


async def fill(args: argparse.Namespace) -> dict[str, Any]:
    """That many open cases, none due for hours."""
    began = time.monotonic()
    async with ground(args.postgres[0]) as found:
        every = max(_OPEN_FOR / args.count, timedelta(microseconds=1))
        await found.add(args.count, Spread(SystemClock().now() + 6 * HOUR, every))
    return {"cases": args.count, "seconds": time.monotonic() - began}


async def claim(args: argparse.Namespace) -> dict[str, Any]:
    """Per database and round: the median of so many claims of 200 due cases, by turns. A claim is the look at the index,
    the locks of the orders, and the reading of the cases; it is rolled back. `cold`: the first of each round. Seconds."""
    async with AsyncExitStack() as stack:
        grounds = [await stack.enter_async_context(ground(url)) for url in args.postgres]
        found: list[dict[str, list[float]]] = [{"claims": [], "cold": []} for _ in grounds]
        for _ in range(args.rounds):
            samples: list[list[float]] = [[] for _ in grounds]
            for each in grounds:
                await each.add(_CLAIMED, Spread(SystemClock().now() - MILLISECOND * _CLAIMED, MILLISECOND))
            for _ in range(_CLAIMS):
                for each, seconds in zip(grounds, samples, strict=True):
                    seconds.append(await _claimed(each))
            for each, seconds, kept in zip(grounds, samples, found, strict=True):
                kept["claims"].append(median(seconds))
                kept["cold"].append(seconds[0])
                await _worked_off(each)
        return {"databases": found}


class _Undone(Exception):
    """Rolls the claim back."""


async def _claimed(each: Ground) -> float:
    policy = each.service.policy
    began = time.perf_counter()
    entries = await Agenda(policy.database, policy.clock).take(_CLAIMED)
    places = Places({entry.id: entry.key for entry in entries}, cases={entry.id for entry in entries})

    async def work(tx: Tx) -> None:
        batch = await policy.hold_free(tx, places)
        if len(batch.held) != _CLAIMED:
            raise RuntimeError(f"{len(batch.held)} of {_CLAIMED} due cases were claimed")
        raise _Undone

    with suppress(_Undone):
        await policy.in_transaction(work)
    return time.perf_counter() - began


async def _worked_off(each: Ground) -> int:
    agenda, count = Agenda(each.service.policy.database, each.service.policy.clock), 0
    while done := await due.fire(each.service.policy, agenda):
        count += done
    return count


async def lag(args: argparse.Namespace) -> dict[str, Any]:
    """From the moment at which each clock was due to its decision's commit, at a steady rate; each verified. Seconds."""
    async with ground(args.postgres[0], args.amqp) as found:
        every = timedelta(seconds=1) / args.rate
        first = SystemClock().now() + _AHEAD
        await found.add(args.count, Spread(first, every))
        before = await found.timers()
        await found.service.start()
        if SystemClock().now() > first:
            raise RuntimeError("the service was not up when the first clock was due")
        spent = time.process_time()
        await found.fired(args.count, 120 + 3 * args.count / args.rate)
        spent = time.process_time() - spent
        await found.verify(before, args.count)
        shares = {f"p{share * 100:g}": percentile(found.lags, share) for share in (0.5, 0.9, 0.99)}
        return {**shares, "max": max(found.lags), "count": args.count, "cpu_per_clock": spent / args.count}


async def backlog(args: argparse.Namespace) -> dict[str, Any]:
    """So many clocks overdue when the service starts, as after a stop: seconds until the last is fired and published."""
    async with ground(args.postgres[0], args.amqp) as found:
        await found.add(args.count, Spread(SystemClock().now() - HOUR, 10 * MILLISECOND))
        before, began = await found.timers(), time.monotonic()
        await found.service.start()
        await found.fired(args.count, 600)
        seconds = time.monotonic() - began
        await found.verify(before, args.count)
        async with found.service.database.reading() as tx:
            rows = await tx.rows(
                "SELECT l.decided_at FROM case_log l JOIN cases c ON c.id = l.case_id WHERE l.fact LIKE '%timer.elapsed%' "
                "ORDER BY c.deadline_at DESC LIMIT :n",
                n=args.count,
            )
        moments = [row["decided_at"] for row in rows]
        return {"seconds": seconds, "count": args.count, "in_order": moments == sorted(moments, reverse=True)}


async def rate(args: argparse.Namespace) -> dict[str, Any]:
    """Facts applied (half of them open a case, half report its message) and clocks fired per second, by turns."""
    applied: list[float] = []
    fired: list[float] = []
    async with ground(args.postgres[0], args.amqp) as found:
        await found.service.relay.start()
        for number in range(args.rounds):
            applied.append(args.count / await _applied(found, args.count // 2, number))
            await found.add(args.count, Spread(SystemClock().now() - HOUR, MILLISECOND))
            began = time.perf_counter()
            done = await _worked_off(found)
            await _published(found)
            fired.append(done / (time.perf_counter() - began))
            if done != args.count:
                raise RuntimeError(f"{done} clocks fired of {args.count} due")
    return {"applied": applied, "fired": fired}


async def _applied(found: Ground, count: int, number: int) -> float:
    now, first = SystemClock().now(), int(time.time()) * 1_000_000
    numbers = range(first + number * count, first + (number + 1) * count)
    seconds = await _timed(found, [opening(n, now, found.registry, found.account) for n in numbers])
    async with found.service.database.reading() as tx:
        rows = await tx.rows(
            "SELECT body FROM outbound WHERE type = 'amends.errand.planned.v1' AND created_at >= :at",
            at=int(now.timestamp() * 1e6),
        )
    planned = [errand for row in rows if (errand := msgspec.json.decode(row["body"], type=Errand)).what == "message"]
    if len(planned) != count:
        raise RuntimeError(f"{len(planned)} messages for {count} cases")
    return seconds + await _timed(found, [sent(errand, now) for errand in planned])


async def _timed(found: Ground, facts: Sequence[Fact]) -> float:
    began = time.perf_counter()
    for start in range(0, len(facts), _BATCH):
        await found.service.policy.advance(facts[start : start + _BATCH])
    await _published(found)
    return time.perf_counter() - began


async def _published(found: Ground) -> None:
    while found.service.relay.busy:  # noqa: ASYNC110
        await asyncio.sleep(0.002)


_MEASURES = {"fill": fill, "claim": claim, "lag": lag, "backlog": backlog, "rate": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=sorted(_MEASURES))
    parser.add_argument("--postgres", required=True, nargs="+")
    parser.add_argument("--amqp")
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    try:
        print(json.dumps(uvloop.run(_MEASURES[args.what](args))))
    except RuntimeError as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
