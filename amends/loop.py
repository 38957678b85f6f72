"""The event loop of every process of ours: uvloop where it is installed."""

import asyncio
import resource
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")
_OPEN_FILES = 65_536


def run(work: Coroutine[object, object, T]) -> T:
    _open_files()
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


def _open_files() -> None:
    """Each waiting client is one; many systems give 1,024 and allow far more."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
