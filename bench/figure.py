"""One line of the table: ours beside another, their ratio, and what was promised of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

Values = Sequence[float]
"""Of one contestant, one per round that counts."""


@dataclass(frozen=True)
class Figure:
    """`ours`, `other`, `ratio` are None where nothing could be measured; `note` says why."""

    name: str
    about: str
    unit: str
    ours: float | None
    other: float | None
    ratio: float | None
    other_name: str
    must: float
    aim: float
    more_is_better: bool = True
    rounds: dict[str, list[float]] = field(default_factory=dict)
    ratio_range: tuple[float, float] | None = None
    """Least and largest ratio of one round."""
    void: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def verdict(self) -> str:
        """`aim`, `must` or `missed`: the best of the promises that is kept; empty without a ratio."""
        if self.ratio is None:
            return ""
        ratio, sign = self.ratio, 1 if self.more_is_better else -1
        return "aim" if sign * ratio >= sign * self.aim else "must" if sign * ratio >= sign * self.must else "missed"

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


def compare(
    name: str, about: str, unit: str, ours: Values, other_name: str, other: Values, *, must: float, aim: float,
    more_is_better: bool = True, upside_down: bool = False, void: Sequence[str] = (), note: str = "",
) -> Figure:  # fmt: skip
    """Medians and their ratio ours ÷ other (other ÷ ours when `upside_down`)."""
    mine, theirs = _median(ours), _median(other)
    pairs = [(theirs_, mine_) if upside_down else (mine_, theirs_) for mine_, theirs_ in zip(ours, other, strict=False)]
    ratios = [above / below for above, below in pairs if below]
    ratio = None
    if mine and theirs:
        ratio = theirs / mine if upside_down else mine / theirs
    return Figure(
        name, about, unit, mine, theirs, ratio, other_name, must, aim, more_is_better,
        {"ours": list(ours), "other": list(other)}, (min(ratios), max(ratios)) if ratios else None, list(void),
        note or ("" if ratio is not None else "nothing to compare with was measured"),
    )  # fmt: skip


def _median(values: Values) -> float | None:
    return median(values) if values else None


def percentile(samples: Sequence[float], share: float) -> float:
    """Nearest rank: the least sample that at least this share of all samples do not exceed."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    rank = -(-len(ordered) * round(share * 1_000_000) // 1_000_000)
    return ordered[max(rank, 1) - 1]
