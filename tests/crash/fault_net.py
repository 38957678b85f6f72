"""F11: the network between the services and their broker or database is cut, half open, or slow."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.crash.fault_trial import Trial
from tests.crash.kills import quantiles
from tests.support.proxy import Proxy

SLOW = 0.4


async def _cut(line: Proxy) -> None:
    await line.cut()


async def _still(line: Proxy) -> None:
    line.freeze()


async def _deaf(line: Proxy) -> None:
    line.freeze(back=False)


async def _mute(line: Proxy) -> None:
    line.freeze(there=False)


async def _slow(line: Proxy) -> None:
    line.delay = SLOW


KINDS: dict[str, Callable[[Proxy], Awaitable[None]]] = {
    "cut": _cut, "nothing moves": _still, "nothing gets there": _deaf, "nothing comes back": _mute, "slow": _slow,
}  # fmt: skip


async def _mended(line: Proxy) -> None:
    line.delay = 0.0
    line.thaw()
    await line.mend()


async def broken(trial: Trial, line: Proxy, times: int, longest: float, answered: bool) -> None:
    """`answered`: deliveries are accepted meanwhile (the broker's line); else each is answered, 202 or 503, while it lasts."""
    told = trial.told.setdefault("cuts", {})
    waits = []
    for n in range(times):
        name = list(KINDS)[n % len(KINDS)]
        trial.wave()
        await asyncio.sleep(trial.dice.uniform(0, 0.2))
        await KINDS[name](line)
        trial.wave()
        began = time.monotonic()
        if answered:
            await trial.accepted()
        elif name != "slow":
            await trial.refused()
        waits.append(time.monotonic() - began)
        await asyncio.sleep(trial.dice.uniform(0, longest))
        await _mended(line)
        await trial.ready()
        await trial.accepted()
        told[name] = told.get(name, 0) + 1
        trial.progress(f"{n + 1}/{times} ({name})")
    trial.told["answered_meanwhile_seconds"] = quantiles(waits)
