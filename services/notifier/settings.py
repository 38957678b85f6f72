"""notifier's own figures: nothing here needs to be set to run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    batch: int = 200
    """Events at most that are taken in together."""
    per_second: float = 50.0
    """Calls per account and second where the account does not say (`messages_per_second`)."""
    recover_every: float = 5.0
    """Real seconds between looks for rows whose sender is gone."""
    look_every: float = 0.25
    """Real seconds between looks for due errands when nobody wakes us."""
    stop_within: float = 15.0
    """Real seconds given to calls under way when asked to stop."""
