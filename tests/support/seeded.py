"""What bugs seeded into the product share, whoever is to find them out."""

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from services.notifier import protocol
from shared.ports import InDoubt, NotSent


def instead(target: Any, name: str, value: Any) -> AbstractContextManager[Any]:
    return mock.patch.object(target, name, value)


def crash_taken_for_not_sent() -> AbstractContextManager[Any]:
    """What a crash left in `sending` is planned again."""
    real = protocol.after_attempt

    def after_attempt(life: Any, attempt: Any, ability: Any, now: Any) -> Any:
        crashed = isinstance(attempt, InDoubt) and attempt.why.startswith("the process ended")
        return real(life, NotSent(attempt.why, 0.0) if crashed else attempt, ability, now)

    return instead(protocol, "after_attempt", after_attempt)
