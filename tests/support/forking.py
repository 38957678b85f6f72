"""Processes of the product that start in a moment: forked from a server that has imported it, otherwise the command itself.

Importing takes longer than everything else a start does, and a test that kills hundreds of times pays it hundreds of
times. One such server serves a whole test process (`running`). The child runs `amends.cli.run`, or what a test names, with
its own arguments and environment; it is a process of its own in every way.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PRODUCT = ("amends.cli", "amends.apart", *(f"services.{name}.wiring" for name in ("intake", "policy", "notifier")))
_TESTS = ("tests.services.notifier.child", "tests.services.intake.intake_process")
"""What tests run as processes of their own beside the product's own commands."""

_running: "ForkServer | None" = None


class Forked:
    """One child, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.ended = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired("amends", timeout or 0)
        return self.returncode

    def send_signal(self, how: signal.Signals) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)


class ForkServer:
    """Start with `with`; at its end every child is killed."""

    def __enter__(self) -> "ForkServer":
        command = [sys.executable, "-m", "tests.support.forking"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AMENDS_")}
        self._server = subprocess.Popen(command, cwd=ROOT, env=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._turn, self._started = threading.Lock(), threading.Event()
        self._children: dict[int, Forked] = {}
        self._newest: Forked | None = None
        self._reader = threading.Thread(target=self._reading, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._reader.join(5)
        self._server.stdout.close()

    def start(self, args: Sequence[str], env: Mapping[str, str], log: Path, run: str = "amends.cli:run") -> Forked:
        """As `python -m amends <args>` would (or another function of a list of texts), its output added to `log`."""
        assert self._server.stdin is not None
        with self._turn:
            self._started.clear()
            asked = json.dumps({"args": list(args), "env": dict(env), "log": str(log), "run": run}) + "\n"
            self._server.stdin.write(asked.encode())
            self._server.stdin.flush()
            assert self._started.wait(60), "the fork server does not answer"
            assert self._newest is not None
            return self._newest

    def _reading(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            told = json.loads(line)
            if "status" not in told:
                self._newest = self._children[told["pid"]] = Forked(told["pid"])
                self._started.set()
                continue
            child = self._children.pop(told["pid"])
            child.returncode = os.waitstatus_to_exitcode(told["status"])
            child.ended.set()


def running() -> ForkServer:
    """The server of this test process."""
    global _running
    if _running is None:
        _running = ForkServer().__enter__()
    return _running


def end() -> None:
    """What `running` started, if anything, is ended."""
    global _running
    if _running is not None:
        _running.__exit__()
        _running = None


def _serve() -> None:
    """The server: one line in for each start, one out with its pid, another one when it has ended."""
    for module in (*_PRODUCT, *_TESTS):
        import_module(module)
    _judge_once()
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    children: set[int] = set()
    asked = b""
    while True:
        ready, _, _ = select.select([0, read], [], [])
        if read in ready:
            os.read(read, 4096)
            _reap(children)
        if 0 not in ready:
            continue
        more = os.read(0, 1 << 20)
        if not more:
            break
        *lines, asked = (asked + more).split(b"\n")
        for line in lines:
            children.add(_fork(json.loads(line), (read, write)))
    _end(children)


def _judge_once() -> None:
    """What texts are judged by is read here, not by every child."""
    composer, registry = import_module("services.notifier.composer"), import_module("shared.registry")
    composer.Composer(registry.Registry(None), {"generic"}).prepare()


def _reap(children: set[int]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            os.write(1, json.dumps({"pid": pid, "status": status}).encode() + b"\n")


def _end(children: set[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while children and time.monotonic() < end:
        _reap(children)
        time.sleep(0.01)


def _fork(asked: dict[str, object], ours: tuple[int, int]) -> int:
    pid = os.fork()
    if pid:
        os.write(1, json.dumps({"pid": pid}).encode() + b"\n")
        return pid
    code = 70
    try:
        _become(asked, ours)
        module, _, name = str(asked["run"]).partition(":")
        code = getattr(import_module(module), name)(asked["args"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(asked: dict[str, object], ours: tuple[int, int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for end in ours:
        os.close(end)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(str(asked["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for here, there in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(here, there)
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]


if __name__ == "__main__":
    _serve()
