"""The garbage collector stays out of start-up: what start-up makes stays, and looking through it costs an eighth of the time."""

import gc

_LOTS = (10_000, 20, 20)


def hold_collector() -> None:
    gc.disable()


def release_collector() -> None:
    """What is there by now is never looked at again; what comes is looked at in larger lots."""
    gc.freeze()
    gc.set_threshold(*_LOTS)
    gc.enable()
