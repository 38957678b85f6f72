"""One module per group of figures: `LOADS` it needs of the shared rounds, `measure(bench)` that answers its figures."""

from collections.abc import Awaitable, Callable
from importlib import import_module, util
from typing import Protocol, cast

from bench.bench import Bench
from bench.figure import Figure
from bench.rounds import LoadName

NAMES = ("throughput", "cpu", "latency", "answers", "policy_stage", "clocks", "stored", "memory")
"""In the order of the table."""


class Measured(Protocol):
    LOADS: frozenset[LoadName]
    measure: Callable[[Bench], Awaitable[list[Figure]]]


def known() -> list[str]:
    return [name for name in NAMES if util.find_spec(f"{__name__}.{name}") is not None]


def load(name: str) -> Measured:
    return cast(Measured, import_module(f"{__name__}.{name}"))
