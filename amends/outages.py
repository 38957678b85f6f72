"""A database or broker that is away or lets us not in is no bug: one clear line instead of a trace."""

from shared.bus.port import BusUnavailable
from shared.store.session import is_away

_REFUSED = ("28", "3D", "3F", "42501")
"""SQLSTATE: wrong role or password, no such database, no such schema, no right to."""


def outage(fault: BaseException) -> str | None:
    """What to tell; None when it is none of these."""
    said = getattr(fault, "orig", None) or fault
    if isinstance(fault, BusUnavailable):
        return _line(fault) or "the broker is away"
    if str(getattr(said, "sqlstate", None) or "").startswith(_REFUSED):
        return f"the database refuses us: {_line(said)}"
    if is_away(fault):
        return _line(said) or f"no connection: {type(said).__name__}"
    return None


def _line(fault: BaseException) -> str:
    return str(fault).partition("\n")[0].strip()
