"""intake's own limits. What the environment and the accounts file say is read by `shared.settings`."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    body_limit: int = 1_000_000
    """Bytes of one delivery; beyond it 413."""
    header_count: int = 100
    header_bytes: int = 32_768
    read_deadline: float = 10.0
    """Real seconds a client may take for its body."""
    waiting_limit: int = 1000
    """Requests inside at once; beyond it 503 with Retry-After."""
    waiting_bytes: int = 128_000_000
    """Of all bodies inside; a body without a length counts as the largest."""
    waiting_per_account: int = 400
    """Proven deliveries of one account on their way into the store: the rest is for the others."""
    deliveries_per_second: float = 5_000.0
    """Of one account, unless its setting of that name says otherwise."""
    unpublished_limit: int = 500_000
    """Facts that wait for the broker, in the table; beyond it 503 until it takes them again."""
    reads_at_once: int = 20
    reads_per_account: int = 5
    reads_per_second: float = 5.0
    """Of one account, unless its setting `messages_per_second` says otherwise; 50 in the sandbox."""
    read_timeout: float = 45.0
    """Real seconds of one read; shorter than its lease of 60 s."""
    keep_raw: timedelta = timedelta(days=30)
