"""CPU seconds and memory of whole process trees, from /proc (Linux)."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LISTENING = "0A"


def tree(root: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        if (stat := _stat(pid)) is not None:
            children.setdefault(int(stat[1]), []).append(pid)
    found, left = [], [root]
    while left:
        found.append(pid := left.pop())
        left += children.get(pid, [])
    return found


def seconds(roots: Iterable[int]) -> float:
    """User and system time of the trees so far; children that have ended and were reaped are counted in their parent."""
    return sum(sum(map(int, stat[11:15])) for root in roots for pid in tree(root) if (stat := _stat(pid))) / _TICK


def resident(roots: Iterable[int]) -> int:
    """Bytes of the trees' processes that are in memory (RSS)."""
    return sum(_rss(pid) for root in roots for pid in tree(root))


def listener(port: int) -> int:
    """The process that listens on a local port. Raises LookupError."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for pid in _pids():
        if sockets & _open_files(pid):
            return pid
    raise LookupError(f"nobody we may look at listens on port {port}")


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> list[str] | None:
    """The fields after the command's name: state, parent, … (proc(5)); None when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _rss(pid: int) -> int:
    stat = _stat(pid)
    return int(stat[21]) * _PAGE if stat is not None else 0


def _inodes(port: int) -> set[str]:
    rows = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows += [line.split() for line in Path(table).read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(str(path.readlink()))
    return found
