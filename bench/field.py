"""Who takes part: the product in its two forms, and every folder of `bench/peers/` that offers a contestant."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from bench.contestant import Contestant
from bench.ours import Apart, Embedded
from bench.plan import Plan

_PEERS = Path(__file__).parent / "peers"
_IN_A_HURRY = frozenset(("idiomatic",))
_ONE_IDIOMATIC = "taskiq"
"""In the quick run this one stands for all idiomatic peers."""


def everybody() -> list[Contestant]:
    ours: list[Contestant] = [Apart(), Embedded()]
    folders = sorted(path.parent.name for path in _PEERS.glob("*/contestant.py"))
    return ours + [importlib.import_module(f"bench.peers.{name}.contestant").contestant for name in folders]


def chosen(plan: Plan) -> Sequence[Contestant]:
    """Raises ValueError for a name nobody has."""
    found = everybody()
    if plan.contestants:
        unknown = plan.contestants - {c.name for c in found}
        if unknown:
            raise ValueError(f"no such contestant: {', '.join(sorted(unknown))}; there are {_listed(found)}")
        return [c for c in found if c.name in plan.contestants]
    if plan.quick:
        return [c for c in found if c.kind not in _IN_A_HURRY or c.name == _ONE_IDIOMATIC]
    return found


def _listed(contestants: Sequence[Contestant]) -> str:
    return ", ".join(c.name for c in contestants)
