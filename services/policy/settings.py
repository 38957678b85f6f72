"""policy's own limits. What the environment and the accounts file say is read by `shared.settings`."""

from dataclasses import dataclass

from shared.bus.consume import LARGEST


@dataclass(frozen=True, slots=True)
class Settings:
    batch: int = LARGEST
    """Facts taken at once, at most: what bounds memory and the time for which orders stay locked."""
    idle: float = 1.0
    """Real seconds after which the due clocks are looked at again, at the latest."""
    after_fault: float = 1.0
    skew: float = 2.0
    """Seconds our clock may be apart from the database's; beyond it nothing fires."""
    check_skew_every: float = 30.0
