"""Dates and amounts as reports write them: several forms, none promised (reference A1.4)."""

import re
from datetime import UTC, date, datetime

from shared.clock import parse_time
from shared.domain.money import Money

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
_NAMED = re.compile(r"(\d{1,2})[-\s]([A-Za-z]{3})[a-z.]*[-\s](\d{4})")
_COMMA = re.compile(r"\d+,\d{1,2}")


def moment_of(text: str | None) -> datetime | None:
    """ISO 8601 with or without time, or `10-Jul-2025`; a day counts from its first moment in UTC. None for the rest."""
    told = (text or "").strip()
    named = _NAMED.fullmatch(told)
    try:
        if named:
            day, month, year = named.groups()
            return datetime(int(year), _MONTHS.index(month.lower()) + 1, int(day), tzinfo=UTC)
        if len(told) == len("2025-07-10"):
            return datetime.combine(date.fromisoformat(told), datetime.min.time(), UTC)
        return parse_time(told)
    except ValueError:
        return _without_zone(told)


def _without_zone(told: str) -> datetime | None:
    try:
        return datetime.fromisoformat(told).replace(tzinfo=UTC)
    except ValueError:
        return None


def day_of(text: str | None) -> str | None:
    """`2025-07-10` of whatever form; None where it is none."""
    found = moment_of(text)
    return found.date().isoformat() if found else None


def money_of(text: str | None, currency: str | None) -> Money | None:
    """`12.50` or `12,50`; None without a currency or for anything inexact."""
    told = (text or "").strip()
    try:
        return Money.of(told.replace(",", ".") if _COMMA.fullmatch(told) else told, currency)
    except ValueError:
        return None
