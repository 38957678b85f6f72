"""Processes of a round: started together, ended by their own ids."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from bench.contestant import ROOT, Command

_PATIENCE = 20.0
"""Seconds for all of them together."""
_OURS = ("AMENDS_", "PYTEST_", "PYTHON")


def clean_environ() -> dict[str, str]:
    """Ours without what steers the product or the interpreter."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


class Ended(Exception):
    """A process ended though nobody asked it to."""


class Crew:
    """The processes of one contestant."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, commands: Sequence[Command]) -> None:
        for command in commands:
            with self._log(command.name).open("ab") as log:
                environ = clean_environ() | dict(command.environ)
                process = subprocess.Popen(
                    list(command.args), cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            self._running.append((command.name, process))

    @property
    def pids(self) -> list[int]:
        return [process.pid for _, process in self._running]

    def check(self) -> None:
        """Raises Ended with the end of the log."""
        for name, process in self._running:
            if process.poll() is not None:
                raise Ended(f"{name} ended with {process.returncode}: {self.said()}")

    def said(self, most: int = 2000) -> str:
        """The end of each one's log."""
        logs = ((name, self._log(name).read_text(errors="replace").strip()[-most:]) for name, _ in self._running)
        return "\n".join(f"--- {name}\n{text}" for name, text in logs if text)

    def stop(self) -> None:
        """SIGTERM to all; what is still there after a while, children included, is killed."""
        for _, process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        end = monotonic() + _PATIENCE
        for _, process in self._running:
            _reaped(process, end)
        self._running.clear()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def _reaped(process: "subprocess.Popen[bytes]", end: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(end - monotonic(), 0.1))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def crew(folder: Path, commands: Sequence[Command]) -> Iterator[Crew]:
    found = Crew(folder)
    try:
        found.start(commands)
        yield found
    finally:
        found.stop()
