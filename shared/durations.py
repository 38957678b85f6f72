"""ISO 8601 durations as text (`P5D`, `PT36H`, `P1W`): configuration, playbooks and the sandbox write them so."""

from datetime import timedelta
from functools import lru_cache

from pydantic import TypeAdapter, ValidationError

_adapter = TypeAdapter(timedelta)


def parse_duration(text: str) -> timedelta:
    """Raises ValueError for anything but an ISO 8601 duration that is not negative. A year counts 365 days, a month 30."""
    if not isinstance(text, str) or not text.startswith("P"):
        raise ValueError(f"not an ISO 8601 duration: {text!r}")
    return _parsed(text)


@lru_cache(maxsize=256)
def _parsed(text: str) -> timedelta:
    try:
        return _adapter.validate_python(text)
    except ValidationError as fault:
        raise ValueError(f"not an ISO 8601 duration: {text!r}") from fault
